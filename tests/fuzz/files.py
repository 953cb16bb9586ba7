"""Files that somebody else wrote: own rows, recipes, folders of drafters and models, records of runs."""

import json
import struct
from functools import cache

import torch
from safetensors.torch import save
from transformers import AutoConfig

from seeahead.bench.markdown import markdown
from seeahead.bench.record import Asked, Costs, Gap, Record, Run, read_record
from seeahead.bench.report import report
from seeahead.bench.summary import summarize
from seeahead.data.conversations import read_conversations
from seeahead.data.own_data import load_own
from seeahead.drafters import make_drafter
from seeahead.families.loading import check_model_type
from seeahead.models.adapter import AdapterConfig, ImageAdapter
from seeahead.models.checkpoint import unfuse
from seeahead.models.decoder import Decoder, DecoderConfig
from seeahead.models.feature import FeatureNetwork, FeatureOptions
from seeahead.records import Generation, Step
from seeahead.testing.configs import CONFIGS
from seeahead.train.drafter_recipe import read_drafter_recipe
from seeahead.train.recipe import read_recipe
from tests.fuzz.asked import picture_files
from tests.fuzz.mutations import ODD_TEXTS
from tests.sizes import ROOT

_QUESTIONS = (
    {"id": "1", "image": "cat.png", "turns": ["What is this?"], "category": "question"},
    {"id": 2, "image": ["cat.png", "images/dog.jpg"], "turns": ["And?", "Why?"], "topic": "chart"},
    {"turns": ["Who are you?"]},
    {"id": "é", "image": None, "turns": ["🦓?"], "category": ""},
)
_CONVERSATIONS = (
    {
        "messages": [{"role": "user", "content": "<image>\nWhat?"}, {"role": "assistant", "content": "A cat."}],
        "images": ["cat.png"],
    },
    {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]},
)


def make_rows(mutator):
    """Lines of one kind, each damaged by itself or all as one text; `name` of the file, and what to read it as."""
    kind = mutator.pick(("questions", "conversations"))
    seeds = _QUESTIONS if kind == "questions" else _CONVERSATIONS
    lines = [mutator.json(seeds) if mutator.chance(0.4) else json.dumps(mutator.pick(seeds)).encode() for _ in range(3)]
    text = mutator.pick((b"\n", b"\n", b"\r\n", b"\n\n")).join(lines)
    if mutator.chance(0.15):
        text = mutator.data([text])
    name = "rows.jsonl" if mutator.chance(0.9) else mutator.pick(("rows.csv", "rows.JSONL", "rows", "rows.json"))
    return {"kind": kind, "name": name, "text": text}


def read_rows(value, folder):
    (folder / "images").mkdir()
    for place in ("cat.png", "images/dog.jpg"):
        (folder / place).write_bytes(picture_files()[0])
    path = folder / (value.get("name") or "rows.jsonl")
    path.write_bytes(value.get("text", b""))
    if value.get("kind") == "conversations":
        return read_conversations(path)
    return load_own(path if path.suffix == ".jsonl" else folder, count=None, seed=0, max_new_tokens=8)


@cache
def _recipes(is_demo):
    folder = ROOT / "recipes"
    paths = sorted(folder.glob("*.toml") if is_demo else (folder / "drafters").glob("*.toml"))
    return tuple(path.read_text(encoding="utf-8") for path in paths)


_TOML_VALUES = (
    "0", "-1", "1", "true", "nan", "inf", "-inf", "1e400", '""', '"x"', "[]", "[[1]]", "{}", "{a = 1}", "[1, 'a']",
    "99999999999999999999", "1_000", "0x10", "1979-05-27", "07:32:00", "'''\n'''", '"../../out"', '"a/b"', '"\\u0000"',
    '"\\u001b[31m"', '["answers", "x"]', "3.5", "1000000000", "1e-300", "[" * 3000, "9" * 5000,
)  # fmt: skip


def make_recipe(mutator):
    """One of our recipes with lines changed, and now and then with damage anywhere."""
    is_demo = mutator.chance(0.3)
    lines = mutator.pick(_recipes(is_demo)).split("\n")
    for _ in range(mutator.pick((1, 1, 2, 4))):
        _change_line(mutator, lines, mutator.pick(_recipes(is_demo)).split("\n"))
    data = "\n".join(lines).encode("utf-8", "surrogatepass")
    return {"demo": is_demo, "text": mutator.data([data]) if mutator.chance(0.2) else data}


def _change_line(mutator, lines, others):
    place = mutator.random.randrange(len(lines) + 1)
    settings = [number for number, line in enumerate(lines) if "=" in line and not line.startswith("#")]
    kind = mutator.random.randrange(7)
    if kind <= 2 and settings:
        place = mutator.pick(settings)
        name = lines[place].partition("=")[0].strip()
        lines[place] = f"{name} = {mutator.pick(_TOML_VALUES)}"
    elif kind == 3:
        del lines[place : place + mutator.pick((1, 1, 3, 10))]
    elif kind == 4:
        lines.insert(place, mutator.pick(others))
    elif kind == 5:
        lines[place:place] = lines[place : place + 4]
    else:
        lines.insert(place, mutator.pick(ODD_TEXTS) + mutator.pick(("", " = 1", "]", ' = "a"')))


def read_recipes(value, folder):
    path = folder / "recipe.toml"
    path.write_bytes(value.get("text", b""))
    return (read_recipe if value.get("demo") else read_drafter_recipe)(path)


_SHAPE = DecoderConfig(6, 8, 12, 1, 2, 1, 4, 32)
_CONFIG = {
    "model_type": "llama", "vocab_size": 6, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 32,
    "rms_norm_eps": 1e-6, "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "hidden_act": "silu",
    "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True, "unknown_draft_id": 0,
    "target_vocab_size": 40,
}  # fmt: skip


@cache
def _folders():
    """The smallest drafter of every kind: (config, {file name: tensors})."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder, adapter = Decoder(_SHAPE), ImageAdapter(AdapterConfig(8, 8, 4, 4))
        network = FeatureNetwork(DecoderConfig(1, 8, 12, 1, 2, 1, 4, 32), FeatureOptions(visual="query"))
    vocabulary = {"d2t": torch.arange(6) * 5}
    weights = unfuse(decoder) | {"model.embed_tokens.weight": decoder.embedding.weight.detach()}
    own = {"fc.weight": network.fc.weight, "fc.bias": network.fc.bias, "query": network.query}
    features = unfuse(network.decoder) | {name: value.detach() for name, value in own.items()}
    vision = {**_CONFIG, "image_adapter": {"input_width": 8, "width": 8, "hidden_width": 4, "num_tokens": 4}}
    msd = {**_CONFIG, "vocab_size": 1, "feature_drafter": FeatureOptions(visual="query").to_json()}
    names = ("model.safetensors", "draft_vocabulary.safetensors", "adapter.safetensors")
    saved = adapter.state_dict()
    return (
        (_CONFIG, dict(zip(names, (save(weights), save(vocabulary))))),
        (vision, dict(zip(names, (save(weights), save(vocabulary), save(saved))))),
        (msd, dict(zip(names, (save(features), save(vocabulary))))),
    )


def make_folder(mutator):
    """A drafter folder as {file name: bytes}, with one or two of its files damaged or gone."""
    config, files = mutator.pick(_folders())
    files = {"config.json": json.dumps(config).encode(), **files}
    for name in {mutator.pick(list(files)) for _ in range(mutator.pick((1, 1, 2)))}:
        if mutator.chance(0.05):
            del files[name]
        elif name == "config.json":
            files[name] = mutator.json([config, *(other for other, _ in _folders())])
        else:
            others = [data for _, tensors in _folders() for data in tensors.values()]
            files[name] = _damaged_tensors(mutator, files[name], others)
    # Without a vocabulary a folder is taken for one of transformers' own models, which takes its time.
    if "draft_vocabulary.safetensors" not in files and mutator.chance(0.9):
        files["draft_vocabulary.safetensors"] = b""
    return files


def _damaged_tensors(mutator, data, others):
    if mutator.chance(0.3):
        return mutator.data([data, *others])
    size = struct.unpack("<Q", data[:8])[0]
    header, body = json.loads(data[8 : 8 + size]), data[8 + size :]
    if mutator.chance(0.4):
        entry = header[mutator.pick(list(header))]
        # Other types of as many bytes: the file is whole, what is in it is not what was meant.
        kinds = ("F32", "I32", "U32") if entry["dtype"] == "F32" else ("I64", "F64", "U64")
        entry["dtype"] = mutator.pick(kinds)
        if mutator.chance(0.5):
            entry["shape"] = entry["shape"][::-1]
    else:
        header = mutator.value([header])
    if mutator.chance(0.2):
        filling = mutator.pick((b"\xff", b"\0", b"\x7f"))
        body = filling * len(body)
    try:
        text = json.dumps(header).encode()
    except (TypeError, ValueError, RecursionError):
        return data[: len(data) // 2]
    return struct.pack("<Q", len(text)) + text + body


def read_folder(value, folder):
    for name, data in value.items():
        (folder / name).write_bytes(data)
    return make_drafter(str(folder), device=torch.device("cpu"), dtype=torch.float32)


@cache
def _model_configs():
    kinds = ("llama", "llava", "qwen2_vl", "gemma3")
    values = [AutoConfig.for_model(kind, **_without_type(CONFIGS[kind])).to_dict() for kind in kinds]
    return tuple(json.loads(json.dumps(value, default=str)) for value in values)


def _without_type(values):
    return {name: value for name, value in values.items() if name != "model_type"}


def make_config(mutator):
    return mutator.json(_model_configs())


def read_config(value, folder):
    (folder / "config.json").write_bytes(value)
    return check_model_type(folder)


@cache
def _generation():
    steps = (
        Step((5, 6, 7), ("drafted", "drafted", "target"), 4, 3, 2, 0.01, 0.04, 0.06),
        Step((8,), ("target",), 0, 0, 0, 0.0, 0.04, 0.05),
    )
    return Generation(12, 4, steps, "end", 0.3, 0.01, "lookup", ("a note",))


def make_generation(mutator):
    return mutator.value([_generation().to_json()])


def read_generation(value, folder):
    return Generation.from_json(value)


@cache
def _records(folder_name="record"):
    """Two records as JSON: of one question, and of two with a peer, a follow-up, a gap and temperatures."""
    made = []
    for number, methods in ((1, ("none", "lookup")), (2, ("none", "lookup", "transformers"))):
        asked = [Asked("a", "question", "What?", ("cat.png",)), Asked("b", "question", "And?", (), (("What?", "A"),))]
        runs = [
            _run(place, method, temperature)
            for temperature in ((0.0,) if number == 1 else (0.0, 1.0))
            for place in range(number)
            for method in methods
        ]
        record = Record(
            provenance={"command": ["seeahead", "bench"], "commit": "0" * 40, "date": "2030-01-02", "seed": 7},
            settings={
                "suite": "demo",
                "model": "demo",
                "dtype": "float32",
                "device": "cpu",
                "num_repeats": 1,
                "seed": 7,
            },
            num_parameters={"target": 1000},
            costs=Costs(300, {1: 0.04, 2: 0.042, 4: 0.05}),
            methods=methods,
            peers=methods[2:],
            asked=tuple(asked[:number]),
            runs=tuple(runs),
            gaps=(Gap(0, "lookup", 0, 1, 0.02),),
        )
        made.append(json.loads(json.dumps(record.to_json())))
    return tuple(made)


def _run(place, method, temperature):
    tokens, texts = _generation().token_ids, (("a cat", "target"), (" sits", "drafted"))
    if method == "transformers":
        return Run(place, method, 0, temperature, tokens, "a cat sits", 0.3, 0.7, 2**20)
    return Run(place, method, 0, temperature, tokens, "a cat sits", 0.3, 0.5, 2**20, _generation(), pieces=texts)


def make_record(mutator):
    return mutator.json(_records())


def read_whole_record(value, folder):
    path = folder / "bench.json"
    path.write_bytes(value)
    record = read_record(path)
    markdown(summarize(record))
    report(record).encode()

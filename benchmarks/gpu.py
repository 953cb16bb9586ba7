"""What captured passes are worth on a GPU, in one command of under ten minutes, with random weights and no network.

Stages are written one by one; what the output has already is not asked again, so a command that was cut off goes on
where it was. `--tiny` runs every stage at toy sizes, on a CPU too.

python -m benchmarks.gpu [--tiny] [--device cuda] [--seconds 540] [-o results/gpu-NAME.json]
"""

from __future__ import annotations

import argparse
import gc
import json
import re
import statistics
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from seeahead import proof
from seeahead.drafters.costs import prompted, time_passes
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafting import Drafter
from seeahead.executor import ModelInputs
from seeahead.executors.exact import ROWS as EXACT_ROWS
from seeahead.families import family_for
from seeahead.families.base import Family
from seeahead.families.choice import Choice, put_executor
from seeahead.provenance import provenance, write_json
from seeahead.testing import ScriptedDrafter, SelfDrafter, answer, random_tree, tiny_inputs, tiny_model
from seeahead.testing.models import TINY_MODELS

EXECUTORS = ("transformers", "graphs", "kernels", "exact")
FAMILIES = (
    "llava",
    "llava_next",
    "qwen2_5_vl",
    "qwen3_vl",
    "gemma3",
    "idefics3",
    "internvl",
    "llama",
    "mistral",
    "qwen3",
)
PASSES = (1, 2, 4, 8, 16, 32, 64)
NUM_CACHED = 1024
NUM_TOKENS = 64
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "LLaVA-1.5-7B": (
        "llava",
        {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32, "num_attention_heads": 32}
        | {"num_key_value_heads": 32, "head_dim": 128, "vocab_size": 32064, "max_position_embeddings": 4096},
    ),
    "Qwen2.5-VL-7B": (
        "qwen2_5_vl",
        {"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28}
        | {"num_key_value_heads": 4, "head_dim": 128, "vocab_size": 152064, "max_position_embeddings": 8192}
        | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}},
    ),
}
"""Model type, and what a random text model of that shape has. Its vision tower is tiny: texts are asked."""

Stage = Callable[[], dict[str, Any]]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="every stage at toy sizes")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--seconds", type=float, default=540, help="no stage is begun after so many")
    parser.add_argument("--only", default="", help="stages whose names begin so")
    parser.add_argument("-o", "--output", type=Path, help="default: results/gpu-NAME.json, by the GPU's name")
    args = parser.parse_args(arguments)
    output = args.output or output_of(args.device, is_tiny=args.tiny)
    if args.device.startswith("cuda:"):
        torch.cuda.set_device(args.device)  # which is waited for, whose memory is measured, whose name is kept
    started = perf_counter()
    record = begun(output, args.device, is_tiny=args.tiny)
    for name, stage in stages(args.device, is_tiny=args.tiny):
        done = record["stages"].get(name)
        if (done is not None and "error" not in done) or not name.startswith(args.only):
            continue
        if perf_counter() - started > args.seconds:
            sys.stderr.write(f"{name} is left to another call\n")
            return 1
        stage_started = perf_counter()
        found = stage()
        found |= {"provenance": provenance(0), "stage_seconds": round(perf_counter() - stage_started, 1)}
        record["stages"][name] = found
        write_json(output, record)
        shown = {key: value for key, value in found.items() if key != "provenance"}
        sys.stdout.write(f"{name}: {json.dumps(shown)}\n")
        sys.stdout.flush()
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return 0


def output_of(device: str, *, is_tiny: bool) -> Path:
    """A file for each kind of GPU, so that none is in another's way. What is no result lies apart."""
    is_result = device != "cpu" and not is_tiny
    name = "cpu" if device == "cpu" else torch.cuda.get_device_name(device)
    words = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return Path("results" if is_result else "out") / f"gpu-{words}.json"


def begun(path: Path, device: str, *, is_tiny: bool) -> dict[str, Any]:
    """The record at `path`, to go on with, or a new one. Raises SystemExit for one of another machine or size."""
    hardware: Any = provenance(0)["hardware"]
    ours = {"is_tiny": is_tiny, "device": device, "gpu": hardware["gpu"]}
    if not path.is_file():
        return {"run": ours, "stages": {}}
    record: dict[str, Any] = json.loads(path.read_text("utf-8"))
    if "run" not in record:  # an older one
        gpus = [stage["provenance"]["hardware"]["gpu"] for stage in record["stages"].values()]
        record["run"] = {"is_tiny": False, "device": "cuda", "gpu": next(iter(gpus), None)}
    if record["run"] != ours:
        raise SystemExit(
            f"{path.name} is of another run: {record['run']}, this one is {ours}; give another file with -o"
        )
    return record


def stages(device: str, *, is_tiny: bool) -> Iterator[tuple[str, Stage]]:
    """What is most wanted comes first."""
    families = FAMILIES[:1] if is_tiny else FAMILIES
    executors = [name for name in EXECUTORS if device != "cpu" or name != "kernels"]
    for name in executors[1:]:
        for model_type in families:
            run = partial(identical, model_type, name, torch.float32, device, 12 if is_tiny else 48)
            yield f"float32/{name}/{model_type}", told(run)
    for shape in SHAPES:
        for name in (*executors, "generate", "generate, compiled"):
            yield f"speed/{shape}/{name}", told(partial(speed, shape, name, device, is_tiny=is_tiny))
    for name in executors:
        for model_type in families:
            run = partial(identical, model_type, name, torch.bfloat16, device, 12 if is_tiny else 48)
            yield f"bfloat16/{name}/{model_type}", told(run)
    if not is_tiny and has_demo():
        for name in executors:
            yield f"demo/{name}", told(partial(demo, name, device))


def told(stage: Stage) -> Stage:
    """A stage that fails says why, and the others are run."""

    def run() -> dict[str, Any]:
        try:
            return stage()
        except Exception as error:  # noqa: BLE001  (compilers have errors of their own)
            traceback.print_exc()
            return {"error": f"{type(error).__name__}: {str(error)[:300]}"}

    return run


def with_executor(model: Any, name: str, processor: Any = None) -> Family:
    family = family_for(model, processor)
    put_executor(family, Choice(name, "", "auto"), is_given=True, report=None)
    return family


def identical(model_type: str, name: str, dtype: torch.dtype, device: str, num_tokens: int) -> dict[str, Any]:
    """Of a tiny random model: drafted answers that are its plain one; in float32, plain ones that are transformers'.

    Of each that is not, how far apart the two tokens lie in a fresh pass, in parts of the logits' spread."""
    model: Any = tiny_model(model_type)
    model = model.to(device, dtype)
    family, count, same, gaps = with_executor(model, name), 0, 0, []
    proof.require(proof.prove(family, proof.prompts_for(family)))
    agrees = True
    for num_images in (0,) if TINY_MODELS[model_type].pixels is None else (0, 2):
        inputs = _cast(tiny_inputs(model_type, num_images, 60), dtype, device)
        truth = answer(family, inputs, max_new_tokens=num_tokens).token_ids
        if dtype == torch.float32:
            agrees &= answer(family_for(model), inputs, max_new_tokens=num_tokens).token_ids == truth
        drafters: tuple[Drafter, ...] = (
            LookupDrafter(min_match=1),
            SelfDrafter(family.executor),
            *(ScriptedDrafter("random tree", random_tree(), seed=seed) for seed in range(4)),
        )
        for drafter in drafters:
            drafted = answer(family, inputs, drafter, max_new_tokens=num_tokens).token_ids
            count, same = count + 1, same + (drafted == truth)
            place = proof.parting(truth, drafted)
            gap = None if place is None else proof.logit_gap(family, inputs, truth, drafted, place)
            gaps += [] if gap is None else [gap[1]]
    return {"answers": count, "identical": same, "gaps": gaps, "plain_as_transformers": agrees}


def _cast(inputs: ModelInputs, dtype: torch.dtype, device: str) -> ModelInputs:
    extras = {
        name: value.to(device, dtype) if value.is_floating_point() else value.to(device)
        for name, value in inputs.extras.items()
    }
    return ModelInputs(inputs.token_ids.to(device), extras)


def shaped(shape: str, device: str, *, is_tiny: bool) -> Any:
    """A random model of that shape, made on the device; in bfloat16 where that is a GPU."""
    model_type, text = SHAPES[shape]
    described: Mapping[str, Any] = TINY_MODELS[model_type].config
    values = {name: value for name, value in described.items() if name != "model_type"}
    if is_tiny:
        text = {"max_position_embeddings": 4096}
    values["text_config"] = {**values["text_config"], **text}
    if "out_hidden_size" in values["vision_config"]:
        width = values["text_config"]["hidden_size"]
        values["vision_config"] = {**values["vision_config"], "out_hidden_size": width}
    config = AutoConfig.for_model(model_type, **values)
    torch.manual_seed(0)
    with torch.device(device):
        dtype = torch.float32 if device == "cpu" else torch.bfloat16
        return AutoModelForImageTextToText.from_config(config, dtype=dtype).eval()


def speed(shape: str, name: str, device: str, *, is_tiny: bool) -> dict[str, Any]:
    """Tokens per second of a plain answer; of our executors also milliseconds of passes of k tokens, and V(k)."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    model = shaped(shape, device, is_tiny=is_tiny)
    cached, tokens, rounds = (64, 8, 2) if is_tiny else (NUM_CACHED, NUM_TOKENS, 20)
    size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
    found: dict[str, Any] = {"gigabytes": round(size / 1e9, 2), "cached": cached, "device": device}
    words = torch.arange(40, 40 + cached, device=device)[None] % 150
    if name.startswith("generate"):
        cache = {"cache_implementation": "static"} if "compiled" in name else {}
        found["rate"] = _rate(partial(_generate, model, words, tokens, cache), tokens, device)
    else:
        family = with_executor(model, name)
        passes = [size for size in PASSES if name != "exact" or size <= EXACT_ROWS]
        session, inputs, sizes = prompted(family.executor, range(40, 150), cached, passes)
        taken = list(time_passes(session, inputs, sizes, rounds + 2))[2:]
        found["pass_ms"] = {size: 1000 * statistics.median(one[size] for one in taken) for size in sizes}
        found["V"] = {size: found["pass_ms"][size] / found["pass_ms"][1] for size in sizes}
        session.close()
        run = partial(answer, family, ModelInputs(words), max_new_tokens=tokens)
        found["rate"] = _rate(run, tokens, device)
    if device != "cpu":
        found["peak_gigabytes"] = round(torch.cuda.max_memory_allocated() / 1e9, 2)
    return found


@torch.inference_mode()
def _generate(model: Any, words: torch.Tensor, tokens: int, cache: dict[str, str]) -> Any:
    settings = {"max_new_tokens": tokens, "min_new_tokens": tokens, "do_sample": False, "pad_token_id": 0, **cache}
    return model.generate(words, attention_mask=torch.ones_like(words), **settings)


def _rate(run: Callable[[], Any], tokens: int, device: str) -> float:
    """Tokens per second, prompt included: the best of three after two that capture or compile."""
    seconds = []
    for _ in range(5):
        started = perf_counter()
        run()
        if device != "cpu":
            torch.cuda.synchronize()
        seconds.append(perf_counter() - started)
    return tokens / min(seconds[2:])


def has_demo() -> bool:
    from seeahead.demo.build import demo_folder

    return demo_folder().is_dir()


def demo(name: str, device: str) -> dict[str, Any]:
    """The demo's questions in bfloat16: each drafter's answers that are the plain ones, and their tokens per second."""
    import seeahead
    from benchmarks.executors import questions

    plain = seeahead.load("demo", drafter="none", executor=name, dtype="bfloat16", device=device)
    found: dict[str, Any] = {}
    truths: list[tuple[int, ...]] = []
    for drafter in ("none", "none", "lookup", "vision", "msd"):  # the first round captures
        engine, started, answers = plain.with_drafter(drafter), perf_counter(), []
        for asked in questions():
            reply = engine.generate(
                asked["prompt"], asked["images"], max_new_tokens=asked["max_new_tokens"], temperature=0
            )
            answers.append(reply.token_ids)
        seconds = perf_counter() - started
        truths = truths or answers
        same = sum(ours == theirs for ours, theirs in zip(answers, truths, strict=True))
        rate = sum(map(len, answers)) / seconds
        found[drafter] = {"answers": len(answers), "identical": same, "rate": rate}
    return found


if __name__ == "__main__":
    sys.exit(main())

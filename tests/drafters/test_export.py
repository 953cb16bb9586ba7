"""What is exported is read back by our own readers and by transformers, and says the same."""

import json
from functools import cache

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from seeahead import cli
from seeahead.cli.export import FORMS
from seeahead.drafters import bind
from seeahead.drafters.folder import Folder
from seeahead.drafters.probe import samples_of, surprise
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import InputError, ModelError, SeeaheadError
from seeahead.executors import tensor_files
from seeahead.export import ALLOWED, export
from seeahead.target import Target
from seeahead.testing import tiny_family, tiny_inputs
from seeahead.train.feature_networks import begun, saved
from seeahead.train.recipe import DrafterRecipe, GenerationSettings, Network
from tests.drafters.tiny_folders import NUM_TARGET, change_config, write

LAYERS = 8
NETWORKS = {"eagle3": Network(), "vispec": Network(pictures="compressed", visual_tokens=1)}


@cache
def family(num_layers=LAYERS):
    return tiny_family("llava", num_hidden_layers=num_layers)


def trained(method, folder, num_layers=LAYERS):
    """A folder as the trainer leaves it, of random weights."""
    kind = "eagle3" if method == "eagle3" else "msd"
    recipe = DrafterRecipe(kind, network=NETWORKS[method], writing=GenerationSettings(features=True))
    vocabulary = DraftVocabulary(torch.arange(4, 160, 2)[:60], 0)
    torch.manual_seed(0)
    learner = begun(recipe, family(num_layers), vocabulary)
    with torch.no_grad():
        for parameter in learner.network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    saved(learner, Target.of(family(num_layers)), folder)
    return folder


@cache
def sample():
    return samples_of(Target.of(family()), [tiny_inputs("llava", 2, 10)], (2, 4, 5, -1), 12)[0]


def said(source):
    return float(surprise(bind(f"{source}:probe=0", Target.of(family())), sample()).mean())


@pytest.mark.parametrize("form", ["eagle3", "speculators"])
def test_an_eagle3_drafter_says_the_same_in_each_form(tmp_path, form):
    folder = trained("eagle3", tmp_path / "own")
    out = export(folder, form, tmp_path / "out", "owner/target")
    assert Folder.read(out).kind == "head"
    assert not Folder.read(out).is_ours
    assert said(out) == pytest.approx(said(folder), rel=1e-5)


def test_a_vispec_drafter_says_the_same_over_all_tokens(tmp_path):
    folder = trained("vispec", tmp_path / "own")
    out = export(folder, "vispec", tmp_path / "out")
    one, other = (bind(f"{source}:probe=0", Target.of(family())) for source in (folder, out))
    assert len(one.vocabulary) == 60
    assert other.vocabulary is None
    own, whole = (drafter.model(sample().context) for drafter in (one, other))
    for model in (own, whole):
        model.accept(sample().feedback)
    torch.testing.assert_close(own.taught(), whole.taught()[:, one.vocabulary.target_ids], rtol=2e-2, atol=2e-2)


def test_tensors_and_config_of_eagle3_are_those_that_other_engines_read(tmp_path):
    out = export(trained("eagle3", tmp_path / "own"), "eagle3", tmp_path / "out")
    tensors, values = load_file(out / "model.safetensors"), json.loads((out / "config.json").read_text())
    layer = {f"self_attn.{part}_proj" for part in "qkvo"} | {f"mlp.{part}_proj" for part in ("gate", "up", "down")}
    layer |= {"input_layernorm", "hidden_norm", "post_attention_layernorm"}
    wanted = {f"midlayer.{name}.weight" for name in layer} | {
        "fc.weight",
        "norm.weight",
        "lm_head.weight",
        "d2t",
        "t2d",
    }
    assert tensors.keys() == wanted
    width = family().width
    assert tensors["fc.weight"].shape == (width, 3 * width)
    assert tensors["midlayer.self_attn.q_proj.weight"].shape[1] == 2 * width
    assert tensors["lm_head.weight"].shape == (60, width)
    assert tensors["d2t"].dtype == torch.int64
    assert (torch.arange(60) + tensors["d2t"]).tolist() == tensors["t2d"].nonzero()[:, 0].tolist()
    assert len(tensors["t2d"]) == values["vocab_size"] == family().vocab_size
    assert values["architectures"] == ["LlamaForCausalLMEagle3"]
    assert (values["draft_vocab_size"], values["num_hidden_layers"], values["model_type"]) == (60, 1, "llama")
    assert values["target_model_type"] == "llava"
    assert "drafter" not in values


def test_the_form_of_speculators_names_layers_and_target(tmp_path):
    out = export(trained("eagle3", tmp_path / "own"), "speculators", tmp_path / "out", "owner/target")
    values = json.loads((out / "config.json").read_text())
    assert values["eagle_aux_hidden_state_layer_ids"] == [2, 4, 5]
    assert values["norm_before_residual"] is False
    assert values["speculators_model_type"] == values["speculators_config"]["algorithm"] == "eagle3"
    verifier = values["speculators_config"]["verifier"]
    assert verifier == {"name_or_path": "owner/target", "architectures": ["LlavaForConditionalGeneration"]}
    assert values["transformer_layer_config"]["hidden_size"] == family().width
    assert any(name.startswith("layers.0.") for name in load_file(out / "model.safetensors"))


# ---- a language drafter


def language(folder, *sizes):
    source = write("language", folder, *sizes)
    values = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps({**values, "eos_token_id": 7}))
    return source


@pytest.mark.parametrize(("width", "heads"), [(16, 2), (20, 5)])
def test_a_full_vocabulary_model_says_the_same_in_transformers(tmp_path, width, heads):
    """Of a width too that no 16 added to it leave divisible by its heads."""
    source = language(tmp_path / "own", width, heads)
    vocabulary = Folder.read(source).vocabulary()
    out = export(source, "draft-model", tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(out).eval()
    assert model.dtype == torch.float32
    assert model.config.vocab_size == NUM_TARGET
    assert model.config.eos_token_id == vocabulary.to_target([7])[0]
    tokens = [40, 44, 3, 60, 158, 41, 150]  # some of which it does not know
    own = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
    with torch.no_grad():
        ours = own(torch.tensor([vocabulary.to_draft(tokens)])).logits[0, -1]
        theirs = model(torch.tensor([tokens])).logits[0, -1]
    torch.testing.assert_close(theirs[vocabulary.target_ids], ours, rtol=1e-4, atol=1e-5)
    unknown = torch.ones(NUM_TARGET, dtype=torch.bool)
    unknown[vocabulary.target_ids] = False
    assert float(theirs[unknown].max()) < -1000


def test_transformers_takes_it_as_assistant(tmp_path):
    out = export(language(tmp_path / "own"), "draft-model", tmp_path / "out")
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
    torch.manual_seed(1)
    target = LlamaForCausalLM(LlamaConfig(vocab_size=NUM_TARGET, **sizes)).eval()
    settings = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    tokens = torch.tensor([[40, 44, 60]])
    plain = target.generate(tokens, **settings)
    drafted = target.generate(tokens, assistant_model=AutoModelForCausalLM.from_pretrained(out), **settings)
    assert drafted.tolist() == plain.tolist()


# ---- what is refused


@pytest.mark.parametrize(
    ("kind", "form", "says"),
    [
        ("msd", "eagle3", "no other engine reads msd"),
        ("vision", "draft-model", "vision-text.toml"),
        ("language", "speculators", "allowed: draft-model"),
    ],
)
def test_a_drafter_without_that_form_is_refused_in_one_line(tmp_path, kind, form, says, capsys):
    source = write(kind, tmp_path / "own")
    assert cli.main(["export", str(source), "--as", form, "-o", str(tmp_path / "out")]) == 2
    told = capsys.readouterr().err
    assert says in told
    assert told.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_target_that_is_not_named_is_asked_for(tmp_path):
    with pytest.raises(InputError, match="-m"):
        export(trained("eagle3", tmp_path / "own"), "speculators", tmp_path / "out")


def test_too_few_layers_for_a_form_without_a_list_are_refused(tmp_path):
    with pytest.raises(InputError, match="speculators"):
        export(trained("eagle3", tmp_path / "own", 4), "eagle3", tmp_path / "out")


@pytest.mark.parametrize(("form", "told"), [("speculators", "eagle3"), ("vispec", "vispec")])
def test_tensors_of_another_format_than_the_config_are_one_line(tmp_path, form, told):
    folder = trained("eagle3", tmp_path / "own")
    tensors = load_file(folder / "model.safetensors")
    if form == "vispec":
        change_config(folder, vispec_num_query_tokens=2)
    else:
        save_file({name: value for name, value in tensors.items() if name != "d2t"}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=rf"config.json' in .* is {told}'s, beside tensors"):
        export(folder, form, tmp_path / "out", "owner/target")


def test_a_folder_that_is_not_empty_and_a_model_that_is_no_drafter_are_refused(tmp_path):
    source = write("language", tmp_path / "own")
    with pytest.raises(InputError, match="not empty"):
        export(source, "draft-model", source)
    family().model.save_pretrained(tmp_path / "model")
    with pytest.raises(InputError, match="trained here"):
        export(tmp_path / "model", "eagle3", tmp_path / "out")


def test_the_command_writes_every_form(tmp_path, capsys):
    assert sorted(FORMS) == sorted(form for forms in ALLOWED.values() for form in forms)
    source = write("language", tmp_path / "own")
    assert cli.main(["export", str(source), "--as", "draft-model", "-o", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out")


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    folder = trained("eagle3", tmp_path / "drafter")

    def full(tensors, path, told):
        path.write_bytes(b"half")
        raise SafetensorError("No space left on device")

    monkeypatch.setattr(tensor_files, "save_file", full)
    with pytest.raises(SeeaheadError, match="No space left on device; free space there") as refused:
        export(folder, "eagle3", tmp_path / "out")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    export(folder, "eagle3", tmp_path / "out")  # which the same command does then


def test_a_target_for_a_form_that_names_none_is_refused(capsys):
    assert cli.main(["export", "x", "--as", "eagle3", "-o", "out", "-m", "a/b"]) == 2
    assert "names no target; leave --model out" in capsys.readouterr().err


def test_an_export_that_fails_leaves_nothing_that_would_have_it_refused(tmp_path, monkeypatch):
    """A disk that is full once the weights are written, or Ctrl-C."""
    drafter, there = trained("eagle3", tmp_path / "drafter"), tmp_path / "there"
    there.mkdir()
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        monkeypatch.setattr("seeahead.drafters.head_writing.write_json", lambda *_, e=error: (_ for _ in ()).throw(e))
        for out in (tmp_path / "new", there):
            with pytest.raises(type(error)):
                export(drafter, "eagle3", out)
        assert not (tmp_path / "new").exists()
        assert [*there.iterdir()] == []
    monkeypatch.undo()
    assert export(drafter, "eagle3", there) == there

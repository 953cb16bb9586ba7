"""Published folders that are damaged, or for another target: one line each, and nothing in a file is run."""

import json
import logging
import shutil
from zipfile import ZIP_DEFLATED, ZipFile

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file

from seeahead.drafters import bind, probe
from seeahead.drafters.folder import Folder
from seeahead.drafters.heads import HeadSpec
from seeahead.errors import DrafterError, ModelError
from seeahead.families import family_for
from seeahead.target import Target
from seeahead.testing import tiny_family, tiny_model, tiny_processor
from tests.drafters.head_folders import D2T, DRAFTED, VOCAB, WIDTH, tensors_of, write_head
from tests.drafters.test_heads import FAMILY_OF, family

EAGLE3 = "eagle3 specforge"


def made(folder, name=EAGLE3, **settings):
    return HeadSpec(source=folder, probe=False, **settings).bind(Target.of(family(FAMILY_OF[name])))


def refused(folder, *told, name=EAGLE3):
    with pytest.raises((ModelError, DrafterError)) as caught:
        made(folder, name)
    message = str(caught.value)
    assert message.isprintable()
    for part in told:
        assert part in message, message


def change(folder, **changes):
    path = folder / "model.safetensors"
    tensors = {**load_file(path), **changes}
    save_file({key: value for key, value in tensors.items() if value is not None}, path)


@pytest.mark.parametrize("name", ["eagle3 specforge", "vispec llava", "eagle qwen2_5_vl"])
def test_tensors_that_are_missing_unknown_or_of_another_shape_are_named(tmp_path, name):
    whole = write_head(name, tmp_path / "whole")
    for number, key in enumerate(tensors_of(name)):
        folder = shutil.copytree(whole, tmp_path / str(number))
        change(folder, **{key: torch.zeros(3, 5, 7)})
        refused(folder, "model.safetensors", name=name)
        if key not in ("imadpt.q", "lm_head.weight"):  # without these it is another format, or has the target's head
            change(folder, **{key: None})
            refused(folder, name=name)
    folder = shutil.copytree(whole, tmp_path / "stray")
    change(folder, stray=torch.zeros(3))
    refused(folder, "unknown stray", name=name)


MAPS = {
    "beyond the target": (torch.full((DRAFTED,), VOCAB), "reaches token"),
    "below zero": (torch.full((DRAFTED,), -1), "does not map"),
    "one for all": (-torch.arange(DRAFTED), "does not map"),
    "other members": (D2T + 1, "t2d names other tokens"),
}


@pytest.mark.parametrize("kind", MAPS)
def test_a_map_that_is_none_is_refused(tmp_path, kind):
    folder = write_head(EAGLE3, tmp_path / "head")
    offsets, told = MAPS[kind]
    change(folder, d2t=offsets, **({} if kind == "other members" else {"t2d": None}))
    refused(folder, told)


def test_weights_that_are_no_numbers_and_numbers_of_other_kinds_are_refused(tmp_path):
    folder = write_head(EAGLE3, tmp_path / "head")
    change(folder, **{"norm.weight": torch.full((WIDTH,), torch.nan, dtype=torch.bfloat16)})
    refused(folder, "no finite numbers")
    change(folder, **{"norm.weight": torch.ones(WIDTH, dtype=torch.int8)})
    refused(folder, "norm.weight holds I8")


class Runs:
    def __reduce__(self):
        return print, ("run",)


@pytest.mark.parametrize(
    "content",
    [
        {"fc.weight": Runs()},
        {"fc.weight": {"a": torch.ones(1)}},
        [torch.ones(1)],
        {1: 2},
        {"fc.weight": torch.ones(WIDTH, 2 * WIDTH, device="meta")},
        {"fc.weight": torch.ones(1).expand(1 << 30, 1 << 20)},
    ],
)
def test_files_of_torch_hold_tensors_or_are_refused(tmp_path, content, capsys):
    folder = write_head("msd llava", tmp_path / "head")
    torch.save(content, folder / "pytorch_model.bin")
    refused(folder, "pytorch_model.bin", "as safetensors", name="msd llava")
    assert "run" not in capsys.readouterr().out


def test_files_of_torch_may_hold_parameters_bytes_for_flags_and_a_table_of_rotations(tmp_path):
    """As older trainers wrote them: what is learned, and what no release keeps any more."""
    folder = write_head(EAGLE3, tmp_path / "head")
    tensors = load_file(folder / "model.safetensors")
    learned = {name: torch.nn.Parameter(value) for name, value in tensors.items() if value.is_floating_point()}
    learned["fc.weight"] = tensors["fc.weight"].requires_grad_()
    learned["midlayer.self_attn.rotary_emb.inv_freq"] = torch.ones(12)
    torch.save({**tensors, **learned, "t2d": tensors["t2d"].byte()}, folder / "pytorch_model.bin")
    wanted = made(folder).network.fc.weight
    (folder / "model.safetensors").unlink()
    torch.testing.assert_close(made(folder).network.fc.weight, wanted)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_targets_head_that_a_trainer_kept_beside_is_passed_over(tmp_path, prefix):
    """accelerate writes what it prepared second to `model_1.safetensors`: there the frozen head, as a bare weight."""
    folder = write_head(EAGLE3, tmp_path / "head")
    wanted = made(folder).network.fc.weight
    if prefix:
        tensors = {prefix + name: value for name, value in load_file(folder / "model.safetensors").items()}
        save_file(tensors, folder / "model.safetensors")
    save_file({"weight": torch.ones(VOCAB, WIDTH)}, folder / "model_1.safetensors")
    torch.testing.assert_close(made(folder).network.fc.weight, wanted)


def test_a_compressed_file_of_torch_is_refused_before_it_grows(tmp_path):
    folder = write_head("msd llava", tmp_path / "head")
    file = folder / "pytorch_model.bin"
    with ZipFile(file) as archive:
        parts = {part: archive.read(part) for part in archive.namelist()}
    with ZipFile(file, "w") as archive:  # what says which tensors there are, and not their numbers, which are mapped
        for part, content in parts.items():
            archive.writestr(part, content, ZIP_DEFLATED if part.endswith("data.pkl") else None)
    refused(folder, "is compressed", name="msd llava")


def test_a_cut_off_file_of_torch_and_one_that_is_too_large_are_refused(tmp_path, monkeypatch):
    folder = write_head("msd llava", tmp_path / "head")
    file = folder / "pytorch_model.bin"
    monkeypatch.setattr("seeahead.executors.tensor_files._MOST_BYTES", 100)
    refused(folder, "larger than 100 bytes", name="msd llava")
    monkeypatch.undo()
    file.write_bytes(file.read_bytes()[:-200])
    refused(folder, "pytorch_model.bin", name="msd llava")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden_size": 32}, "not"),
        ({"num_attention_heads": 3}, "config.json"),
        ({"num_key_value_heads": 1}, "k_proj"),
        ({"head_dim": 16}, "_proj"),
        ({"intermediate_size": None}, "intermediate_size"),
        ({"rope_theta": "x"}, "rope_theta"),
        ({"rope_scaling": {"type": "yarn"}}, "yarn"),
        ({"rope_scaling": 3}, "rope"),
        ({"hidden_act": "gelu"}, "gelu"),
        ({"eagle_config": {"eagle_aux_hidden_state_layer_ids": []}}, "eagle_aux_hidden_state_layer_ids"),
        ({"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 2]}}, "eagle_aux_hidden_state_layer_ids"),
        ({"eagle_config": {"eagle_aux_hidden_state_layer_ids": [1, 2, 99]}}, "eagle_aux_hidden_state_layer_ids"),
        ({"target_model_type": "qwen3_vl"}, "was made for a target of type 'qwen3_vl'"),
        (
            {"speculators_config": {"verifier": {"architectures": ["Gemma3ForConditionalGeneration"]}}},
            "architecture 'Gemma3ForConditionalGeneration'",
        ),
    ],
)
def test_a_config_that_does_not_fit_is_one_line(tmp_path, changes, told):
    refused(write_head(EAGLE3, tmp_path / "head", **changes), told)


def test_a_config_that_is_missing_is_an_error_and_no_default(tmp_path):
    folder = write_head(EAGLE3, tmp_path / "head")
    (folder / "config.json").unlink()
    refused(folder, "'config.json'", "is missing")


def test_a_drafter_for_another_width_or_other_tokens_is_refused(tmp_path):
    folder = write_head("msd llava", tmp_path / "head")
    narrow = Target.of(tiny_family("llava", hidden_size=32))
    with pytest.raises((DrafterError, ModelError), match=r"config.json|width"):
        HeadSpec(source=folder, probe=False).bind(narrow)
    folder = write_head(EAGLE3, tmp_path / "more")
    change(folder, d2t=None, t2d=None, **{"lm_head.weight": torch.zeros(9999, WIDTH, dtype=torch.bfloat16)})
    refused(folder, "9999 tokens and no map")


def test_a_target_that_is_named_is_accepted_and_one_that_is_not_is_warned_about(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        made(write_head(EAGLE3, tmp_path / "named", target_model_type="qwen2_5_vl"))
        assert not caplog.records
        made(write_head(EAGLE3, tmp_path / "unnamed"))
    assert "does not say that it was made for a target of type qwen2_5_vl" in caplog.text


def test_an_embedding_is_the_targets_where_the_rows_agree_and_its_own_where_not(tmp_path):
    folder = write_head(EAGLE3, tmp_path / "head")
    own = family("qwen2_5_vl").model.get_input_embeddings().weight.detach()
    change(folder, **{"embed_tokens.weight": own.to(torch.bfloat16)})
    assert made(folder).embedding is None
    change(folder, **{"embed_tokens.weight": torch.randn(VOCAB, WIDTH).to(torch.bfloat16)})
    assert made(folder).embedding is not None
    change(folder, **{"embed_tokens.weight": torch.randn(VOCAB, 3).to(torch.bfloat16)})
    refused(folder, "embedding is 160 x 3")


def test_a_hub_id_with_a_revision_is_fetched_as_that(tmp_path, monkeypatch):
    """From the hub's copy on this machine; nothing else is asked."""
    hub, commit = tmp_path / "hub", "1" * 40
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    place = hub / "models--somebody--head"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "older").write_text(commit)
    write_head(EAGLE3, place / "snapshots" / commit)
    target = Target.of(family("qwen2_5_vl"))
    assert bind("somebody/head@older:probe=0", target).name == "somebody/head@older:probe=0"
    with pytest.raises(DrafterError, match="hub does not give it"):
        bind("somebody/head", target)


def test_what_a_folder_is_is_told_by_its_config_and_its_tensors(tmp_path):
    assert Folder.read(write_head("msd llava", tmp_path / "msd")).kind == "head"
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text(json.dumps({"model_type": "llama", "num_hidden_layers": 1}))
    assert not Folder.read(plain).is_drafter
    save_file({"model.norm.weight": torch.ones(3)}, plain / "model.safetensors")
    assert not Folder.read(plain).is_drafter


def test_the_probe_is_asked_once_for_the_same_weights(tmp_path, monkeypatch):
    """Through a target with a processor, whose own prompts it makes."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model = tiny_model("qwen3_vl", num_hidden_layers=8, max_position_embeddings=4096)
    target, asked = Target.of(family_for(model, tiny_processor("qwen3_vl"))), []
    folder, own = write_head("eagle3 angelslim", tmp_path / "head"), probe.own_prompts
    monkeypatch.setattr(probe, "own_prompts", lambda target: asked.append(target) or list(own(target))[2:4])
    found = {HeadSpec(source=folder).bind(target).network.dialect for _ in range(2)}
    assert len(asked) == len(found) == 1
    assert len(list((tmp_path / "cache").rglob("*.json"))) == 1
    HeadSpec(source=write_head("eagle3 angelslim", tmp_path / "other", tensors_of("eagle3 angelslim", 7))).bind(target)
    assert len(asked) == 2

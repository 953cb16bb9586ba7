"""When a model is proven: before its first answer in every door, once, and again when what matters has changed."""

import pytest
import torch
from PIL import Image

import seeahead
from seeahead import proof, proven
from seeahead.errors import ModelError
from seeahead.executors.slots import SlotCache
from seeahead.families import family_for
from seeahead.testing import tiny_inputs, tiny_model, tiny_processor

PICTURE = Image.new("RGB", (30, 30), "red")


@pytest.fixture
def proofs(tmp_path, monkeypatch):
    """What was proven, in order; remembered in a folder of the test's own."""
    monkeypatch.setattr(proven, "proofs_folder", lambda: tmp_path / "proofs")
    done, prove = [], proof.prove

    def watched(family, prompts):
        done.extend(what for what, _ in prompts)
        return prove(family, prompts)

    monkeypatch.setattr(proof, "prove", watched)
    return done


def pair(model_type="llava", **changes):
    return tiny_model(model_type, **changes), tiny_processor(model_type)


def test_a_first_load_proves_and_a_second_does_nothing(proofs):
    engine = seeahead.load(pair())
    assert proofs == ["text", "an image"]
    engine.generate("What is this?", PICTURE, max_new_tokens=2)
    seeahead.load(pair())
    assert proofs == ["text", "an image"]


@pytest.mark.parametrize(
    "changes", [{"attention": "eager"}, {"seed": 0, "rms_norm_eps": 1e-3}, {"num_hidden_layers": 1}]
)
def test_another_model_is_proven_anew(proofs, changes):
    seeahead.load(pair())
    proofs.clear()
    seeahead.load(pair(**changes))
    assert proofs == ["text", "an image"]
    proofs.clear()
    model, processor = pair()
    seeahead.load((model.to(torch.float64), processor))
    assert proofs == ["text", "an image"]


def test_other_weights_of_the_same_model_are_not(proofs):
    seeahead.load(pair(seed=0))
    proofs.clear()
    seeahead.load(pair(seed=1))
    assert not proofs


def test_a_change_between_answers_is_proven_before_the_next(proofs):
    engine = seeahead.load(pair("llama"))
    proofs.clear()
    engine.family.model.set_attn_implementation("eager")
    engine.generate("one two", max_new_tokens=2)
    assert proofs == ["text"]


def test_generate_with_our_loop_proves_text_and_then_the_first_image(proofs):
    model, loop = tiny_model("qwen2_vl"), seeahead.custom_generate()
    for num_images, expected in ((0, ["text", "a text longer than the window of 12"]), (0, []), (1, ["an image"])):
        inputs = tiny_inputs("qwen2_vl", num_images)
        mask = torch.ones_like(inputs.token_ids)
        model.generate(inputs.token_ids, attention_mask=mask, max_new_tokens=2, custom_generate=loop, **inputs.extras)
        assert proofs == expected
        proofs.clear()


def test_it_can_be_switched_off_in_both_doors(proofs):
    seeahead.load(pair(), self_check=False).generate("What is this?", PICTURE, max_new_tokens=2)
    inputs, off = tiny_inputs("llama"), seeahead.custom_generate(self_check=False)
    tiny_model("llama").generate(inputs.token_ids, max_new_tokens=2, custom_generate=off)
    assert not proofs


def test_nothing_is_emitted_and_nothing_remembered_where_it_fails(proofs, monkeypatch):
    keep = SlotCache.keep
    monkeypatch.setattr(SlotCache, "keep", lambda self, start, rows: keep(self, start, range(len(rows))))
    for _ in range(2):
        with pytest.raises(ModelError, match="failed at a second tree, after a commit, after text:"):
            seeahead.load(pair())
    inputs = tiny_inputs("llama")
    with pytest.raises(ModelError, match="self-check failed"):
        tiny_model("llama").generate(inputs.token_ids, max_new_tokens=4, custom_generate=seeahead.custom_generate())
    monkeypatch.undo()


@pytest.mark.parametrize("is_there", [True, False])
def test_a_folder_that_cannot_be_written_costs_the_memory_alone(is_there, tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")

    def folder():
        if is_there:
            return blocked / "proofs"
        raise ModelError("no home folder is known")

    monkeypatch.setattr(proven, "proofs_folder", folder)
    assert seeahead.load(pair("llama")).generate("one two", max_new_tokens=2).token_ids


def test_what_a_proof_depends_on_is_in_its_name(monkeypatch):
    family = family_for(tiny_model("llama"))
    first = proven._identity(family, "text")
    assert proven._identity(family_for(tiny_model("llama", seed=3)), "text") == first
    family.fuse()
    assert proven._identity(family, "text") != first
    assert proven._identity(family_for(tiny_model("llama")), "image") != first
    monkeypatch.setattr(proven, "version_of", lambda package: "99.0")
    assert proven._identity(family_for(tiny_model("llama")), "text") != first


@pytest.mark.parametrize("package", ["transformers", "openvino", "nncf", "triton"])
def test_another_version_of_what_runs_models_proves_them_anew(proofs, package, monkeypatch):
    seeahead.load(pair())
    proofs.clear()
    known = proven.version_of
    monkeypatch.setattr(proven, "version_of", lambda name: "99.0" if name == package else known(name))
    seeahead.load(pair())
    assert proofs == ["text", "an image"]


def test_passes_that_requests_share_are_proven_anew_once_the_model_was_another(monkeypatch):
    """What was found of them is the executor's, which begins anew with every change, also one that is undone."""
    calls, packed_error = [], proof.packed_error
    monkeypatch.setattr(proof, "packed_error", lambda family: (calls.append(1), packed_error(family))[1])
    engine = seeahead.load(pair("llama"))
    asked = [{"prompt": text, "max_new_tokens": 2} for text in ("one", "two")]
    for attention in ("sdpa", "sdpa", "eager", "sdpa"):
        engine.family.model.set_attn_implementation(attention)
        engine.generate("one two", max_new_tokens=2)
    engine.generate_batch(asked)
    assert len(calls) == 1
    for attention in ("eager", "sdpa"):
        engine.family.model.set_attn_implementation(attention)
        engine.generate("one two", max_new_tokens=2)
    engine.generate_batch(asked)
    assert len(calls) == 2

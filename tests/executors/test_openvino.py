"""The OpenVINO executor: every family that converts, dropped columns, broken files, what is refused."""

import json
import shutil

import pytest
import torch

from seeahead import proof
from seeahead.decode import run
from seeahead.drafters.lookup import LookupDrafter
from seeahead.errors import ModelError
from seeahead.executors import converted, openvino
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.families import choice, family_for
from seeahead.families.choice import choose
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.testing import ScriptedDrafter, answer, assert_same_answer, random_tree, tiny_inputs, tiny_model
from seeahead.testing.models import TEXT_FAMILIES, VISION_FAMILIES
from seeahead.tree import ROOT
from tests.lossless.cases import CONVERTED, NUM_TOKENS, image_counts, plain, plain_type, prompt, target
from tests.scripts import sometimes_right

# Experts are chosen by counting, which the converter cannot follow; llama4 reads places off the cache.
REFUSED = ("qwen3_vl_moe", "qwen3_moe", "gpt_oss", "llama4_text")
OTHERS = [one for one in (*VISION_FAMILIES, *TEXT_FAMILIES) if one not in (*map(plain_type, CONVERTED), *REFUSED)]


def on_openvino(model_type, precision="float32", **changes):
    family = family_for(tiny_model(model_type, **changes))
    family.executor = OpenVinoExecutor(family, precision)
    return family


@pytest.mark.parametrize("model_type", OTHERS)
def test_a_family_says_what_transformers_says(model_type):
    family, requests = on_openvino(model_type), []
    for num_images in image_counts(model_type):
        inputs, truth = prompt(model_type, num_images), plain(model_type, num_images)
        drafter = ScriptedDrafter("sometimes right", sometimes_right(truth.token_ids))
        assert_same_answer(answer(family, inputs, max_new_tokens=NUM_TOKENS), truth)
        assert_same_answer(answer(family, inputs, drafter, max_new_tokens=NUM_TOKENS), truth)
        sampler, rule = Sampler(SamplingParams(), inputs.token_ids[0].tolist()), StopRule(NUM_TOKENS)
        request = Request(family.executor, drafter, sampler, rule, family.image_token_ids).ask(inputs)
        requests.append((request, truth))
    for _ in run(iter([request for request, _ in requests]), 8):
        pass
    for request, truth in requests:
        assert tuple(request.answer) == truth.token_ids


@pytest.mark.parametrize("model_type", REFUSED)
def test_what_does_not_convert_is_refused_in_one_line(model_type):
    with pytest.raises(ModelError, match="executor transformers") as caught:
        on_openvino(model_type)
    assert "\n" not in str(caught.value)


def test_columns_that_nobody_holds_are_dropped(monkeypatch):
    monkeypatch.setattr(openvino, "_SLACK", 4)
    family, sizes = target("llava openvino"), []
    put = openvino.put_states
    monkeypatch.setattr(openvino, "put_states", lambda *given: sizes.append(len(given[1])) or put(*given))
    truth = plain("llava", 1)
    drafted = answer(
        family, prompt("llava", 1), ScriptedDrafter("random tree", random_tree(), seed=1), max_new_tokens=NUM_TOKENS
    )
    assert_same_answer(drafted, truth)
    assert sizes, "nothing was dropped, so it is not tested"


def test_a_slot_that_is_closed_leaves_its_columns_to_others():
    family = target("llava openvino")
    kept = Session(family.executor, 4)
    kept.prefill(prompt("llava", 0))
    for _ in range(40):
        passing = Session(family.executor, 4)
        passing.prefill(prompt("llava", 1))
        passing.close()
    expected = plain("llava", 0).token_ids
    assert kept.score([expected[0]], [ROOT]).logits[0].argmax() == expected[1]
    assert family.executor._num_columns < 4 * openvino._SLACK


def test_a_long_prompt_is_read_in_parts(monkeypatch):
    family, inputs = target("qwen3_vl openvino"), prompt("qwen3_vl", 2, 60)
    whole = Session(family.executor, 4).prefill(inputs, openvino.Want((-1, 1), embeddings=True))
    monkeypatch.setattr(OpenVinoExecutor, "most_read", 16)
    parts = Session(family.executor, 4).prefill(inputs, openvino.Want((-1, 1), embeddings=True))
    torch.testing.assert_close(parts.logits, whole.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(parts.features[1], whole.features[1], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(parts.embeddings, whole.embeddings)


@pytest.mark.parametrize("precision", ["bfloat16", "int8", "int4"])
def test_rounded_weights_are_a_target_of_their_own_drafted_exactly(precision):
    family = on_openvino("qwen2_5_vl", precision)
    for num_images in (0, 1):
        inputs = tiny_inputs("qwen2_5_vl", num_images)
        truth = answer(family, inputs, max_new_tokens=NUM_TOKENS)
        script = sometimes_right(truth.token_ids)
        assert_same_answer(answer(family, inputs, LookupDrafter(), max_new_tokens=NUM_TOKENS), truth)
        drafted = answer(family, inputs, ScriptedDrafter("sometimes right", script), max_new_tokens=NUM_TOKENS)
        assert_same_answer(drafted, truth)
    assert proof.require(proof.prove(family, proof.prompts_for(family)))


def test_a_broken_file_is_made_anew_and_one_that_does_not_run_is_told(monkeypatch, tmp_path):
    monkeypatch.setattr(converted, "default_cache", lambda: tmp_path)
    family = family_for(tiny_model("llama"))
    executor = OpenVinoExecutor(family)
    folder = executor._path.parent
    (folder / "graph.bin").write_bytes(b"short")
    assert OpenVinoExecutor(family)._path == executor._path
    assert (folder / "graph.bin").stat().st_size > 5
    (folder / "graph.xml").write_bytes(b"x" * json.loads((folder / "sizes.json").read_text())["graph.xml"])
    with pytest.raises(ModelError, match="delete the folder"):
        OpenVinoExecutor(family)
    assert [one.name for one in (tmp_path / "openvino").iterdir()] == [folder.name], "nothing half-made is left"


def test_other_weights_are_another_graph(monkeypatch, tmp_path):
    monkeypatch.setattr(converted, "default_cache", lambda: tmp_path)
    paths = {OpenVinoExecutor(family_for(tiny_model("llama", seed)))._path for seed in (0, 1)}
    assert len(paths) == 2


def test_no_room_is_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(converted, "default_cache", lambda: tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ModelError, match="make room there"):
        OpenVinoExecutor(family_for(tiny_model("llama")))


def test_a_model_in_16_bits_is_refused():
    with pytest.raises(ModelError, match="dtype float32"):
        OpenVinoExecutor(family_for(tiny_model("llama").bfloat16()))


def test_a_model_that_was_changed_is_refused():
    with pytest.raises(ModelError, match="load it again"):
        target("llava openvino").executor.follow()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("fast", "auto", "cpu"), "allowed are auto, transformers, openvino"),
        (("transformers", "int8", "cpu"), "needs executor openvino"),
        (("openvino", "float16", "cpu"), "allowed are auto, float32, bfloat16, int8, int4"),
        (("auto", "int3", "cpu"), "not supported"),
        (("auto", "int8", "cpu"), r"pip install 'seeahead\[openvino\]'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(monkeypatch, asked, words):
    monkeypatch.setattr(converted.metadata, "version", _missing)
    with pytest.raises(ModelError, match=words):
        choose(*asked, is_given=False)


def _missing(name):
    raise converted.metadata.PackageNotFoundError(name)


def test_auto_takes_openvino_where_it_keeps_the_precision(monkeypatch):
    monkeypatch.setattr(choice, "is_installed", lambda: True)
    assert choose("auto", "float32", "cpu", is_given=False).executor == "auto"
    assert choose("auto", "bfloat16", "cpu", is_given=False).executor == "transformers"
    assert choose("auto", "float32", "cpu", is_given=True).executor == "transformers"
    monkeypatch.setattr(choice, "is_installed", lambda: False)
    assert choose("auto", "float32", "cpu", is_given=False).executor == "transformers"

"""Who runs a model: what is named, and what `auto` takes."""

from dataclasses import replace

import pytest
import torch

import seeahead
from seeahead.errors import ModelError
from seeahead.executors import converted
from seeahead.executors.graphs import GraphsExecutor
from seeahead.families import choice, family_for, loading
from seeahead.families.choice import choose, choose_for
from seeahead.testing import tiny_model, tiny_processor


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("fast", "auto", "cpu"), "allowed are auto, transformers, openvino"),
        (("transformers", "int8", "cpu"), "needs executor openvino"),
        (("openvino", "float16", "cpu"), "allowed are auto, float32, bfloat16, int8, int4"),
        (("auto", "int3", "cpu"), "not supported"),
        (("auto", "int8", "cpu"), r"pip install '\.\[openvino\]'"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(monkeypatch, asked, words):
    monkeypatch.setattr(converted.metadata, "version", _missing)
    with pytest.raises(ModelError, match=words):
        choose(*asked, is_given=False)


def _missing(name):
    raise converted.metadata.PackageNotFoundError(name)


@pytest.mark.parametrize("fault", [None, "refused", "wrong", "wrong over 64 rows", "crashes"])
def test_auto_takes_the_fastest_that_runs_and_is_right_on_a_gpu(fault, monkeypatch):
    """There it is graphs of kernels; what those cannot do is left to the next, and the last is transformers'."""

    def kernels(family):
        if fault == "refused":
            raise ModelError("no Triton")
        made = GraphsExecutor(family)
        made.name = "kernels"
        score = made.forward

        def forward(trees, want):
            if fault == "crashes":
                raise RuntimeError("operation not permitted when stream is capturing")
            if fault == "wrong over 64 rows" and len(trees[0].parents) < 64:
                return score(trees, want)
            return [replace(one, logits=-one.logits) for one in score(trees, want)]

        if fault is not None:
            made.forward = forward
        return made

    monkeypatch.setattr(choice, "kernels_executor", kernels)
    family = family_for(tiny_model("llava"))
    choice.put_executor(family, choice.Choice("auto", "", torch.float32), is_given=False, report=None)
    assert family.executor.name == ("graphs" if fault else "kernels")
    assert choice.beside(family.executor).executor == "auto"

    monkeypatch.setattr(choice, "GraphsExecutor", kernels if fault else choice.GraphsExecutor)
    family = family_for(tiny_model("llava"))
    choice.put_executor(family, choice.Choice("auto", "", torch.float32), is_given=False, report=None)
    assert family.executor.name.partition(",")[0] == ("transformers" if fault else "kernels")


def test_auto_takes_openvino_where_it_keeps_the_precision(monkeypatch):
    monkeypatch.setattr(choice, "is_installed", lambda: True)
    assert choose("auto", "float32", "cpu", is_given=False).executor == "auto"
    assert choose("auto", "float16", "cpu", is_given=False).executor == "transformers"
    for can, executor in ((True, "auto"), (False, "transformers")):
        monkeypatch.setattr(choice, "_computes_in", lambda precision, can=can: can)
        assert choose("auto", "bfloat16", "cpu", is_given=False).executor == executor
    monkeypatch.setattr(choice, "_computes_in", lambda precision: True)
    assert choose("auto", "float32", "cpu", is_given=True).executor == "transformers"
    monkeypatch.setattr(choice, "is_installed", lambda: False)
    assert choose("auto", "float32", "cpu", is_given=False).executor == "transformers"


def in_type(model_type, name):
    """As transformers loads a checkpoint: weights in a type, and no buffers."""
    model = tiny_model(model_type)
    for weight in model.parameters():
        weight.data = weight.data.to(getattr(torch, name))
    return model


class Converted:
    def __init__(self, family, precision, report):
        self.name, self.model_type = precision, family.dtype


@pytest.mark.parametrize(
    ("loaded", "dtype", "can", "expected"),
    [
        ("float32", "auto", True, ("float32", "float32")),
        ("bfloat16", "auto", True, ("bfloat16", "bfloat16")),
        ("float16", "auto", True, ("bfloat16", "bfloat16")),
        ("float32", "auto", False, ("float32", "float32")),
        ("float16", "auto", False, ("float32", "float32")),
        ("bfloat16", "auto", False, ("float32", "float32")),
        ("float32", "bfloat16", True, ("bfloat16", "float32")),
        ("float32", "int8", True, ("int8", "float32")),
    ],
)
def test_where_no_precision_is_named_a_checkpoint_keeps_its_own_on_openvino(loaded, dtype, can, expected, monkeypatch):
    monkeypatch.setattr(choice, "check_installed", lambda precision: None)
    monkeypatch.setattr(choice, "OpenVinoExecutor", Converted)
    monkeypatch.setattr(choice, "_computes_in", lambda precision: can or precision == "float32")
    model = in_type("llama", loaded)
    for is_given in (False, True) if dtype != "auto" else (False,):
        chosen = choose("openvino", dtype, "cpu", is_given=is_given)
        frequencies = model.get_decoder().rotary_emb.inv_freq.clone()
        family = family_for(choice.as_converted(model, chosen))
        kept = family.model.get_decoder().rotary_emb.inv_freq
        assert torch.equal(kept, frequencies)
        assert kept.dtype == torch.float32, "what positions are turned by has the bits that it was loaded with"
        choice.put_executor(family, chosen, is_given=is_given, report=None)
        assert (family.executor.name, family.executor.model_type) == (expected[0], getattr(torch, expected[1]))


@pytest.mark.parametrize("loaded", ["float32", "bfloat16"])
def test_auto_keeps_the_precision_of_a_checkpoint_where_it_takes_openvino(loaded, monkeypatch):
    monkeypatch.setattr(choice, "is_installed", lambda: True)
    monkeypatch.setattr(choice, "OpenVinoExecutor", Converted)
    monkeypatch.setattr(choice, "_computes_in", lambda precision: True)
    monkeypatch.setattr(choice, "_LEAST", 0)
    family = family_for(tiny_model("llama").to(getattr(torch, loaded)))
    choice.put_executor(family, choose("auto", "auto", "cpu", is_given=False), is_given=False, report=None)
    assert family.executor.name == loaded


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dtype": "bfloat16"}, "is in torch.float32, not in bfloat16; leave dtype out, or convert it first"),
        ({"dtype": torch.float16, "executor": "exact"}, "is in torch.float32, not in torch.float16"),
        ({"device": "cuda"}, "device 'cuda' is not available here|is on cpu, not on cuda"),
        ({"dtype": "int8", "executor": "exact"}, "needs executor openvino"),
    ],
)
def test_a_model_that_is_given_stays_what_and_where_it_is(given, words):
    with pytest.raises(ModelError, match=words):
        seeahead.load((tiny_model("llama"), tiny_processor("llama")), "none", **given)
    chosen = choose_for(tiny_model("llama"), "auto", torch.float32, "cpu")
    assert (chosen.executor, chosen.precision) == ("transformers", "")


@pytest.mark.parametrize("target", [None, ["a", "b"], 3, (), (tiny_model("llama"),), (1, 2, 3)])
def test_a_target_that_is_neither_a_name_nor_a_pair_is_one_line(target):
    with pytest.raises(ModelError, match="give a hub id, a folder, or"):
        seeahead.load(target)


def test_a_quantised_checkpoint_is_left_to_transformers(monkeypatch):
    """Its weights have types of their own, which neither 32 bits nor a conversion can be made of."""
    monkeypatch.setattr(choice, "is_installed", lambda: True)
    monkeypatch.setattr(choice, "_computes_in", lambda precision: True)
    monkeypatch.setattr(choice, "_LEAST", 0)
    model = tiny_model("llama").to(torch.bfloat16)
    model.hf_quantizer = object()
    family = family_for(model)
    choice.put_executor(family, choose("auto", "auto", "cpu", is_given=False), is_given=True, report=None)
    assert family.executor.name == "transformers"
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: False)
    assert not loading._is_faster_in_32_bits(model)


@pytest.mark.parametrize("device", ["cuda:9", "cuda:x", "cuda:-1", "cuda:"])
def test_a_gpu_that_is_not_there_is_told_before_anything_is_loaded(device, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ModelError, match="available: cpu, cuda, cuda:0, cuda:1"):
        loading.pick_device(device)
    assert loading.pick_device("cuda:1") == torch.device("cuda:1")

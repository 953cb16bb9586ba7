"""Prompts on OpenVINO in 16 bits: products that keep 32 where the machine is quicker so, and rows that divide well."""

import pytest
import torch

from seeahead.executor import ModelInputs
from seeahead.executors import compiled, openvino
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.executors.row_steps import RowSteps
from seeahead.families import family_for
from seeahead.session import Session
from seeahead.testing import tiny_model


@pytest.fixture(autouse=True)
def _in_16_bits(monkeypatch):
    # One thread never computes in 16 bits.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    if compiled.arithmetic("bfloat16") != torch.bfloat16:
        pytest.skip("this processor has no products in 16 bits")


def loaded(monkeypatch, *, long_in_32_bits, most_bytes=1 << 30):
    known = RowSteps(8, long_in_32_bits)
    monkeypatch.setattr(openvino, "row_steps", lambda folder, measure, has_choice: known)
    monkeypatch.setattr(compiled, "_MOST_BYTES", most_bytes)
    family = family_for(tiny_model("llava"))
    family.executor = OpenVinoExecutor(family, "bfloat16")
    return family


def words(number):
    """A prompt that is too long for the graphs of steps."""
    return ModelInputs(5 + torch.arange(number)[None] % 40)


def test_products_in_32_bits_are_nearer_to_the_model_s_own(monkeypatch):
    inputs, errors = words(80), list[torch.Tensor]()
    with torch.no_grad():
        expected = tiny_model("llava")(inputs.token_ids).logits[0, -1]
    for in_32_bits in (False, True):
        session = Session(loaded(monkeypatch, long_in_32_bits=in_32_bits).executor, inputs.length)
        errors.append((session.prefill(inputs).logits[0] - expected).norm())
    assert errors[1] < errors[0]


def test_passes_over_odd_numbers_of_rows_are_filled_up_where_that_is_quicker(monkeypatch):
    family, sizes = loaded(monkeypatch, long_in_32_bits=False), []
    infer = compiled.Graph.infer

    def counted(self, inputs, pages):
        sizes.append(len(inputs["embeddings"]))
        return infer(self, inputs, pages)

    monkeypatch.setattr(compiled.Graph, "infer", counted)
    for number in (61, 67, 68, 131):
        Session(family.executor, number).prefill(words(number))
    assert sizes == [61, 68, 68, 132]
    graphs = family.executor._graphs
    assert [graphs.even(number) for number in (1, 63, 64, 65, 66)] == [1, 63, 64, 66, 66]
    graphs.fix((1,), long_in_32_bits=True)
    assert graphs.even(67) == 67


def test_large_models_have_no_second_set_of_weights(tmp_path, monkeypatch):
    (tmp_path / "graph.bin").write_bytes(bytes(100))
    for most, expected in ((199, False), (200, True)):
        monkeypatch.setattr(compiled, "_MOST_BYTES", most)
        assert compiled.has_choice(tmp_path / "graph.xml", "bfloat16") is expected
        assert not compiled.has_choice(tmp_path / "graph.xml", "float32")

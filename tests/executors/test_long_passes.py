"""Prompts on OpenVINO in 16 bits: products that keep 32 where the machine is quicker so, and rows in equal parts."""

import pytest
import torch

from seeahead import proof
from seeahead.executor import ModelInputs
from seeahead.executors import compiled, openvino
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.executors.row_steps import LONG, RowSteps
from seeahead.families import family_for
from seeahead.session import Session
from seeahead.testing import tiny_model


@pytest.fixture(autouse=True)
def _in_16_bits(monkeypatch):
    # One thread never computes in 16 bits.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    if compiled.arithmetic("bfloat16") != torch.bfloat16:
        pytest.skip("this processor has no products in 16 bits")


def known(long_rows):
    return lambda *given, **settings: RowSteps(8, long_rows)


def loaded(monkeypatch, measured):
    monkeypatch.setattr(openvino, "row_steps", measured)
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
        session = Session(loaded(monkeypatch, known(64 if in_32_bits else 0)).executor, inputs.length)
        errors.append((session.prefill(inputs).logits[0] - expected).norm())
    assert errors[1] < errors[0]


def test_measuring_tries_both_and_keeps_one(monkeypatch):
    seconds = []

    def measured(folder, measure, *, has_choice, progress):
        assert has_choice
        seconds.extend((measure(LONG, False), measure(LONG, True), measure(LONG, False)))
        return RowSteps(8, 64 if len(seconds) > 3 else 0)

    for expected in (False, True):
        family = loaded(monkeypatch, measured)
        assert (compiled._LONG in family.executor._graphs._compiled) is expected
    assert all(0 < one < 60 for one in seconds)


def counted(monkeypatch):
    """Rows of passes from now on."""
    sizes, infer = [], compiled.Graph.infer

    def noted(self, inputs, pages):
        sizes.append(len(inputs["embeddings"]))
        return infer(self, inputs, pages)

    monkeypatch.setattr(compiled.Graph, "infer", noted)
    return sizes


def test_passes_over_rows_without_equal_parts_are_filled_up_where_that_is_quicker(monkeypatch):
    sizes = counted(monkeypatch)
    for in_32_bits, expected in ((False, [61, 68, 68, 132, 135]), (True, [61, 67, 68, 131, 133])):
        executor = loaded(monkeypatch, known(64 if in_32_bits else 0)).executor
        sizes.clear()
        for number in (61, 67, 68, 131, 134 - in_32_bits):
            Session(executor, number).prefill(words(number))
        assert sizes == expected


def test_what_is_computed_in_another_way_is_proven(monkeypatch):
    parts = []
    for in_32_bits in (False, True):
        family = loaded(monkeypatch, known(64 if in_32_bits else 0))
        parts.append([finding.part for finding in proof.require(proof.prove(family, proof.prompts_for(family)))])
    assert set(parts[1]) - set(parts[0]) >= {"the prefill of a text of more than 64 tokens"}
    sizes = counted(monkeypatch)
    assert proof.packed_error(family) < proof.bound_of(family)
    assert max(sizes) > 64


def test_large_models_have_no_second_set_of_weights(tmp_path, monkeypatch):
    (tmp_path / "graph.bin").write_bytes(bytes(100))
    for most, expected in ((199, False), (200, True)):
        monkeypatch.setattr(compiled, "_MOST_BYTES", most)
        assert compiled.has_choice(tmp_path / "graph.xml", "bfloat16") is expected
        assert not any(compiled.has_choice(tmp_path / "graph.xml", other) for other in ("float32", "int8", "int4"))


@pytest.mark.parametrize("long_rows", [16, 64])
def test_no_pass_over_more_rows_than_that_has_a_graph_of_16_bits(long_rows, monkeypatch):
    executor, sizes, infer = loaded(monkeypatch, known(long_rows)).executor, [], compiled.Graph.infer
    assert executor.limits.fixed_rows == tuple(size for size in (1, 8, 16, 32) if size <= long_rows)

    def noted(graph, inputs, pages):
        sizes.append((len(inputs["embeddings"]), graph is executor._graphs._compiled.get(compiled._LONG)))
        return infer(graph, inputs, pages)

    monkeypatch.setattr(compiled.Graph, "infer", noted)
    for number in (5, 16, 17, 32, 33, 64, 65):
        session = Session(executor, number)
        session.prefill(words(9))
        session.score([5] * number, range(-1, number - 1))
    assert {is_long == (size > long_rows) for size, is_long in sizes} == {True}

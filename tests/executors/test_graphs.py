"""The executor of captured passes: every family, sizes that change, slots that grow, and what is refused.

On a CPU nothing is captured; `replayed` has its results lie in the same memory after every call, as a graph has them.
"""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from seeahead import proof
from seeahead.errors import ModelError
from seeahead.executor import ModelInputs, TreeInputs, Want
from seeahead.executors import graphs, regions
from seeahead.executors.capture import Captured
from seeahead.executors.graphs import GraphsExecutor
from seeahead.families import family_for
from seeahead.families.choice import choose
from seeahead.session import Session
from seeahead.testing import answer, assert_same_answer, tiny_model
from seeahead.testing.drafters import some_words
from seeahead.testing.models import TEXT_FAMILIES, VISION_FAMILIES
from seeahead.tree import ROOT
from tests.executors.agreement import assert_family_agrees
from tests.lossless.cases import (
    IN_GRAPHS,
    NUM_TOKENS,
    msd,
    plain,
    plain_type,
    prompt,
    target,
)

REFUSED = "llama4_text"  # whose layers read places off the cache
OTHERS = [one for one in (*VISION_FAMILIES, *TEXT_FAMILIES) if one not in (*map(plain_type, IN_GRAPHS), REFUSED)]
TREE = (ROOT, 0, 0, 1, 2, 4, 1)


def in_graphs(model_type, **changes):
    family = family_for(tiny_model(model_type, **changes))
    family.executor = GraphsExecutor(family)
    return family


def random_tokens(number, seed):
    return list(some_words(np.random.default_rng(seed), number))


def words(number, seed=0):
    return ModelInputs(torch.tensor([random_tokens(number, seed)]))


class Replayed(Captured):
    """Results in the same memory after every call; what they were is lost."""

    def __call__(self, given):
        logits, hidden = super().__call__(given)
        if not hasattr(self, "kept"):
            self.kept = logits.clone(), {layer: states.clone() for layer, states in hidden.items()}
        self.kept[0].copy_(logits)
        for layer, states in hidden.items():
            self.kept[1][layer].copy_(states)
        return self.kept


@pytest.fixture(autouse=True)
def replayed(monkeypatch):
    monkeypatch.setattr(graphs, "Captured", Replayed)


@pytest.mark.parametrize("model_type", OTHERS)
def test_a_family_says_what_transformers_says(model_type):
    assert_family_agrees(in_graphs(model_type), model_type)


def pair(seed=0):
    """A family in graphs, and the same model by transformers."""
    model = tiny_model("gemma3", seed)
    families = family_for(model), family_for(model)
    families[0].executor = GraphsExecutor(families[0])
    return families


def same(ours, theirs):
    torch.testing.assert_close(ours.logits, theirs.logits, atol=1e-4, rtol=1e-4)
    for layer, hidden in theirs.features.items():
        torch.testing.assert_close(ours.features[layer], hidden, atol=1e-4, rtol=1e-4)


def test_passes_of_any_size_say_what_transformers_says():
    """From one bucket to the next, beyond the largest, and pending nodes over several passes."""
    sessions = [Session(family.executor, 4) for family in pair()]
    for session in sessions:
        session.prefill(words(30))
    for number in (1, 2, 3, 4, 5, 8, 9, 16, 17, 31, 64, 65, 70, 1):
        parents = [ROOT, *((node - 1) // 2 for node in range(1, number))]
        tokens = random_tokens(number, number)
        same(*(session.score(tokens, parents, Want((1, -1))) for session in sessions))
        same(*(session.score([50, 60], [number - 1, 0], Want((0, 2, -1))) for session in sessions))
        path = [0] if number == 1 else [0, 2, 6] if number > 6 else [0, 1]
        for session in sessions:
            session.commit(path)
    ours = sessions[0].executor
    assert {sizes.rows for sizes in ours._captured} == set(graphs.ROWS)


def test_slots_grow_move_and_leave_their_columns_to_others():
    """Several of unlike lengths, beyond the buffers' first columns; all of them in shared passes."""
    both, sessions = pair(1), []
    for number, length in enumerate((200, 20, 90, 300, 5)):
        sessions.append([Session(family.executor, 4) for family in both])
        for session in sessions[-1]:
            session.prefill(words(length, number))
    assert both[0].executor._regions.num_columns > regions.LEAST_COLUMNS
    for step in range(12):
        scores = []
        for family, own in zip(both, zip(*sessions, strict=True), strict=True):
            trees = [session.tree(random_tokens(7, step + at), TREE) for at, session in enumerate(own)]
            scores.append(family.executor.forward(trees, Want((-1,))))
            for at, session in enumerate(own):
                session.commit([(0,), (0, 1), (0, 2, 4), (0, 2, 4, 5)][(at + step) % 4])
        for ours, theirs in zip(*scores, strict=True):
            same(ours, theirs)
        if step == 5:
            passed = sessions.pop(0)
            for session in passed:
                session.close()
            sessions.append([Session(family.executor, 4) for family in both])
            for session in sessions[-1]:
                session.prefill(words(60, 9))
            assert sessions[-1][0].slot.first <= passed[0].slot.first, "its columns are free"
        if step == 8:
            for session in sessions[2]:
                session.cut(250)
    held = sorted((own[0].slot for own in sessions), key=lambda slot: slot.first)
    assert all(a.first + a.room <= b.first for a, b in pairwise(held))


def test_numbers_of_one_slot_that_are_none_are_no_other_slots():
    model = tiny_model("llava")
    with torch.no_grad():
        model.get_input_embeddings().weight[150] = torch.nan
    family = family_for(model)
    family.executor = GraphsExecutor(family)
    good, bad = (Session(family.executor, 4) for _ in range(2))
    good.prefill(words(9))
    expected = good.score([50, 60], [ROOT, 0]).logits
    good.commit([])
    bad.prefill(words(9))
    for _ in range(2):
        trees = [bad.tree([150, 60], [ROOT, 0]), good.tree([50, 60], [ROOT, 0])]
        poor, well = family.executor.forward(trees, Want())
        assert poor.logits.isnan().any()
        torch.testing.assert_close(well.logits, expected, atol=1e-5, rtol=1e-5)
        good.commit([])


def test_embeddings_may_take_the_place_of_tokens():
    family = target("llava graphs")
    session = Session(family.executor, 4)
    session.prefill(words(9))
    tokens, parents = [50, 60, 70], [ROOT, 0, 0]
    expected = session.score(tokens, parents).logits
    session.commit([])
    embeddings = family.model.get_input_embeddings()(torch.tensor(tokens)).detach()
    tree = TreeInputs(session.slot, embeddings, parents)
    torch.testing.assert_close(family.executor.forward([tree], Want())[0].logits, expected)


def test_other_hidden_states_are_captured_anew_and_kept():
    family, truth = in_graphs("llava"), plain("llava", 1)
    drafted = answer(family, prompt("llava", 1), msd(family), max_new_tokens=NUM_TOKENS)
    assert_same_answer(drafted, truth)
    assert -1 in family.executor._layers


def test_weights_that_lie_elsewhere_are_followed():
    family = in_graphs("llava")
    session = Session(family.executor, 4)
    session.prefill(words(9))
    session.score([50], [ROOT])
    assert family.executor._captured
    head = family.model.get_output_embeddings()
    head.weight.data = head.weight.data.clone()
    assert family.follow()
    assert not family.executor._captured
    assert not family.follow()


def test_slots_may_be_run_one_by_one():
    family = in_graphs("llava")
    sessions = [Session(family.executor, 4) for _ in range(2)]
    for number, session in enumerate(sessions):
        session.prefill(words(9, number))
    trees = [session.tree([50, 60], [ROOT, 0]) for session in sessions]
    together = [scores.logits for scores in family.executor.forward(trees, Want())]
    for session in sessions:
        session.commit([])
    assert family.executor.separate()
    alone = family.executor.forward([session.tree([50, 60], [ROOT, 0]) for session in sessions], Want())
    for ours, theirs in zip(together, alone, strict=True):
        torch.testing.assert_close(ours, theirs.logits, atol=1e-5, rtol=1e-5)


def test_what_does_not_run_so_is_refused_in_one_line():
    with pytest.raises(ModelError, match="read places off the cache; use executor transformers") as caught:
        in_graphs(REFUSED)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_captured_is_told_in_one_line(monkeypatch):
    def refuse(*given):
        raise RuntimeError("operation not permitted when stream is capturing\nmore")

    family = in_graphs("llava")
    monkeypatch.setattr(graphs, "Captured", refuse)
    with pytest.raises(ModelError, match="permitted when stream is capturing; run it with executor transf") as caught:
        proof.require(proof.prove(family, proof.prompts_for(family)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("rows", [1, 2, 4, 8, 16, 32, 64])
def test_every_size_of_captured_passes_is_proven(rows):
    family = in_graphs("llava")
    score = family.executor.forward

    def wrong(trees, want):
        is_wrong = sum(len(tree.parents) for tree in trees) == rows
        return [replace(one, logits=-one.logits) if is_wrong else one for one in score(trees, want)]

    family.executor.forward = wrong
    with pytest.raises(ModelError, match=f"a pass over {rows} tokens after text"):
        proof.require(proof.prove(family, proof.prompts_for(family)))


@pytest.mark.parametrize("executor", ["graphs", "exact"])
def test_what_does_not_go_together_is_refused_before_anything_is_loaded(executor):
    with pytest.raises(ModelError, match=f"needs executor openvino; with {executor} give float32"):
        choose(executor, "int8", "cpu", is_given=False)
    assert choose(executor, "float16", "cpu", is_given=False).executor == executor

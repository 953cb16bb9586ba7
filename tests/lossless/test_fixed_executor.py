"""An executor of fixed capacity and fixed shapes, behind the same contract, says what the target says."""

from functools import cache

import pytest
import torch

from seeahead.decode import run
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import answer, assert_commit_equals_prefill, assert_same_answer
from tests.fixed_executor import FixedExecutor
from tests.lossless.cases import DRAFTERS, FUSED, KINDS, NUM_TOKENS, image_counts, plain, prompt, target
from tests.lossless.test_rollback import ROUNDS


@cache
def fixed(model_type):
    family = target(model_type)
    return Target(FixedExecutor(family.executor), family)


# A text target meets one drafter of every kind.
CASES = [("llava fused", drafter) for drafter in DRAFTERS] + [("llama fused", kind[0]) for kind in KINDS]


@pytest.mark.parametrize(("model_type", "drafter"), CASES)
def test_a_drafter_changes_nothing(model_type, drafter):
    family = target(model_type)
    for num_images in image_counts(model_type):
        inputs, truth = prompt(model_type, num_images), plain(model_type, num_images)
        drafting = DRAFTERS[drafter](family, truth.token_ids)
        assert_same_answer(answer(fixed(model_type), inputs, drafting, max_new_tokens=NUM_TOKENS), truth)


@pytest.mark.parametrize("model_type", FUSED)
def test_commit_equals_prefill(model_type):
    for num_images in image_counts(model_type):
        assert_commit_equals_prefill(fixed(model_type), prompt(model_type, num_images), ROUNDS)


def test_a_batch_whose_trees_take_more_rows_than_a_pass_has():
    made, family = fixed("llava fused"), target("llava fused")
    requests = []
    for words in (5, 40, 9, 100, 12, 20):
        drafting = DRAFTERS["random tree"](family, ())
        request = Request(made.executor, drafting, Sampler(SamplingParams(), ()), StopRule(20), made.image_token_ids)
        requests.append((words, request.ask(prompt("llava fused", 0, words))))
    for _ in run(iter([request for _, request in requests]), 6):
        pass
    for words, request in requests:
        assert tuple(request.answer) == plain("llava fused", 0, words).token_ids[:20]


def test_it_raises_where_a_shape_or_an_address_would_change():
    executor = FixedExecutor(target("llama fused").executor, capacity=64, num_rows=16)
    session = Session(executor, 4)
    session.prefill(prompt("llama fused", 0, 8))
    with pytest.raises(RuntimeError, match="no place"):
        session.score([20] * 17, range(-1, 16))
    session = Session(executor, 4)
    session.prefill(prompt("llama fused", 0, 8))
    executor.logits = torch.zeros_like(executor.logits)
    with pytest.raises(RuntimeError, match="moved"):
        session.score([20], [-1])

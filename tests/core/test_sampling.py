"""Probabilities equal those of transformers' own filters; settings are checked; draws follow the distribution."""

import pytest
import torch
from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor
from transformers.generation.logits_process import (
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from seeahead.errors import InputError
from seeahead.sampling import Sampler, SamplingParams, draw, probabilities, residual


@pytest.mark.parametrize(
    ("params", "warpers"),
    [
        (SamplingParams(temperature=0.7), [TemperatureLogitsWarper(0.7)]),
        (SamplingParams(temperature=1.0, top_k=3), [TopKLogitsWarper(3)]),
        (SamplingParams(temperature=1.3, top_p=0.6), [TemperatureLogitsWarper(1.3), TopPLogitsWarper(0.6)]),
        (SamplingParams(temperature=1.0, min_p=0.2), [MinPLogitsWarper(0.2)]),
        (
            SamplingParams(temperature=0.9, top_k=9, top_p=0.8, min_p=0.05),
            [TemperatureLogitsWarper(0.9), TopKLogitsWarper(9), TopPLogitsWarper(0.8), MinPLogitsWarper(0.05)],
        ),
    ],
)
def test_filters_are_those_of_transformers(params: SamplingParams, warpers: list[object]) -> None:
    logits = torch.randn(50, 20, generator=torch.Generator().manual_seed(1)) * 3
    theirs = LogitsProcessorList(warpers)(torch.zeros(50, 1, dtype=torch.long), logits).softmax(-1)
    torch.testing.assert_close(probabilities(logits, params), theirs)


@pytest.mark.parametrize("num_tokens", [2, 4, 8, 16])
def test_top_p_keeps_what_transformers_keeps_where_masses_are_exactly_equal(num_tokens: int) -> None:
    """Powers of two are exact in every sum, so that here the comparison itself decides."""
    logits = torch.full((1, 20), -torch.inf)
    logits[:, :num_tokens] = 0.0
    for number in range(1, num_tokens + 1):
        params = SamplingParams(temperature=1.0, top_p=number / num_tokens)
        kept = probabilities(logits, params)
        assert torch.equal(kept, TopPLogitsWarper(params.top_p)(torch.zeros(1, 1), logits).softmax(-1))
        assert torch.equal(kept[kept > 0], torch.full((number,), 1 / number)), f"{number} of {num_tokens}"


def test_repetition_penalty_looks_back_on_prompt_answer_and_path() -> None:
    logits = torch.randn(20, generator=torch.Generator().manual_seed(2))
    sampler = Sampler(SamplingParams(temperature=1.0, repetition_penalty=1.5), prompt=[3, 5])
    sampler.extend([7])
    theirs = RepetitionPenaltyLogitsProcessor(1.5)(torch.tensor([[3, 5, 7, 9, 9]]), logits[None])[0].softmax(-1)
    torch.testing.assert_close(sampler.distribution(logits, [9, 9]), theirs)


def test_greedy_is_the_one_hot_distribution() -> None:
    logits = torch.tensor([0.1, 2.0, 1.0])
    assert Sampler(SamplingParams(), []).distribution(logits).tolist() == [0, 1, 0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": 1.0},
        {"repetition_penalty": 0.0},
        {"seed": -1},
    ],
)
def test_a_wrong_setting_is_named_with_what_is_allowed(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        SamplingParams(**wrong)


def test_draw_is_the_inverse_of_the_cumulative_distribution() -> None:
    distribution = torch.tensor([0.0, 0.25, 0.0, 0.5, 0.25, 0.0])
    assert [draw(distribution, u) for u in (0.0, 0.2, 0.25, 0.74, 0.75, 0.999999)] == [1, 1, 3, 3, 4, 4]
    assert draw(distribution, 1 - 1e-17) == 4, "the very end is the last token that can be drawn"


def test_residual_is_the_part_of_p_above_q() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.6, 0.2])
    assert residual(p, q).tolist() == [1, 0, 0]
    assert residual(p, p).tolist() == p.tolist(), "p = q leaves nothing to refuse"


@pytest.mark.parametrize("gap", [2.0**-power for power in (2, 5, 6, 7, 10, 16, 20)])
def test_a_residual_counts_however_small_it_is(gap: float) -> None:
    p = torch.tensor([0.5, 0.25, 0.25])
    assert residual(p, p + torch.tensor([gap, -gap, 0])).tolist() == [0, 1, 0]
    assert residual(p, p + torch.tensor([gap, -gap / 2, -gap / 2])).tolist() == [0, 0.5, 0.5]


def test_randomness_belongs_to_positions_not_to_calls() -> None:
    first, second = Sampler(SamplingParams(1.0, seed=5), []), Sampler(SamplingParams(1.0, seed=5), [])
    for _ in range(3):
        first.stream(0).random()
    assert first.stream(9).random() == second.stream(9).random()
    assert first.stream(9).random() != first.stream(10).random()
    assert first.stream(9).random() != Sampler(SamplingParams(1.0, seed=6), []).stream(9).random()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_of_several_likeliest_tokens_the_first_is_taken(dtype):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(-3, 4, (9, 50_000), generator=generator).to(dtype)
    first = (logits == logits.amax(-1, keepdim=True)).int().argmax(-1)
    assert Sampler(SamplingParams(), []).greedy_choices(logits) == first.tolist()
    looking_back = Sampler(SamplingParams(), [], lambda tokens, row: row)
    assert looking_back.greedy_choices(logits) is None
    assert [int(looking_back.distribution(row).argmax()) for row in logits] == first.tolist()

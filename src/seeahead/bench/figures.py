"""The figures of a comparison, derived from its records, and as JSON. Definitions stand beside the numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from seeahead import metrics
from seeahead.bench.compare import Answer, Difference, Round
from seeahead.bench.record import PLAIN
from seeahead.records import Generation

DEFINITIONS: dict[str, str] = {
    "τ": "block efficiency: tokens emitted per forward pass of the model, its own token included, the first token "
    "(which comes with reading the prompt) excluded; sum of tokens / sum of passes. Plain decoding has τ = 1.",
    "tokens/s": "emitted tokens per second of decoding, without reading the prompt; sum of tokens / sum of seconds.",
    "speed-up": "tokens/s over plain tokens/s of the same model in the same loop and run: per scenario the ratio of "
    "sums, over scenarios the geometric mean.",
    "whole answers": "seconds of all plain answers over seconds of all of this method's, with reading the prompt and "
    "starting the drafter.",
    "identical": "answers whose every token is that of the plain answer.",
    "host": "share of decoding time spent outside the forward passes of model and drafter.",
}


COLUMNS = ("drafter", *DEFINITIONS)
"""Headings of the table, in the order of `heading` and `cells`."""


@dataclass(frozen=True)
class Figures:
    """One method over all questions; see DEFINITIONS."""

    method: str
    num_tokens: int
    num_steps: int
    block_efficiency: float
    token_rate: float
    speed_up: float
    speed_up_ratio_of_sums: float
    speed_up_mean_of_answers: float
    speed_up_whole_answers: float
    num_identical: int
    num_answers: int
    host_share: float
    draft_share: float


def figures(rounds: Sequence[Round], method: str) -> Figures:
    own, plain = _generations(rounds, method), _generations(rounds, PLAIN)
    ratios = [metrics.speed_up([a], [b]) for a, b in zip(own, plain) if a.steps and b.steps]
    return Figures(
        method=method,
        num_tokens=sum(len(generation.token_ids) for generation in own),
        num_steps=sum(len(generation.steps) for generation in own),
        block_efficiency=metrics.block_efficiency(own),
        token_rate=metrics.token_rate(own),
        speed_up=metrics.geometric_mean(_scenario_speed_ups(rounds, method).values()),
        speed_up_ratio_of_sums=metrics.speed_up(own, plain),
        speed_up_mean_of_answers=sum(ratios) / len(ratios) if ratios else math.nan,
        speed_up_whole_answers=_seconds(plain) / _seconds(own),
        num_identical=sum(round_.is_identical(method) for round_ in rounds),
        num_answers=len(rounds),
        host_share=metrics.host_share(own),
        draft_share=metrics.draft_share(own),
    )


def all_figures(rounds: Sequence[Round]) -> list[Figures]:
    return [figures(rounds, method) for method in rounds[0].answers]


def _scenario_speed_ups(rounds: Sequence[Round], method: str) -> dict[str, float]:
    found = {}
    for name in dict.fromkeys(round_.question.scenario for round_ in rounds):
        of_scenario = [round_ for round_ in rounds if round_.question.scenario == name]
        value = metrics.speed_up(_generations(of_scenario, method), _generations(of_scenario, PLAIN))
        if math.isfinite(value):  # answers of a single token have no decoding to time
            found[name] = value
    return found


def as_json(rounds: Sequence[Round], found: Iterable[Difference]) -> dict[str, Any]:
    """Figures and every record they are derived from; a figure that does not exist is null."""
    return {
        "definitions": DEFINITIONS,
        "methods": [
            {
                **{name: _finite(value) for name, value in asdict(entry).items()},
                "speed_up_by_scenario": _scenario_speed_ups(rounds, entry.method),
            }
            for entry in all_figures(rounds)
        ],
        "differences": [
            {
                "method": entry.method,
                "question": entry.question.text,
                "position": entry.position,
                "logit_gap": entry.logit_gap,
            }
            for entry in found
        ],
        "rounds": [
            {
                "question": asdict(round_.question),
                "answers": {
                    name: {"text": answer.text, **answer.generation.to_json()}
                    for name, answer in round_.answers.items()
                },
            }
            for round_ in rounds
        ],
    }


def heading(method: str) -> str:
    """A method's name for people."""
    return f"{PLAIN} (plain)" if method == PLAIN else method


def cells(entry: Figures) -> list[str]:
    """A method's row, in the order of DEFINITIONS."""
    return [
        f"{entry.block_efficiency:.2f}",
        f"{entry.token_rate:.1f}",
        f"{entry.speed_up:.2f}×",
        f"{entry.speed_up_whole_answers:.2f}×",
        "yes" if entry.num_identical == entry.num_answers else f"{entry.num_identical} of {entry.num_answers}",
        f"{entry.host_share:.0%}",
    ]


def pace(answer: Answer) -> str:
    """How fast one answer was, in a few words."""
    own = [answer.generation]
    if not answer.generation.steps:
        return "1 token"
    rate, efficiency = metrics.token_rate(own), metrics.block_efficiency(own)
    return f"{rate:.1f} tokens/s · τ {efficiency:.2f} · {answer.decode_seconds:.1f} s"


def difference_line(entry: Difference) -> str:
    """One sentence for people about an answer that left the plain one."""
    gap = "one answer ends earlier" if entry.logit_gap is None else f"logit gap {entry.logit_gap:+.3f}"
    return f"{entry.method}: '{entry.question.text}' differs from plain at token {entry.position + 1}, {gap}"


def _generations(rounds: Sequence[Round], method: str) -> list[Generation]:
    return [round_.answers[method].generation for round_ in rounds]


def _seconds(generations: Iterable[Generation]) -> float:
    return sum(
        generation.seconds_prefill + generation.seconds_drafter_start + sum(step.seconds for step in generation.steps)
        for generation in generations
    )


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value

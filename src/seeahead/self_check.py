"""The long form of the proof, for `seeahead check`: every part of it, then whole answers against `generate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch

from seeahead import proof
from seeahead.api import Engine
from seeahead.drafting import Drafter
from seeahead.errors import InputError
from seeahead.prompt import Prompt, make_prompt
from seeahead.testing.drafters import ScriptedDrafter, random_tree

NUM_TOKENS = 32

QUESTION = "Count from one to twenty, and then from one to twenty again."


@dataclass(frozen=True)
class Row:
    """One line of the table: what was checked, whether it holds, and the figure that says so."""

    check: str
    holds: bool
    figure: str


def check(engine: Engine, drafter: str | None, report: Callable[[str, float], None]) -> Iterator[Row]:
    """The rows, as they are found. `drafter`: one more to answer with, beside lookup and random trees."""
    family = engine.family
    prompts = proof.prompts_for(family, is_long=True)
    image = proof.image_prompt(family)
    if image is not None:
        prompts.append((proof.IMAGE, image))
    report("comparing trees with whole passes", 0.0)
    for finding in proof.prove(family, prompts):
        yield Row(finding.part, finding.holds, finding.figure)
    kinds: list[str | Drafter] = ["none", "lookup", ScriptedDrafter("random tree", random_tree())]
    report("comparing answers with generate", 0.0)
    questions = {"a text": make_prompt(QUESTION)} if family.processor is not None else {}
    if image is not None:
        questions["an image"] = make_prompt("What is this? Describe it twice.", [proof.made_image()])
    for what, prompt in questions.items():
        truth = _truth(engine, prompt)
        for kind in [*kinds, *([drafter] if drafter else [])]:
            yield _compared(engine, kind, what, prompt, truth)


def _truth(engine: Engine, prompt: Prompt) -> list[int]:
    """What `generate` answers; with rounded weights, which it does not have, what the target says without drafts."""
    if engine.family.executor.precision in proof.ROUNDED:
        return list(engine.with_drafter("none").generate(prompt, temperature=0, max_new_tokens=NUM_TOKENS).token_ids)
    inputs, model = engine.family.encode(prompt), cast(Any, engine.family.model)
    settings: dict[str, Any] = {"max_new_tokens": NUM_TOKENS, "do_sample": False, **inputs.extras}
    output: Any = model.generate(inputs.token_ids, attention_mask=torch.ones_like(inputs.token_ids), **settings)
    answer: list[int] = output[0, inputs.length :].tolist()
    return answer


def _compared(engine: Engine, kind: str | Drafter, what: str, prompt: Prompt, truth: list[int]) -> Row:
    name = kind if isinstance(kind, str) else kind.name
    check = f"{len(truth)} tokens after {what}, drafter {name}"
    try:
        ours = engine.with_drafter(kind).generate(prompt, temperature=0, max_new_tokens=NUM_TOKENS).token_ids
    except InputError as error:
        return Row(check, False, str(error))
    place, family = proof.parting(truth, ours), engine.family
    reference = "the plain answer" if family.executor.precision in proof.ROUNDED else "generate"
    if place is None:
        return Row(check, True, f"identical to {reference}")
    gaps = proof.logit_gap(family, family.encode(prompt), truth, ours, place)
    gap = float("inf") if gaps is None else abs(gaps[1])
    figure = (
        f"parts from {reference} at token {place + 1}, where its two best logits lie {gap:.2g} of their spread apart"
    )
    # In 16 bits a near tie may fall either way with the number of rows of a pass; in 32 bits none may.
    return Row(check, gap <= 2 * proof.bound_of(family) and family.executor.precision != "float32", figure)

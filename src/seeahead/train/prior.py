"""What `auto` knows of a drafter before its first answer: how often its target follows it, learned while it drafts."""

from __future__ import annotations

import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from seeahead.api import Engine
from seeahead.drafters import bind
from seeahead.drafters.auto import AutoDrafter, AutoSpec
from seeahead.drafters.experience import Experience
from seeahead.drafters.pass_times import PassTimes
from seeahead.errors import InputError
from seeahead.families.base import Family
from seeahead.proven import Prover
from seeahead.target import Target
from seeahead.train.responses import Exchange

NUM_PROMPTS = 40
_MINUTES = 3.0
_MAX_NEW_TOKENS = 64


def learn_prior(family: Family, folder: Path, exchanges: Iterable[Exchange], seed: int = 0) -> int:
    """Drafts answers to the first `NUM_PROMPTS` of `exchanges`, greedy and sampled in turn, for a few minutes at most,
    and writes what was learned of the drafter in `folder` beside its weights. Returns how many answers there were."""
    target, number, ends = Target.of(family), 0, time.monotonic() + 60 * _MINUTES
    name, experience = folder.name, Experience(PassTimes(target.executor))
    drafter = AutoDrafter({name: bind(folder, target)}, experience, AutoSpec(), "auto")
    engine = Engine(family, drafter, {}, Prover(family, is_on=False))
    asked = ((prompt, temperature) for prompt, _ in islice(exchanges, NUM_PROMPTS) for temperature in (0.0, 1.0))
    for prompt, temperature in asked:  # each prompt's images are opened when its turn comes
        if time.monotonic() > ends:
            break
        try:
            engine.generate(prompt, temperature=temperature, max_new_tokens=_MAX_NEW_TOKENS, seed=seed)
        except InputError:  # one that the target does not take
            continue
        number += 1
    if number:
        experience.save_prior(folder, name)
    return number

"""Which dialect a published drafter speaks, found on the target's own words.

The target answers a few short prompts; the drafter reads the answers in all dialects that may be meant, each in one
pass of its layer, and those that are surprised least go on. What the config says is kept unless another dialect expects
more of what the target says, beyond chance.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from seeahead.cache_folder import default_cache
from seeahead.checked import read_json
from seeahead.drafters.dialects import Choice
from seeahead.drafters.features import FeatureDrafter
from seeahead.drafters.folder import fingerprint_of
from seeahead.drafters.head_networks import Dialect
from seeahead.drafting import DraftContext, Feedback
from seeahead.errors import InputError, ModelError
from seeahead.executor import ModelInputs, Scores, Want, run_pass
from seeahead.prompt import make_prompt
from seeahead.provenance import write_json
from seeahead.sampling import SamplingParams, log_probabilities
from seeahead.session import Session
from seeahead.target import Target

_QUESTIONS = ("What is this?", "Describe it in one sentence.", "Which colours are there, and where?")
_TEXTS = ("What is seven times eight?", "Write a sentence about rain.", "List three animals and what they eat.")
_SIZE = (336, 224)
"""Of their images: wide enough that positions on three axes differ from those on one."""
_ANSWER = 96
"""Tokens of the target's to each prompt."""
_FEWEST = 8
"""Dialects that read all samples, at least."""
_HOPELESS, _FEW_SAMPLES = 4.0, 4
"""Standard errors, over the tokens of so many samples and more, beyond which a dialect reads no further ones."""
_BEYOND_CHANCE = 0.5
"""Standard errors, over tokens, by which one takes another's place: few, since what is alike on these costs alike."""
_log = logging.getLogger(__name__)

Made = Callable[[Dialect], FeatureDrafter]
"""The drafter in a dialect."""


@dataclass(frozen=True)
class Sample:
    """A prompt and the target's greedy answer to it. `logits` [tokens, vocabulary] follow each of its `tokens`;
    `feedback` has the features of all but the last of these."""

    context: DraftContext
    tokens: tuple[int, ...]
    logits: Tensor
    feedback: Feedback


def best_dialect(
    choice: Choice,
    made: Made,
    target: Target,
    weights: str,
    prompts: Sequence[ModelInputs] | None = None,
    kept: Path | None = None,
    num_tokens: int = _ANSWER,
) -> Dialect:
    """Of `choice`, the one whose drafts the target would accept; remembered for the same weights and the same target.

    `weights`: what stands for the drafter's. `prompts` None: a few of our own, which only a target with a tokenizer can
    read. Those that its context has no room for are left out, and without any the config is believed. `kept`: the
    folder of what is remembered. `num_tokens`: of each answer."""
    known = choice.all()
    if len(known) == 1:
        return choice.first
    file = (kept or default_cache() / "dialects") / f"{_key(choice, weights, target)}.json"
    with suppress(ModelError, IndexError, TypeError, KeyError, ValueError):
        return known[int(read_json(file, "it is made anew", ModelError)["number"])]
    longest, asked = target.executor.limits.max_length, own_prompts(target) if prompts is None else prompts
    prompts = [inputs for inputs in asked if longest is None or inputs.length + num_tokens <= longest]
    if not prompts:
        _log.info("what a drafter's files leave open cannot be tried here, so %s is taken", choice.first)
        return choice.first
    layers = tuple(sorted({layer for one in known for layer in made(one).want.layers}))
    samples = samples_of(target, prompts, layers, num_tokens)
    by_images: dict[bool, list[Sample]] = {True: [], False: []}
    for sample in samples:
        by_images[bool(target.image_token_ids & set(sample.context.inputs.token_ids[0].tolist()))].append(sample)
    chosen = _chosen(choice, Surprises(made), by_images[True], by_images[False])
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_json(file, {"number": known.index(chosen)})
    if chosen != choice.first:
        _log.info(
            "of %d dialects the drafter's files allow, the target's own words chose another: %s", len(known), chosen
        )
    return chosen


def _chosen(choice: Choice, told: Surprises, of_images: Sequence[Sample], of_text: Sequence[Sample]) -> Dialect:
    """All combinations read a first sample, the better half of them a next one, and so on: what is right on one axis
    may show only where the others are right too. Then, an axis at a time, what the config says takes the place of what
    was found, where that is no better beyond chance."""
    first, samples = choice.first, [*of_images[:1], *of_text[:1], *of_images[1:], *of_text[1:]]
    left = list(dict.fromkeys(choice.all() if of_images else (first, *choice.of_text)))
    for number in range(1, len(samples) + 1):
        left = told.best(left, samples[:number])[: max(_FEWEST, len(left) // 2)]
    chosen = left[0]
    for axis in _AXES:
        if (other := axis(chosen, first)) != chosen:
            chosen = told.better(other, chosen, samples)
    return chosen


_AXES: tuple[Callable[[Dialect, Dialect], Dialect], ...] = (
    lambda one, first: replace(one, rotation=replace(one.rotation, theta=first.rotation.theta)),
    lambda one, first: replace(one, layers=first.layers),
    lambda one, first: replace(one, carries_norm=first.carries_norm),
    lambda one, first: replace(one, visual=first.visual),
    lambda one, first: replace(one, is_next=first.is_next),
    lambda one, first: replace(
        one,
        rotation=replace(first.rotation, theta=one.rotation.theta),
        is_next=one.is_next if first.rotation.sections else first.is_next,  # on one axis it says nothing
    ),
)
"""A dialect with what the first one says on an axis."""


class Surprises:
    """How surprised each dialect is by the target's words; each reads each sample once."""

    def __init__(self, made: Made) -> None:
        self._made = cache(made)
        self._known: dict[tuple[Dialect, int], Tensor] = {}

    def best(self, dialects: Sequence[Dialect], samples: Sequence[Sample]) -> list[Dialect]:
        """Those that are surprised least first, without the hopeless ones."""
        first, *others = sorted(dialects, key=lambda one: float(self._of(one, samples).mean()))
        is_early = len(samples) < _FEW_SAMPLES
        return [first, *(one for one in others if is_early or not self._is_less(first, one, samples, _HOPELESS))]

    def better(self, current: Dialect, other: Dialect, samples: Sequence[Sample]) -> Dialect:
        """The `other`, where it is surprised less beyond chance; else the `current` one."""
        return other if self._is_less(other, current, samples, _BEYOND_CHANCE) else current

    def _is_less(self, one: Dialect, than: Dialect, samples: Sequence[Sample], num_errors: float) -> bool:
        """Whether one dialect is surprised less than another, beyond so many standard errors."""
        gained = self._of(than, samples) - self._of(one, samples)
        error = float(gained.std()) / math.sqrt(len(gained))
        return float(gained.mean()) > num_errors * error

    def _of(self, dialect: Dialect, samples: Sequence[Sample]) -> Tensor:
        """[tokens of all samples]."""
        for sample in samples:
            if (key := (dialect, id(sample))) not in self._known:
                self._known[key] = surprise(self._made(dialect), sample)
        return torch.cat([self._known[dialect, id(sample)] for sample in samples])


def surprise(drafter: FeatureDrafter, sample: Sample) -> Tensor:
    """[tokens]: cross-entropy of what the target expected after each token of its answer, over draft ids, in nats."""
    model = drafter.model(sample.context)
    model.accept(sample.feedback)
    guessed = log_probabilities(model.taught())
    said = sample.logits
    if drafter.vocabulary is not None:
        said = said[:, drafter.vocabulary.target_ids.to(said.device)]
    return -(log_probabilities(said[:, : guessed.shape[-1]]).exp() * guessed).sum(-1)


@torch.inference_mode()
def samples_of(
    target: Target, prompts: Sequence[ModelInputs], layers: tuple[int, ...], num_tokens: int
) -> list[Sample]:
    """The target's answers to `prompts`, with the hidden states of `layers`; `num_tokens` long, whatever it says, and
    a token of each in one pass."""
    executor = target.executor
    sessions = [Session(executor, inputs.length + num_tokens) for inputs in prompts]
    begun = [
        session.prefill(executor.ready(inputs), Want(layers, embeddings=True))
        for session, inputs in zip(sessions, prompts, strict=True)
    ]
    tokens, told = [[int(scores.logits[-1].argmax())] for scores in begun], [list[Scores]() for _ in prompts]
    for _ in range(num_tokens):
        trees = [session.chain(said[-1:]) for session, said in zip(sessions, tokens, strict=True)]
        for number, scores in enumerate(run_pass(executor, trees, Want(layers))):
            sessions[number].commit([0])
            told[number].append(scores)
            tokens[number].append(int(scores.logits[-1].argmax()))
    for session in sessions:
        session.close()
    return [_sample(target, *one) for one in zip(prompts, begun, tokens, told, strict=True)]


def _sample(target: Target, inputs: ModelInputs, prompt: Scores, tokens: list[int], told: list[Scores]) -> Sample:
    """Of the target's `tokens`, and what it `told` of all but the last of these."""
    said, seen = tuple(tokens[:-1]), (prompt.features, prompt.embeddings)
    features = {layer: torch.cat([one.features[layer] for one in told[:-1]]) for layer in prompt.features}
    own = target.image_token_ids, target.vocab_size, SamplingParams()
    placed = None if target.family is None else target.family.prompt_positions(inputs)
    if placed is not None:  # which each dialect would ask for anew
        inputs = replace(inputs, extras={**inputs.extras, "position_ids": placed})
    context = DraftContext(inputs, said[0], *own, len(said), *seen)
    logits = torch.stack([one.logits[-1] for one in told]).float()
    return Sample(context, said, logits, Feedback(said[1:], logits[:-1], features))


def own_prompts(target: Target) -> Iterable[ModelInputs]:
    """Short ones, about images where the target sees; none for a target without words."""
    family = target.family
    if family is None or family.processor is None:
        return
    sees = family.can_see and hasattr(family.processor, "image_processor")
    images = (Image.linear_gradient("L"), Image.radial_gradient("L"), Image.linear_gradient("L").rotate(90))
    for text in _TEXTS:
        yield family.encode(make_prompt(text))
    for question, image in zip(_QUESTIONS, images, strict=True) if sees else ():
        with suppress(InputError):  # the first prompt with an image will say it again
            yield family.encode(make_prompt(question, [image.resize(_SIZE).convert("RGB")]))


def _key(choice: Choice, weights: str, target: Target) -> str:
    """Of the drafter's weights, of what may be meant, and of the target, also where it is known without a tokenizer."""
    known = {name: value for name, value in fingerprint_of(target).items() if name != "tokenizer"}
    return hashlib.sha256(json.dumps([weights, repr(choice), known]).encode()).hexdigest()[:32]

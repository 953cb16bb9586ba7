"""Tiny heads trained for a moment on a tiny target's own answers, in a dialect, so that the dialect matters."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import torch
from torch import Tensor

from seeahead.drafters.dialects import Choice
from seeahead.drafters.features import FeatureDrafter, Slots, shifted
from seeahead.drafters.head_networks import Dialect, spoken
from seeahead.drafters.heads import facts_of
from seeahead.drafters.probe import Sample, best_dialect, samples_of, surprise
from seeahead.drafters.published import Published, read_published
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import DraftContext, Feedback
from seeahead.executor import ModelInputs, Want
from seeahead.executors.attention import NoMemory
from seeahead.executors.linear import linear
from seeahead.sampling import SamplingParams
from seeahead.session import Session
from tests.drafters.head_folders import write_head
from tests.drafters.reading_targets import ANSWER, IMAGES, LAYERS, numbers_of_images, question, target

ALL_LAYERS = (*range(1, LAYERS), -1)
NUM_SAMPLES = {0: 200, IMAGES: 800}
"""By images of their prompts: few enough to be quickly made, too many to be learned by heart."""


KINDS = (
    ("eagle3 specforge", "qwen2_5_vl"),
    ("msd llava", "llava"),
    ("eagle3 newer", "qwen2_5_vl"),
    ("eagle3 angelslim", "qwen3_vl"),
    ("eagle3 specforge 1-d", "qwen3_vl"),
)
"""What heads are written as, and for which targets."""
NUM_STEPS, MOST_STEPS, LEARNED = 300, 2000, 0.1
"""Steps of training, and on, up to so many, until the last ones cost less, in nats: readings of a head that has learned
next to nothing about images say all the same of them."""
NUM_SETTLING = 200
"""Steps after those, over which the rate falls to nothing, as trainers have it: before, weights move about where they
cost least, by as much as neighbouring layers differ."""
RATE = 5e-3
LAST = 30
"""Steps that are averaged."""
NUM_ASKED = {0: 4, IMAGES: 52}
"""Prompts that the probe is given, by their images."""


class Case(NamedTuple):
    """A head that was trained in `dialect`, one of those that its files allow (`choice`)."""

    kind: str
    model_type: str
    choice: Choice
    dialect: Dialect
    found: Published
    head: Tensor
    loss: float

    def made(self, dialect: Dialect) -> FeatureDrafter:
        network, ids = spoken(self.found.network, dialect), self.found.target_ids
        vocabulary = None if ids is None else DraftVocabulary(ids, 0)
        ready = network.decoder.for_head(linear(self.head))
        return FeatureDrafter.on(target(self.model_type), network, vocabulary, ready, name="taught")

    def probed(self, kept: Path, prompts: Sequence[ModelInputs] | None = None) -> Dialect:
        """What the probe finds, by `prompts` or our own; remembered in a folder."""
        prompts = asked(self.model_type) if prompts is None else prompts
        return best_dialect(self.choice, self.made, target(self.model_type), "taught", prompts, kept, ANSWER)

    def surprise(self, dialect: Dialect, prompts: Sequence[ModelInputs] | None = None) -> float:
        """By the target's answers to `prompts`, or to what the probe asks, in nats per token."""
        drafter, prompts = self.made(dialect), asked(self.model_type) if prompts is None else prompts
        answers = samples_of(target(self.model_type), prompts, drafter.want.layers, ANSWER)
        return fmean(float(surprise(drafter, one).mean()) for one in answers)


def trained_case(
    number: int, folder: Path, of: tuple[str, str] | None = None, kept: Path | None = None, steps: int = NUM_STEPS
) -> Case:
    """The one of that number: its kind in turn, if it is not `of` one, its dialect drawn among those that its files
    allow; trained for at least so many steps, or read from a folder in which it was `kept` before."""
    kind, model_type = of or KINDS[number % len(KINDS)]
    write_head(kind, folder)
    own = target(model_type)
    values = json.loads((folder / "config.json").read_text())
    found = read_published(folder, values, facts_of(own), own.executor.limits.width)
    dialect = random.Random(number).choice(list(dict.fromkeys(found.choice.all())))
    ids = torch.arange(own.vocab_size) if found.target_ids is None else found.target_ids
    head = own.executor.head_rows(ids).clone()  # type: ignore[attr-defined]
    file = None if kept is None else kept / f"head-{number}-{MOST_STEPS}-{NUM_SETTLING}.pt"
    if file is not None and file.is_file():
        stored = torch.load(file)
        found.network.load_state_dict(stored["weights"])
        loss = stored["loss"]
    else:
        loss = train(found, dialect, model_type, head, steps, number)
    if file is not None:
        torch.save({"weights": found.network.state_dict(), "loss": loss}, file)
    return Case(kind, model_type, found.choice, dialect, found, head, loss)


def asked(model_type: str, first: int = 5000, counts: Mapping[int, int] = NUM_ASKED) -> list[ModelInputs]:
    """Prompts of the seeds from `first` on, as many as `counts` by their images."""
    numbers = [images for images in numbers_of_images(model_type) for _ in range(counts[images])]
    return [question(model_type, images, first + seed) for seed, images in enumerate(numbers)]


@cache
def samples(model_type: str, num_images: int, first: int, number: int) -> list[Sample]:
    """Texts of one shape, which differ in words and pixels: what the target expects after each of their last words.

    One pass makes each, where an answer of the target's own would take as many as it has tokens."""
    own, found = target(model_type), []
    head = own.executor.head_rows(torch.arange(own.vocab_size))  # type: ignore[attr-defined]
    for seed in range(first, first + number):
        inputs = question(model_type, num_images, seed, ANSWER)
        length, tokens = inputs.length - ANSWER, tuple(inputs.token_ids[0].tolist())
        scores = Session(own.executor, inputs.length).prefill(inputs, Want(ALL_LAYERS, embeddings=True))
        before = {layer: states[:length].clone() for layer, states in scores.features.items()}
        after = {layer: states[length:-1].clone() for layer, states in scores.features.items()}
        logits = (scores.features[-1][length:] @ head.T).clone()
        prompt = inputs.part(0, length)
        assert scores.embeddings is not None
        context = DraftContext(
            prompt,
            tokens[length],
            own.image_token_ids,
            own.vocab_size,
            SamplingParams(),
            ANSWER,
            before,
            scores.embeddings[:length].clone(),
        )
        found.append(Sample(context, tokens[length:], logits, Feedback(tokens[length + 1 :], logits[:-1], after)))
    return found


class Lesson(NamedTuple):
    """What a drafter reads of many samples of one shape, and what the target expects at their ends: `embeddings` and
    `states` by layer [samples, slots, width], `shares` [samples, tokens, draft ids], the rest as in `Slots`."""

    embeddings: Tensor
    states: dict[int, Tensor]
    is_visual: Tensor
    positions: Tensor | None
    shares: Tensor

    @classmethod
    def of(cls, drafter: FeatureDrafter, group: Sequence[Sample], ids: Tensor) -> Lesson:
        embeddings = []
        for one in group:
            seen, is_visual = drafter.seen(one.context)
            shown, visual = shifted(seen, is_visual, drafter.embed(torch.tensor(one.tokens)))
            embeddings.append(shown)
        states = {
            layer: torch.stack(
                [torch.cat((one.context.features[layer], one.feedback.features[layer])) for one in group]
            )
            for layer in drafter.network.layers
        }
        positions = drafter.positions(group[0].context.inputs, ANSWER)
        shares = torch.stack([one.logits[:, ids].softmax(-1) for one in group])
        return cls(torch.stack(embeddings), states, visual, positions, shares)


def _states(sample: Sample, layer: int) -> Tensor:
    """[slots, width]."""
    return torch.cat((sample.context.features[layer], sample.feedback.features[layer]))


def train(found: Published, dialect: Dialect, model_type: str, head: Tensor, steps: int, seed: int = 0) -> float:
    """Trains the network of `found` in `dialect`, at least so many steps; `head` [draft ids, width] stays. Returns the
    mean loss of the last steps, with images where the target sees, in nats."""
    network, own = spoken(found.network, dialect), target(model_type)
    ids = torch.arange(own.vocab_size) if found.target_ids is None else found.target_ids
    drafter = FeatureDrafter(network, None, own, network.decoder, name="taught")
    lessons = [
        Lesson.of(drafter, samples(model_type, images, 1000, NUM_SAMPLES[images]), ids)
        for images in numbers_of_images(model_type)
    ]
    parameters = [value for value in network.parameters() if value.numel() > 1]
    optimizer = torch.optim.Adam(parameters, lr=RATE, betas=(0.9, 0.98))
    generator, losses = torch.Generator().manual_seed(seed), list[float]()
    ready = network.decoder.for_head(torch.nn.Identity())
    with torch.enable_grad():
        left = MOST_STEPS + NUM_SETTLING
        for step in range(left):
            has_learned = step >= steps and step % 100 == 0 and fmean(losses[-LAST:]) < LEARNED
            left = min(left - 1, NUM_SETTLING) if has_learned else left - 1
            if left < 0:
                break
            optimizer.param_groups[0]["lr"] = RATE * min(1.0, left / NUM_SETTLING)
            lesson = lessons[0 if step % 4 == 0 else -1]  # texts are learned long before images
            chosen = torch.randint(len(lesson.shares), (8,), generator=generator)
            features = network.features({layer: states[chosen] for layer, states in lesson.states.items()})
            begun = network.begin(Slots(lesson.embeddings[chosen], features, lesson.is_visual, lesson.positions))
            places = torch.arange(begun.x.shape[1])[None] if begun.positions is None else begun.positions
            logits = ready(network.decoder.run(begun.x, places, NoMemory())[:, -ANSWER:]) @ head.T
            loss = -(lesson.shares[chosen] * logits.log_softmax(-1)).sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 0.5)
            optimizer.step()
            losses += [float(loss.detach())] if lesson is lessons[-1] else []
    return fmean(losses[-LAST:])

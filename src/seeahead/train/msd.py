"""Feature drafters under training (MSD, Lin et al. 2025, sections 3.3 and 3.4; EAGLE, Li et al. 2024).

One sees the target's features with a little noise, and learns the feature after each slot: SmoothL1 to the target's,
and a tenth of the cross-entropy between what the head makes of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from seeahead.drafters.folder import KEY, MSD, Folder, fingerprint_of
from seeahead.drafters.msd import MsdNetwork, MsdOptions, Slots, read_network
from seeahead.drafters.vocabulary import FILE_NAME as VOCABULARY_FILE
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import InputError, ModelError
from seeahead.executors.checkpoint import WEIGHTS, unfuse
from seeahead.families.base import Family
from seeahead.provenance import write_json
from seeahead.target import Target
from seeahead.train.data import Dataset
from seeahead.train.distributed import Processes
from seeahead.train.examples import Example, ModalityMixture, Stored
from seeahead.train.loop import LossOf
from seeahead.train.recipe import StageRecipe
from seeahead.train.responses import LeftOut, all_rows, features_of

NOISE = 0.2
"""Width of the uniform noise at 512 tokens; it shrinks with the length (EAGLE's code)."""
_LONGEST = 8192
_MOST_WATCHED = 400
"""Held-out responses that are looked at; features of more would not stay in memory."""


def stored_examples(folder: Path, left_out: LeftOut, longest: int = _LONGEST) -> list[Stored]:
    """Responses that were written with features, which stay on disk until one is drawn.

    Those of more than `longest` tokens are left out. Raises InputError where there are none, or no features."""
    found: list[Stored] = []
    for path, rows in all_rows(folder):
        for place, row in enumerate(rows):
            if len(row.ids) < 2:  # nothing in it could have been drafted
                continue
            ids = (*row.view, *row.ids)
            if len(ids) > longest:
                left_out.add(f"they are longer than the {longest} tokens that a feature drafter reads")
            else:
                found.append(Stored(path.with_suffix(".safetensors"), place, ids, len(row.view)))
    if not found:
        raise InputError(f"no answers in {folder}; let the target write some first")
    if not all(_has_features(file) for file in {example.file for example in found}):
        raise InputError(
            f"the answers in {folder} were written without features; choose another --answers, or delete them"
        )
    return found


def _has_features(file: Path) -> bool:
    if not file.is_file():
        return False
    with safe_open(file, "pt") as stored:
        return features_of(0) in set(stored.keys())


def loaded(example: Stored) -> Example:
    with safe_open(example.file, "pt") as stored:
        features = stored.get_tensor(features_of(example.row))
        visual = stored.get_tensor(str(example.row)) if example.has_images else None
    return Example(example.ids, example.start, visual=visual, features=features)


@dataclass(frozen=True)
class FeatureBatch:
    """`x` [examples, slots, width] as the layer reads it.

    Of the slots that are taught, at (`rows`, `columns`): `embeddings` [taught, width] of their tokens, `wanted`
    [taught, width] the target's next features, `tokens` [taught] the draft ids of its own tokens there, -1 where these
    are not known; `follows` [taught]: the slot before is taught too."""

    x: Tensor
    rows: Tensor
    columns: Tensor
    embeddings: Tensor
    wanted: Tensor
    tokens: Tensor
    follows: Tensor


class FeatureLearner:
    """A network, the target it is made for, and the rows of its head that are drafted from."""

    def __init__(self, network: MsdNetwork, target: Family, vocabulary: DraftVocabulary) -> None:
        self.network, self.target = network, target.executor
        self.head = self.target.head_rows(vocabulary.target_ids).clone()
        self.table = vocabulary.table(target.vocab_size)

    def batch(self, examples: Sequence[Example], generator: torch.Generator | None) -> FeatureBatch:
        """`generator` draws the noise; None: there is none."""
        read: list[Tensor] = []
        parts: list[tuple[Tensor, ...]] = []
        for row, example in enumerate(examples):
            assert example.features is not None
            slots = self.slots(example, example.features, generator)
            with torch.autocast(slots.features.device.type, torch.bfloat16):
                read.append(self.network.read(slots).float())
            # Images may have become smaller; the response's slots are the last ones.
            removed = len(slots.embeddings) - len(read[-1])
            first, last = max(0, example.start - 2), len(example.ids) - 2
            columns = torch.arange(first, last)
            parts.append(
                (
                    torch.full_like(columns, row),
                    columns - removed,
                    slots.embeddings[first:last],
                    example.features[first + 1 : last + 1].float(),
                    self.table[torch.tensor(example.ids[first + 2 : last + 2])],
                    columns > first,
                )
            )
        padded = torch.nn.utils.rnn.pad_sequence(read, batch_first=True)
        joined = (torch.cat(column).to(padded.device) for column in zip(*parts, strict=True))
        return FeatureBatch(padded, *joined)

    def slots(self, example: Example, features: Tensor, generator: torch.Generator | None) -> Slots:
        """Slot j: the embedding of token j + 1 and the feature of position j."""
        ids = torch.tensor(example.ids)
        is_visual = ids < 0
        embeddings = self.target.embed(ids.clamp_min(0).to(self.target.limits.device)).float().clone()
        if example.visual is not None:
            embeddings[is_visual] = example.visual.to(embeddings)
        features = features.to(embeddings)
        if generator is not None:
            noise = torch.rand(features.shape, generator=generator) - 0.5
            features = features + (noise * NOISE * 512 / len(ids)).to(features)
        return Slots(embeddings[1:], features, is_visual[1:].to(embeddings.device))

    def loss(
        self, batch: FeatureBatch, weights: Mapping[str, float], ahead: int = 0
    ) -> tuple[Tensor, dict[str, float]]:
        """What is minimised; the regression alone, and the share of tokens that the drafter ranks first.

        `ahead`: so many times more, the taught slots read what was guessed for the slot before in the target's place,
        as they do when drafting (HASS, Zhang et al. 2024)."""
        shares = self.logits(batch.wanted).softmax(-1)
        x, losses, values = batch.x, list[Tensor](), dict[str, float]()
        for step in range(1 + ahead):
            guessed = self.follow(x, batch)
            logits = self.logits(guessed)
            soft = -(shares * logits.log_softmax(-1)).sum(-1).mean()
            regression = F.smooth_l1_loss(guessed.float(), batch.wanted)
            losses += [weights.get("smooth-l1", 0.0) * regression, weights.get("soft-cross-entropy", 0.0) * soft]
            name = f"agreement {step}" if step else "agreement"
            values[name] = float((logits.argmax(-1) == batch.tokens).float().mean())
            values.setdefault("regression", float(regression.detach()))
            if step < ahead:
                x = self.read_anew(batch, guessed.detach())
        return torch.stack(losses).sum() / (1 + ahead), values

    def follow(self, x: Tensor, batch: FeatureBatch) -> Tensor:
        """Features [taught, width] guessed from `x` in the place of the batch's own."""
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.network.follow(x, batch.rows, batch.columns)

    def logits(self, features: Tensor) -> Tensor:
        """Over draft ids [taught, draft vocabulary]."""
        with torch.autocast(features.device.type, torch.bfloat16):
            return F.linear(features, self.head).float()

    def read_anew(self, batch: FeatureBatch, guessed: Tensor) -> Tensor:
        """The batch's `x` with features that were `guessed` [taught, width] in the place of the target's."""
        # Taught slots of an example stand one after the other, so the one before is the row before.
        before = guessed[batch.follows.roll(-1)]
        with torch.autocast(guessed.device.type, torch.bfloat16):
            text = self.network.text(batch.embeddings[batch.follows], before.float())
        return batch.x.index_put((batch.rows[batch.follows], batch.columns[batch.follows]), text.to(batch.x))

    def agreement(self, batch: FeatureBatch) -> Tensor:
        """[taught]: whether the drafter ranks the target's token first."""
        return self.logits(self.follow(batch.x, batch)).argmax(-1) == batch.tokens


class MsdObjective:
    """The target's next features, over a mixture of text and images."""

    def __init__(self, dataset: Dataset, start: Path | None, held_out: int) -> None:
        """One response in `held_out` is watched, not learned. `start`: a drafter to go on from; None: from scratch."""
        self.dataset, family = dataset, dataset.family
        left_out = LeftOut()
        dataset.responses()
        self.responses = stored_examples(dataset.answers, left_out)
        left_out.report(dataset.report, "own answers")
        watched = [loaded(example) for example in self.responses[::held_out][:_MOST_WATCHED]]
        self.examples = [example for place, example in enumerate(self.responses) if place % held_out]
        if start is not None:
            self.network, self.vocabulary = load_to_train(start, family.width, family.vocab_size)
        else:
            self.vocabulary = dataset.vocabulary(example.ids for example in self.responses)
            sizes = dataset.recipe.network
            options = MsdOptions(sizes.decoupled, sizes.pictures, sizes.visual_tokens)
            torch.manual_seed(dataset.recipe.seed)
            self.network = MsdNetwork.beside(family.model, options, _LONGEST)
        self.network.to(family.device)
        self.learner = FeatureLearner(self.network, family, self.vocabulary)
        self._watched = [watched[first : first + 16] for first in range(0, len(watched), 16)]
        self.num_watched = len(watched)

    def parameters(self, stage: StageRecipe | None = None) -> dict[str, Tensor]:
        """By name; those of the target stay as they are."""
        return self.network.trained()

    def loss_of(self, stage: StageRecipe) -> LossOf:
        limits, seed = stage.limits, self.dataset.recipe.seed
        num_batches = limits.steps * limits.accumulate * Processes().number
        mixture = ModalityMixture(self.examples, stage.mixture, num_batches, limits.batch_size, seed)

        def loss_of(number: int) -> tuple[Tensor, dict[str, float]]:
            generator = torch.Generator().manual_seed(hash((seed, number)))
            batch = self.learner.batch([loaded(example) for example in mixture(number)], generator)
            loss, values = self.learner.loss(batch, stage.loss, stage.ahead)
            return loss, {**values, "tokens": float(batch.x.shape[0] * batch.x.shape[1])}

        return loss_of

    def agreement(self) -> float:
        """Share of the held-out tokens that the drafter ranks first, given the target's features."""
        right = total = 0
        with torch.inference_mode():
            for part in self._watched:
                agreed = self.learner.agreement(self.learner.batch(part, None))
                right, total = right + int(agreed.sum()), total + len(agreed)
        return round(right / max(1, total), 4)

    @property
    def amounts(self) -> tuple[int, int]:
        """Responses, and their tokens."""
        return len(self.responses), sum(len(example.ids) - example.start for example in self.responses)

    def save(self, folder: Path) -> None:
        save_network(self.network, self.vocabulary, Target.of(self.dataset.family), folder)


# ---- on disk


def save_network(network: MsdNetwork, vocabulary: DraftVocabulary, target: Target, folder: Path) -> None:
    """A drafter folder, in bfloat16: config.json, model.safetensors (a Llama layer and fc), the vocabulary's map."""
    folder.mkdir(parents=True, exist_ok=True)
    own = {name: value for name, value in network.state_dict().items() if not name.startswith("decoder.")}
    tensors = unfuse(network.decoder) | own
    save_file({name: value.to(torch.bfloat16).contiguous() for name, value in tensors.items()}, folder / WEIGHTS)
    save_file({"d2t": vocabulary.offsets()}, folder / VOCABULARY_FILE)
    values = {
        "model_type": "llama",
        **asdict(network.decoder.config),
        "target_vocab_size": target.vocab_size,
        KEY: {"kind": "msd", "target": fingerprint_of(target)},
        "unknown_draft_id": vocabulary.unknown,
        MSD: network.options.to_json(),
    }
    write_json(folder / "config.json", values)


def load_to_train(folder: Path, width: int, vocab_size: int) -> tuple[MsdNetwork, DraftVocabulary]:
    """A feature drafter to go on from. Raises ModelError for what is none, or is one for another target."""
    found = Folder.read(folder)
    network, vocabulary = read_network(found), found.vocabulary()
    highest, theirs = vocabulary.highest, network.decoder.config.hidden_size
    if theirs != width or highest >= vocab_size:
        raise ModelError(
            f"'{folder}' is for features of width {theirs} and tokens up to {highest}; the target has width {width}, "
            f"{vocab_size} tokens; start from one for this target, or leave --start out"
        )
    return network, vocabulary

"""Feature drafters under training (MSD, Lin et al. 2025, sections 3.3 and 3.4; EAGLE, Li et al. 2024).

One sees the target's features with a little noise, and learns the feature after each slot: SmoothL1 to the target's,
and a tenth of the cross-entropy between what the head makes of both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

from seeahead.drafters.features import Slots
from seeahead.drafters.folder import KEY, MSD, Folder, fingerprint_of
from seeahead.drafters.msd import MsdNetwork, MsdOptions, read_network
from seeahead.drafters.vocabulary import FILE_NAME as VOCABULARY_FILE
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import ModelError
from seeahead.executors.checkpoint import WEIGHTS, unfuse
from seeahead.provenance import write_json
from seeahead.target import Target
from seeahead.train.data import LONGEST, Dataset, Objective
from seeahead.train.examples import Example, Sampler, mixed
from seeahead.train.gathered import Gathered, GatheredFeatures, can_gather, gathers
from seeahead.train.loop import Loss, Processes
from seeahead.train.recipe import StageRecipe
from seeahead.train.responses import loaded

NOISE = 0.2
"""Width of the uniform noise at 512 tokens; it shrinks with the length (EAGLE's code)."""


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


class MsdObjective(Objective):
    """The target's next features, over a mixture of text and images."""

    network: MsdNetwork

    @classmethod
    def begin(cls, dataset: Dataset, start: Path | None) -> MsdObjective:
        """`start`: a drafter to go on from; None: from scratch. Raises ModelError for one that does not fit."""
        data, family, sizes = dataset.gather(), dataset.family, dataset.recipe.network
        if start is not None:
            network, vocabulary = load_to_train(start, family.width, family.vocab_size)
        else:
            options = MsdOptions(sizes.decoupled, sizes.pictures, sizes.visual_tokens)
            torch.manual_seed(dataset.recipe.seed)
            network = MsdNetwork.beside(family.model, options, LONGEST)
            vocabulary = dataset.vocabulary(data)
        return cls(dataset, data, network, vocabulary)

    @cached_property
    def head(self) -> Tensor:
        """The rows of the target's head that are drafted from."""
        with torch.inference_mode(False):  # asked for while measuring, it serves training too
            return self.family.executor.head_rows(self.vocabulary.target_ids).clone()

    def parameters(self, stage: StageRecipe | None = None) -> dict[str, Tensor]:
        """By name; those of the target stay as they are."""
        return self.network.trained()

    def sampler(self, stage: StageRecipe) -> Sampler:
        limits = stage.limits
        num_batches = limits.steps * limits.accumulate * Processes().number
        return mixed(self.data["answers"], stage.mixture, num_batches, limits.batch_size, self.dataset.recipe.seed)

    def batch(self, examples: Sequence[Example], noise: torch.Generator | None = None) -> FeatureBatch:
        """`noise` is drawn from; None: there is none."""
        if self.gathered is not None:
            return self.gathered_batch(self.gathered.gather(examples), noise)
        read: list[Tensor] = []
        parts: list[tuple[Tensor, ...]] = []
        for row, example in enumerate(map(loaded, examples)):
            assert example.features is not None
            slots = self.slots(example, example.features, noise)
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

    @cached_property
    def gathered(self) -> GatheredFeatures | None:
        """Every example on the GPU, where there is one and the network reads images as can be gathered."""
        options, every = self.network.options, [*self.data["answers"], *self.watched]
        shape = options.visual, options.num_tokens
        if not gathers(self.family.device) or not can_gather(every, options.is_decoupled, *shape):
            return None
        with torch.inference_mode(False):  # asked for while measuring, it serves training too
            return GatheredFeatures(every, loaded, *shape, self.family.device)

    def gathered_batch(self, own: Gathered, noise: torch.Generator | None) -> FeatureBatch:
        """What `batch` makes of examples one by one, made of all at once."""
        embeddings = self.family.executor.embed(own.ids.clamp_min(0)).float().clone()
        if own.visual is not None:
            embeddings = embeddings.masked_scatter(own.is_visual[:, None], own.visual.float())
        features = own.features.float()
        if noise is not None:
            generator = torch.Generator(features.device).manual_seed(noise.initial_seed())
            drawn = torch.rand(features.shape, generator=generator, device=features.device) - 0.5
            features = features + drawn * (NOISE * 512 / own.lengths)[:, None]
        with torch.autocast(features.device.type, torch.bfloat16):
            fused = self.network.text(embeddings, features).float()
        slots = torch.where(own.is_visual[:, None], embeddings, fused) * own.weights[:, None]
        num_rows, num_columns = own.shape
        x = slots.new_zeros(num_rows * num_columns, slots.shape[-1]).index_add(0, own.places, slots)
        x = x.view(num_rows, num_columns, -1)
        tokens = self.table_there[own.tokens]
        return FeatureBatch(x, own.rows, own.columns, embeddings[own.taught], own.wanted, tokens, own.follows)

    @cached_property
    def table_there(self) -> Tensor:
        """`table` on the device."""
        return self.table.to(self.family.device)

    def slots(self, example: Example, features: Tensor, noise: torch.Generator | None) -> Slots:
        """Slot j: the embedding of token j + 1 and the feature of position j."""
        ids = torch.tensor(example.ids)
        is_visual = ids < 0
        embeddings = self.family.executor.embed(ids.clamp_min(0).to(self.family.device)).float().clone()
        if example.visual is not None:
            embeddings[is_visual] = example.visual.to(embeddings)
        features = features.to(embeddings)
        if noise is not None:
            drawn = torch.rand(features.shape, generator=noise) - 0.5
            features = features + (drawn * NOISE * 512 / len(ids)).to(features)
        return Slots(embeddings[1:], features, is_visual[1:].to(embeddings.device))

    def loss(self, examples: Sequence[Example], stage: StageRecipe, noise: torch.Generator) -> Loss:
        return self.loss_of(self.batch(examples, noise), stage.loss, stage.ahead)

    def loss_of(self, batch: FeatureBatch, weights: Mapping[str, float], ahead: int = 0) -> Loss:
        """`ahead`: so many times more, the taught slots read what was guessed for the slot before in the target's
        place, as they do when drafting (HASS, Zhang et al. 2024). The regression alone is told beside."""
        shares = self.logits(batch.wanted).softmax(-1)
        x, losses, values = batch.x, list[Tensor](), {"tokens": float(batch.x.shape[0] * batch.x.shape[1])}
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

    def hits(self, examples: Sequence[Example]) -> Tensor:
        """[taught tokens]: whether the drafter ranks them first, given the target's features."""
        batch = self.batch(examples)
        return self.logits(self.follow(batch.x, batch)).argmax(-1) == batch.tokens

    def save(self, folder: Path) -> None:
        save_network(self.network, self.vocabulary, Target.of(self.family), folder)


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

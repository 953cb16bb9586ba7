"""Stage 3: adapter, projector and tower learn to answer, end to end; dialogues about one image share its tokens."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerBase

from recipes.demo_model.dialogues import Dialogue, Example
from recipes.demo_model.vision import to_pixels
from seeahead.compat import set_attention
from seeahead.demo.model import ADAPTER_SCALE, IMAGE_TOKEN, NUM_IMAGE_TOKENS
from seeahead.train.loop import fit
from seeahead.train.stage import Stage

MOST_DIALOGUES = 4
MOST_TOKENS = 330
DrawOf = Callable[[int], Callable[[], Example]]
"""By a process's number."""
UNSEEN = torch.finfo(torch.bfloat16).min


class Adapter(nn.Module):
    """LoRA: a frozen linear layer plus scale * B A x."""

    def __init__(self, base: nn.Linear, rank: int) -> None:
        super().__init__()
        self.base = base
        self.lora_A = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.lora_B = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.base(x) + F.linear(F.linear(x, self.lora_A), self.lora_B) * ADAPTER_SCALE
        return result


def add_adapters(model: LlavaForConditionalGeneration, rank: int) -> dict[str, Tensor]:
    """Puts an adapter on every linear layer of the language model, in place; returns their parameters by merge name."""
    language = model.model.language_model
    language.requires_grad_(False)
    language.to(torch.bfloat16)
    model.lm_head.requires_grad_(False).to(torch.bfloat16)
    layers = [(name, module) for name, module in language.named_modules() if isinstance(module, nn.Linear)]
    parameters: dict[str, Tensor] = {}
    for name, module in layers:
        parent, _, leaf = name.rpartition(".")
        adapter = Adapter(module, rank)
        setattr(language.get_submodule(parent), leaf, adapter)
        parameters[f"{name}.lora_A"] = adapter.lora_A
        parameters[f"{name}.lora_B"] = adapter.lora_B
    return parameters


@dataclass(frozen=True)
class Pack:
    """One example as tokens: a shared opening with the images, then independent dialogues (blocks 1, 2, ...)."""

    ids: list[int]
    labels: list[int]
    positions: list[int]
    blocks: list[int]
    images: tuple[np.ndarray, ...]


class Packer:
    """Turns examples into packs."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.image_id = tokenizer.get_vocab()[IMAGE_TOKEN]

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False).input_ids
        return ids

    def pack(self, example: Example, rng: random.Random) -> Pack:
        ids = self.tokens("<|im_start|>user\n")
        for _ in example.images:
            ids += [self.image_id] * NUM_IMAGE_TOKENS + self.tokens("\n")
        opening = len(ids)
        labels, blocks, positions = [-100] * opening, [0] * opening, list(range(opening))
        # The first dialogue names what is shown; it is always asked, the others take turns.
        first, *others = example.dialogues
        chosen = [first, *rng.sample(others, min(MOST_DIALOGUES - 1, len(others)))]
        for block, dialogue in enumerate(chosen, start=1):
            block_ids, block_labels = self.dialogue(dialogue)
            if block > 1 and len(ids) + len(block_ids) > MOST_TOKENS:
                continue
            ids, labels = ids + block_ids, labels + block_labels
            blocks += [block] * len(block_ids)
            positions += range(opening, opening + len(block_ids))
        images = tuple(np.asarray(image) for image in example.images)
        return Pack(ids, labels, positions, blocks, images)

    def dialogue(self, dialogue: Dialogue) -> tuple[list[int], list[int]]:
        ids: list[int] = []
        labels: list[int] = []
        for number, turn in enumerate(dialogue):
            start = "<|im_start|>user\n" if number else ""
            question = self.tokens(f"{start}{turn.question}<|im_end|>\n<|im_start|>assistant\n")
            answer = self.tokens(turn.answer + "<|im_end|>" * turn.finished)
            ends = self.tokens("\n") * turn.finished
            ids += question + answer + ends
            labels += [-100] * len(question) + answer + [-100] * len(ends)
        return ids, labels


@dataclass(frozen=True)
class Batch:
    """Padded packs: ids, labels, positions, blocks (batch, length); the images of all, uint8 (number, 128, 128, 3)."""

    ids: Tensor
    labels: Tensor
    positions: Tensor
    blocks: Tensor
    images: Tensor | None

    def to(self, device: torch.device) -> Batch:
        ids, labels, positions, blocks = (
            value.to(device) for value in (self.ids, self.labels, self.positions, self.blocks)
        )
        return Batch(ids, labels, positions, blocks, None if self.images is None else self.images.to(device))

    @property
    def mask(self) -> Tensor:
        """(batch, 1, length, length), 0 where seen: the opening and a token's own block, up to itself."""
        blocks, length = self.blocks, self.blocks.shape[1]
        before = torch.ones(length, length, dtype=torch.bool, device=blocks.device).tril()
        same = (blocks[:, :, None] == blocks[:, None, :]) | (blocks[:, None, :] == 0)
        seen = torch.zeros(same.shape, dtype=torch.bfloat16, device=blocks.device)
        return seen.masked_fill(~(same & before), UNSEEN)[:, None]


def collate(packs: list[Pack]) -> Batch:
    length = max(len(pack.ids) for pack in packs)

    def padded(rows: list[list[int]], filler: int) -> Tensor:
        return torch.tensor([row + [filler] * (length - len(row)) for row in rows])

    images = [image for pack in packs for image in pack.images]
    return Batch(
        padded([pack.ids for pack in packs], 0),
        padded([pack.labels for pack in packs], -100),
        padded([pack.positions for pack in packs], 0),
        padded([pack.blocks for pack in packs], -1),
        torch.from_numpy(np.stack(images)) if images else None,
    )


def answer_loss(model: LlavaForConditionalGeneration, batch: Batch, image_id: int) -> Tensor:
    """Mean cross-entropy of the answer tokens; the head runs on them alone, which saves a fifth of the work."""
    with torch.autocast(batch.ids.device.type, torch.bfloat16):
        embeddings = model.get_input_embeddings()(batch.ids)
        if batch.images is not None:
            patches = model.model.vision_tower(to_pixels(batch.images)).last_hidden_state[:, 1:]
            said = model.model.multi_modal_projector(patches).to(embeddings.dtype)
            where = (batch.ids == image_id)[..., None].expand_as(embeddings)
            embeddings = embeddings.masked_scatter(where, said)
        hidden = model.model.language_model(
            inputs_embeds=embeddings, attention_mask=batch.mask, position_ids=batch.positions, use_cache=False
        ).last_hidden_state
        wanted = batch.labels[:, 1:]
        chosen = wanted != -100
        logits = model.lm_head(hidden[:, :-1][chosen])
    return F.cross_entropy(logits.float(), wanted[chosen])


def batches(draw: Callable[[], Example], packer: Packer, size: int, rng: random.Random) -> Iterator[Batch]:
    """Batches of packs of similar length: eight batches are drawn at once and sorted."""
    while True:
        packs = sorted((packer.pack(draw(), rng) for _ in range(8 * size)), key=lambda pack: len(pack.ids))
        groups = [packs[start : start + size] for start in range(0, len(packs), size)]
        rng.shuffle(groups)
        for group in groups:
            yield collate(group)


class Supply(IterableDataset[Batch]):
    """Batches for ever, by a process each where there are several: `draw_of` gives each its own examples."""

    def __init__(self, draw_of: DrawOf, packer: Packer, size: int, seed: int) -> None:
        self.draw_of, self.packer, self.size, self.seed = draw_of, packer, size, seed

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number = 0 if worker is None else worker.id
        return batches(self.draw_of(number), self.packer, self.size, random.Random(self.seed + number))


def supplied(supply: Supply, device: torch.device) -> Iterator[Batch]:
    """On the device. Beside a GPU every core but one makes batches."""
    workers = 0 if device.type == "cpu" else max(1, (os.cpu_count() or 1) - 1)
    context, held = ("fork", 4) if workers else (None, None)
    loader = DataLoader(
        supply, batch_size=None, num_workers=workers, prefetch_factor=held, multiprocessing_context=context
    )
    return (batch.to(device) for batch in loader)


def train_answers(
    model: LlavaForConditionalGeneration,
    parameters: dict[str, Tensor],
    supply: Supply,
    stage: Stage,
    watch: Callable[[], str],
    watch_minutes: float,
    vision_share: float,
) -> None:
    """`vision_share`: of the learning rate, what tower and projector get."""
    device = model.lm_head.weight.device
    if device.type == "cpu":  # a few hundred tokens: plain products are a sixth faster than SDPA, both ways together
        for part in (model.model.vision_tower, model.model.language_model):
            set_attention(part.config, "eager")
    supplied_batches = supplied(supply, device)

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        batch = next(supplied_batches)
        return answer_loss(model, batch, supply.packer.image_id), {"tokens": float(batch.ids.numel())}

    # Tower and projector already say words; a full rate would carry them off before the adapter listens.
    fit(stage, parameters, loss_of, watch, watch_minutes, lambda name: 1.0 if "lora_" in name else vision_share)

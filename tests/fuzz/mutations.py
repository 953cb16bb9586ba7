"""Damage to bytes, texts and structured values, decided by a seeded generator alone."""

import json
import math
from random import Random

NESTED_DEEP = 5000
HUGE_DIGITS = 5000
"""More than Python reads or writes of a whole number."""
HUGE = "9" * HUGE_DIGITS
ODD_VALUES = (
    None, True, False, 0, 1, -1, 2, 7, 255, 2**31, -(2**31), 2**63, 2**64, 10**30, 0.0, -0.0, 0.5, 1.5, 1e-39, 1e308,
    -1e308, math.inf, -math.inf, math.nan, "", " ", "0", "1", "-1", "nan", "true", "None", "\0", "\ud800", "é", "𝔘",
    "\u202e", "\x1b[31m", "a\nb", "\x85", "\u2028", "../..", "/", "a/b", "x" * 5000, [], {}, [None], [[]], {"": None},
    {"a": {}}, [0] * 300,
)  # fmt: skip
ODD_TEXTS = (
    *(value for value in ODD_VALUES if isinstance(value, str)),
    "\r\n", "\ufeff", "\ufffd", "🦓", "e\u0301", ":", "=", ",", "[", "]", "{", "}", '"', "'", "\\", "#", "<", ">", "&",
    "%00", "%", "1e999", "-0", "0x10", "1_000", HUGE, "[" * NESTED_DEEP, '{"a":' * NESTED_DEEP, "<|im_end|>", "<image>",
)  # fmt: skip
EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def deep(levels):
    """A list in a list in a list."""
    value = []
    for _ in range(levels):
        value = [value]
    return value


class Mutator:
    """`random` decides everything, so that an input can be made again."""

    def __init__(self, random: Random):
        self.random = random

    def chance(self, share):
        return self.random.random() < share

    def pick(self, values):
        return values[self.random.randrange(len(values))]

    def data(self, seeds):
        """One of `seeds` (bytes), damaged in one to four places; now and then as it is."""
        data = bytearray(self.pick(seeds))
        for _ in range(self._number()):
            self._damage(data, seeds)
        return bytes(data)

    def text(self, seeds):
        """The same for texts."""
        letters = list(self.pick(seeds))
        for _ in range(self._number()):
            self._damage(letters, seeds)
        return "".join(letters)

    def value(self, seeds):
        """The same for values as JSON has them, with a few that it has not."""
        value = copied(self.pick(seeds))
        for _ in range(self._number()):
            value = self._damaged(value, seeds)
        return value

    def json(self, seeds):
        """A value of `seeds` as JSON, damaged as a value, as a text, or both; as bytes."""
        try:
            text = json.dumps(self.value(seeds), ensure_ascii=self.chance(0.5))
        except (TypeError, ValueError, RecursionError):  # two keys that cannot be sorted, or too deep to write
            text = json.dumps(self.pick(seeds))
        if self.chance(0.1):
            text = text.replace("{", f'{{"{self._key_in(text)}": 1, ', 1)
        if self.chance(0.15):
            text = self.text([text])
        data = text.encode("utf-8", "surrogatepass")
        return self.data([data]) if self.chance(0.1) else data

    def odd(self):
        """A value that fits nowhere."""
        if self.chance(0.02):
            return deep(NESTED_DEEP)
        if self.chance(0.1):
            return self.pick((1, -1)) * (10 ** self.pick((400, HUGE_DIGITS)) - 1)
        return copied(self.pick(ODD_VALUES))

    def _number(self):
        return 0 if self.chance(0.03) else 1 + min(3, int(self.random.expovariate(1)))

    def _key_in(self, text):
        """A name that stands in `text` already, so that it stands there twice."""
        names = [part for part in text.split('"')[1::2] if part.isidentifier()]
        return self.pick(names) if names else "a"

    def _span(self, letters):
        start = self.random.randrange(len(letters) + 1)
        return start, min(len(letters), start + int(self.random.expovariate(1 / 12)) + 1)

    def _damage(self, letters, seeds):
        """Change `letters` (a bytearray, or a list of letters) in place."""
        start, end = self._span(letters)
        is_text = isinstance(letters, list)
        kind = self.random.randrange(8)
        if kind == 0:
            del letters[start:]
        elif kind == 1:
            del letters[start:end]
        elif kind == 2:
            letters[start:start] = letters[start:end] * self.pick((1, 1, 2, 50))
        elif kind == 3:
            other = self.pick(seeds)
            place = self.random.randrange(len(other) + 1)
            letters[start:] = other[place:] if self.chance(0.5) else other[place : place + end - start]
        elif kind == 4:
            letters[start:end] = self._odd_letters(is_text)
        elif kind == 5:
            letters[start:start] = self._odd_letters(is_text)
        else:
            for place in range(start, min(end, start + 2)):
                letters[place] = chr(self.random.randrange(1, 256)) if is_text else self.random.randrange(256)

    def _odd_letters(self, is_text):
        if is_text:
            return list(self.pick(ODD_TEXTS))
        width, order = self.pick((1, 2, 4, 8)), self.pick(("big", "little"))
        return (self.pick(EXTREMES) % 256**width).to_bytes(width, order)

    def _damaged(self, value, seeds):
        """`value` with one of its parts changed; in place, where it is not the whole that changes."""
        holders = list(_holders(value))
        if not holders or self.chance(0.03):
            return self.odd()
        holder, key = self.pick(holders)
        old = holder[key]
        kind = self.random.randrange(8)
        if kind <= 2:
            holder[key] = self.odd()
        elif kind == 3:
            del holder[key]
        elif kind == 4:
            holder[key] = self.pick(([old], {"a": old}, {"type": old}, _as_text(old), [old, old], None))
        elif kind == 5 and isinstance(old, int | float) and not isinstance(old, bool):
            holder[key] = self.pick((-old, old + 1, old - 1, old * 1000, float(old) if abs(old) < 1e300 else 0.5))
        elif kind == 5 and isinstance(old, str):
            holder[key] = self.text([old or "x"])
        elif kind == 6:
            others = list(_holders(self.pick(seeds)))
            holder[key] = copied(self._from(others)) if others else None
        elif isinstance(holder, dict):
            holder[self.pick(("", "a", "type", str(key) + "s", str(key).upper(), "\ud800", "\x1b[0m", "x" * 300))] = old
        else:
            holder.insert(self.random.randrange(len(holder) + 1), copied(old))
        return value

    def _from(self, holders):
        holder, key = self.pick(holders)
        return holder[key]


def copied(value):
    """A copy of lists and tables; whatever else there is in them is shared."""
    if isinstance(value, dict):
        return {key: copied(inner) for key, inner in value.items()}
    # What is nested too deep for a copy is never changed.
    return [copied(inner) for inner in value] if isinstance(value, list) and not is_deep(value) else value


def is_deep(value):
    """Whether a list is nested too deep to be looked at by recursion."""
    levels = 0
    while isinstance(value, list | tuple) and value and levels < 100:
        value, levels = value[0], levels + 1
    return levels == 100


def written(value):
    """A value as Python writes it; of lists that are nested too deep, how they are made."""
    if is_deep(value):
        return f"deep({NESTED_DEEP})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key!r}: {written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(written, value)) + "]"
    return repr(value) if not _is_huge(value) else f"{'-' * (value < 0)}(10**{math.log10(abs(value)):.0f} - 1)"


def _as_text(value):
    return str(value) if isinstance(value, int | float | bool | str) and not _is_huge(value) else "[]"


def _is_huge(value):
    return isinstance(value, int) and abs(value) > 10**100


def _holders(value, levels=12):
    """(list or table, index or key) of everything inside `value`."""
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(entries):
        yield value, key
        if levels:
            yield from _holders(inner, levels - 1)

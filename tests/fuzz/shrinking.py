"""Makes an input smaller for as long as it fails in the same place."""

import time

from tests.fuzz.mutations import is_deep

MOST_SECONDS = 20


def shrunk(value, still_fails, seconds=MOST_SECONDS):
    """The smallest value found in `seconds` of which `still_fails` holds."""
    deadline = time.monotonic() + seconds
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for candidate in smaller(value):
            if time.monotonic() > deadline:
                return value
            if size_of(candidate) < size_of(value) and still_fails(candidate):
                value, is_smaller = candidate, True
                break
    return value


def smaller(value, levels=30):
    """A part of `value` alone, or what is left without some of its parts."""
    if not levels:
        return
    if isinstance(value, dict):
        yield from value.values()
        for key in value:
            yield {other: inner for other, inner in value.items() if other != key}
        for key, inner in value.items():
            yield from ({**value, key: less} for less in smaller(inner, levels - 1))
    elif isinstance(value, list | tuple):
        kind = type(value)
        yield from value[:100]
        yield from (kind((*value[:place], *value[place + 1 :])) for place in range(min(len(value), 100)))
        for place, inner in enumerate(value[:100]):
            yield from (kind((*value[:place], less, *value[place + 1 :])) for less in smaller(inner, levels - 1))
    elif isinstance(value, bytes | str):
        size = len(value) // 2
        while size >= max(1, len(value) // 64):
            yield from (value[:start] + value[start + size :] for start in range(0, len(value), size))
            size //= 2


def size_of(value):
    """Bytes, letters and parts."""
    if isinstance(value, dict):
        return sum(1 + size_of(key) + size_of(inner) for key, inner in value.items()) + 1
    if isinstance(value, list | tuple):
        return sum(1 + size_of(inner) for inner in value[:1000]) + 1 if not is_deep(value) else 10_000
    return len(value) if isinstance(value, bytes | str) else 1

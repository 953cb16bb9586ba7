"""Data made in shards by several processes: each shard has random numbers of its own, so that it is the same whoever
makes it."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

T = TypeVar("T")
_make: Callable[[int], Any] | None = None
"""Of a process that makes shards."""


def in_processes(make: Callable[[int], list[T]], num_shards: int) -> Iterator[list[T]]:
    """`make` of every shard's number, in order, by a process per core. One shard alone is made right here."""
    if num_shards == 1:
        yield make(0)
        return
    # A fork knows what `make` needs without being sent it.
    context = multiprocessing.get_context("fork")
    with context.Pool(min(num_shards, os.cpu_count() or 1), _begin, (make,)) as pool:
        yield from pool.imap(_made, range(num_shards))


def _begin(make: Callable[[int], Any]) -> None:
    global _make
    torch.set_num_threads(1)
    _make = make


def _made(number: int) -> Any:
    assert _make is not None
    return _make(number)


def part(count: int, number: int, num_shards: int) -> int:
    """How many of `count` the shard makes."""
    return count // num_shards + (number < count % num_shards)

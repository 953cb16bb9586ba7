"""What a step of the target takes on this machine: measured once, quickly, and corrected by every step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache, lru_cache
from itertools import chain, count, islice
from threading import Lock, local

import numpy as np
import numpy.typing as npt
import torch

from seeahead.drafters.costs import apart, passes_between, prompted, settled_seconds, time_passes
from seeahead.executor import Executor, Limits, Widths

MARGIN = 1.1
"""Over passes that requests share drafts have to promise so many times the tokens a second of none: what is expected of
them is less sure than what a plain step takes."""
_SIZES = (1, 2, 4, 8, 16, 32)
_SHORT_PROMPT, _PROMPT, _REPEATS = 8, 64, 2
_SLOW_SECONDS, _SLOPE = 0.2, 0.07
"""Of a single pass, from which on no others are measured: what each further token is taken to cost of it."""
_NUM_SIZES = 9
"""Powers of two whose costs beside a pass over one row are learned: 2 to 512."""
_NOISE = 0.1**2
"""Variance of a step's logarithm, what is known of the machine and of sizes set aside."""
_NOW, _SIZE = 1.0, 0.25**2
"""Variances at first, of logarithms: of how fast the machine is, and of how much more a size costs than half of it;
measuring may have been disturbed."""
_NOW_DRIFT, _SIZE_DRIFT = 0.03**2, 0.003**2
"""What is added to them at each step."""
_CONTEXT, _MOST_CONTEXTS = 1024, 8
"""Tokens, and as many times two, up to which costs are learned together."""
_FADES = 1 - _SIZE_DRIFT / _SIZE
"""Of what is known of sizes, at each step, so that none is ever in more doubt than at first."""
_LEAST, _OUTLIER = 1e-3, 2.0
"""Of what was expected, that a step takes at least; and standard deviations beyond which one was held up, or the
machine has another speed: the next one tells."""


class Correction:
    """How far steps of requests of one load are from what was measured: in logarithms, of all passes alike (how slow
    the machine is just now), and of each power of two of rows beside a single one. A Kalman filter (Kalman 1960): what
    sizes cost beside one another is known better than how fast the machine is at a time, and each step says of both as
    much as they are in doubt."""

    def __init__(self, known: Correction | None = None, *, is_sure: bool = True) -> None:
        """`known`: of another load, of which sizes cost as much; where that is not `is_sure`, it is where to begin."""
        sizes = np.arange(1 + _NUM_SIZES)
        self._drift: npt.NDArray[np.float64] = _SIZE_DRIFT * np.minimum.outer(sizes, sizes)
        self._mean: npt.NDArray[np.float64] = np.zeros(1 + _NUM_SIZES)
        self._variance: npt.NDArray[np.float64] = self._drift * (_SIZE / _SIZE_DRIFT)
        if known is not None:
            self._mean = known._mean.copy()
            self._variance = known._variance.copy() if is_sure else self._variance
        self._variance[0], self._variance[:, 0] = 0.0, 0.0
        self._variance[0, 0] = _NOW
        self._drift[0, 0] = _NOW_DRIFT
        fades = np.sqrt([1.0, *_NUM_SIZES * [_FADES]])
        self._fades = np.outer(fades, fades)
        self.num_tried = Counter[int]()
        """Steps by their size (exponents of two)."""

    def factors(self, rows: int) -> tuple[float, float]:
        """Of all passes, and of those over so many rows beside single ones."""
        return math.exp(self._mean[0]), math.exp(self._parts(rows) @ self._mean)

    def learn(self, rows: int, share: float, ratio: float) -> None:
        """A step over so many rows took `ratio` of what was expected, of which the pass itself is a `share`."""
        parts = self._parts(rows) * share
        parts[0] = 1.0
        seen = self._variance @ parts
        variance = float(parts @ seen) + _NOISE
        error, most = math.log(ratio), _OUTLIER * math.sqrt(variance)
        self._mean += seen * (max(-most, min(error, most)) / variance)
        self._variance = (self._variance - np.outer(seen, seen) / variance) * self._fades + self._drift
        self._variance[0, 0] += max(abs(error) - most, 0.0) ** 2
        self.num_tried[_exponent(rows)] += 1

    @staticmethod
    @cache
    def _parts(rows: int) -> npt.NDArray[np.float64]:
        """Between powers of two a straight line: a row more never costs much at once."""
        parts, low = np.zeros(1 + _NUM_SIZES), min(rows.bit_length() - 1, _NUM_SIZES - 1)
        above = min(rows / 2**low - 1.0, 1.0)
        parts[low : low + 2] = 1.0 - above, above
        parts[0] = 0.0
        return parts


def _exponent(rows: int) -> int:
    return (rows - 1).bit_length()


class _Place(local):
    """In each thread its own: another may run a step of other requests meanwhile."""

    context = 0


class PassTimes:
    """Seconds of steps of the target, all but drafting: as measured when it is made, and corrected by every step."""

    def __init__(self, executor: Executor) -> None:
        self._measured = _measured(executor)
        self._change = _change_seconds(executor, self._measured[0])
        self._limits, self._widths = executor.limits, Widths(executor.limits)
        self._corrections: dict[tuple[int, int], Correction] = {}
        """By context and load; see `_correction`."""
        self._place = _Place()
        self._learning = Lock()  # two half steps of two threads would leave a variance below zero
        self._said: dict[tuple[int, int, int, bool], float] = {}
        self._plain: dict[tuple[int, int], float] = {}
        """Since the last step: they are asked for many times in each."""

    def reach(self, executor: Executor, sizes: Sequence[int]) -> None:
        """Measure larger passes as well, each once: they take long, and steps will tell."""
        sizes = [size for size in sizes if size > len(self._measured)]
        if sizes and self._measured[0] <= _SLOW_SECONDS:
            known = {len(self._measured): self._measured[-1]}
            more = passes_between(known | _timed(executor, sizes, 1), executor)[1:]
            self._measured += tuple(max(self._measured[-1], seconds) for seconds in more)
            self._forget()

    def at(self, length: int) -> None:
        """What follows is about passes after so many tokens: attention makes rows dearer beside one another."""
        self._place.context = min((length // _CONTEXT).bit_length(), _MOST_CONTEXTS)

    def begin(self) -> None:
        """A prompt was read, so the next step is of another size than the pass before it."""
        self._widths.forget()

    def seconds(self, rows: int, num_requests: int = 1) -> float:
        """Of a step over so many rows of so many requests, after those that were learned from."""
        load, width = num_requests.bit_length(), self._limits.filled(rows)
        return self._seconds(load, width, changes=self._widths.changes(width))

    def plain(self, num_requests: int = 1) -> float:
        """Seconds of a plain step after one like it: how fast the machine is just now."""
        key = self._place.context, num_requests
        found = self._plain.get(key)  # another thread may forget all meanwhile
        if found is None:
            load, width = num_requests.bit_length(), self._limits.filled(num_requests)
            found = self._plain[key] = self._seconds(load, width, changes=False)
        return found

    def by_nodes(self, num_requests: int, most: int) -> list[float]:
        """Seconds of a step by how many nodes each of its requests has: none, 1, … `most`."""
        load, found = num_requests.bit_length(), dict[int, float]()
        widths = _widths(self._limits, num_requests, most)
        for width in dict.fromkeys(widths):
            found[width] = self._seconds(load, width, changes=self._widths.changes(width))
        return [found[width] for width in widths]

    def has_tried(self, rows: int, num_requests: int) -> bool:
        """Whether steps of about so many rows at such a load have shown what they take; a single one may have been held
        up."""
        return self._correction(num_requests.bit_length()).num_tried[_exponent(self._limits.filled(rows))] > 1

    def learn(self, rows: int, num_requests: int, seconds: float) -> None:
        """From a step that took `seconds`."""
        with self._learning:
            load, (width, changes) = num_requests.bit_length(), self._widths.width(rows)
            expected = self._seconds(load, width, changes=changes)
            share = self._seconds(load, width, changes=False) / expected
            ratio = max(seconds / expected, _LEAST)  # a coarse clock may have seen nothing pass
            self._correction(load).learn(width, share, ratio)
            self._forget()

    def _forget(self) -> None:
        self._said.clear()
        self._plain.clear()

    def _correction(self, load: int) -> Correction:
        """Begins with what is known of single requests after as much, else of as many or single ones after less."""
        here = self._place.context
        key, single = (here, load), (here, 1)
        if key not in self._corrections:
            less = [(context, own) for own in (load, 1) for context in range(here - 1, -1, -1)]
            known = next((one for one in (single, *less) if one in self._corrections), single)
            self._corrections[key] = Correction(self._corrections.get(known), is_sure=known == single)
        return self._corrections[key]

    def _seconds(self, load: int, width: int, *, changes: bool) -> float:
        """Of a pass as wide as that, and of the change to it."""
        key = self._place.context, load, width, changes
        found = self._said.get(key)
        if found is None:
            now, of_size = self._correction(load).factors(width)
            found = self._said[key] = (self._of_width(width) * of_size + changes * self._change) * now
        return found

    def _of_width(self, rows: int) -> float:
        known, most = self._measured, self._limits.max_rows
        if most is not None and rows > most:  # as many passes as they ask for
            whole, rest = divmod(rows, most)
            return whole * self._of_width(most) + (self._of_width(rest) if rest else 0.0)
        if rows <= len(known):
            return known[rows - 1]
        slope = (known[-1] - known[0]) / max(len(known) - 1, 1)
        return known[-1] + (rows - len(known)) * slope


@lru_cache(1024)
def _widths(limits: Limits, num_requests: int, most: int) -> tuple[int, ...]:
    """How many rows a pass has where each request has none, 1, … `most` nodes."""
    return tuple(limits.filled(num_requests * (1 + number)) for number in range(most + 1))


def mixed(known: float | None, new: float, memory: float) -> float:
    return new if known is None else memory * known + (1 - memory) * new


@torch.inference_mode()
def _measured(executor: Executor) -> tuple[float, ...]:
    """Seconds of passes over 1, 2, 3, … tokens, and straight lines between. Of a model whose passes are slow one pass
    is measured, and the others are guessed from it."""
    session, inputs, _ = prompted(executor, range(1000), _SHORT_PROMPT, [1])
    # The first pass of a GPU's executor captures, and may compile.
    number = 2 if executor.limits.device.type == "cuda" else 1
    once = min(one[1] for one in time_passes(session, inputs, [1], number))
    session.close()
    if once > _SLOW_SECONDS:
        return tuple(once * (1 + _SLOPE * further) for further in range(max(_SIZES)))
    return passes_between(_timed(executor, _SIZES), executor)


@torch.inference_mode()
def _change_seconds(executor: Executor, single: float) -> float:
    """What a pass takes longer after one of another size, where executors fill passes up; beside slow ones nothing.
    `single`: seconds of one over one token."""
    step, fixed = executor.limits.row_step, executor.limits.fixed_rows
    if step == 1 or single > _SLOW_SECONDS:
        return 0.0
    others = (size for size in chain((1,), count(step, step)) if size > max(fixed, default=0))
    session, inputs, sizes = prompted(executor, range(1000), _SHORT_PROMPT, list(islice(others, 2)))
    tokens = inputs.token_ids[0].tolist() * max(sizes, default=0)
    found = [settled_seconds(session, tokens[:size]) for _ in range(_REPEATS) for size in sizes]
    session.close()
    return max(0.0, min((first - settled for first, settled in found), default=0.0))


@torch.inference_mode()
def _timed(executor: Executor, sizes: Sequence[int], num_rounds: int = _REPEATS) -> dict[int, float]:
    """Of the passes that fit, the best of so many each."""
    most = executor.limits.max_rows
    sizes = apart(executor, [size for size in sizes if most is None or size <= most])
    session, inputs, fitting = prompted(executor, range(1000), _PROMPT, sizes)
    found = list(time_passes(session, inputs, fitting, num_rounds))
    session.close()
    return {size: min(seconds[size] for seconds in found) for size in fitting}

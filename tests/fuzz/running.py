"""Runs a parser on mutated inputs: nothing but values and errors of ours, no hang, no growing memory."""

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
import unicodedata
import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from seeahead.errors import SeeaheadError
from tests.fuzz.mutations import Mutator
from tests.fuzz.shrinking import shrunk, size_of

SECONDS_PER_INPUT = 10
LONGEST_MESSAGE = 1000
MOST_GROWTH = 100 << 20
SHARE_TO_WARM_UP = 0.25
NOT_IN_A_LINE = {"Cc", "Cs", "Zl", "Zp"}
"""Unicode's categories of control characters, lone surrogates, ends of lines and of paragraphs."""


@dataclass(frozen=True)
class Parser:
    """`make` makes an input (bytes, text, lists and tables), `read` reads it; it may use a folder that is emptied."""

    name: str
    make: Callable[[Mutator], Any]
    read: Callable[[Any, Path], Any]


@dataclass
class Failure:
    """What must not come out of a parser, by the place it came from; the smallest input found for it."""

    place: str
    number: int
    story: str
    value: Any
    count: int = 1


@dataclass
class Result:
    """Of one parser."""

    parser: str
    num_values: int = 0
    num_refused: int = 0
    num_bytes_grown: int = 0
    seconds: float = 0.0
    failures: dict[str, Failure] = field(default_factory=dict)

    @property
    def grows(self):
        return self.num_bytes_grown > MOST_GROWTH


class Hang(BaseException):
    """Not an Exception, so that no parser catches it."""


def fuzz(parser, folder, *, seed=0, first=0, count=100, progress=lambda done: None, shrinks=True):
    """`count` inputs, from number `first` on. `progress` is told how many are done."""
    result, started = Result(parser.name), time.monotonic()
    warm = None
    for number in range(first, first + count):
        if number - first >= SHARE_TO_WARM_UP * count and warm is None:
            warm = resident_bytes()
        value = parser.make(mutator(parser, seed, number))
        found = failure_of(parser, value, folder, result)
        if found is not None:
            _keep(result, Failure(*found[:1], number, found[1], value))
        progress(number - first + 1)
    result.num_bytes_grown = max(0, resident_bytes() - (warm or 0))
    if shrinks:
        for failure in result.failures.values():
            _shrink(parser, failure, folder)
    result.seconds = time.monotonic() - started
    return result


def mutator(parser, seed, number):
    """Every input has random numbers of its own, so that one alone can be made again."""
    return Mutator(Random(f"{seed} {parser.name} {number}"))


def _keep(result, failure):
    known = result.failures.setdefault(failure.place, failure)
    if known is not failure:
        known.count += 1
        if size_of(failure.value) < size_of(known.value):
            known.number, known.story, known.value = failure.number, failure.story, failure.value


def _shrink(parser, failure, folder):
    def still_fails(value):
        found = failure_of(parser, value, folder)
        return found is not None and found[0] == failure.place

    if "Hang" not in failure.place:
        failure.value = shrunk(failure.value, still_fails)


def failure_of(parser, value, folder, result=None):
    """(place, what happened) where reading `value` ends in anything but a value or a line of error."""
    empty(folder)
    try:
        with watched(), warnings.catch_warnings():
            warnings.simplefilter("error")
            for theirs in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
                warnings.simplefilter("ignore", theirs)
            parser.read(value, folder)
    except SeeaheadError as error:
        if wrong := wrong_message(str(error)):
            return f"{place_of(error)} {wrong}", f"{type(error).__name__} {wrong}: {str(error)[:3000]!r}"
        if result is not None:
            result.num_refused += 1
        return None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 whatever it is, it must not have come out
        return place_of(error), "".join(traceback.format_exception(error, limit=-8))[-4000:]
    if result is not None:
        result.num_values += 1
    return None


def wrong_message(message):
    """Why `message` is not one that can be shown on one line; empty where it is."""
    if not message.strip():
        return "says nothing"
    if len(message) > LONGEST_MESSAGE:
        return "has a message that is too long"
    if any(unicodedata.category(letter) in NOT_IN_A_LINE for letter in message):
        return "has a message of more than one line, or with control characters"
    return ""


def place_of(error):
    """The type of an error, and the last line of ours that it went through."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "seeahead" in Path(frame.filename).parts] or frames
    if not ours:
        return type(error).__name__
    where = Path(ours[-1].filename)
    return f"{type(error).__name__} {where.parent.name}/{where.name}:{ours[-1].lineno} {ours[-1].name}"


@contextmanager
def watched(seconds=SECONDS_PER_INPUT):
    """Raises Hang after `seconds`; ends the process with a traceback if even that is not heard."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise Hang(f"still busy after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    try:
        # Long after: a machine that stalls must not end what is heard a moment later.
        faulthandler.dump_traceback_later(60 + 6 * seconds, exit=True, file=sys.__stderr__)
        signal.setitimer(signal.ITIMER_REAL, seconds)
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        faulthandler.cancel_dump_traceback_later()


def empty(folder):
    """Leave nothing in `folder`."""
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def resident_bytes():
    """Memory of this process; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")

"""What is done to this process before a verb runs: streams that take any text, libraries that keep quiet.

Imports nothing heavy: help has to come in a blink.
"""

from __future__ import annotations

import codecs
import io
import json
import logging
import os
import sys
import traceback
import unicodedata
import warnings
from contextlib import suppress
from enum import Enum
from pathlib import Path

from seeahead.errors import InputError

_QUIET = {
    "TRANSFORMERS_VERBOSITY": "critical",
    "HF_HUB_VERBOSITY": "critical",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
}
"""Read by the libraries when they are imported."""
_TURNS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Kinds of signs that set the direction of what follows."""
_THREADS = {"GOMP_SPINCOUNT": "20000"}
"""Turns that a thread of torch waits busily after a product. By default these are as long as a pass of OpenVINO, whose
threads then share the processor with it; between products of torch pass fewer than so many."""


def prepare() -> None:
    """Let stdout and stderr take every character. Raises InputError where there is no stdout to write to.

    A console that cannot show a character gets its escape, such as \\u03c4: an answer is never lost to an encoding.
    """
    # What is closed would be given to the next file that is opened, and written into by whoever prints.
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if sys.stderr is None:  # else print() takes stdout for it
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  (as long as the process)
    if sys.stdout is None:
        raise InputError("standard output is closed, so no result can be written; leave it open, or send it to a file")


class Talk(Enum):
    """How much is told on stderr beside errors and what was asked for."""

    QUIET, NORMAL, VERBOSE = range(3)


_talk = Talk.NORMAL


def talk() -> Talk:
    """What the command line that is run asked for."""
    return _talk


def set_talk(chosen: Talk) -> None:
    global _talk
    _talk = chosen


def set_up_libraries(*, is_whole_process: bool) -> None:
    """No warnings, log lines and bars of other packages among ours, and threads that wait less busily; what the user
    asks for in the environment wins.

    Only where the process is ours are Python's own warnings turned off, and logs without a handler.
    """
    for name, value in (*_QUIET.items(), *_THREADS.items()):
        os.environ.setdefault(name, value)
    if (loaded := sys.modules.get("transformers")) is not None:  # it has read them already
        loaded.utils.logging.disable_progress_bar()
    # Pillow warns of damage in images besides raising; our one line says it already.
    warnings.filterwarnings("ignore", module="PIL")
    if is_whole_process and not sys.warnoptions:
        warnings.simplefilter("ignore")
        logging.getLogger().addHandler(logging.NullHandler())  # else Python prints them to stderr


class _Notes(logging.Handler):
    """Log lines of ours among the notes, with what was raised where they tell of that."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.WARNING or _talk is Talk.VERBOSE:
            is_error = record.levelno >= logging.ERROR
            note(record.getMessage(), is_asked=is_error)
            if record.exc_info:
                say("".join(traceback.format_exception(*record.exc_info)).rstrip(), is_asked=is_error)


def set_up_logs() -> None:
    """What our own code logs is told, where the process is ours."""
    own = logging.getLogger("seeahead")
    if not any(isinstance(handler, _Notes) for handler in own.handlers):
        own.addHandler(_Notes())
        own.setLevel(logging.INFO)


def say(line: str, *, is_asked: bool = False) -> None:
    """On stderr. What it does not take is lost and nothing else is: an answer does not fail for a note about it.

    `is_asked`: an error, or what an option asks for, which `-q` does not take away."""
    if _talk is Talk.QUIET and not is_asked:
        return
    with suppress(OSError):
        print(printable(line), file=sys.stderr, flush=True)


def note(message: str, *, is_asked: bool = False) -> None:
    """On one line of stderr, with our name."""
    say(f"seeahead: {' '.join(message.split())}", is_asked=is_asked)


def give_up_stdout() -> None:
    """Where stdout takes no more, the flush when Python ends must not complain again."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_json(value: object) -> None:
    """One line of JSON that any JSON reader takes, whatever the encoding of the stream."""
    is_unicode = codecs.lookup(getattr(sys.stdout, "encoding", None) or "ascii").name.startswith("utf")
    print(json.dumps(value, ensure_ascii=not is_unicode, allow_nan=False))


def printable(text: str) -> str:
    """`text` without what steers a terminal or turns the direction of its lines; what a model or a server says must
    not. Joiners and spaces of other scripts stay, and signs that this Python does not know yet."""
    return "".join("\ufffd" if _steers(sign) else sign for sign in text)


def _steers(sign: str) -> bool:
    if sign.isascii():
        return not (sign.isprintable() or sign in "\n\t")
    return unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") or unicodedata.bidirectional(sign) in _TURNS

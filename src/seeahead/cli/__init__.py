"""The `seeahead` command: one module per verb, imported only when that verb is called.

A verb module has `add_arguments(parser)` and `run(args) -> exit code`. Here live the manners all verbs share:
help in a blink, one line and exit code 2 for wrong input, no traceback for Ctrl-C or a closed pipe.
"""

import argparse
import difflib
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from seeahead import __version__
from seeahead.errors import InputError, SeeaheadError

VERBS = {
    "demo": "pictures in, answers out: the embedded model, plain beside drafted",
    "generate": "answer one prompt, with or without pictures",
    "bench": "measure drafters and peers side by side, and write a report",
    "report": "render the report of a benchmark run again from its record",
    "train": "rebuild the shipped weights from packages alone",
    "info": "what is supported here: devices, models, drafters, the demo model",
}
"""Verb -> one line of help. The verb's module has the verb's name."""

_EXTRAS = {"gguf": "demo", "resvg_py": "train"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 well, 2 wrong input, 130 interrupted."""
    words = list(sys.argv[1:] if argv is None else argv)
    # transformers reads it when it is imported; a user's own setting wins.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    # Pillow warns of damage in pictures besides raising; our one line says it already.
    warnings.filterwarnings("ignore", module="PIL")
    try:
        code = _dispatch(words)
        sys.stdout.flush()  # a reader who left shows here and not at interpreter exit
    except SeeaheadError as error:
        return _refuse(str(error))
    except ModuleNotFoundError as error:
        if error.name not in _EXTRAS:
            raise
        return _refuse(f"the package {error.name} is not installed; pip install 'seeahead[{_EXTRAS[error.name]}]'")
    except KeyboardInterrupt:
        print("seeahead: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # Nothing can be written any more; the flush at interpreter exit must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    verb, *rest = words
    if verb in ("-V", "--version"):
        print(f"seeahead {__version__}")
        return 0
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise InputError(f"unknown command '{verb}'; {hint}commands are {', '.join(VERBS)}; see seeahead --help")
    module = import_module(f"seeahead.cli.{verb}")
    parser = _Parser(prog=f"seeahead {verb}", description=module.__doc__ and module.__doc__.splitlines()[0])
    module.add_arguments(parser)
    try:
        arguments = parser.parse_args(rest)
    except SystemExit as done:  # --help has printed and wants to leave
        return int(done.code or 0)
    return int(module.run(arguments))


class _Parser(argparse.ArgumentParser):
    """argparse prints usage and error on two lines and leaves the process; ours is one line, through `main`."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _overview() -> str:
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items()]
    return "\n".join(
        [
            "usage: seeahead <command> [options]",
            "",
            "Vision-language models answer faster with exactly the answers they would have given.",
            "",
            *lines,
            "",
            "seeahead <command> --help explains a command; seeahead --version prints the version.",
        ]
    )


def _refuse(message: str) -> int:
    print(f"seeahead: error: {' '.join(message.split())}", file=sys.stderr)
    return 2

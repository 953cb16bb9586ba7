"""The `seeahead` command: one module per verb, imported only when that verb is called.

A verb module has `add_arguments(parser)` and `run(args) -> exit code`. Here live the manners all verbs share:
help in a blink, one line and exit code 2 for wrong input or a machine that refuses, no traceback for Ctrl-C or a closed
pipe.
"""

import argparse
import difflib
import os
import re
import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from seeahead import __version__
from seeahead.cache_folder import kept_in
from seeahead.cli import streams
from seeahead.errors import InputError, SeeaheadError

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

VERBS = {
    "demo": "images in, answers out: the embedded model, plain beside drafted",
    "generate": "answer one prompt, with or without images",
    "bench": "measure drafters and peers side by side, and write a report",
    "report": "render the report of a benchmark run again from its record",
    "serve": "an OpenAI-compatible server, with images, for many clients at once",
    "train": "train a drafter for a model of yours",
    "export": "write a trained drafter in a form that other engines load",
    "check": "prove on the model itself that drafts change no answer",
    "info": "what is supported here: devices, models, drafters, the demo model",
    "completion": "let the shell complete commands and options: bash, zsh or fish",
}
"""Verb -> one line of help. The verb's module has the verb's name."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 well, 2 wrong input, 130 interrupted, 141 nobody reads on."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        streams.prepare()
        streams.set_talk(streams.Talk.NORMAL)
        if argv is None:
            streams.set_up_logs()
        if not {"-v", "--verbose", "--debug"} & set(words):
            streams.set_up_libraries(is_whole_process=argv is None)
        code = _dispatch(words)
        sys.stdout.flush()  # a reader who left, or a full disk, shows here and not at interpreter exit
    except SeeaheadError as error:
        return _refuse(str(error), words)
    except ModuleNotFoundError as error:
        if (message := _missing_package(error.name or "")) is None:
            raise
        return _refuse(message, words)
    except KeyboardInterrupt:
        streams.note("interrupted")
        return 130
    except BrokenPipeError:
        streams.give_up_stdout()
        return 141
    except (MemoryError, RuntimeError) as error:
        if not _is_of_memory(error):
            raise
        return _refuse("no memory is left for this; take a smaller model, fewer or smaller images, or --dtype", words)
    except OSError as error:
        if error.errno is None:  # raised by a library for something else
            raise
        return _refuse(_of_the_system(error), words)
    return code


def _is_of_memory(error: Exception) -> bool:
    """Whether it is of what Python or torch found no memory for; torch is not imported to know it."""
    return (
        isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or "allocate memory" in str(error)
    )


def _dispatch(words: list[str]) -> int:
    if words[:1] == ["help"] and words[1:] and not words[1].startswith("-"):
        words = [words[1], "--help"]
    if not words or words[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    verb, *rest = words
    if verb in ("-V", "--version", "version"):
        print(f"seeahead {__version__}")
        return 0
    if verb.startswith("-"):
        raise InputError(f"options follow the command, as in seeahead generate {verb}; see seeahead --help")
    parser = parser_of(verb)
    try:
        arguments = parser.parse_args(rest)
    except SystemExit as done:  # --help has printed and wants to leave
        return int(done.code or 0)
    talk = streams.Talk
    if arguments.quiet:
        streams.set_talk(talk.QUIET)
    elif arguments.verbose or arguments.debug:
        streams.set_talk(talk.VERBOSE)
    with kept_in(getattr(arguments, "cache_dir", None)):
        return int(import_module(f"seeahead.cli.{verb}").run(arguments))


def parser_of(verb: str) -> argparse.ArgumentParser:
    """Of the options of a verb, examples included. Raises InputError, naming the nearest, for a word that is none."""
    if verb not in VERBS:
        near = nearest(verb, (*VERBS, "help", "version"))
        raise InputError(f"unknown command '{verb}'; {near}commands are {', '.join(VERBS)}; {_SEE}")
    from seeahead.cli.options import add_manners, path  # the overview does without what it takes to check values

    module = import_module(f"seeahead.cli.{verb}")
    about, _, examples = (module.__doc__ or "").partition("\n\n")
    parser = _Parser(
        prog=f"seeahead {verb}", description=about, epilog=examples, formatter_class=_AsWritten, allow_abbrev=False
    )
    parser.register("type", Path, path)
    module.add_arguments(parser)
    add_manners(parser)
    return parser


def nearest(given: str, known: Iterable[str]) -> str:
    """A question after the one that was meant, where one begins so or is spelled alike; else nothing."""
    bare = {name.lstrip("-"): name for name in known}  # dashes, which all have, make nothing alike
    word = given.lstrip("-")
    begun = [name for name in bare if word and name.startswith(word)]
    near = begun or difflib.get_close_matches(word, bare, n=1)
    return f"did you mean '{bare[near[0]]}'? " if near else ""


def _missing_package(module: str) -> str | None:
    """What to install for a module that is not there; None for one of ours, or of a package that is installed."""
    package = module.partition(".")[0]
    if package in ("", "seeahead") or ("." in module and find_spec(package) is not None):
        return None
    extra = _extra_of(package)
    wanted = f"'.[{extra}]'" if extra else package
    return f"the package {package} is not installed; pip install {wanted}"


def _extra_of(package: str) -> str | None:
    """The extra that brings it, by this package's own metadata: pyproject.toml is the one table."""
    spelled = re.escape(package).replace("_", "[-_.]")
    brings = re.compile(rf"""{spelled}\b.*extra\s*==\s*["']((?!dev\b)[\w-]+)""", re.IGNORECASE)
    with suppress(metadata.PackageNotFoundError):  # run from a folder that was never installed
        for line in metadata.requires("seeahead") or ():
            if found := brings.match(line):
                return found[1]
    return None


def _of_the_system(error: OSError) -> str:
    """One line for what the machine refused: a full disk, a folder that must not be written to."""
    reason = error.strerror or os.strerror(error.errno or 0)
    if error.filename is not None:
        return f"'{error.filename}' cannot be used: {reason}; mend that, or name another place"
    streams.give_up_stdout()
    return f"cannot read or write: {reason}; make sure that there is space, and that output can be written"


_AsWritten = argparse.RawDescriptionHelpFormatter


class _Parser(argparse.ArgumentParser):
    """argparse prints usage and error on two lines and leaves the process; ours is one line, through `main`."""

    def print_help(self, file: "SupportsWrite[str] | None" = None) -> None:
        print(self.format_help(), end="", file=file)  # argparse's own keeps quiet when it could not be written

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Says what an option that is none may have meant, and that a prompt of several words wants quotes."""
        found, left = self.parse_known_args(args, namespace)
        if wrong := [word for word in left if word.startswith("-")]:
            name = wrong[0].partition("=")[0]
            known = [one for one in self._option_string_actions if one.startswith("--") == name.startswith("--")]
            raise InputError(f"unknown option '{name}'; {nearest(name, known)}see {self.prog} --help")
        for action in self._actions:
            if action.option_strings and getattr(found, action.dest, None) == "" != action.default:
                self.error(f"argument {'/'.join(action.option_strings)}: it is empty; give a value, or leave it out")
        if left:
            self.error(f"nothing is expected at '{' '.join(left)}'; put words that belong together in quotes")
        return found

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _overview() -> str:
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {summary}" for verb, summary in VERBS.items())
    return f"{_ABOUT}\n\n{verbs}\n\n{_MORE}"


_ABOUT = """usage: seeahead <command> [options]

Vision-language models answer faster with exactly the answers they would have given."""
_MORE = """seeahead help <command> explains a command; seeahead --version prints the version.
SEEAHEAD_MODEL, _DRAFTER, _DTYPE, _EXECUTOR, _DEVICE and _CACHE_DIR, or model, drafter, … in
~/.config/seeahead/config.toml, stand in for options that are not given."""
_SEE = "see seeahead --help"


def _refuse(message: str, words: Sequence[str]) -> int:
    """To be called while the error is handled."""
    if "--debug" in words:
        streams.say(traceback.format_exc().rstrip(), is_asked=True)
    streams.note(f"error: {message}", is_asked=True)
    return 2

"""Options that several verbs have: how much is told, the model and its drafter, where things are kept."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seeahead.checked import read_text
from seeahead.cli.defaults import Defaults, defaults
from seeahead.errors import InputError, escaped

if TYPE_CHECKING:
    from seeahead.api import Engine


def path(given: str) -> Path:
    """What every `type=Path` of a verb is read by: no path is not the folder in which one is."""
    if not given:
        raise argparse.ArgumentTypeError("the path is empty; name one, or leave the option out")
    return Path(given)


def read_template(file: Path | None) -> str | None:
    """The chat template of a file. Raises InputError for one that cannot be read, or is no Jinja."""
    if file is None:
        return None
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    text = read_text(file, "give a file with a chat template", InputError)
    try:
        ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"]).parse(text)
    except TemplateSyntaxError as error:
        if "unknown tag" not in str(error):  # of which transformers has more than Jinja
            where = f"{file} line {error.lineno}"
            raise InputError(f"{where} is no chat template: {escaped(str(error))}; correct it") from None
    return text


def loaded(args: argparse.Namespace, drafter: str | None, report: Callable[[str, float], None], **more: Any) -> Engine:
    """The model that the options of `add_target` name; `more` for `seeahead.load`."""
    from seeahead.api import load

    where = {"dtype": args.dtype, "device": args.device, "executor": args.executor}
    return load(args.model, drafter, **where, progress=report, **more)


def add_manners(parser: argparse.ArgumentParser) -> None:
    """-q -v --debug, which every verb has."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument("-q", "--quiet", action="store_true", help="no progress and no notes: results and errors alone")
    group.add_argument("-v", "--verbose", action="store_true", help="also when what began, and what libraries say")
    parser.add_argument("--debug", action="store_true", help="as -v, and an error shows where it was raised")


def add_cache(parser: argparse.ArgumentParser) -> None:
    """--cache-dir, of verbs that make things once."""
    known = defaults().cache_dir
    about = "where what is made once is kept: demo model, conversions, proofs (default: ~/.cache/seeahead)"
    parser.add_argument("--cache-dir", type=Path, default=Path(known) if known else None, metavar="DIR", help=about)


def add_target(
    parser: argparse.ArgumentParser, drafter: str, *, takes_several: bool = False, asks_user: bool = True
) -> None:
    """-m -d --dtype --executor --device --cache-dir; `drafter` is the help of -d.

    `asks_user`: what the environment and the user's file of settings say stands in for what is not given."""
    known, add = defaults() if asks_user else Defaults(), parser.add_argument
    add("-m", "--model", default=known.model or "demo", help="'demo' (the default), a folder, or a hub id")
    if takes_several:  # a default would stand beside what is given
        add("-d", "--drafter", action="append", help=drafter)
    else:
        add("-d", "--drafter", default=known.drafter or None, help=drafter)
    precisions = "auto (the checkpoint's own), float32, bfloat16, float16; with openvino also int8, int4"
    add("--dtype", default=known.dtype or "auto", help=precisions)
    executors = (
        "transformers, openvino, graphs (CUDA graphs), kernels (graphs of Triton kernels), exact (the same answers in "
        "16 bits too), or auto"
    )
    add("--executor", default=known.executor or "auto", help=executors)
    add("--device", default=known.device or "auto", help="auto, cpu, cuda, cuda:1, …")
    add_cache(parser)

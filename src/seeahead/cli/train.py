"""Train a drafter for a model of yours from a recipe: every stage resumable."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seeahead.cli import streams
from seeahead.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["drafter"], help="what is trained")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--recipe", type=Path, help="TOML file with every setting, such as recipes/drafters/own-pictures.toml")
    add("-m", "--model", "--target", default="demo", help="the target (default: demo)")
    add("--data", action="append", help="a .jsonl file, a folder of images, or a public data set; may be repeated")
    add("--count", type=int, default=8000, help="at most so many conversations of each --data (default: 8000)")
    add("--answers", type=Path, help="where the target's answers are kept (default: OUT/answers)")
    add("--start", type=Path, help="folder of another drafter to go on from")
    add("--device", default="auto", help="where to train: auto, cpu, cuda (default: auto)")
    add("--out", type=Path, help="folder for checkpoints, weights and log")
    add("--cache", type=Path, help="folder for fetched packages (default: ~/.cache/seeahead/packages)")


def run(args: argparse.Namespace) -> int:
    if args.out is None:
        raise InputError("no folder given for the results; add --out FOLDER")
    if args.recipe is None:
        raise InputError("no recipe given; add --recipe FILE, such as recipes/drafters/own-pictures.toml")
    with training_log(args.out) as report:
        from seeahead.train.run import train_drafter

        given = {name: getattr(args, name) for name in ("start", "answers", "cache", "device", "count")}
        print(train_drafter(args.recipe, args.model, args.data or (), args.out, report, **given))
    return 0


@contextmanager
def training_log(out: Path) -> Iterator[Callable[[str], None]]:
    """Lines go to `out`/train.log and to stderr. What the disk refuses is one line that says how to go on."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with (out / "train.log").open("a", encoding="utf-8") as log:

            def report(line: str) -> None:
                stamped = f"{time.strftime('%H:%M:%S')} {line}"
                print(stamped, file=log, flush=True)
                streams.say(stamped)

            yield report
    except BrokenPipeError:  # nobody reads on
        raise
    except OSError as error:  # a full disk, a folder that must not be written
        where = Path(error.filename).name if isinstance(error.filename, str) else out.name
        raise InputError(f"{where}: {error.strerror or error}; once that is mended the same command goes on") from None

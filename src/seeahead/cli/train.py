"""Train a drafter for a model of yours from a recipe. A run that was cut off goes on with the same command.

examples:
  seeahead train drafter --recipe recipes/drafters/vision.toml --data photos/ -o out/mine
  seeahead train drafter --recipe recipes/drafters/msd.toml -m my/model --data talk.jsonl --count 2000 -o out/msd
  seeahead train drafter --recipe recipes/drafters/chat.toml --start out/base/drafter --data talk.jsonl -o out/chat
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from seeahead.cli import streams
from seeahead.cli.defaults import defaults
from seeahead.cli.options import add_cache
from seeahead.errors import InputError
from seeahead.provenance import check_writable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["drafter"], metavar="drafter", help="what is trained")
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--recipe", type=Path, metavar="FILE", help="TOML with every setting, such as recipes/drafters/msd.toml")
    model = "what it drafts for: 'demo' (the default), a folder, or a hub id"
    add("-m", "--model", default=defaults().model or "demo", help=model)
    data = "a .jsonl file, a folder of images, or a public data set; repeat it for several"
    add("--data", action="append", metavar="DATA", help=data)
    add("--count", type=int, metavar="N", default=8000, help="conversations of each --data at most (default: 8000)")
    add("--answers", type=Path, metavar="DIR", help="where the target's answers are kept (default: OUTPUT/answers)")
    add("--start", type=Path, metavar="DIR", help="folder of another drafter to go on from")
    add("--device", default=defaults().device or "auto", help="where to train: auto, cpu, cuda (default: auto)")
    about = "of the model that it drafts for: auto (the checkpoint's own), float32, bfloat16, float16"
    add("--dtype", default=defaults().dtype or "auto", help=about)
    add("-o", "--output", type=Path, metavar="DIR", help="folder for checkpoints, weights and log")
    add_cache(parser)


def run(args: argparse.Namespace) -> int:
    if args.output is None:
        raise InputError("no folder given for the results; add --output FOLDER")
    if args.recipe is None:
        raise InputError("no recipe given; add --recipe FILE, such as recipes/drafters/own-pictures.toml")
    if args.answers is not None and not (args.answers / "origin.json").is_file():  # else they may be whole
        check_folder(args.answers, "--answers")
    with training_log(args.output) as report:
        from seeahead.train.run import train_drafter

        given = {name: getattr(args, name) for name in ("start", "answers", "device", "dtype", "count")}
        print(train_drafter(args.recipe, args.model, args.data or (), args.output, report, **given))
    return 0


def check_folder(path: Path, option: str) -> None:
    """Raises InputError where nothing could be written into a folder `path`, which need not be there yet."""
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if not there.is_dir():
        raise InputError(f"'{path}' cannot be a folder, since a file is there; give another {option}")
    check_writable(path / "train.log")


@contextmanager
def training_log(out: Path) -> Iterator[Callable[[str], None]]:
    """Lines go to `out`/train.log, which the first one makes, and to stderr. What the disk refuses is one line that
    says how to go on."""
    check_folder(out, "--output")

    def report(line: str) -> None:
        stamped = f"{time.strftime('%H:%M:%S')} {line}"
        out.mkdir(parents=True, exist_ok=True)
        with (out / "train.log").open("a", encoding="utf-8", errors="backslashreplace") as log:
            print(stamped, file=log)
        streams.say(stamped)

    try:
        yield report
    except BrokenPipeError:  # nobody reads on
        raise
    except OSError as error:  # a full disk, a folder that must not be written
        where = Path(error.filename).name if isinstance(error.filename, str) else out.name
        raise InputError(f"{where}: {error.strerror or error}; once that is mended the same command goes on") from None

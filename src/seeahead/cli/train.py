"""Train a drafter for a target, or the demo model itself, from a recipe: every stage resumable."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from seeahead.cli import streams
from seeahead.errors import InputError

MSD_RECIPE = Path("recipes/drafters/msd-cpu.toml")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "what",
        choices=["drafter", "msd", "demo", "card"],
        help="drafter: train one for a target; msd: one on its features; demo: train the demo model; card: its page",
    )
    parser.add_argument("--recipe", type=Path, help="TOML file with every setting (demo: recipes/demo.toml)")
    parser.add_argument("-m", "--model", "--target", default="demo", help="drafter: the target (default: demo)")
    parser.add_argument("--data", action="append", help="drafter: a .jsonl file, a folder, demo, or a public set")
    parser.add_argument("--count", type=int, default=8000, help="drafter: at most so many conversations of each --data")
    parser.add_argument("--answers", type=Path, help="drafter: where the target's answers are kept (OUT/answers)")
    parser.add_argument("--start", type=Path, help="drafter: folder of another drafter to go on from")
    parser.add_argument("--device", default="auto", help="drafter: where to train (auto, cpu, cuda)")
    parser.add_argument("--out", type=Path, help="folder for checkpoints, weights, log and card")
    parser.add_argument("--cache", type=Path, help="folder for fetched packages (default: ~/.cache/seeahead/packages)")
    parser.add_argument("--until", default="card", help="last step to run: vision, writing, answers, drafters or card")
    parser.add_argument("--card", type=Path, default=Path("src/seeahead/demo/weights/card.json"), help="card to render")
    parser.add_argument("--page", type=Path, default=Path("docs/demo-model.md"), help="page to write")


def run(args: argparse.Namespace) -> int:
    if args.what == "card":
        return render(args.card, args.page)
    if args.out is None:
        raise InputError("no folder given for the results; add --out FOLDER")
    if args.what == "msd":
        args.what, args.recipe = "drafter", args.recipe or MSD_RECIPE
    if args.what == "drafter" and args.recipe is None:
        raise InputError("no recipe given; add --recipe FILE, such as recipes/drafters/own-pictures.toml")
    try:
        return train(args)
    except BrokenPipeError:  # nobody reads on
        raise
    except OSError as error:  # a full disk, a folder that must not be written
        where = Path(error.filename).name if isinstance(error.filename, str) else args.out.name
        raise InputError(f"{where}: {error.strerror or error}; once that is mended the same command goes on") from None


def train(args: argparse.Namespace) -> int:
    from seeahead.demo.build import default_cache

    args.out.mkdir(parents=True, exist_ok=True)
    cache = args.cache or default_cache() / "packages"
    with (args.out / "train.log").open("a", encoding="utf-8") as log:

        def report(line: str) -> None:
            stamped = f"{time.strftime('%H:%M:%S')} {line}"
            print(stamped, file=log, flush=True)
            print(stamped, file=streams.Notes(sys.stderr), flush=True)

        if args.what == "drafter":
            from seeahead.train.drafters import train_drafter

            folder = train_drafter(
                args.recipe,
                args.model,
                args.data or (),
                args.out,
                report,
                start=args.start,
                answers=args.answers,
                cache=cache,
                device=args.device,
                count=args.count,
            )
            print(folder)
        else:
            train_demo(args, cache, report)
    return 0


def train_demo(args: argparse.Namespace, cache: Path, report: Callable[[str], None]) -> None:
    from seeahead.train.pipeline import STEPS, run_recipe

    if args.until not in STEPS:
        raise InputError(f"unknown step {args.until}; allowed: {', '.join(STEPS)}")
    run_recipe(args.recipe or Path("recipes/demo.toml"), args.out, cache, args.until, report)


def render(card: Path, page: Path) -> int:
    from seeahead.provenance import write_text
    from seeahead.train.card import page as text_of
    from seeahead.train.card import read_card

    write_text(page, text_of(read_card(card)))
    print(page)
    return 0

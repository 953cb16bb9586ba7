"""Train the demo model from a recipe: every stage, resumable, then the held-out measurement and the card."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from seeahead.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["demo", "card"], help="demo: train the demo model; card: render its page")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/demo.toml"), help="TOML file with every setting")
    parser.add_argument("--out", type=Path, help="folder for checkpoints, weights, log and card")
    parser.add_argument("--cache", type=Path, help="folder for fetched packages (default: ~/.cache/seeahead/packages)")
    parser.add_argument("--until", default="card", help="last step to run: vision, writing, answers, drafter or card")
    parser.add_argument("--card", type=Path, default=Path("src/seeahead/demo/weights/card.json"), help="card to render")
    parser.add_argument("--page", type=Path, default=Path("docs/demo-model.md"), help="page to write")


def run(args: argparse.Namespace) -> int:
    if args.what == "card":
        return render(args.card, args.page)
    if args.out is None:
        raise InputError("no folder given for the results; add --out FOLDER")
    from seeahead.train.pipeline import STEPS, run_recipe

    if args.until not in STEPS:
        raise InputError(f"unknown step {args.until}; allowed: {', '.join(STEPS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    cache = args.cache or Path.home() / ".cache" / "seeahead" / "packages"
    with (args.out / "train.log").open("a", encoding="utf-8") as log:

        def report(line: str) -> None:
            stamped = f"{time.strftime('%H:%M:%S')} {line}"
            print(stamped, file=log, flush=True)
            print(stamped, file=sys.stderr, flush=True)

        run_recipe(args.recipe, args.out, cache, args.until, report)
    return 0


def render(card: Path, page: Path) -> int:
    from seeahead.provenance import write_text
    from seeahead.train.card import page as text_of
    from seeahead.train.card import read_card

    write_text(page, text_of(read_card(card)))
    print(page)
    return 0

"""Train the demo model from a recipe: every stage, resumable, then the held-out measurement and the card."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["demo"], help="what to train: demo, the embedded demo model")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/demo.toml"), help="TOML file with every setting")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, weights, log and card")
    parser.add_argument("--cache", type=Path, help="folder for fetched packages (default: ~/.cache/seeahead/packages)")
    parser.add_argument("--until", default="card", help="last stage to run: vision, writing, answers, drafter or card")


def run(args: argparse.Namespace) -> int:
    from seeahead.train.pipeline import STEPS, run_recipe

    args.out.mkdir(parents=True, exist_ok=True)
    if args.until not in STEPS:
        from seeahead.errors import InputError

        raise InputError(f"unknown stage {args.until}; allowed: {', '.join(STEPS)}")
    cache = args.cache or Path.home() / ".cache" / "seeahead" / "packages"
    with (args.out / "train.log").open("a", encoding="utf-8") as log:

        def report(line: str) -> None:
            stamped = f"{time.strftime('%H:%M:%S')} {line}"
            print(stamped, file=log, flush=True)
            print(stamped, file=sys.stderr, flush=True)

        run_recipe(args.recipe, args.out, cache, args.until, report)
    return 0

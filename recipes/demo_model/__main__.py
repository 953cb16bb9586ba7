"""Rebuild what the package ships: the demo model and its drafters, its page, and the suites. Run in a clone.

python -m recipes.demo_model train --output FOLDER        the demo model with its drafters and its card
python -m recipes.demo_model drafters --output FOLDER     its drafters alone, for the model as it is shipped
python -m recipes.demo_model drafter --data demo ...      one drafter, as `seeahead train drafter`
python -m recipes.demo_model card                         docs/demo-model.md from the card
python -m recipes.demo_model suite                        the packaged suites
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from seeahead.bench.suites import PACKAGED
from seeahead.cache_folder import default_cache, kept_in
from seeahead.cli import train
from seeahead.cli.options import add_cache
from seeahead.demo.build import WEIGHTS
from seeahead.errors import InputError, SeeaheadError
from seeahead.provenance import write_text

ROOT = Path(__file__).resolve().parents[2]
DEMO = "demo"


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        with kept_in(getattr(args, "cache_dir", None)):
            return int(args.run(args))
    except SeeaheadError as error:
        sys.stderr.write(f"demo_model: error: {error}\n")
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m recipes.demo_model", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(required=True, metavar="train|drafters|drafter|card|suite")
    whole = verbs.add_parser("train", help="the demo model, its drafters and its card")
    several = verbs.add_parser("drafters", help="the drafters of the demo model as it is shipped")
    recipe = ROOT / "recipes" / "demo.toml"
    about = "folder for checkpoints, weights, log and card"
    for verb in (whole, several):
        verb.add_argument("--recipe", type=Path, default=recipe, help="TOML file of all settings")
        verb.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help=about)
        add_cache(verb)
        verb.add_argument("--device", default="auto", help="where to train: auto, cpu, cuda (default: auto)")
    several.set_defaults(run=train_drafters)
    whole.add_argument("--until", default="card", help="last step to run: vision, writing, answers, drafters or card")
    whole.set_defaults(run=train_demo)
    drafter = verbs.add_parser("drafter", help="one drafter; its --data may be demo: what the demo model is asked")
    train.add_options(drafter)
    drafter.set_defaults(run=train_drafter)
    card = verbs.add_parser("card", help="the page of the demo model")
    card.add_argument("--card", type=Path, default=WEIGHTS / "card.json", help="card to render")
    card.add_argument("-o", "--output", type=Path, default=ROOT / "docs" / "demo-model.md", help="page to write")
    card.set_defaults(run=render_card)
    suite = verbs.add_parser("suite", help="the packaged suites")
    about = "folder to write (default: that of the package)"
    suite.add_argument("-o", "--output", type=Path, default=PACKAGED, metavar="DIR", help=about)
    suite.set_defaults(run=make_suites)
    return parser


def train_demo(args: argparse.Namespace) -> int:
    from recipes.demo_model.pipeline import STEPS, run_recipe

    if args.until not in STEPS:
        raise InputError(f"unknown step {args.until}; allowed: {', '.join(STEPS)}")
    with train.training_log(args.output) as report:
        run_recipe(args.recipe, args.output, _packages(), args.until, report, args.device)
    return 0


def train_drafters(args: argparse.Namespace) -> int:
    from recipes.demo_model.pipeline import run_drafters

    with train.training_log(args.output) as report:
        run_drafters(args.recipe, args.output, _packages(), report, args.device)
    return 0


def train_drafter(args: argparse.Namespace) -> int:
    from recipes.demo_model.conversations import demo_conversations
    from seeahead.train.recipe import read_drafter_recipe

    def report(what: str, share: float) -> None:
        sys.stderr.write(f"{what}\n")

    if args.output is not None and args.recipe is not None and DEMO in (args.data or ()):
        seed = read_drafter_recipe(args.recipe).seed
        made = demo_conversations(_packages(), args.count, seed, report)
        args.data = [made if source == DEMO else source for source in args.data]
    return train.run(args)


def render_card(args: argparse.Namespace) -> int:
    from recipes.demo_model.card import page, read_card

    write_text(args.output, page(read_card(args.card)))
    return 0


def make_suites(args: argparse.Namespace) -> int:
    from recipes.demo_model.suite import write_suites

    write_suites(args.output)
    return 0


def _packages() -> Path:
    return default_cache() / "packages"


if __name__ == "__main__":
    sys.exit(main())

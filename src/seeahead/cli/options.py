"""Options that several verbs have, and what of them can be refused before a model is loaded."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path


def add_target(parser: argparse.ArgumentParser, drafter: str, *, takes_several: bool = False) -> None:
    """-m -d --dtype --device; `drafter` is the help of -d."""
    parser.add_argument("-m", "--model", default="demo", help="'demo' (the default), a folder, or a hub id")
    parser.add_argument("-d", "--drafter", action="append" if takes_several else "store", help=drafter)
    parser.add_argument("--dtype", default="auto", help="auto (the checkpoint's own), float32, bfloat16, float16")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")


def check_target(args: argparse.Namespace, drafters: Iterable[str]) -> None:
    """Refuse a number format, a device, a drafter or a type of model that cannot be: loading takes long."""
    from seeahead.families.loading import check_model_type, pick_device, pick_dtype

    pick_dtype(args.dtype)
    pick_device(args.device)
    for spec in drafters:
        _check_drafter(spec, has_own=args.model == "demo")
    if args.model != "demo":
        check_model_type(args.model)


def _check_drafter(spec: str, *, has_own: bool) -> None:
    from seeahead.drafters import NEEDS_MODEL, spec_of

    spec_of(spec, dict.fromkeys(NEEDS_MODEL, Path()) if has_own else None)

"""Options that several verbs have."""

from __future__ import annotations

import argparse


def add_target(parser: argparse.ArgumentParser, drafter: str, *, takes_several: bool = False) -> None:
    """-m -d --dtype --device; `drafter` is the help of -d."""
    parser.add_argument("-m", "--model", default="demo", help="'demo' (the default), a folder, or a hub id")
    parser.add_argument("-d", "--drafter", action="append" if takes_several else "store", help=drafter)
    parser.add_argument("--dtype", default="auto", help="auto (the checkpoint's own), float32, bfloat16, float16")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")

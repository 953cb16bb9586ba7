"""Write a drafter that was trained here in a form that other engines load.

examples:
  seeahead export out/eagle3/drafter --as eagle3 -o out/for-vllm
  seeahead export out/eagle3/drafter --as speculators -m Qwen/Qwen2.5-VL-7B-Instruct -o out/speculators
  seeahead export out/chat/drafter --as draft-model -o out/assistant
"""

from __future__ import annotations

import argparse
from pathlib import Path

from seeahead.errors import InputError

FORMS = {
    "eagle3": "EAGLE-3 as SpecForge writes it, for vLLM and SGLang",
    "speculators": "EAGLE-3 in the form of speculators, for vLLM",
    "vispec": "ViSpec as NeMo Automodel writes it",
    "draft-model": "of a language drafter, a Llama over all of the target's tokens, for transformers and vLLM",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    forms = "; ".join(f"{name}: {what}" for name, what in FORMS.items())
    parser.add_argument("drafter", help="folder or hub id of a drafter that was trained here")
    parser.add_argument("--as", dest="form", required=True, choices=[*FORMS], help=forms)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="new folder to write")
    parser.add_argument("-m", "--model", default="", help="hub id or folder of the target, for speculators")


def run(args: argparse.Namespace) -> int:
    from seeahead.export import export

    if args.model and args.form != "speculators":
        raise InputError(f"the form {args.form} names no target; leave --model out")
    print(export(args.drafter, args.form, args.output, args.model))
    return 0

"""Answer one prompt, with or without images, streamed as it is confirmed.

examples:
  seeahead generate "Why is the sky blue?"
  seeahead generate -i cat.jpg "What is this?"
  seeahead generate -i before.png -i after.png "What has changed?" --stats
  cat letter.txt | seeahead generate --json > answer.json
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seeahead.cli import streams, terminal
from seeahead.cli.options import add_target
from seeahead.errors import InputError, escaped, shown
from seeahead.provenance import provenance

if TYPE_CHECKING:
    from seeahead.prompt import Prompt
    from seeahead.reply import Piece, Reply

_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", nargs="?", help="the question; '-' or nothing reads it from stdin")
    add("-i", "--image", action="append", default=[], metavar="FILE", help="an image; repeat it for several")
    add("--caption", action="append", default=[], metavar="TEXT", help="of each image, for drafters that read one")
    add("--allow-urls", action="store_true", help="images may also be web addresses")
    add_target(parser, "a kind (`seeahead info`), a folder, or a hub id; default: msd for demo, else lookup")
    add("--max-new-tokens", type=int, metavar="N", help="end the answer after N tokens")
    add("--temperature", type=float, metavar="T", help="0 is greedy; settings left out are the model's own")
    add("--top-k", type=int, metavar="K", help="draw from the K likeliest tokens (0: all)")
    add("--top-p", type=float, metavar="P", help="draw from the likeliest tokens that together have mass P")
    add("--min-p", type=float, metavar="P", help="draw from tokens at least P times as likely as the likeliest")
    add("--repetition-penalty", type=float, metavar="R", help="above 1 makes used tokens less likely")
    add("--seed", type=int, metavar="S", help="same seed, same answer, whatever the drafter")
    add("--stop", action="append", default=[], metavar="TEXT", help="end the answer before TEXT; repeat it for several")
    add(
        "--option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="any other field of a generation config, as in --option no_repeat_ngram_size=3; repeat it for several",
    )
    add("--special-tokens", action="store_true", help="show special tokens in the text")
    add("--chat-template", metavar="FILE", help="a chat template (Jinja) in the place of the model's own")
    add("--no-check", action="store_true", help="skip the self-check of a model that has not passed it here")
    add("--stats", action="store_true", help="say on stderr how fast it went")
    add("--json", action="store_true", help="print one line of JSON: text, token ids, steps, metrics")


def run(args: argparse.Namespace) -> int:
    from seeahead.api import load

    text = terminal.read_prompt(args.prompt)
    notes = terminal.note_console()
    settings = {**_sampling(args), **_options(args)}
    with terminal.progress(notes) as report:
        template = _template(args)
        prompt = check(args, text, dict(settings))
        engine = load(
            args.model,
            args.drafter,
            dtype=args.dtype,
            device=args.device,
            chat_template=template,
            self_check=not args.no_check,
            progress=report,
        )
    settings |= {"max_new_tokens": args.max_new_tokens, "stop": args.stop, "special_tokens": args.special_tokens}
    if args.json:
        reply = engine.generate(prompt, **settings)
        streams.print_json(as_json(reply))
    else:
        reply = _show(engine.stream(prompt, **settings))
    if args.stats:
        if terminal.is_live(notes) and not args.json:
            notes.print(terminal.LEGEND)
        notes.print(stats(reply), soft_wrap=True)
    return 0


def check(args: argparse.Namespace, text: str, settings: dict[str, Any]) -> Prompt:
    """The prompt, images opened. Refuses here what needs no model to be known wrong."""
    from types import SimpleNamespace

    from seeahead.generation_config import check_settings
    from seeahead.prompt import make_prompt
    from seeahead.stopping import check_stop_texts

    check_settings(SimpleNamespace(do_sample=True), settings, args.max_new_tokens, settings.pop("seed", None))
    check_stop_texts(args.stop)
    return make_prompt(text, args.image, args.caption, allow_urls=args.allow_urls)


def as_json(reply: Reply) -> dict[str, Any]:
    """The reply as JSON values; a figure that does not exist (a rate of no steps) is null."""
    return {
        "text": reply.text,
        "token_ids": list(reply.token_ids),
        "metrics": {name: value if math.isfinite(value) else None for name, value in reply.metrics.items()},
        **reply.generation.to_json(),
        "seed": reply.seed,
        "provenance": provenance(reply.seed),
    }


def stats(reply: Reply) -> str:
    """One line: how long, how fast, how well drafted."""
    from seeahead.bench.words import counted

    generation, figures = reply.generation, reply.metrics
    num_tokens = len(reply.token_ids)
    parts = [f"{counted(num_tokens, 'token')} after a prompt of {generation.num_prompt_tokens}"]
    parts.append(f"prefill {figures['seconds_prefill']:.2f} s")
    if reply.steps:
        parts.append(f"{figures['token_rate']:.1f} tokens/s")
        parts.append(f"{figures['block_efficiency']:.2f} tokens per pass of the model")
        parts.append(f"{generation.origins.count('drafted') / num_tokens:.0%} drafted by {generation.drafter}")
    parts.append(f"ended by {_ENDS[generation.finish_reason]}")
    return " · ".join(parts)


_ENDS = {"end": "the model", "length": "the token limit", "stop": "a stop text", "context": "the end of the context"}


def _sampling(args: argparse.Namespace) -> dict[str, Any]:
    return {name: getattr(args, name) for name in _SAMPLING if getattr(args, name) is not None}


def _options(args: argparse.Namespace) -> dict[str, Any]:
    """Fields of a generation config; a value is JSON, or a text where it is none."""
    options: dict[str, Any] = {}
    for given in args.option:
        name, equals, value = given.partition("=")
        if not equals or name in (*_SAMPLING, "max_new_tokens", "stop"):
            instead = "write NAME=VALUE" if not equals else f"write --{name.replace('_', '-')} {value}"
            raise InputError(f"--option {escaped(given, 100)} cannot be read; {instead}")
        try:
            options[name] = json.loads(value)
        except (ValueError, RecursionError):
            options[name] = value
    return options


def _template(args: argparse.Namespace) -> str | None:
    if args.chat_template is None:
        return None
    try:
        return Path(args.chat_template).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(
            f"the chat template {shown(args.chat_template)} cannot be read ({reason}); give a text file"
        ) from None


def _show(pieces: Iterator[Piece]) -> Reply:
    console = terminal.result_console()
    live = terminal.is_live(console)
    for piece in pieces:
        if live and piece.text:
            console.print(terminal.coloured(piece.text, piece.origins[-1]), end="", soft_wrap=True)
        elif piece.text:
            sys.stdout.write(terminal.printable(piece.text) if console.is_terminal else piece.text)
            sys.stdout.flush()
        if piece.reply is not None:
            sys.stdout.write("\n")
            return piece.reply
    raise AssertionError("the last piece carries the reply")

"""Answer one prompt, with or without images, streamed as it is confirmed.

examples:
  seeahead generate "Why is the sky blue?"
  seeahead generate -i cat.jpg "What is this?"
  seeahead generate -i before.png -i after.png "What has changed?" --stats
  cat letter.txt | seeahead generate --json > answer.json
  convert scan.pdf png:- | seeahead generate -i - "Read the text."
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
from seeahead.cli.options import add_target, loaded, read_template
from seeahead.errors import InputError, counted, escaped
from seeahead.provenance import provenance

if TYPE_CHECKING:
    from seeahead.prompt import Prompt
    from seeahead.reply import Piece, Reply

_MOST_BYTES = 64 << 20
"""Of a prompt on stdin."""
_SAMPLING = {
    "temperature": (float, "T", "0 is greedy; settings left out are the model's own"),
    "top_k": (int, "K", "draw from the K likeliest tokens (0: all)"),
    "top_p": (float, "P", "draw from the likeliest tokens that together have mass P"),
    "min_p": (float, "P", "draw from tokens at least P times as likely as the likeliest"),
    "repetition_penalty": (float, "R", "above 1 makes used tokens less likely"),
    "seed": (int, "S", "same seed, same answer, whatever is drafted"),
}
_ENDS = {"end": "the model", "length": "the token limit", "stop": "a stop text", "context": "the end of the context"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("prompt", nargs="?", help="the question; '-' or nothing reads it from stdin")
    several: dict[str, Any] = {"action": "append", "default": []}
    add("-i", "--image", **several, metavar="FILE", help="an image, '-' for one on stdin; repeat it for several")
    add("--caption", **several, metavar="TEXT", help="of each image, for drafters that read one")
    add("--allow-urls", action="store_true", help="images may also be web addresses")
    add_target(
        parser, "a kind (`seeahead info`), a folder, or a hub id; default: auto, lookup and what is there for the model"
    )
    add("--max-new-tokens", type=int, metavar="N", help="end the answer after N tokens")
    for name, (kind, letter, told) in _SAMPLING.items():
        add(f"--{name.replace('_', '-')}", type=kind, metavar=letter, help=told)
    add("--stop", **several, metavar="TEXT", help="end the answer before TEXT; repeat it for several")
    other = "any other field of a generation config, as in --option no_repeat_ngram_size=3; repeat it for several"
    add("--option", **several, metavar="NAME=VALUE", help=other)
    add("--special-tokens", action="store_true", help="show special tokens in the text")
    add("--chat-template", type=Path, metavar="FILE", help="a chat template (Jinja) in the place of the model's own")
    add("--no-check", action="store_true", help="skip the self-check of a model that has not passed it here")
    add("--stats", action="store_true", help="say on stderr how fast it went")
    add("--json", action="store_true", help="print one line of JSON: text, token ids, steps, metrics")


def run(args: argparse.Namespace) -> int:
    if (args.prompt in (None, "-")) + args.image.count("-") > 1 or ("-" in args.image and sys.stdin is None):
        raise InputError("stdin can be read once: for the prompt or for one image; give the others as words and files")
    if "-" in args.image and sys.stdin.isatty():
        raise InputError("no image was given on stdin; pipe one in, or give a file")
    text, settings = read_prompt(args.prompt), read_settings(args)
    with terminal.Progress() as report:
        template = read_template(args.chat_template)
        prompt = check(args, text, settings)
        engine = loaded(args, args.drafter, report, chat_template=template, self_check=not args.no_check)
    settings |= {"max_new_tokens": args.max_new_tokens, "stop": args.stop, "special_tokens": args.special_tokens}
    if args.json:
        reply = engine.generate(prompt, **settings)
        streams.print_json(as_json(reply))
    else:
        reply = _show(engine.stream(prompt, **settings))
    if args.stats:
        notes = terminal.console(stderr=True)
        if terminal.is_live(notes) and not args.json:
            notes.print(terminal.LEGEND)
        streams.say(stats(reply), is_asked=True)
    return 0


def read_prompt(given: str | None) -> str:
    """The prompt as given, or from stdin for `-` or nothing. Raises InputError if there is none to read."""
    if given is not None and given != "-":
        return given
    if sys.stdin is None or (given is None and sys.stdin.isatty()):
        raise InputError("no prompt was given; write it after the options, or pipe it in")
    try:
        data = sys.stdin.buffer.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise InputError(f"the text on stdin has more than {_MOST_BYTES:,} bytes; pipe a shorter one in")
        return data.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"the text on stdin is not UTF-8 (byte {error.start}); convert it first") from None
    except OSError as error:
        raise InputError(f"the prompt cannot be read from stdin: {error.strerror}; pipe a text in") from None


def read_settings(args: argparse.Namespace) -> dict[str, Any]:
    """Settings by name. The value of an `--option` is JSON, or a text where it is none."""
    settings = {name: getattr(args, name) for name in _SAMPLING if getattr(args, name) is not None}
    for given in args.option:
        name, equals, value = given.partition("=")
        if not equals or name in (*_SAMPLING, "max_new_tokens", "stop"):
            instead = f"write --{name.replace('_', '-')} {value}" if equals else "write NAME=VALUE"
            raise InputError(f"--option {escaped(given, 100)} cannot be read; {instead}")
        try:
            settings[name] = json.loads(value)
        except (ValueError, RecursionError):
            settings[name] = {"True": True, "False": False, "None": None}.get(value, value)  # as Python writes them
    return settings


def check(args: argparse.Namespace, text: str, settings: dict[str, Any]) -> Prompt:
    """The prompt, images opened. Refuses here what needs no model to be known wrong."""
    from types import SimpleNamespace

    from seeahead.generation_config import check_settings
    from seeahead.prompt import make_prompt
    from seeahead.stopping import check_stop_texts

    others = {name: value for name, value in settings.items() if name != "seed"}
    check_settings(SimpleNamespace(do_sample=True), others, args.max_new_tokens, args.seed)
    check_stop_texts(args.stop)
    images = [sys.stdin.buffer if name == "-" else name for name in args.image]
    return make_prompt(text, images, args.caption, allow_urls=args.allow_urls)


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
    generation, figures = reply.generation, reply.metrics
    num_tokens = len(reply.token_ids)
    parts = [f"{counted(num_tokens, 'token')} after a prompt of {generation.num_prompt_tokens}"]
    parts.append(f"prefill {figures['seconds_prefill']:.2f} s")
    if reply.steps:
        parts.append(f"{figures['token_rate']:.1f} tokens/s")
        parts.append(f"{figures['block_efficiency']:.2f} tokens per pass of the model")
        by = generation.num_by_drafter
        parts.append(f"{sum(by.values()) / num_tokens:.0%} drafted by {generation.drafter}")
        if by.keys() - {generation.drafter}:
            parts[-1] += f" ({', '.join(f'{name} {number / num_tokens:.0%}' for name, number in by.items())})"
    return " · ".join([*parts, f"ended by {_ENDS[generation.finish_reason]}"])


def _show(pieces: Iterator[Piece]) -> Reply:
    console = terminal.console()
    for piece in pieces:
        if terminal.is_live(console) and piece.text:
            console.print(terminal.coloured(piece.text, piece.origin), end="", soft_wrap=True)
        else:
            sys.stdout.write(streams.printable(piece.text) if console.is_terminal else piece.text)
            sys.stdout.flush()
        if piece.reply is not None:
            sys.stdout.write("\n")
            return piece.reply
    raise AssertionError("the last piece carries the reply")

"""Measure drafters and peers side by side: how fast, how sure, where the time goes, and whether answers are the same.

examples:
  seeahead bench --quick
  seeahead bench -o out/bench
  seeahead bench --data my/images -m llava-hf/llava-1.5-7b-hf -d lookup
  seeahead bench --suite three-tasks --count 20
  seeahead bench --suite chartqa --folder data/ChartQA --count 50
  seeahead bench --growth
  seeahead bench --set-up-peers
  seeahead bench --quick --executor openvino --dtype int8 --peers genai-int8 genai-int8-lookup
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from seeahead.bench.suites import SUITES
from seeahead.cli import streams, terminal
from seeahead.cli.defaults import defaults
from seeahead.cli.options import add_target
from seeahead.errors import InputError
from seeahead.provenance import check_writable, write_json, write_text

QUICK_COUNT = 2
QUICK_ROUNDS = 3
_MOST_NAMED = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    suites = f"which questions: {', '.join(SUITES)} (default: demo; docs/bench-data.md tells of them)"
    add("--suite", help=suites)
    add("--data", type=Path, metavar="PATH", help="your own: a folder of images, or a .jsonl file of questions")
    add("--folder", type=Path, metavar="DIR", help="where a public data set lies on this machine")
    add("--count", type=int, metavar="N", help="questions per scenario (default: all)")
    add("--quick", action="store_true", help="a first look in minutes: two questions per scenario, once, greedy")
    known = "lookup and auto, of the demo its own too"
    add_target(parser, f"a drafter to measure; repeat it for several (default: {known})", takes_several=True)
    add(
        "--peers",
        nargs="*",
        metavar="NAME",
        help="also ask transformers' own generate, and other engines that are set up: all, or some by name",
    )
    add("--set-up-peers", action="store_true", help="install the engines of --peers (all, or those it names), and end")
    add("--temperature", type=float, action="append", metavar="T", help="repeat it for several (default: 0 and 1)")
    add("--repeats", type=int, metavar="N", help="how often every question is asked (default: 1)")
    add("--max-new-tokens", type=int, metavar="N", help="for your own questions (default: 128)")
    seed = "of the sample of questions, their order, and sampled answers (default: 0)"
    add("--seed", type=int, metavar="S", help=seed)
    add(
        "--growth",
        nargs="*",
        metavar="EXECUTOR[:DTYPE]",
        help="instead: how passes grow with context, tree and batch: of transformers, openvino in float32 and int8, "
        "graphs and kernels, as far as they run here, or of those named",
    )
    folder, about = Path("out/bench"), "folder for record and report (default: out/bench)"
    add("-o", "--output", type=Path, default=folder, metavar="DIR", help=about)
    add("--json", action="store_true", help="print the record as one line of JSON instead of the tables")


def run(args: argparse.Namespace) -> int:
    if args.set_up_peers:
        _refuse(args, ("growth", "quick", "json", *_OF_QUESTIONS), "--set-up-peers installs engines, and ends")
        return _set_up_peers(args.model, args.peers or ())
    if args.growth is not None:
        _refuse(args, ("peers", *_OF_QUESTIONS), "--growth measures passes, and asks no questions")
        return _growth(args)
    if args.data is not None:
        _refuse(args, ("suite", "folder"), f"--data {args.data} says what is asked")
    else:
        _refuse(args, ("max_new_tokens",), "a suite says how long its answers are")
    from seeahead import bench
    from seeahead.bench.benchmark import ASKING, PAGE, RECORD
    from seeahead.bench.harness import MEASURING, Watch
    from seeahead.bench.markdown import short

    class Notes(Watch):
        def leave_out(self, reasons: Mapping[str, str]) -> None:
            for name, reason in list(reasons.items())[:_MOST_NAMED]:
                streams.note(f"'{name}' is left out: {reason}")
            if len(reasons) > _MOST_NAMED:
                streams.note(f"{len(reasons) - _MOST_NAMED} more are left out for such reasons")

    if args.quick and args.count is None:
        args.count = QUICK_COUNT
    taken = ("peers", "repeats", "count", "folder", "max_new_tokens", "seed", "dtype", "device", "executor")
    given = {name: getattr(args, name) for name in taken}
    # What is left out is what `bench.run` takes for it.
    given = {name: value for name, value in given.items() if value is not None}
    with terminal.Progress(timed=(MEASURING, ASKING)) as report:
        result = bench.run(
            args.model,
            args.drafter,
            args.data or args.suite or "demo",
            temperatures=args.temperature or ([0.0] if args.quick else [0.0, 1.0]),
            out=args.output,
            progress=report,
            watch=Notes(),
            **given,
        )
    if args.json:
        streams.print_json(result.record.to_json())
    else:
        terminal.console().print(streams.printable(short(result.summary)), soft_wrap=True)
    for name in (RECORD, PAGE):
        streams.say(f"written: {args.output / name}")
    return 0


def _set_up_peers(target: str, names: Sequence[str]) -> int:
    from seeahead.bench.peers.set_up import set_up

    with terminal.Progress() as report:
        ready = set_up(target, names, report)
    streams.say(f"ready: {', '.join(ready)}")
    return 0


_OF_QUESTIONS = (
    *("suite", "data", "folder", "count", "drafter"),
    *("temperature", "repeats", "max_new_tokens", "seed"),
)


def _refuse(args: argparse.Namespace, names: Sequence[str], why: str) -> None:
    """Raises InputError for what was given and would have no effect."""
    for name in names:
        if (given := getattr(args, name)) is not None and given is not False:
            raise InputError(f"{why}; leave --{name.replace('_', '-')} out")


def _growth(args: argparse.Namespace) -> int:
    from seeahead.bench import growth, growth_page

    own = defaults()
    for name, known in (("executor", own.executor), ("dtype", own.dtype)):
        if getattr(args, name) != (known or "auto"):
            raise InputError(f"--growth names executors itself, such as --growth openvino:int8; leave --{name} out")
    paths = [args.output / name for name in ("growth.json", "growth.svg")]
    for path in paths:
        check_writable(path)
    contexts, rounds = (growth.CONTEXTS[:2], QUICK_ROUNDS) if args.quick else (growth.CONTEXTS, growth.ROUNDS)
    with terminal.Progress() as report:
        given = {"contexts": contexts, "rounds": rounds, "device": args.device}
        found = growth.measure(args.model, args.growth, **given, progress=report)
    write_json(paths[0], found)
    write_text(paths[1], growth_page.image(found))
    if args.json:
        streams.print_json(found)
    else:
        terminal.console().print(streams.printable(growth_page.tables(found)), soft_wrap=True)
    for path in paths:
        streams.say(f"written: {path}")
    return 0

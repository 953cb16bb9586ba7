"""Measure drafters and peers side by side: how fast, how sure, where the time goes, and whether answers are the same.

examples:
  seeahead bench --quick
  seeahead bench --suite demo --output out/bench
  seeahead bench --data my/pictures -m llava-hf/llava-1.5-7b-hf -d lookup
  seeahead bench --suite chartqa --folder data/ChartQA --count 50
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from seeahead.cli import streams, terminal
from seeahead.cli.demo import check, describe, load_engines
from seeahead.errors import InputError
from seeahead.provenance import check_writable, provenance

if TYPE_CHECKING:
    from seeahead.api import Engine
    from seeahead.bench.harness import Plan
    from seeahead.bench.log import Log
    from seeahead.bench.methods import Method
    from seeahead.bench.record import Costs, Record
    from seeahead.bench.suites import Suite

RECORD, PAGE, PARTIAL = "bench.json", "bench.html", "bench.partial.jsonl"
QUICK_COUNT = 2
NUM_COST_REPEATS = 15
_MANY_PICTURES = 100
_MOST_TOLD = 10
_OF_THE_RUN = ("model", "peers", "dtype", "device")
"""Arguments that have to be equal for an interrupted run to go on, besides drafters and what the plan has."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (__doc__ or "").partition("\n\n")[2]
    add = parser.add_argument
    add("--suite", default="demo", help="which questions: demo (the default) or a public data set by name")
    add("--data", type=Path, help="your own: a folder of pictures, or a .jsonl file of questions")
    add("--folder", type=Path, help="where a public data set lies on this machine")
    add("--count", type=int, help="questions per scenario (default: all)")
    add("--quick", action="store_true", help="a first look in minutes: two questions per scenario, once, greedy")
    add("-m", "--model", default="demo", help="'demo' (the default), a folder, or a hub id")
    add("-d", "--drafter", action="append", help="a drafter to measure; repeat it for several")
    add("--peers", nargs="*", metavar="NAME", help="transformers' own generate on the same weights: all of it, or some")
    add("--temperature", type=float, action="append", help="repeat it for several (default: 0 and 1)")
    add("--repeats", type=int, default=1, help="how often every question is asked (default: 1)")
    add("--max-new-tokens", type=int, default=128, help="answer length for your own questions (default: 128)")
    add("--dtype", default="auto", help="auto (the checkpoint's own), float32, bfloat16, float16")
    add("--device", default="auto", help="auto, cpu, cuda, cuda:1, …")
    add("--seed", type=int, default=0, help="of the sample of questions, their order, and sampled answers")
    add("-o", "--output", type=Path, default=Path("out/bench"), help="folder of record and report (default: out/bench)")
    parser.set_defaults(html=None)


def run(args: argparse.Namespace) -> int:
    from seeahead.bench.harness import fingerprint
    from seeahead.bench.log import Log
    from seeahead.bench.markdown import short
    from seeahead.bench.report import write_report
    from seeahead.bench.summary import summarize

    drafters = check(args)
    check_peers(args)
    check_output(args.output)
    plan, left_out = open_pictures(make_plan(args))
    asked = fingerprint(plan, drafters=drafters, **{name: getattr(args, name) for name in _OF_THE_RUN})
    with Log(args.output / PARTIAL, asked) as log:
        record = measure(args, plan, drafters, log, left_out)
    write_report(args.output / PAGE, record)
    terminal.result_console().print(short(summarize(record)), soft_wrap=True)
    for name in (RECORD, PAGE):
        terminal.note_console().print(f"written: {args.output / name}", soft_wrap=True)
    return 0


def open_pictures(plan: Plan) -> tuple[Plan, list[str]]:
    """The plan without questions whose pictures cannot be read, and which those are; they are told about."""
    from seeahead.bench.opened import pictures_of, with_readable_pictures

    total, bar = len(pictures_of(plan.suite)), nullcontext[Callable[[], None]](lambda: None)
    with (
        terminal.still_progress(terminal.note_console(), "opening pictures", total)
        if total > _MANY_PICTURES
        else bar as advance
    ):
        suite, left_out = with_readable_pictures(plan.suite, advance)
    for name, reason in list(left_out.items())[:_MOST_TOLD]:
        streams.note(f"'{name}' is left out: {reason}")
    if len(left_out) > _MOST_TOLD:
        streams.note(f"{len(left_out) - _MOST_TOLD} more are left out for pictures that cannot be read")
    return replace(plan, suite=suite), list(left_out)


def make_plan(args: argparse.Namespace) -> Plan:
    from seeahead.bench.harness import Plan

    if args.repeats < 1:
        raise InputError(f"--repeats is {args.repeats}; allowed is 1 or more")
    if args.count is not None and args.count < 1:
        raise InputError(f"--count is {args.count}; allowed is 1 or more")
    temperatures = tuple(sorted(set(args.temperature or ([0.0] if args.quick else [0.0, 1.0]))))
    if temperatures[0] != 0:
        raise InputError("--temperature lacks 0; greedy answers are what exactness is measured on, so add 0")
    return Plan(pick_suite(args), temperatures, 1 if args.quick else args.repeats, args.seed)


def pick_suite(args: argparse.Namespace) -> Suite:
    from seeahead.bench.suites import load_suite
    from seeahead.data.own_data import load_own

    count = args.count or (QUICK_COUNT if args.quick else None)
    if args.data is not None:
        return load_own(args.data, count=count, seed=args.seed, max_new_tokens=args.max_new_tokens)
    workspace = args.output / "pictures"
    return load_suite(args.suite, count=count, seed=args.seed, folder=args.folder, workspace=workspace)


def check_peers(args: argparse.Namespace) -> None:
    if args.peers:
        from seeahead.bench.peers import PEERS

        for name in args.peers:
            if name not in PEERS:
                quoted = ", ".join(f'"{known}"' for known in PEERS)
                raise InputError(f"no peer '{name}'; allowed: {quoted}, or --peers alone for all of them")


def check_output(folder: Path) -> None:
    try:
        for name in (RECORD, PAGE):
            check_writable(folder / name)
    except InputError as error:
        raise InputError(f"cannot write into {folder}: {error}") from None


def measure(args: argparse.Namespace, plan: Plan, drafters: list[str], log: Log, left_out: list[str]) -> Record:
    from seeahead.bench.harness import warm_up
    from seeahead.bench.record import read_record, write_record

    with terminal.progress(terminal.note_console()) as report:
        engines = load_engines(args, drafters, report)
        plan = what_it_can_read(plan, engines)
        methods = make_methods(args, engines)
        target = {
            **describe(engines),
            "model": args.model if args.model == "demo" else Path(args.model).name,
            "drafters": drafters_of(engines, drafters),
        }
        log.begin({"target": target, "methods": list(methods)})
        for share in warm_up(methods, plan.suite):
            report("warming up", share)
    costs = measure_table(next(iter(engines.values())))
    outside = ask(plan, methods, log)
    settings = {**target, "harness_share": outside, **({"left_out": left_out} if left_out else {})}
    record = make_record(plan, engines, methods, log, costs, settings)
    write_record(args.output / RECORD, record)
    log.finish()
    return read_record(args.output / RECORD)  # rounded as stored, so that the page can be rendered again


def drafters_of(engines: Mapping[str, Engine], specs: list[str]) -> dict[str, str]:
    """A hash of the weights of every drafter that has any, by method; `engines` are plain, then one per spec."""
    from seeahead.bench.weights import digest, weights_of

    plain, *others = engines
    folders = {name: weights_of(spec, engines[plain].own_drafters) for name, spec in zip(others, specs, strict=True)}
    return {name: digest(folder) for name, folder in folders.items() if folder is not None}


def what_it_can_read(plan: Plan, engines: Mapping[str, Engine]) -> Plan:
    """A model without eyes is asked what needs none. Raises InputError when nothing is left."""
    if next(iter(engines.values())).family.can_see:
        return plan
    items = tuple(item for item in plan.suite.items if not item.pictures)
    if not items:
        raise InputError(f"every question of {plan.suite.name} shows pictures, and the model reads text only")
    return replace(plan, suite=replace(plan.suite, items=items))


def make_methods(args: argparse.Namespace, engines: Mapping[str, Engine]) -> dict[str, Method]:
    from seeahead.bench.methods import Ours

    methods: dict[str, Method] = {name: Ours(engine) for name, engine in engines.items()}
    if args.peers is not None:
        from seeahead.bench.peers import ASSISTED, PEERS, assistant_of

        plain = next(iter(engines.values()))
        folder = assistant_of(args.drafter or (), plain.own_drafters.get("language"))
        asked = args.peers or [name for name in PEERS if folder is not None or name != ASSISTED]
        methods |= {name: PEERS[name](plain, folder) for name in asked}
    return methods


def measure_table(plain: Engine) -> Costs:
    """A table that something else disturbed is measured anew, twice at most; the report says when it still is."""
    for _ in range(3):
        costs = measure_table_once(plain)
        if not costs.is_disturbed:
            break
    return costs


def measure_table_once(plain: Engine) -> Costs:
    from seeahead.bench.costs import measure_costs
    from seeahead.bench.record import Costs

    with terminal.progress(terminal.note_console()) as report:
        for found in measure_costs(plain.family, NUM_COST_REPEATS):
            if isinstance(found, Costs):
                return found
            report("cost of k tokens in one pass", found)
    raise AssertionError("the table comes last")


def ask(plan: Plan, methods: Mapping[str, Method], log: Log) -> float | None:
    """Everything of everyone; the bar is drawn between answers only, never while one is timed.

    Returns the share of the time that went to neither method; None when nothing was left to ask."""
    from seeahead.bench.harness import run as run_plan

    total, known = plan.num_runs(len(methods)), len(log.runs)
    num_asked, spent, started = 0, 0.0, perf_counter()
    with terminal.still_progress(terminal.note_console(), "asking", total) as advance:
        for answer in run_plan(plan, methods, log):
            if len(log.runs) > known:
                known, num_asked, spent = len(log.runs), num_asked + 1, spent + answer.seconds_total
            advance()
    return round(1 - spent / (perf_counter() - started), 4) if num_asked else None


def make_record(
    plan: Plan,
    engines: Mapping[str, Engine],
    methods: Mapping[str, Method],
    log: Log,
    costs: Costs,
    target: Mapping[str, Any],
) -> Record:
    from seeahead.bench.harness import asked_of, gaps
    from seeahead.bench.methods import parameters_read
    from seeahead.bench.record import Record

    sizes = {name: parameters_read(engine) for name, engine in engines.items()}
    return Record(
        provenance=provenance(plan.seed),
        settings={
            **target,
            "suite": plan.suite.name,
            "about": plan.suite.about,
            "num_questions": plan.num_questions,
            "num_repeats": plan.num_repeats,
            "temperatures": list(plan.temperatures),
            "seed": plan.seed,
        },
        num_parameters={
            "target": int(target["num_parameters"]),
            **{name: size for name, size in sizes.items() if size is not None},
        },
        costs=costs,
        methods=tuple(methods),
        peers=tuple(name for name, method in methods.items() if method.is_peer),
        asked=asked_of(plan, log),
        runs=tuple(log.runs.values()),
        gaps=tuple(gaps(plan, next(iter(engines.values())).family, log)),
    )

"""A benchmark from its first check to its record: what `seeahead bench` and `seeahead demo` call."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch

from seeahead import api
from seeahead.api import Engine
from seeahead.bench.harness import Plan, Watch, ask_all, asked_of, gaps, measure_costs, question_of, warm_up
from seeahead.bench.html import report
from seeahead.bench.log import Log
from seeahead.bench.methods import ASSISTED, PEERS, Method, assistant_of, digest, passes_of, weights_of
from seeahead.bench.peers import outside, set_up
from seeahead.bench.peers.table import OTHERS, spelled
from seeahead.bench.record import PLAIN, Costs, Record, read_record, write_record
from seeahead.bench.suites import Suite, suite_of
from seeahead.bench.summary import Summary, summarize
from seeahead.checked import check_letters
from seeahead.data.packages import Progress
from seeahead.drafters import check_names, folders_for
from seeahead.errors import ImageError, InputError, SeeaheadError, shown
from seeahead.executors import kind_of
from seeahead.families.base import Family
from seeahead.garbage import loaded_is_none
from seeahead.images import load_image
from seeahead.prompt import make_prompt
from seeahead.provenance import check_writable, provenance, publishable, write_text
from seeahead.sampling import SamplingParams
from seeahead.session import check_fits

RECORD, PAGE, PARTIAL = "bench.json", "bench.html", "bench.partial.jsonl"
ASKING = "asking"
_log = logging.getLogger(__name__)
_MANY_ITEMS = 100
"""So many take a while to read."""


@dataclass(frozen=True)
class Result:
    """A run as it is stored, and its figures."""

    record: Record
    summary: Summary


def run(
    target: str = "demo",
    methods: Sequence[str] | None = None,
    suite: str | Path | Suite = "demo",
    *,
    peers: Sequence[str] | None = None,
    temperatures: Sequence[float] = (0.0, 1.0),
    repeats: int = 1,
    count: int | None = None,
    folder: Path | None = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "auto",
    executor: str = "auto",
    out: str | Path | None = None,
    measures_costs: bool = True,
    is_shuffled: bool = True,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Result:
    """Ask every question of every method, interleaved. Raises InputError, ModelError or DrafterError.

    `methods` are drafters as `load` takes them (default: the target's usual ones); plain decoding is always measured.
    `suite`: a name (with `folder` for public data), a path to your own questions (answers up to `max_new_tokens`, by
    default 128), or a Suite; at most `count` questions per scenario. `peers`: transformers' modes and other engines by
    name, an empty list for all at hand. `out`: a folder for record and page, where an interrupted run goes on; default
    none.
    """
    for word in (target, *(methods or ())):  # which the record names
        check_letters(str(word), shown(str(word)))
    _check({"count": count, "repeats": repeats, "max_new_tokens": max_new_tokens}, temperatures, seed, out)
    peers, specs = _peers(peers, target), _drafters(methods, target)
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory()) if out is None else out)
        asked = suite_of(suite, count, seed, folder, place / "pictures", max_new_tokens)
        plan = Plan(asked, tuple(sorted(set(temperatures))), repeats, seed, is_shuffled)
        bench = _Bench(target, specs, peers, plan, progress or (lambda what, share: None), watch or Watch())
        runs_on = {"dtype": dtype, "device": device, "executor": executor}
        return bench.run(None if out is None else place, runs_on, measures_costs=measures_costs)


def _drafters(named: Sequence[str] | None, target: str) -> list[str]:
    """Refuses what is no drafter before images are opened and a model is loaded."""
    own = folders_for(target)
    if named is None:  # of the demo each alone too; those of another model are many, and large
        return ["lookup", *sorted(own if target == "demo" else ()), "auto"]
    specs = [spec for spec in named if spec != PLAIN]
    check_names(specs, own)
    return specs


def _peers(named: Sequence[str] | None, target: str) -> list[str] | None:
    """Refuses what is no peer, or is not set up, likewise."""
    if named is None:
        return None
    names = [spelled(name) for name in named]
    for name in names:
        if name not in (known := (*PEERS, *OTHERS)):
            quoted = ", ".join(f'"{name}"' for name in known)
            raise InputError(f"no peer '{name}'; allowed: {quoted}, or none by name for all that are at hand")
    set_up.check([name for name in names if name in OTHERS], target)
    return names


def _check(counts: Mapping[str, int | None], temperatures: Sequence[float], seed: int, out: str | Path | None) -> None:
    for name, value in counts.items():
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; allowed is 1 or more")
    if not 0 <= seed < 2**64:
        raise InputError(f"seed is {seed}; allowed is a whole number from 0 to 2**64 - 1")
    for temperature in temperatures:
        SamplingParams(temperature=temperature)
    if 0 not in temperatures:
        found = ", ".join(f"{temperature:g}" for temperature in temperatures)
        raise InputError(f"temperatures are {found}; 0 must be among them: exactness is measured on greedy answers")
    if out is not None:
        try:
            for name in (RECORD, PAGE):
                check_writable(Path(out) / name)
        except InputError as error:
            raise InputError(f"cannot write into {out}: {error}") from None


@dataclass
class _Bench:
    """What is asked of whom."""

    target: str
    drafters: Sequence[str]
    peers: Sequence[str] | None
    plan: Plan
    progress: Progress
    watch: Watch

    def run(self, out: Path | None, runs_on: Mapping[str, Any], *, measures_costs: bool) -> Result:
        self._check_images()
        left_out = list[str]()
        given = {"drafters": self.drafters, "model": self.target, "peers": self.peers, **runs_on}
        with ExitStack() as held, Log(None if out is None else out / PARTIAL, self.plan.fingerprint(**given)) as log:
            plain = api.load(self.target, PLAIN, **runs_on, progress=self.progress)
            if is_blind := not plain.family.can_see:
                left_out += self._leave_out_images()
            left_out += self._leave_out_unfit(plain.family)
            methods = self._methods(plain, held)
            described = self._describe(methods)
            here = provenance()
            made = {name: here[name] for name in ("commit", "versions", "hardware")}
            log.begin({"target": described, "methods": list(methods), **made})
            for share in warm_up(methods, self.plan.suite):
                self.progress("warming up", share)
            held.enter_context(loaded_is_none())
            costs = measure_costs(plain.family, self.progress) if measures_costs else Costs(0, {})
            outside = self._ask(methods, log)
            settings = {**described, "harness_share": outside, **({"left_out": left_out} if left_out else {})}
            settings |= {"reads_text_only": True} if is_blind else {}
            record = self._record(methods, log, settings, costs)
            if out is not None:
                write_record(out / RECORD, record)
                record = read_record(out / RECORD)  # rounded as stored, so that the page can be rendered again
                log.finish()
                write_text(out / PAGE, report(record))
        return Result(record, summarize(record))

    def _check_images(self) -> None:
        """Raises InputError, before a model is loaded, where no item can be shown. The images of all
        items are opened once, when the model is asked whether it takes their questions."""
        reason = ""
        for item in self.plan.suite.items:
            try:
                for path in item.images:
                    load_image(path)
            except ImageError as error:
                reason = reason or str(error)
            else:
                return
        if reason:
            raise InputError(f"no image of {self.plan.suite.name} can be read: {reason}")

    def _leave_out_images(self) -> list[str]:
        """The items with any, for a model that reads text only. Raises InputError when nothing is left."""
        suite, reason = self.plan.suite, "the model reads text only"
        shown = {item.id: reason for item in suite.items if item.images}
        return self._leave_out(shown, f"every question of {suite.name} shows images")

    def _leave_out_unfit(self, family: Family) -> list[str]:
        """The items whose images cannot be read, or whose first question the model's template or context does not take:
        they must not end a run hours later. Raises InputError when nothing is left."""
        items, wrong = self.plan.suite.items, dict[str, str]()
        for number, item in enumerate(items, 1):
            try:
                inputs = family.encode(make_prompt(question_of(item, ()).messages()))
                check_fits(inputs.length, family.executor.limits.max_length)
            except InputError as error:
                wrong[item.id] = str(error)
            if len(items) > _MANY_ITEMS:
                self.progress("reading questions", number / len(items))
        return self._leave_out(wrong, f"the model takes no question of {self.plan.suite.name}")

    def _leave_out(self, reasons: Mapping[str, str], nothing_left: str) -> list[str]:
        suite = self.plan.suite
        items = tuple(item for item in suite.items if item.id not in reasons)
        if reasons and not items:
            raise InputError(f"{nothing_left}: {next(iter(reasons.values()))}")
        self.plan = replace(self.plan, suite=replace(suite, items=items))
        self.watch.leave_out(reasons)
        return list(reasons)

    def _methods(self, plain: Engine, held: ExitStack) -> dict[str, Method]:
        """Plain first, then one per drafter, then the peers, all on one target; `held` closes them."""
        methods = {PLAIN: Method(plain)}
        for spec in self.drafters:
            engine = plain.with_drafter(spec)
            name = publishable(engine.drafter.name)
            methods[name if name not in methods else f"{name} {len(methods)}"] = Method(engine)
        if self.peers is not None:
            folder = assistant_of(self.drafters, plain.own_drafters.get("language"))
            for name in self.peers or self._at_hand(plain, folder):
                self.progress(f"loading the peer {name}", 0.0)
                try:
                    found = PEERS[name](plain, folder) if name in PEERS else outside.start(name, plain, self.target)
                except (SeeaheadError, OSError) as error:
                    if self.peers:
                        raise
                    _log.warning("the peer %s is left out: %s", name, error)
                    continue
                methods[name] = found
                held.callback(found.close)
        return methods

    def _at_hand(self, plain: Engine, assistant: Path | None) -> list[str]:
        """The peers that can be asked here."""
        own = [name for name in PEERS if assistant is not None or name != ASSISTED]
        is_cpu = plain.family.device.type == "cpu"
        return own + [name for name, peer in OTHERS.items() if is_cpu and set_up.is_ready(peer, self.target)]

    def _describe(self, methods: Mapping[str, Method]) -> dict[str, Any]:
        """What is run, in words that may be published: no path of this machine; drafters by a hash of their weights."""
        engine, (_, *names) = methods[PLAIN].engine, [name for name, method in methods.items() if not method.is_peer]
        folders = {name: weights_of(spec, engine.own_drafters) for name, spec in zip(names, self.drafters, strict=True)}
        for name in names:  # members of auto
            its = getattr(methods[name].engine.drafter, "folders", {})
            new = {kind: path for kind, path in its.items() if path not in folders.values()}
            for kind, path in new.items():
                key = f"{name}'s {publishable(kind)}"
                folders[key if key not in folders else f"{key} {len(folders)}"] = path
        family = engine.family
        others = {name: method.facts for name, method in methods.items() if method.facts}
        passes = passes_of(family.executor.limits)
        return {
            "model_type": family.model.config.model_type,
            "num_parameters": sum(map(torch.numel, family.model.parameters())),
            "dtype": family.executor.precision,
            "executor": kind_of(family.executor.name),
            "device": family.device.type,
            "num_threads": torch.get_num_threads(),
            "model": self.target if self.target == "demo" else Path(self.target).name,
            "drafters": {name: digest(folder) for name, folder in folders.items() if folder is not None},
            **({"others": others} if others else {}),
            **({"passes": passes} if passes else {}),
        }

    def _ask(self, methods: Mapping[str, Method], log: Log) -> float | None:
        """Returns the share of the time that went to no method; None when nothing was left to ask. 0 at least: an
        engine tells itself how long it took, which may be more than it was."""
        self.watch.begin(list(methods), len(self.plan.places))
        total, known = self.plan.num_runs(len(methods)), set(log.runs)
        self.progress(ASKING, 0.0)
        started = perf_counter()
        for number, _ in enumerate(ask_all(self.plan, methods, log, self.watch), 1):
            self.progress(ASKING, number / total)
        seconds = perf_counter() - started
        new = [run.seconds_total for key, run in log.runs.items() if key not in known]
        return round(max(1 - sum(new) / seconds, 0.0), 4) if new else None

    def _record(self, methods: Mapping[str, Method], log: Log, settings: Mapping[str, Any], costs: Costs) -> Record:
        plan, suite = self.plan, self.plan.suite
        sizes = {name: method.num_weights for name, method in methods.items() if method.num_weights}
        comparable = [name for name, method in methods.items() if method.has_weights_of_target]
        return Record(
            provenance=provenance(plan.seed),
            settings={
                **settings,
                "suite": suite.name,
                "about": suite.about,
                "num_questions": len(plan.places),
                "num_repeats": plan.num_repeats,
                "temperatures": list(plan.temperatures),
                "seed": plan.seed,
            },
            num_parameters={"target": settings["num_parameters"], **sizes},
            costs=costs,
            methods=tuple(methods),
            peers=tuple(name for name, method in methods.items() if method.is_peer),
            asked=asked_of(plan, log),
            runs=tuple(log.runs.values()),
            gaps=tuple(gaps(plan, methods[PLAIN].engine.family, log, comparable)),
        )

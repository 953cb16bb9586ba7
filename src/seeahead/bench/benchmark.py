"""A benchmark from its first check to its record: what `seeahead bench` and `seeahead demo` call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import torch

from seeahead import api
from seeahead.api import Engine
from seeahead.bench.costs import measure_costs
from seeahead.bench.harness import Plan, Watch, asked_of, fingerprint, gaps, warm_up
from seeahead.bench.harness import run as ask_all
from seeahead.bench.html import write_report
from seeahead.bench.log import Log
from seeahead.bench.methods import EngineMethod, Method, parameters_read
from seeahead.bench.peers import ASSISTED, PEERS, assistant_of
from seeahead.bench.record import PLAIN, Costs, Record, read_record, write_record
from seeahead.bench.suites import Suite, load_own, load_suite
from seeahead.bench.summary import Summary, summarize
from seeahead.bench.weights import digest, weights_of
from seeahead.drafters import NEEDS_MODEL, spec_of
from seeahead.errors import ImageError, InputError
from seeahead.images import load_image
from seeahead.provenance import check_writable, provenance

RECORD, PAGE, PARTIAL = "bench.json", "bench.html", "bench.partial.jsonl"
ASKING = "asking"
_MANY_IMAGES = 100
"""So many take a while to open."""

Progress = Callable[[str, float], None]
"""Called with what is being done, and the share of it that is done."""


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
    max_new_tokens: int = 128,
    seed: int = 0,
    dtype: str = "auto",
    device: str = "auto",
    out: str | Path | None = None,
    measures_costs: bool = True,
    is_shuffled: bool = True,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Result:
    """Ask every question of every method, interleaved, and return what happened.

    `methods` are drafters as `load` takes them (default: the target's usual ones); plain decoding is always measured.
    `suite` is a name (with `folder` for a public data set), a path to your own questions, or a Suite; at most `count`
    questions per scenario, answers of your own ones up to `max_new_tokens`. `peers`: transformers' own modes by name,
    an empty list for all of them. `out` is a folder for record and page, in which an interrupted run goes on; without
    it nothing is written. Raises InputError, ModelError or DrafterError.
    """
    progress, watch = progress or (lambda what, share: None), watch or Watch()
    specs = default_drafters(target) if methods is None else [spec for spec in methods if spec != PLAIN]
    _check(count, repeats, temperatures, peers or (), out)
    _check_drafters(specs, has_own=target == "demo")
    with ExitStack() as stack:
        place = Path(stack.enter_context(TemporaryDirectory()) if out is None else out)
        asked = _suite(suite, count, seed, folder, max_new_tokens, place / "pictures")
        asked, left_out = open_images(asked, progress)
        watch.leave_out(left_out)
        plan = Plan(asked, tuple(sorted(set(temperatures))), repeats, seed, is_shuffled)
        given = {"drafters": specs, "model": target, "peers": peers, "dtype": dtype, "device": device}
        log = stack.enter_context(Log(None if out is None else place / PARTIAL, fingerprint(plan, **given)))
        engines = load_engines(target, specs, dtype, device, progress)
        plan = replace(plan, suite=_what_it_can_read(asked, engines[PLAIN].family.can_see))
        described = describe(target, engines, specs)
        loaded = _Loaded(plan, engines, make_methods(engines, specs, peers), described, log, progress, watch)
        record = loaded.measure(tuple(left_out), measures_costs=measures_costs)
        if out is not None:
            write_record(place / RECORD, record)
            log.finish()
            record = read_record(place / RECORD)  # rounded as stored, so that the page can be rendered again
            write_report(place / PAGE, record)
        return Result(record, summarize(record))


def default_drafters(target: str) -> list[str]:
    return ["lookup", "language", "msd"] if target == "demo" else ["lookup"]


def _check(
    count: int | None, repeats: int, temperatures: Sequence[float], peers: Sequence[str], out: str | Path | None
) -> None:
    for name, value in (("count", count), ("repeats", repeats)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}; allowed is 1 or more")
    if 0 not in temperatures or min(temperatures) < 0:
        found = ", ".join(f"{temperature:g}" for temperature in temperatures)
        raise InputError(f"temperatures are {found}; 0 must be the lowest: exactness is measured on greedy answers")
    for name in peers:
        if name not in PEERS:
            quoted = ", ".join(f'"{known}"' for known in PEERS)
            raise InputError(f"no peer '{name}'; allowed: {quoted}, or none by name for all of them")
    if out is not None:
        try:
            for name in (RECORD, PAGE):
                check_writable(Path(out) / name)
        except InputError as error:
            raise InputError(f"cannot write into {out}: {error}") from None


def _check_drafters(specs: Sequence[str], *, has_own: bool) -> None:
    """Refuses what is no drafter before images are opened and a model is loaded."""
    for spec in specs:
        spec_of(spec, dict.fromkeys(NEEDS_MODEL, Path()) if has_own else None)


def _suite(
    given: str | Path | Suite, count: int | None, seed: int, folder: Path | None, max_new_tokens: int, workspace: Path
) -> Suite:
    if isinstance(given, Suite):
        return given
    if isinstance(given, Path):
        return load_own(given, count=count, seed=seed, max_new_tokens=max_new_tokens)
    return load_suite(given, count=count, seed=seed, folder=folder, workspace=workspace)


def open_images(suite: Suite, progress: Progress) -> tuple[Suite, dict[str, str]]:
    """The suite without items whose images cannot be read, and why not, by item: a broken one must not end a run
    hours later. Raises InputError when nothing is left."""
    wrong: dict[Path, str] = {}
    paths = list(dict.fromkeys(path for item in suite.items for path in item.images))
    for number, path in enumerate(paths, 1):
        try:
            load_image(path)
        except ImageError as error:
            wrong[path] = str(error)
        if len(paths) > _MANY_IMAGES:
            progress("opening images", number / len(paths))
    left_out = {item.id: wrong[path] for item in suite.items for path in item.images if path in wrong}
    items = tuple(item for item in suite.items if item.id not in left_out)
    if left_out and not items:
        raise InputError(f"no image of {suite.name} can be read: {next(iter(left_out.values()))}")
    return replace(suite, items=items), left_out


def load_engines(
    target: str, drafters: Sequence[str], dtype: str, device: str, progress: Progress
) -> dict[str, Engine]:
    """Plain first, then one engine per drafter, all on one target."""
    plain = api.load(target, PLAIN, dtype=dtype, device=device, progress=progress)
    engines = {PLAIN: plain}
    for spec in drafters:
        engine = plain.with_drafter(spec)
        name = engine.drafter.name
        engines[name if name not in engines else f"{name} {len(engines)}"] = engine
    return engines


def _what_it_can_read(suite: Suite, can_see: bool) -> Suite:
    """Questions without images for a model that reads text only. Raises InputError when nothing is left."""
    items = tuple(item for item in suite.items if can_see or not item.images)
    if not items:
        raise InputError(f"every question of {suite.name} shows images, and the model reads text only")
    return replace(suite, items=items)


def make_methods(
    engines: Mapping[str, Engine], drafters: Sequence[str], peers: Sequence[str] | None
) -> dict[str, Method]:
    methods: dict[str, Method] = {name: EngineMethod(engine) for name, engine in engines.items()}
    if peers is not None:
        plain = engines[PLAIN]
        folder = assistant_of(drafters, plain.own_drafters.get("language"))
        asked = peers or [name for name in PEERS if folder is not None or name != ASSISTED]
        methods |= {name: PEERS[name](plain, folder) for name in asked}
    return methods


def describe(target: str, engines: Mapping[str, Engine], drafters: Sequence[str]) -> dict[str, Any]:
    """What is run, in words that may be published: no path of this machine; drafters by a hash of their weights."""
    plain, *others = engines
    family, own = engines[plain].family, engines[plain].own_drafters
    folders = {name: weights_of(spec, own) for name, spec in zip(others, drafters, strict=True)}
    return {
        "model_type": family.model.config.model_type,
        "num_parameters": sum(weight.numel() for weight in family.model.parameters()),
        "dtype": str(family.dtype).removeprefix("torch."),
        "device": family.device.type,
        "num_threads": torch.get_num_threads(),
        "model": target if target == "demo" else Path(target).name,
        "drafters": {name: digest(folder) for name, folder in folders.items() if folder is not None},
    }


@dataclass(frozen=True)
class _Loaded:
    """A run whose models are loaded."""

    plan: Plan
    engines: Mapping[str, Engine]
    methods: Mapping[str, Method]
    described: Mapping[str, Any]
    log: Log
    progress: Progress
    watch: Watch

    def measure(self, left_out: tuple[str, ...], *, measures_costs: bool) -> Record:
        plain, plan = self.engines[PLAIN].family, self.plan
        self.log.begin({"target": self.described, "methods": list(self.methods)})
        for share in warm_up(self.methods, plan.suite):
            self.progress("warming up", share)
        costs = measure_costs(plain, self.progress) if measures_costs else Costs(0, {})
        outside = self._ask()
        sizes = {name: parameters_read(engine) for name, engine in self.engines.items()}
        return Record(
            provenance=provenance(plan.seed),
            settings={
                **self.described,
                "harness_share": outside,
                **({"left_out": list(left_out)} if left_out else {}),
                "suite": plan.suite.name,
                "about": plan.suite.about,
                "num_questions": plan.num_questions,
                "num_repeats": plan.num_repeats,
                "temperatures": list(plan.temperatures),
                "seed": plan.seed,
            },
            num_parameters={
                "target": int(self.described["num_parameters"]),
                **{name: size for name, size in sizes.items() if size is not None},
            },
            costs=costs,
            methods=tuple(self.methods),
            peers=tuple(name for name, method in self.methods.items() if method.is_peer),
            asked=asked_of(plan, self.log),
            runs=tuple(self.log.runs.values()),
            gaps=tuple(gaps(plan, plain, self.log)),
        )

    def _ask(self) -> float | None:
        """Returns the share of the time that went to no method; None when nothing was left to ask."""
        self.watch.begin(list(self.methods), self.plan.num_questions)
        total, known = self.plan.num_runs(len(self.methods)), set(self.log.runs)
        self.progress(ASKING, 0.0)
        started = perf_counter()
        for number, _ in enumerate(ask_all(self.plan, self.methods, self.log, self.watch), 1):
            self.progress(ASKING, number / total)
        seconds = perf_counter() - started
        new = [run.seconds_total for key, run in self.log.runs.items() if key not in known]
        return round(1 - sum(new) / seconds, 4) if new else None

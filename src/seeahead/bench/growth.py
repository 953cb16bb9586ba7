"""How passes grow: with the context, the tree and the batch, for every executor at hand, in one interleaved run.

Measured are bare passes of the executors, without drafters: what a prompt takes (seconds to the first token), a step of
k tokens (V(k)), and a plain step of several requests. Raw seconds are kept; `growth_page` makes figures of them.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

import torch

from seeahead import api
from seeahead.api import Engine
from seeahead.bench.methods import passes_of
from seeahead.bench.record import PLAIN
from seeahead.data.packages import Progress
from seeahead.drafters.costs import prompted, time_passes
from seeahead.errors import InputError, ModelError
from seeahead.executor import NOTHING, Executor, ModelInputs
from seeahead.families.choice import choose
from seeahead.provenance import provenance
from seeahead.session import Session
from seeahead.tree import ROOT

SCHEMA = "seeahead-growth/1"
CONTEXTS, SIZES, BATCHES = (128, 512, 2048, 8000), (1, 2, 4, 8, 16, 32), (1, 2, 4, 8)
BATCH_CONTEXT = 512
ROUNDS = 7
ARMS = ("transformers auto", "openvino float32", "openvino int8", "graphs auto", "kernels auto")
"""Executor and precision; by default all of these that run here."""
READ, PASSED, BATCHED = "prompts", "passes", "batches"
_TOKENS_READ = 6144
"""A prompt is read once at least; short ones until so many tokens were read, or every round. After longer ones come
half the rounds of passes."""
Rows = list[dict[str, Any]]


def measure(
    target: str = "demo",
    arms: Sequence[str] = (),
    *,
    contexts: Sequence[int] = CONTEXTS,
    rounds: int = ROUNDS,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """The growth record: settings, provenance and seconds. A context that the model does not hold becomes its longest.

    Raises InputError or ModelError."""
    if rounds < 2:
        raise InputError(f"rounds is {rounds}; allowed is 2 or more")
    tell = progress or (lambda what, share: None)
    engines = _loaded(target, arms, device, tell)
    first = next(iter(engines.values()))
    executors = {name: engine.target.executor for name, engine in engines.items()}
    lengths = _that_fit(contexts, executors)
    words = sorted(set(range(first.family.vocab_size // 2, first.family.vocab_size)) - first.family.image_token_ids)
    found: dict[str, Rows] = {READ: [], PASSED: [], BATCHED: []}
    with torch.inference_mode():
        for number, length in enumerate(lengths):
            share = number / (len(lengths) + 1)
            tell(f"reading prompts of {length:,} tokens", share)
            sessions = _read(executors, words, length, rounds, found[READ])
            tell(f"passes after {length:,} tokens", share)
            num_rounds = rounds if length <= _TOKENS_READ else max(2, rounds // 2)
            _pass(words, length, sessions, num_rounds, found[PASSED])
        tell("batches", len(lengths) / (len(lengths) + 1))
        _batch(executors, words, min(BATCH_CONTEXT, lengths[-1]), rounds, found[BATCHED])
    settings = {**_described(target, engines), "rounds": rounds, "arms": list(engines)}
    settings |= {"contexts": lengths, "asked_contexts": list(contexts)}
    return {"schema": SCHEMA, "provenance": provenance(0), "settings": settings, **found}


def _described(target: str, engines: Mapping[str, Engine]) -> dict[str, Any]:
    engine = next(iter(engines.values()))
    passes = {arm: found for arm, one in engines.items() if (found := passes_of(one.target.executor.limits))}
    return {
        "model": "demo" if target == "demo" else target.rstrip("/").rpartition("/")[2],
        "num_parameters": sum(map(torch.numel, engine.family.model.parameters())),
        "max_length": engine.target.executor.limits.max_length,
        "device": engine.family.device.type,
        "num_threads": torch.get_num_threads(),
        **({"passes": passes} if passes else {}),
    }


def _loaded(target: str, arms: Sequence[str], device: str, tell: Progress) -> dict[str, Engine]:
    """Those that are named must run here; of the others, those that do."""
    engines: dict[str, Engine] = {}
    split = [arm.replace(":", " ").partition(" ") for arm in arms or ARMS]
    for executor, _, dtype in split if arms else ():  # all of them before the first is loaded
        choose(executor, dtype or "auto", device, is_given=False)
    for executor, _, dtype in split:
        tell(f"loading {executor}", 0.0)
        try:
            engine = api.load(target, PLAIN, executor=executor, dtype=dtype or "auto", device=device)
        except (InputError, ModelError):
            if arms:
                raise
            continue
        engines[f"{executor} {engine.family.executor.precision}"] = engine
    if not engines:
        raise ModelError(f"no executor runs {target} here; name one to see why, such as --growth transformers")
    return engines


def _that_fit(contexts: Sequence[int], executors: Mapping[str, Executor]) -> list[int]:
    """Each once; longer ones as long as the model allows before the largest pass."""
    longest = min((executor.limits.max_length or max(contexts) + max(SIZES)) for executor in executors.values())
    if longest <= max(SIZES):
        raise InputError(
            f"the model's context is {longest} tokens, the largest pass has {max(SIZES)}; give a model of a longer one"
        )
    return sorted({min(length, longest - max(SIZES)) for length in contexts})


def _read(
    executors: Mapping[str, Executor], words: Sequence[int], length: int, rounds: int, rows: Rows
) -> dict[str, Session]:
    """Prompts in turn; the last ones stay. The very first of an executor warms it up."""
    if not rows:
        for executor in executors.values():
            prompted(executor, words, length, SIZES)
    seconds: dict[str, list[float]] = {name: [] for name in executors}
    rows += [{"arm": name, "context": length, "seconds": all_} for name, all_ in seconds.items()]
    sessions: dict[str, Session] = {}
    num_reads = min(rounds, max(1, _TOKENS_READ // length))
    for number in range(num_reads):
        for name in random.Random(number).sample(list(executors), len(executors)):
            sessions.pop(name, None)  # its place is given back before the next one is read
            started = perf_counter()
            sessions[name] = prompted(executors[name], words, length, SIZES)[0]
            if executors[name].limits.device.type == "cuda":
                torch.cuda.current_stream(executors[name].limits.device).synchronize()
            seconds[name].append(perf_counter() - started)
    return sessions


def _pass(words: Sequence[int], length: int, sessions: Mapping[str, Session], rounds: int, rows: Rows) -> None:
    """Executors take turns round by round, sizes within a round; the first round warms up."""
    tokens = ModelInputs(torch.tensor([words[: max(SIZES)]]))
    timed = {name: time_passes(session, tokens, SIZES, rounds + 1) for name, session in sessions.items()}
    seconds: dict[tuple[str, int], list[float]] = {(name, size): [] for name in sessions for size in SIZES}
    for number in range(rounds + 1):
        for name in random.Random(number).sample(list(timed), len(timed)):
            for size, taken in next(timed[name]).items():
                if number:
                    seconds[name, size].append(taken)
    rows += [{"arm": name, "context": length, "size": size, "seconds": all_} for (name, size), all_ in seconds.items()]


def _batch(executors: Mapping[str, Executor], words: Sequence[int], length: int, rounds: int, rows: Rows) -> None:
    """A plain step of so many requests at once."""
    sessions = {
        name: [prompted(executor, words, length, [1])[0] for _ in range(max(BATCHES))]
        for name, executor in executors.items()
    }
    seconds: dict[tuple[str, int], list[float]] = {(name, num): [] for name in executors for num in BATCHES}
    for number in range(rounds + 1):
        for name, num in random.Random(number).sample(list(seconds), len(seconds)):
            taken = _step(executors[name], sessions[name][:num], words[0])
            if number:
                seconds[name, num].append(taken)
    rows += [{"arm": name, "context": length, "num": num, "seconds": all_} for (name, num), all_ in seconds.items()]


def _step(executor: Executor, sessions: Sequence[Session], token: int) -> float:
    started = perf_counter()
    found = executor.forward([session.tree([token], [ROOT]) for session in sessions], NOTHING)
    torch.stack([scores.logits[-1].argmax() for scores in found]).tolist()
    taken = perf_counter() - started
    for session in sessions:
        session.commit(())
    return taken

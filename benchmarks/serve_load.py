"""The server under load: 1, 4, 8 and 16 clients at once, drafted beside plain, in one interleaved run.

The clients share 48 questions of the demo suite, each asking one after the other, over HTTP, streamed. Told are
tokens per second of all clients together, seconds to the first token and between tokens (median and 95th percentile),
and whether every answer is the one that its question gets alone. A last part asks second questions about an image.

python -m benchmarks.serve_load [--dtype float32] [-o results/serve-load.json]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import json
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import IO, Any

import openai

from benchmarks.serve_peer import PEERS, Peer, peer
from benchmarks.studies import SEES
from seeahead.bench.peers.table import spelled
from seeahead.bench.suites import load_suite
from seeahead.executors import kind_of
from seeahead.provenance import provenance, write_json
from seeahead.serve.settings import OwnerLimits

CLIENTS = (1, 4, 8, 16)
METHODS = {"plain": "none", "msd": "msd", "auto": "auto"}
PATIENCE = 720
"""Seconds that a server may take to load, and to convert its model."""
NUM_QUESTIONS, REPEATS = 48, 2
FOLLOW_UP = "What colours are in the image?"
Arm = Callable[[int], dict[str, Any]]
PAUSES = (0.0, 0.5)
"""Seconds before each question of a conversation: a program asks at once, a person reads the answer first."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--num-at-once", type=int, default=OwnerLimits().num_at_once)
    parser.add_argument("--executor", default="auto")
    parser.add_argument(
        "--peer", type=spelled, choices=PEERS, help="also OpenVINO GenAI (seeahead bench --set-up-peers)"
    )
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    questions = asked_questions()
    options = ["-d", "msd", "-d", "auto", "--dtype", args.dtype, "--executor", args.executor]
    options += ["--num-at-once", str(args.num_at_once)]
    # A slot that one arm has left would spare another its prompt: no arm of the load finds any.
    with ExitStack() as stack:
        url, _ = stack.enter_context(served([*options, "--num-kept", "0"]))
        runs = what_runs(url)
        alone = asyncio.run(answers_alone(url, questions))
        arms: dict[str, Arm] = {
            name: lambda clients, drafter=drafter: asyncio.run(load(url, questions, clients, drafter, alone))  # type: ignore[misc]
            for name, drafter in METHODS.items()
        }
        if args.peer:
            other = stack.enter_context(peer(args.peer, questions))
            arms[f"OpenVINO GenAI {other.version.partition('-')[0]}"] = lambda clients: load_of(other, clients)
        for arm in arms.values():  # first starts of drafters, and first shared passes, are nobody's round
            arm(2)
        rows = [
            {"clients": clients, "method": name, **arm(clients)}
            for number in range(args.repeats)
            for clients in CLIENTS
            for name, arm in shuffled(arms, clients + 100 * number)
        ]
    follow_ups = []
    for pause in PAUSES:
        with served(options) as (url, _):  # which has seen none of the images
            follow_ups += asyncio.run(second_questions(url, questions, pause))
    told = summary(rows, follow_ups)
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    if args.output is not None:
        settings = {**runs, "num_questions": NUM_QUESTIONS, "num_at_once": args.num_at_once, SEES: True}
        whole = {"provenance": provenance(0), "settings": settings, "rows": rows, "follow_ups": follow_ups, **told}
        write_json(args.output, whole)
    return 0


def shuffled(arms: Mapping[str, Arm], seed: int) -> list[tuple[str, Arm]]:
    """In another order each time, since what comes first finds another machine than what comes last."""
    return random.Random(seed).sample([*arms.items()], len(arms))


def asked_questions() -> list[dict[str, Any]]:
    """Bodies of requests: questions of every scenario."""
    with tempfile.TemporaryDirectory() as workspace:
        suite = load_suite("demo", count=5, seed=0, folder=None, workspace=Path(workspace))
        bodies = []
        for item in suite.items:
            turn = item.turns[0]
            parts: list[dict[str, Any]] = []
            for image in item.images:
                data = base64.b64encode(Path(image).read_bytes()).decode()
                parts.append({"type": "image_url", "image_url": {"url": f"data:image/*;base64,{data}"}})
            message = {"role": "user", "content": [*parts, {"type": "text", "text": turn.text}]}
            bodies.append({"messages": [message], "max_tokens": turn.max_new_tokens, "temperature": 0})
    return bodies[:NUM_QUESTIONS]


@contextlib.contextmanager
def served(options: Sequence[str], log: IO[bytes] | None = None) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A server in a process of its own, and where it is. `log`: where its stderr goes; None: where ours does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "seeahead", "serve", "--port", str(port), *options]
    process = subprocess.Popen(command, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        ends = time.monotonic() + PATIENCE
        while not is_ready(url):
            if process.poll() is not None or time.monotonic() > ends:
                raise SystemExit(f"the server is not ready after {PATIENCE} seconds, or has ended; see its log")
            time.sleep(0.2)
        yield url, process
    finally:
        process.terminate()
        process.wait(60)


def what_runs(url: str) -> dict[str, str]:
    """The executor of a server and the precision of its weights, whatever it was asked for."""
    with urllib.request.urlopen(f"{url}/v1/models", timeout=60) as reply:
        own = json.load(reply)["data"][0]["seeahead"]
    return {"executor": kind_of(own["executor"]), "dtype": own["precision"]}


def is_ready(url: str) -> bool:
    """Whether the server's model is loaded."""
    with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/ready", timeout=1):
        return True
    return False


def client_of(url: str) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0, timeout=600)


async def ask(client: openai.AsyncOpenAI, body: dict[str, Any], drafter: str) -> dict[str, Any]:
    """One answer, streamed: its text, tokens, and seconds."""
    started, first, text, usage = time.perf_counter(), None, "", None
    further = {"speculative": {"drafter": drafter}}
    stream = await client.chat.completions.create(
        model="demo", **body, stream=True, stream_options={"include_usage": True}, extra_body=further
    )
    async for chunk in stream:
        said = chunk.choices[0].delta.content if chunk.choices else None
        if said:
            text, first = text + said, first or time.perf_counter()
        usage = chunk.usage or usage
    ended = time.perf_counter()
    assert usage is not None, "a stream ends with its usage"
    first = first or ended
    return {
        "text": text,
        "tokens": usage.completion_tokens,
        "first": first - started,
        "between": (ended - first) / max(usage.completion_tokens - 1, 1),
        "cached": usage.prompt_tokens_details.cached_tokens if usage.prompt_tokens_details else 0,
    }


async def answers_alone(url: str, questions: list[dict[str, Any]]) -> list[str]:
    async with client_of(url) as client:
        return [(await ask(client, body, "none"))["text"] for body in questions]


async def load(
    url: str, questions: list[dict[str, Any]], clients: int, drafter: str, alone: list[str]
) -> dict[str, Any]:
    """Figures of so many clients at once."""

    async def one(client: openai.AsyncOpenAI, number: int) -> list[tuple[int, dict[str, Any]]]:
        own = range(number, len(questions), clients)
        return [(place, await ask(client, questions[place], drafter)) for place in own]

    async with client_of(url) as client:
        started = time.perf_counter()
        answered = [pair for own in await asyncio.gather(*(one(client, n) for n in range(clients))) for pair in own]
        seconds = time.perf_counter() - started
    tokens = sum(answer["tokens"] for _, answer in answered)
    sys.stderr.write(f"{clients} clients, {drafter}: {tokens / seconds:.1f} tokens/s\n")
    identical = sum(answer["text"] == alone[place] for place, answer in answered)
    return {"identical": identical, **told_of([answer for _, answer in answered], seconds)}


def load_of(other: Peer, clients: int) -> dict[str, Any]:
    """Figures of a peer with so many clients at once; it answers in words of its own."""
    found = other.load(clients)
    return {"identical": None, **told_of(found["answers"], found["seconds"])}


def told_of(answered: Sequence[dict[str, Any]], seconds: float) -> dict[str, Any]:
    return {
        "answers": len(answered),
        "tokens": sum(answer["tokens"] for answer in answered),
        "seconds": seconds,
        **spread("first", [answer["first"] for answer in answered]),
        **spread("between", [answer["between"] for answer in answered]),
    }


def spread(name: str, seconds: list[float]) -> dict[str, float]:
    return {f"{name}_p50": median(seconds), f"{name}_p95": quantiles(seconds, n=20, method="inclusive")[-1]}


async def second_questions(url: str, questions: list[dict[str, Any]], pause: float) -> list[dict[str, float]]:
    """Seconds to the first token of a first question about images, and of a second one in the same conversation, each
    asked after a pause of so many seconds."""
    found = []
    # The same images once: what was asked about before has left its slot.
    seen = {str(parts[:-1]): body for body in questions if len(parts := body["messages"][0]["content"]) > 1}
    async with client_of(url) as client:
        for body in seen.values():
            await asyncio.sleep(pause)
            first = await ask(client, body, "msd")
            more = [{"role": "assistant", "content": first["text"]}, {"role": "user", "content": FOLLOW_UP}]
            await asyncio.sleep(pause)
            second = await ask(client, {**body, "messages": body["messages"] + more}, "msd")
            own = {"images": len(body["messages"][0]["content"]) - 1, "cached": second["cached"], "pause": pause}
            found.append({**own, "first": first["first"], "second": second["first"]})
    return found


def by_images_and_pause(follow_ups: Iterable[dict[str, float]]) -> dict[tuple[int, float], list[dict[str, float]]]:
    found: dict[tuple[int, float], list[dict[str, float]]] = {}
    for one in follow_ups:
        found.setdefault((int(one["images"]), one["pause"]), []).append(one)
    return dict(sorted(found.items()))


def rates(rows: Sequence[Mapping[str, Any]], clients: int, method: str) -> list[float]:
    """Tokens per second in every round; each round has every arm once per number of clients."""
    own = (row for row in rows if (row["clients"], row["method"]) == (clients, method))
    return [row["tokens"] / row["seconds"] for row in own]


def over_plain(rows: Sequence[Mapping[str, Any]], clients: int, method: str) -> list[float]:
    """The rate over that of plain in the same round: what slows a whole round is in both."""
    pairs = zip(rates(rows, clients, method), rates(rows, clients, "plain"), strict=True)
    return [own / plain for own, plain in pairs]


def summary(rows: list[dict[str, Any]], follow_ups: list[dict[str, float]]) -> dict[str, Any]:
    """Medians over the rounds, and the ratios that matter."""

    def rate(clients: int, method: str) -> float:
        return median(rates(rows, clients, method))

    methods = list(dict.fromkeys(row["method"] for row in rows))
    return {
        "tokens_per_second": {name: {str(count): rate(count, name) for count in CLIENTS} for name in methods},
        "over_one_client": {
            name: {str(count): rate(count, name) / rate(1, name) for count in CLIENTS} for name in methods
        },
        "over_plain": {name: {str(count): over_plain(rows, count, name) for count in CLIENTS} for name in methods},
        "second_question_over_first": {
            f"{images} after {pause:g} s": median(one["second"] / one["first"] for one in own)
            for (images, pause), own in by_images_and_pause(follow_ups).items()
        },
        "all_identical": all(row["identical"] in (row["answers"], None) for row in rows),
    }


if __name__ == "__main__":
    sys.exit(main())

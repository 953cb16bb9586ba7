"""A crowd at the server: does every answer stay the one given alone, and does nobody hold up the others?

A server of the demo model and its drafters in a process of its own, over HTTP, in float32. 200 clients at once, with
images and settings of all kinds. Then 20 that read slowly beside a load of others, in turns with 20 that read the same
at once and with none: their sockets take some 100 KB, so each is told 20 likely tokens beside each token, and the
server holds the rest. Then the server is killed amid answers, started again, and asked the same. In the end a server
with a place for each of 200 clients: 50 leave amid their answers.

python -m benchmarks.serve_crowd [-o results/serve-crowd.json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, pairwise
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

from benchmarks.serve_crowd_clients import Heard, Json, Reading, counts, hear, long, made, num_images, wordy
from benchmarks.serve_load import asked_questions, served, what_runs
from seeahead.provenance import provenance, write_json
from seeahead.serve.settings import OwnerLimits

SERVED = ("auto", "msd", "vision", "language")
"""`lookup` and `none` are always there."""
NUM_LOADING, SPACING = 12, 0.4
"""Clients of the load beside readers, and seconds between the beginnings of these."""
READERS = ("none", "fast", "slow")
NUM_LONG, NUM_STEPS = 40, 10
"""Long answers, of which clients who may leave ask each several times, and steps that all have taken before."""
MOST_SECONDS = 120.0
POLL_SECONDS = 0.02
"""To ask without a pause takes a core, and steps twice the time."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--leaving", type=int, default=50)
    parser.add_argument("--readers", type=int, default=20)
    parser.add_argument("--loaded", type=int, default=100, help="answers of the load beside readers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--executor", default="auto")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    crowd = Crowd(args)
    told = crowd.told()
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    if args.output is not None:
        settings = {name: value for name, value in vars(args).items() if name != "output"}
        settings |= {"num_at_once": OwnerLimits().num_at_once, "drafters": SERVED, "loading": NUM_LOADING}
        settings |= crowd.runs
        write_json(args.output, {"provenance": provenance(0), "settings": settings, **told})
    return 0


class Crowd:
    """The clients, what they ask, and what each is answered alone."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        questions = [one for one in asked_questions() if num_images(one) <= 2]
        self.bodies = [made(questions, number) for number in range(args.clients)]
        self.alone = list[Heard]()
        self.runs = dict[str, str]()
        """What ran, whatever was asked for."""
        self.options = [part for name in SERVED for part in ("-d", name)]
        self.options += ["--dtype", args.dtype, "--executor", args.executor]

    def told(self) -> Json:
        with served(self.options) as (url, process):
            self.runs = what_runs(url)
            asyncio.run(self.hear_alone(url))
            told: Json = {"asked": self.kinds(), "together": asyncio.run(self.together(url))}
            told["slow_readers"] = asyncio.run(self.beside_slow_readers(url))
            cut = asyncio.run(self.killed_amid(url, process))
        started = perf_counter()
        with served(self.options) as (url, _):
            ready = perf_counter() - started
            again = asyncio.run(self.together(url))
        told["restart"] = {"under_way": cut, "seconds_until_ready": ready, **again}
        with served([*self.options, "--num-at-once", str(self.args.clients)]) as (url, _):
            told["leaving"] = asyncio.run(self.some_leave(url))
        return told

    def kinds(self) -> Json:
        """How many requests have which images, temperature, drafter and most tokens."""
        found = {
            "images": Counter(num_images(body) for body in self.bodies),
            "temperature": Counter(body["temperature"] for body in self.bodies),
            "max_tokens": Counter(body["max_tokens"] for body in self.bodies),
            "drafter": Counter(drafter_of(body) for body in self.bodies),
        }
        return {name: dict(sorted(own.items())) for name, own in found.items()}

    async def hear_alone(self, url: str) -> None:
        for number, body in enumerate(self.bodies):
            heard = await hear(url, body)
            assert heard.answer is not None, "the server answers one client"
            self.alone.append(heard)
            if number % 20 == 19:
                say(f"{number + 1} answers alone")

    async def together(self, url: str) -> Json:
        started = perf_counter()
        heard = await asyncio.gather(*(hear(url, body) for body in self.bodies))
        seconds = perf_counter() - started
        found = {**compared(dict(enumerate(heard)), self.alone), "seconds": seconds}
        say(f"together: {found}")
        return found

    # ---- those who read slowly

    async def beside_slow_readers(self, url: str) -> Json:
        """Answers a second of a load, round by round, without further clients and beside those that read."""
        rounds = list[Json]()
        await self.load_beside(url, "fast")  # once all images have been seen and drafters tried, rounds are alike
        for number in range(self.args.rounds):
            order = READERS if number % 2 == 0 else READERS[::-1]
            arms = {kind: await self.load_beside(url, kind) for kind in order}
            fast, slow = (arms[kind].pop("texts") for kind in ("fast", "slow"))
            same = sum(one == other and one is not None for one, other in zip(fast, slow, strict=True))
            change = arms["slow"]["rate"] / arms["fast"]["rate"] - 1
            rounds.append({"order": order, **arms, "change": change, "slowly_the_same": same})
            say(f"round {number + 1}: slow over fast readers {change:+.1%}")
        return {"rounds": rounds, "change": median(one["change"] for one in rounds) if rounds else 0.0}

    async def load_beside(self, url: str, kind: str) -> Json:
        """The rate of the load beside readers, who ask one after the other while it goes on."""
        bodies = [] if kind == "none" else [wordy(body) for body in self.bodies[-self.args.readers :]]
        heard = [Heard() for _ in bodies]
        ways = [Reading(is_slow=kind == "slow", is_idle=number % 2 == 0) for number in range(len(bodies))]

        async def reader(number: int) -> None:
            await asyncio.sleep(SPACING * number)
            await hear(url, bodies[number], heard[number], ways[number])

        readers = [asyncio.create_task(reader(number)) for number in range(len(bodies))]
        started = perf_counter()
        others = await self.load(url)
        seconds = perf_counter() - started
        found: Json = {"rate": len(others) / seconds, "seconds": seconds, **compared(others, self.alone)}
        found["readers_at_the_end"] = sum(not one.has_ended for one in heard)
        taken = [len(one.data) for one in heard]
        for way in ways:
            way.let_go.set()
        await asyncio.gather(*readers)
        found["unread_bytes"] = sorted(len(one.data) - read for one, read in zip(heard, taken, strict=True))
        say(f"beside {kind} readers: {found}")
        return {**found, "texts": [one.answer for one in heard]} if bodies else found

    async def load(self, url: str) -> dict[int, Heard]:
        """A few clients, each asking one question after the other."""
        numbers, heard = iter(range(min(self.args.loaded, len(self.bodies)))), dict[int, Heard]()

        async def client() -> None:
            for number in numbers:
                heard[number] = await hear(url, self.bodies[number])

        await asyncio.gather(*(client() for _ in range(NUM_LOADING)))
        return heard

    # ---- an end without notice

    async def killed_amid(self, url: str, process: subprocess.Popen[bytes]) -> int:
        """How many answers were under way."""
        heard = [Heard() for _ in range(OwnerLimits().num_at_once)]
        asked = [asyncio.create_task(hear(url, long(body), one)) for body, one in zip(cycle(self.bodies), heard)]
        await until(lambda: all(one.speaks for one in heard))
        under_way = sum(not one.has_ended for one in heard)
        process.kill()
        await asyncio.gather(*asked)
        say(f"killed amid {under_way} answers")
        return under_way

    # ---- those who leave

    async def some_leave(self, url: str) -> Json:
        """Those leave who have said least: the others' answers may end while they do."""
        bodies = [long(body) for body in self.bodies[:NUM_LONG]]
        alone = [await hear(url, body) for body in bodies]
        say(f"{len(alone)} long answers alone")
        heard = [Heard() for _ in range(self.args.clients)]
        ways = [Reading() for _ in heard]
        asked = [asyncio.create_task(hear(url, *own)) for own in zip(cycle(bodies), heard, ways)]
        await until(lambda: all(one.speaks or one.has_ended for one in heard))
        began, spoken = perf_counter(), [len(one.times) for one in heard]
        await until(lambda: all(one.has_ended or len(one.times) >= n + NUM_STEPS for one, n in zip(heard, spoken)))
        left = perf_counter()
        numbers = sorted((n for n, one in enumerate(heard) if not one.has_ended), key=lambda n: len(heard[n].times))
        leaving = set(numbers[: self.args.leaving])
        found = await self.freed(url, [ways[number] for number in leaving])
        await asyncio.gather(*asked)
        staying = {number: one for number, one in enumerate(heard) if number not in leaving}
        gaps = [(a, b) for one in staying.values() for a, b in pairwise(one.times)]
        steps = [b - a for a, b in gaps if began <= a and b <= left]
        found |= {"step_p50": median(steps), "step_p95": quantiles(steps, n=20, method="inclusive")[-1]}
        found["step_under_way"] = median(b - a for a, b in gaps if a <= left < b)
        found |= {"clients": len(heard), **compared(staying, alone)}
        say(f"leaving: {found}")
        return found

    async def freed(self, url: str, leaving: Sequence[Reading]) -> Json:
        """Seconds until the places of those who leave are free, and the server has counted them as gone."""
        (before, gone_before), polls = await counts(url), 0
        started = perf_counter()
        for way in leaving:
            way.leaves.set()
        running, gone = before, gone_before
        while running > before - len(leaving) or gone < gone_before + len(leaving):
            if perf_counter() - started > MOST_SECONDS:
                break
            await asyncio.sleep(POLL_SECONDS)
            running, gone = await counts(url)
            polls += 1
        seconds = perf_counter() - started
        return {
            "left": gone - gone_before,
            "running_before": before,
            "running_after": running,
            "seconds_until_free": seconds,
            "polls": polls,
        }


def compared(heard: Mapping[int, Heard], alone: Sequence[Heard]) -> Json:
    """How many answers are there, how many are those given alone (which come again and again), and which are not."""
    answers = {number: one.answer for number, one in heard.items()}
    lost = [number for number, one in answers.items() if one is None]
    parted = [number for number, one in answers.items() if one not in (None, alone[number % len(alone)].answer)]
    identical = len(answers) - len(parted) - len(lost)
    return {"answers": len(answers), "identical": identical, "parted": parted, "lost": lost}


def drafter_of(body: Json) -> str:
    given = body["speculative"]
    return given if isinstance(given, str) else f"{given['drafter']} of {given['num_nodes']} nodes"


async def until(holds: Callable[[], bool]) -> None:
    ends = perf_counter() + MOST_SECONDS
    while not holds() and perf_counter() < ends:
        await asyncio.sleep(0.02)


def say(words: str) -> None:
    sys.stderr.write(f"{words}\n")


if __name__ == "__main__":
    sys.exit(main())

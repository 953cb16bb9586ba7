"""Does a server withstand what no client should send? Fuzzed fields, bytes, heads, images and connections.

A server of a tiny random model in a process of its own gets requests made from a seed, a few at once, spread evenly
over a time. Ordinary requests among them must be answered as they were at the start. Told are the statuses, every
answer of 5xx that is no limit, every traceback in the server's log, and the growth of its memory between the second
and the last sixth of the time. The exit code is 1 where a 5xx, a traceback, a wrong answer or silence was seen.

python -m benchmarks.serve_fuzz [--requests 10000] [--seconds 3600] [-o results/serve-fuzz.json]
python -m benchmarks.serve_fuzz --only 123     (one request of that seed again, with what the server says)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import socket
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any
from urllib.parse import urlsplit

from benchmarks.serve_fuzz_requests import KEY, NUM_ORDINARY, Sent, made, ordinary, request
from benchmarks.serve_load import served
from seeahead.provenance import provenance, write_json
from seeahead.testing import tiny_model, tiny_processor

NUM_AT_ONCE, SAMPLE_SECONDS, MOST_LOGGED = 4, 30.0, 50
LIMITS = ("429", "503", "504")
"""Statuses by which a server says that a limit is reached."""


@dataclass
class Reply:
    """What came back. `status`: the number, or "closed", "silent" or "left" where there is none."""

    status: str
    body: bytes = b""


@dataclass
class Found:
    """What was seen so far."""

    seed: int
    statuses: dict[str, Counter[str]] = field(default_factory=dict)
    memory: list[tuple[float, float]] = field(default_factory=list)
    faults: list[dict[str, Any]] = field(default_factory=list)
    num_faults: Counter[str] = field(default_factory=Counter)
    other_form: Counter[str] = field(default_factory=Counter)
    num_sent_again: int = 0

    def add(self, number: int, sent: Sent, reply: Reply, answers: list[str]) -> None:
        self.statuses.setdefault(sent.kind, Counter())[reply.status] += 1
        if reply.status.startswith("5") and reply.status not in LIMITS:
            self.fault("5xx", number, sent, reply)
        elif sent.ordinary is not None and reply.status not in LIMITS:
            if reply.status != "200" or answer_of(reply.body) != answers[sent.ordinary]:
                self.fault("wrong answer", number, sent, reply)
        elif reply.status == "silent" and sent.is_whole:
            self.fault("silence", number, sent, reply)
        elif reply.status[0] in "45" and not is_error(reply.body):
            self.other_form[f"{sent.kind} {reply.status} {reply.body[:60].decode(errors='replace')}"] += 1

    def fault(self, kind: str, number: int, sent: Sent, reply: Reply) -> None:
        self.num_faults[kind] += 1
        told = {"fault": kind, "seed": self.seed, "number": number, "kind": sent.kind, "status": reply.status}
        if self.num_faults[kind] <= MOST_LOGGED:
            self.faults.append({**told, "said": reply.body[:400].decode(errors="replace")})
        sys.stderr.write(f"{json.dumps(told)}\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=3600.0, help="the least time that the requests take")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER", help="send this request alone and show the reply")
    parser.add_argument(
        "--num-kept", default="8", metavar="N", help="the server's option; with 0 no image is kept either"
    )
    parser.add_argument("--log", type=Path, help="where the server's own messages go (default: a file that is removed)")
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    with running(args.log, args.num_kept) as (url, pid, log):
        if args.only is not None:
            sent = made(args.seed, args.only)
            reply = asyncio.run(exchange(url, sent))
            sys.stdout.write(f"{sent.kind}: {sent.pieces!r:.3000}\n{reply.status}: {reply.body!r:.3000}\n")
            sys.stdout.write(log.read_text(errors="replace"))
            return 0
        found, seconds = Found(args.seed), time.monotonic()
        asyncio.run(fuzz(url, pid, found, args.requests, args.seconds))
        seconds = time.monotonic() - seconds
        told = summary(found, seconds, log.read_text(errors="replace"))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    if args.output is not None:
        settings = {"requests": args.requests, "seconds": args.seconds, "num_at_once": NUM_AT_ONCE}
        settings |= {"num_kept": int(args.num_kept)}
        memory = [{"seconds": round(at), "mib": round(mib, 1)} for at, mib in found.memory]
        whole = {"provenance": provenance(args.seed), "settings": settings, **told, "memory": memory}
        write_json(args.output, {**whole, "faults": found.faults})
    return int(bool(found.num_faults) or told["tracebacks"] > 0 or not told["answers_to_the_end"])


@contextlib.contextmanager
def running(log: Path | None, num_kept: str) -> Iterator[tuple[str, int, Path]]:
    """A server with a key, that reads web addresses and files of an empty folder: where it is, its process and log."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tiny_model("llava").save_pretrained(folder / "model")
        tiny_processor("llava").save_pretrained(folder / "model")
        (folder / "keys").write_text(f"{KEY}\n", encoding="utf-8")
        (folder / "images").mkdir()
        options = ["-m", str(folder / "model"), "-d", "lookup", "--served-model-name", "fuzz", "--allow-urls"]
        options += ["--num-kept", num_kept]
        options += ["--api-key-file", str(folder / "keys"), "--image-folder", str(folder / "images")]
        log = log or folder / "log"
        with log.open("wb") as stream, served(options, stream) as (url, process):
            yield url, process.pid, log


async def fuzz(url: str, pid: int, found: Found, num_requests: int, seconds: float) -> None:
    """Send them all, at an even pace."""
    plain = [Sent("ordinary", (request(json.dumps(body).encode(), path),)) for path, body in map(ordinary, range(24))]
    assert len(plain) == NUM_ORDINARY
    answers = [answer_of((await exchange(url, sent)).body) for sent in plain]
    started, numbers = time.monotonic(), iter(range(num_requests))

    async def client() -> None:
        for number in numbers:
            await asyncio.sleep(started + number * seconds / num_requests - time.monotonic())
            sent = made(found.seed, number)
            reply = await exchange(url, sent)
            if reply.status in ("silent", "504"):  # the machine may have stood still: only twice is a fault
                found.num_sent_again += 1
                reply = await exchange(url, sent)
            found.add(number, sent, reply, answers)

    async def watch() -> None:
        while True:
            found.memory.append((time.monotonic() - started, resident(pid)))
            done = sum(sum(one.values()) for one in found.statuses.values())
            at, mib = found.memory[-1]
            sys.stderr.write(f"{at:.0f} s, {done} requests, {found.num_faults.total()} faults, {mib:.1f} MiB\n")
            await asyncio.sleep(SAMPLE_SECONDS)

    watching = asyncio.create_task(watch())
    await asyncio.gather(*(client() for _ in range(NUM_AT_ONCE)))
    watching.cancel()
    found.memory.append((time.monotonic() - started, resident(pid)))
    for number, sent in enumerate(plain):  # the server is as it was
        found.add(number, Sent("ordinary", sent.pieces, ordinary=number), await exchange(url, sent), answers)


def resident(pid: int) -> float:
    """MiB of memory that a process has; 0 where it has ended."""
    with contextlib.suppress(OSError):
        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
        return int(found.group(1)) / 1024 if found else 0.0
    return 0.0


async def exchange(url: str, sent: Sent) -> Reply:
    """Send one request and read what comes back."""
    place = urlsplit(url)
    try:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
    except OSError as error:
        return Reply("closed", str(error).encode())
    try:
        async with asyncio.timeout(sent.patience + sent.pause * len(sent.pieces)):
            with contextlib.suppress(ConnectionError):  # what the server said before it closed is still read
                for piece in sent.pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(sent.pause)
            if sent.ends_early:
                return Reply("left")
            return await received(reader, sent)
    except TimeoutError:
        return Reply("silent" if sent.is_whole else "left")
    finally:
        if sent.ends_early or sent.reads is not None:  # at once, with a reset
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def received(reader: asyncio.StreamReader, sent: Sent) -> Reply:
    """The status and the body, to the end of the connection or of the body's length."""
    data = bytearray()
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(sent.reads or 65_536):
            data += piece
            if sent.reads is not None and len(data) >= sent.reads:
                return Reply("left")
            head, end, body = bytes(data).partition(b"\r\n\r\n")
            if end and head.startswith((b"HTTP/1.1 1", b"HTTP/1.0 1")):
                data = bytearray(body)
                continue
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            if end and length and len(body) >= int(length.group(1)):
                break
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3})", head)
    if b"chunked" in head.lower():
        body = unchunked(body)
    return Reply(status.group(1).decode() if status else "closed", body)


def unchunked(body: bytes) -> bytes:
    """Events without the lengths between them."""
    return b"".join(re.findall(rb"(?:\A|\r\n)[0-9a-f]+\r\n((?:data: |: ).*?\n\n)(?=\r\n)", body, re.DOTALL))


def answer_of(body: bytes) -> str:
    """The texts of an answer, whole or streamed; "" where there is none."""
    lines = body.split(b"\n\n") if body.startswith(b"data: ") else [b"data: " + body]
    texts: dict[int, str] = {}
    with contextlib.suppress(ValueError):
        parts = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
        for choice in (choice for part in parts for choice in part.get("choices", ())):
            text = choice.get("text") or (choice.get("message") or choice.get("delta") or {}).get("content") or ""
            texts[choice["index"]] = texts.get(choice["index"], "") + text
    return json.dumps(texts, sort_keys=True) if texts else ""


def is_error(body: bytes) -> bool:
    """Whether it is a refusal in the form of OpenAI's API."""
    try:
        return not body or set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
    except (ValueError, TypeError, KeyError):
        return False


def summary(found: Found, seconds: float, log: str) -> dict[str, Any]:
    total: Counter[str] = sum(found.statuses.values(), Counter())
    last = found.memory[-1][0]

    def sixth(number: int) -> float:
        own = [mib for at, mib in found.memory if number * last / 6 <= at <= (number + 1) * last / 6]
        return float(median(own or [mib for _, mib in found.memory]))

    before, after = sixth(1), sixth(5)
    lines = Counter(re.sub(r"\d+", "0", line)[:160] for line in log.splitlines() if not line.startswith((" ", "\t")))
    return {
        "requests": total.total(),
        "took_seconds": round(seconds),
        "statuses": dict(sorted(total.items())),
        "statuses_by_kind": {kind: dict(sorted(own.items())) for kind, own in sorted(found.statuses.items())},
        "sent_again": found.num_sent_again,
        "limits": {status: total[status] for status in LIMITS},
        "faults_by_kind": dict(found.num_faults),
        "tracebacks": len(re.findall(r"^\s*Traceback ", log, re.MULTILINE)),
        "errors_in_another_form": dict(found.other_form.most_common(20)),
        "log_lines": dict(lines.most_common(20)),
        "answers_to_the_end": found.memory[-1][1] > 0,
        "memory_mib": {"second_sixth": round(before, 1), "last_sixth": round(after, 1)},
        "memory_growth_mib": round(after - before, 1),
        "memory_growth_percent": round(100 * (after - before) / before, 2) if before else 0.0,
    }


if __name__ == "__main__":
    sys.exit(main())

"""A crowd at the server: does every answer stay the one given alone, and does nobody hold up the others?

A server of a tiny random model in a process of its own, over HTTP. 200 clients at once, with images and settings of
all kinds; 50 more that leave in the middle of their answer; 20 that ask for long answers and read nothing, while the
others' rate is measured; then the server is killed, started again, and asked the same.

python -m benchmarks.serve_crowd [-o results/serve-crowd.json]
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import openai
from PIL import Image

from benchmarks.serve_load import client_of, served
from seeahead.provenance import provenance, write_json
from seeahead.testing import tiny_model, tiny_processor

NUM_CLIENTS, NUM_LEAVING, NUM_SLOW, NUM_RATED = 200, 50, 20, 60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tiny_model("llava").save_pretrained(folder)
        tiny_processor("llava").save_pretrained(folder)
        options = ("-m", folder, "-d", "lookup", "--served-model-name", "demo")
        with served(options) as (url, process):
            told = asyncio.run(crowd(url))
            process.kill()
        with served(options) as (url, _):
            told["after_restart"] = asyncio.run(same_again(url))
    sys.stdout.write(json.dumps(told, indent=1) + "\n")
    if args.output is not None:
        write_json(args.output, {"provenance": provenance(0), **told})
    return 0


def body(number: int) -> dict[str, Any]:
    """A request unlike its neighbours."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": f"What is {number}? " + "one two " * (number % 9)}]
    for image in range(number % 4):
        held = io.BytesIO()
        Image.new("RGB", (30 + number % 17, 30), (number, 80 * image, 99)).save(held, "PNG")
        address = f"data:image/png;base64,{base64.b64encode(held.getvalue()).decode()}"
        parts.insert(0, {"type": "image_url", "image_url": {"url": address}})
    return {
        "model": "demo",
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": 4 + number % 21,
        "temperature": (0, 0.7, 1.2)[number % 3],
        "seed": number,
        "extra_body": {"speculative": ("lookup", "none", {"drafter": "lookup", "num_nodes": 3})[number % 3 - 1]},
    }


async def crowd(url: str) -> dict[str, Any]:
    async with client_of(url) as client:
        alone = [await said(client, number) for number in range(NUM_CLIENTS)]
        started = time.perf_counter()
        together = await asyncio.gather(*(said(client, number) for number in range(NUM_CLIENTS)))
        seconds = time.perf_counter() - started
        left = await asyncio.gather(*(leave(client, number) for number in range(NUM_LEAVING)))
        freed = await until_idle(url)
        before = await rate(client)
        slow = [await client.chat.completions.create(**long(number), stream=True) for number in range(NUM_SLOW)]
        await until_idle(url)
        beside = await rate(client)
        for stream in slow:
            await stream.close()
    return {
        "clients": NUM_CLIENTS,
        "identical": sum(one == other for one, other in zip(alone, together, strict=True)),
        "seconds_together": seconds,
        "left_in_the_middle": sum(left),
        "seconds_until_their_places_are_free": freed,
        "answers_per_second": before,
        "answers_per_second_beside_slow_readers": beside,
    }


async def same_again(url: str) -> bool:
    async with client_of(url) as client:
        return await said(client, 5) == await said(client, 5) != ""


async def said(client: openai.AsyncOpenAI, number: int) -> str:
    reply = await client.chat.completions.create(**body(number))
    return str(reply.choices[0].message.content)


def long(number: int) -> dict[str, Any]:
    return {**body(number), "max_tokens": 200, "temperature": 1.2}


async def leave(client: openai.AsyncOpenAI, number: int) -> bool:
    stream = await client.chat.completions.create(**long(number), stream=True)
    async for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            break
    await stream.close()
    return True


async def until_idle(url: str) -> float:
    """Seconds until nothing runs and nothing waits."""
    started = time.perf_counter()
    while time.perf_counter() - started < 300:
        with urlopen(f"{url}/metrics", timeout=30) as reply:
            found = re.findall(r"vllm:num_requests_(?:running|waiting)\{.*?\} (\S+)", reply.read().decode())
        if sum(map(float, found)) == 0:
            break
        await asyncio.sleep(0.02)
    return time.perf_counter() - started


async def rate(client: openai.AsyncOpenAI) -> float:
    """Answers per second of clients that read as fast as they can."""
    started = time.perf_counter()
    await asyncio.gather(*(said(client, number) for number in range(NUM_RATED)))
    return NUM_RATED / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())

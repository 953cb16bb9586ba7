"""Requests for a server that no client should send, and ordinary ones among them, each made from a seed and a number.

What is wrong is one of: the fields of a body, its bytes, the head of the request, an image, or the way the connection
is used. Nothing here sends anything; `benchmarks.serve_fuzz` does.
"""

from __future__ import annotations

import copy
import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from benchmarks.serve_fuzz_images import addresses, good_images

KEY = "sk-fuzz"
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
Json = dict[str, Any]
NUM_ORDINARY = 24


@dataclass(frozen=True)
class Sent:
    """One request: pieces of bytes with a pause after each, and when the client leaves.

    `ordinary`: the number of the ordinary request that this is, whose answer is known. `reads`: bytes of the answer
    after which the client leaves; None: it waits for the end. `patience`: seconds after which it stops waiting.
    `ends_early`: nothing is read at all. `is_whole`: the server has all it needs to answer.
    """

    kind: str
    pieces: tuple[bytes, ...]
    pause: float = 0.0
    ordinary: int | None = None
    reads: int | None = None
    patience: float = 90.0
    ends_early: bool = False
    is_whole: bool = True


def made(seed: int, number: int) -> Sent:
    """The request of this number: the same for the same seed."""
    random = Random(f"{seed}/{number}")
    maker = random.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
    return maker(random)


def request(
    body: bytes, path: str = CHAT, method: str = "POST", *headers: tuple[str, str], key: str = KEY, length: int = -1
) -> bytes:
    """An HTTP request on a connection of its own. `length`: what its head says of the body; -1: the truth."""
    lines = [f"{method} {path} HTTP/1.1", "Host: fuzz", "Connection: close", f"Authorization: Bearer {key}"]
    names = {name.lower() for name, _ in headers}
    if "content-type" not in names:
        lines.append("Content-Type: application/json")
    if "transfer-encoding" not in names:
        lines.append(f"Content-Length: {len(body) if length < 0 else length}")
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body


# ---- ordinary requests


def ordinary(number: int) -> tuple[str, Json]:
    """Path and body of one of the requests whose answers must stay the same."""
    random = Random(f"ordinary/{number}")
    settings: Json = {"model": "fuzz", "max_tokens": 1 + number % 8, "temperature": (0, 0, 0.8)[number % 3]}
    settings |= {"seed": number, "speculative": ("auto", "none", "lookup")[number % 3], "stream": number % 4 == 1}
    words = " ".join(random.choices(("one", "two", "three", "red", "blue", "what"), k=3 + number % 12))
    if number % 6 == 5:
        return TEXT, {**settings, "prompt": words}
    parts: list[Json] = [{"type": "text", "text": f"What is {number}? {words}"}]
    good = good_images()
    for place in range(number % 3):
        parts.insert(0, image(good[(number + place) % len(good)]))
    if number % 8 == 7:
        settings |= {"logprobs": True, "top_logprobs": 3, "n": 2}
    return CHAT, {**settings, "messages": [{"role": "user", "content": parts}]}


def image(url: str) -> Json:
    return {"type": "image_url", "image_url": {"url": url}}


def ordinary_request(random: Random) -> Sent:
    number = random.randrange(NUM_ORDINARY)
    path, body = ordinary(number)
    return Sent("ordinary", (request(json.dumps(body).encode(), path),), ordinary=number)


# ---- fields

_NAMES = ("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "top_k", "min_p", "n",
          "repetition_penalty", "stop", "seed", "stream", "stream_options", "speculative", "logprobs", "top_logprobs",
          "tools", "response_format", "modalities", "logit_bias", "store", "metadata", "prompt", "echo", "suffix",
          "user", "tool_choice", "role", "content", "name", "tool_calls", "tool_call_id", "refusal", "type", "text",
          "image_url", "url", "detail", "drafter", "num_nodes", "details", "__class__", "", "\x00",
          "\ud800")  # fmt: skip
_ROLES = ("system", "developer", "user", "assistant", "tool", "robot")


def _deep(depth: int) -> Any:
    value: Any = []
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def odd_value(random: Random) -> Any:
    """A value that fits hardly anywhere, or might."""
    makers: list[Callable[[], Any]] = [
        lambda: random.choice((1, 2, 3, 0.5, 1.0, True, None, "x", "lookup", "user", "auto", ["x"], "low", {"a": "b"})),
        lambda: random.choice((None, True, False, "", "3", "true", "auto", " ", [], {}, [[]], [None], {"a": 1})),
        lambda: random.choice((0, -1, 1, 2**31, 2**63, -(2**63), 2**64, 10**400, 1e308, -0.0, 5e-324, 1.5)),
        lambda: random.choice((float("nan"), float("inf"), float("-inf"))),
        lambda: random.choice(("\ud800", "a\udfffb", "\x00", "\x1b[31m", "\u202e", "\ufeff", "\r\n\r\n", "😀" * 9)),
        lambda: random.choice(("x", "é", "\u0000", "a\u0301", "<image>", "{{ 7 * 7 }}")) * 10 ** random.randrange(6),
        lambda: _deep(random.choice((3, 30, 62, 64, 66, 200))),
        lambda: [random.choice((1, "a", None, {}))] * random.choice((1, 17, 1001, 20_000)),
        lambda: {f"k{place}": place for place in range(random.choice((1, 100, 5000)))},
        lambda: random.choice(("<|im_start|>", "<s>", "</s>", "<pad>", "[INST]", "%s%n", "../../etc/passwd", "`id`")),
        lambda: [{"role": random.choice(_ROLES), "content": random.choice(("", "x", None, []))}] * random.randrange(9),
    ]
    return random.choice(makers)()


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) of a body."""
    found: list[tuple[Any, Any]] = []
    keys = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in keys:
        found += [(value, key), *_places(inner)]
    return found


def changed(random: Random, body: Json) -> Json:
    """A body with one to three faults."""
    body = copy.deepcopy(body)
    for _ in range(random.choice((1, 1, 2, 3))):
        places = _places(body)
        container, key = random.choice(places) if places else (body, "model")
        way = random.randrange(4)
        if way == 0 and isinstance(container, dict):
            del container[key]
        elif way == 1 and isinstance(container, dict):
            container[random.choice(_NAMES)] = odd_value(random)
        elif way == 2:
            body[random.choice(_NAMES)] = odd_value(random)
        else:
            container[key] = odd_value(random)
    return body


def some_body(random: Random) -> tuple[str, Json]:
    path, body = ordinary(random.randrange(NUM_ORDINARY))
    return path, body


def fields(random: Random) -> Sent:
    path, body = some_body(random)
    text = json.dumps(changed(random, body), ensure_ascii=random.random() < 0.7)
    if random.random() < 0.1:
        text = text.replace("{", '{"model": "fuzz", ' * random.randint(1, 2), 1)  # a key that stands twice
    if random.random() < 0.05:
        text = text.replace(": ", ": 1e999" + " " * random.randrange(9), 1)
    return Sent("fields", (request(text.encode("utf-8", "surrogatepass"), path),))


# ---- bytes


def raw_bytes(random: Random) -> Sent:
    path, body = some_body(random)
    good = json.dumps(body).encode()
    place = random.randrange(len(good))
    bodies = (
        random.randbytes(random.randrange(300)), good[:place], good[:place] + random.randbytes(3) + good[place + 3 :],
        b"\xef\xbb\xbf" + good, good.decode().encode("utf-16"), gzip.compress(good), b"", b"null", b'"x"', b"0", b"[]",
        good + good, good + b"\x00", b"{" * random.choice((1, 1000, 50_000)), b"[" * 200_000, b'{"a":' * 5000,
        good.replace(b'"', b"'"), b"messages=" + good, b" " * 100_000 + good, b'{"a":' + b"1" * 100_000 + b"}",
        b"[" + b"[]," * random.choice((1000, 1_100_000)) + b"[]]", b'{"model": "\xed\xa0\x80"}', b"\xc0\x80" + good,
        good.replace(b" ", b"\n"), good.replace(b'"model"', b'"m\\u006fdel"'), b"\x1f\x8b" + random.randbytes(64),
    )  # fmt: skip
    headers: list[tuple[str, str]] = []
    if random.random() < 0.3:
        kinds = ("text/plain", "", "application/json; charset=utf-16", "APPLICATION/JSON ", "multipart/form-data",
                 "application/json\t;x", "application/x-www-form-urlencoded", "*/*", "é",
                 "application/json" * 500)  # fmt: skip
        headers.append(("Content-Type", random.choice(kinds)))
    if random.random() < 0.2:
        headers.append(("Content-Encoding", random.choice(("gzip", "br", "identity", "x" * 99))))
    return Sent("bytes", (request(random.choice(bodies), path, "POST", *headers),))


def framing(random: Random) -> Sent:
    """The length that a head says is not that of the body, or the body comes in chunks, good or bad."""
    path, body = some_body(random)
    good = json.dumps(body).encode()
    half = len(good) // 2
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (half, good[:half], len(good) - half, good[half:])
    kind = random.choice(("application/json", "text/plain"))  # the second is refused before the body is read
    chunked = [("Transfer-Encoding", "chunked"), ("Content-Type", kind)]
    bad = random.choice((b"zz\r\n", b"-5\r\nabc", b"ffffffffffffffff\r\nx", b"5\r\nab", b"0\r\n", b"3;x=y\r\nabc\r\n"))
    lines = [("Content-Length", "5"), ("Content-Type", kind)]
    cases = (
        (request(chunks, path, "POST", *chunked), True),
        (request(chunks[: random.randrange(len(chunks))] + bad, path, "POST", *chunked), False),
        (request(bad, path, "POST", *chunked), False),
        (request(chunks, path, "POST", *chunked, ("Content-Length", "3")), True),
        (request(good, path, length=len(good) + random.choice((1, 100, 10**9, 10**30))), False),
        (request(good, path, length=random.randrange(len(good))), True),
        (request(good, path, "POST", *lines), True),
        (request(good, path, "POST", ("Content-Length", random.choice(("-1", "x", "1 2", "0x10", "+3", "")))), True),
        (request(good, path, "POST", ("Transfer-Encoding", random.choice(("gzip", "chunked, gzip", "x")))), False),
        (request(good, path).replace(b"Connection: close", b"Connection: keep-alive") + b"garbage\r\n\r\n", True),
        (request(good, path).replace(b"Connection: close\r\n", b"") * 3, True),
    )
    data, is_whole = random.choice(cases)
    return Sent("framing", (data,), patience=90.0 if is_whole else 1.5, is_whole=False)


# ---- heads


def heads(random: Random) -> Sent:
    path, body = some_body(random)
    good = json.dumps(body).encode()
    odd = random.choice(("x" * 10, "x" * 70_000, "é" * 50, "\x7f", "a\tb", '"', "%00", "=?utf-8?b?eA==?=", "' OR 1=1"))
    keys = ("", "wrong", "é", "\x7f", KEY + " ", KEY[:-1], "x" * 20_000, KEY.upper(), f"{KEY}, {KEY}", "null")
    named = ("Host", "Cookie", "Origin", "Referer", "X-Forwarded-For", "Accept", "Accept-Encoding", "Range", "If-Match",
             "X-" + "y" * random.choice((5, 5000)), "User-Agent", "Forwarded", "TE",
             "Via", "Content-Language")  # fmt: skip
    methods = ("GET", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE", "CONNECT", "BREW", "post", "X" * 999)
    paths = ("/", "//", "/v1", "/v1/chat/completions/", "/v1/../v1/models", "/%00", "/%ff%fe", "/page/%2e%2e/app.py",
             "/v1/models/" + "a" * 3000, "/v1/models/%0d%0aX:y", "*", "http://other/v1/models", "/?" + "q=1&" * 900,
             "/v1/models?x=%", "/metrics", "/ready", "/health", "/openapi.json", "/page/page.js", "/\x7f", "/é",
             "x")  # fmt: skip
    lines = good and request(good, path).partition(b"\r\n")[2]
    cases = (
        request(good, path, "POST", (random.choice(named), odd)),
        request(good, path, key=random.choice(keys)),
        request(good, path).replace(b"Bearer", random.choice((b"Basic", b"bearer", b"", b"Bearer Bearer", b"\xff"))),
        request(good, path, random.choice(methods)),
        request(b"", random.choice(paths), random.choice(("GET", "GET", "HEAD", "POST", "OPTIONS"))),
        request(good, path, "POST", ("Expect", random.choice(("100-continue", "200-ok", "")))),
        request(good, path, "POST", ("Connection", "upgrade"), ("Upgrade", random.choice(("websocket", "h2c", "x")))),
        request(good, path, "POST", *[(f"X-{place}", "y") for place in range(random.choice((50, 2000)))]),
        random.choice((b"POST", b"POST / HTTP/9.9", b"", b"\x00", b"PRI * HTTP/2.0", b"\x16\x03\x01\x02\x00")) + b"\r\n"
        + lines,
        request(good, path).replace(b"HTTP/1.1", random.choice((b"HTTP/1.0", b"HTTP/2", b"HTCPCP/1.0", b"http/1.1"))),
        request(good, path).replace(b"Host: fuzz\r\n", random.choice((b"", b"Host: a\r\nHost: b\r\n", b"Host\r\n"))),
        request(good, path).replace(b"\r\n", b"\n", random.choice((1, 3, 99))),
        random.randbytes(random.randrange(1, 3000)) + b"\r\n\r\n",
    )  # fmt: skip
    return Sent("heads", (random.choice(cases),), patience=20.0, is_whole=False)


# ---- images


def images(random: Random) -> Sent:
    parts = [image(url) for url in random.choices(addresses(random), k=random.choice((1, 1, 1, 2, 4)))]
    body = {"model": "fuzz", "max_tokens": random.randint(1, 3), "messages": [
        {"role": "user", "content": [*parts, {"type": "text", "text": "What is this?"}]}
    ]}  # fmt: skip
    return Sent("images", (request(json.dumps(body).encode(errors="surrogatepass")),))


# ---- connections


def left(random: Random) -> Sent:
    """A stream whose client leaves in the middle, before it, or after the head."""
    path, body = some_body(random)
    body |= {"stream": random.random() < 0.8, "max_tokens": 150, "n": random.choice((1, 1, 3))}
    data = request(json.dumps(body).encode(), path)
    if random.random() < 0.3:
        return Sent("left", (data[: random.randrange(1, len(data))],), ends_early=True)
    return Sent("left", (data,), reads=random.choice((0, 1, 200, 900)), ends_early=random.random() < 0.2)


def slow(random: Random) -> Sent:
    """A request in a few pieces; some are whole in the end, some clients give up."""
    path, body = some_body(random)
    data = request(json.dumps(body).encode(), path)
    cuts = sorted(random.randrange(1, len(data)) for _ in range(random.randint(1, 4)))
    pieces = tuple(data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)]))
    is_whole = random.random() < 0.6
    pieces = pieces if is_whole else pieces[:-1]
    return Sent("slow", pieces, random.uniform(0.05, 0.6), patience=90.0 if is_whole else 1.0, is_whole=is_whole)


KINDS: tuple[tuple[Callable[[Random], Sent], int], ...] = (
    (ordinary_request, 20), (fields, 28), (raw_bytes, 10), (framing, 7), (heads, 12), (images, 14), (left, 5),
    (slow, 4),
)  # fmt: skip

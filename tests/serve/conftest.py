"""A server on this machine, with a tiny model of random weights, as clients find it."""

import asyncio
import base64
import contextlib
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai
import pytest
import uvicorn
from PIL import Image

import seeahead
from seeahead.drafting import Drafter
from seeahead.executor import Executor
from seeahead.serve.app import create_app
from seeahead.serve.owner import Owner, OwnerLimits
from seeahead.serve.run import listening, server_of
from seeahead.serve.settings import settings_from
from seeahead.testing import tiny_model, tiny_processor

KEY = "sk-secret-of-the-tests"
PATIENCE = 600.0
"""Seconds that a test waits for what is to come: long, since other work may hold up all of this for minutes."""


def data_uri(image: Image.Image, form: str = "PNG") -> str:
    held = io.BytesIO()
    image.save(held, form)
    return f"data:image/{form.lower()};base64,{base64.b64encode(held.getvalue()).decode()}"


IMAGE = data_uri(Image.linear_gradient("L").resize((40, 30)).convert("RGB"))


def chat(*parts: Any, **settings: Any) -> dict[str, Any]:
    """A request: texts and images of one question."""
    made: list[dict[str, Any]] = []
    for part in parts:
        is_image = part.startswith("data:")
        made.append({"type": "image_url", "image_url": {"url": part}} if is_image else {"type": "text", "text": part})
    return {"model": "tiny", "messages": [{"role": "user", "content": made}], "max_tokens": 12, **settings}


@dataclass
class Served:
    """A running server."""

    owner: Owner
    url: str
    server: uvicorn.Server

    def client(self, key: str = KEY) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)


@contextlib.contextmanager
def serving(
    limits: OwnerLimits | None = None,
    more: Callable[[Executor], Drafter] | None = None,
    executor: str = "auto",
    **settings: Any,
):
    """`more` makes a drafter beside lookup."""
    engine = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "lookup", executor=executor)
    others = [] if more is None else [engine.with_drafter(more(engine.target.executor))]
    owner = Owner(engine, {one.drafter.name: one for one in (engine, *others)}, limits)
    owner.start()
    given = settings_from(model_name="tiny", **owner.limits.model_dump() | settings)
    address = listening("127.0.0.1", 0)
    server = server_of(create_app(owner, given), owner, given)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[address])), daemon=True)
    thread.start()
    try:
        yield Served(owner, f"http://127.0.0.1:{address.getsockname()[1]}", server)
    finally:
        server.should_exit = True
        thread.join(PATIENCE)
        owner.stop(5)


@pytest.fixture(scope="session")
def served():
    limits = {"max_new_tokens": 200, "max_body_bytes": 1 << 20, "request_timeout_seconds": PATIENCE}
    with serving(api_keys=(KEY,), **limits) as found:
        yield found


@pytest.fixture(scope="session")
def client(served):
    with served.client() as made:
        yield made


@pytest.fixture(scope="session")
def engine():
    return seeahead.load((tiny_model("llava"), tiny_processor("llava")), "none")

"""The server's routes: OpenAI's API, what monitoring asks, and a page to try the model."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.resources import files
from time import time
from typing import Any

import torch
from fastapi import Depends, FastAPI, Request
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

import seeahead
from seeahead.api import Engine
from seeahead.errors import DrafterError, InputError, LengthError, SeeaheadError, shown
from seeahead.executor import ModelInputs
from seeahead.images import MAX_BYTES
from seeahead.prompt import Prompt
from seeahead.serve.answers import EventStream, in_time, whole
from seeahead.serve.bodies import Bodies, Body
from seeahead.serve.errors import ApiError, Failing
from seeahead.serve.hosts import Below, HostCheck, checks_hosts
from seeahead.serve.metrics import Metrics
from seeahead.serve.openapi import add_schemas, described, page_of
from seeahead.serve.owner import Owner
from seeahead.serve.prompts import chat_prompt
from seeahead.serve.replies import Choice, Shape
from seeahead.serve.room import Hold
from seeahead.serve.schema import ChatBody, StreamOptions, TextBody
from seeahead.serve.settings import UNSAID_TOKENS, ServeSettings
from seeahead.serve.ticket import Asked

PAGE = {
    "page.css": "text/css",
    **dict.fromkeys(("answer.js", "page.js", "screen.js", "stream.js", "view.js"), "text/javascript"),
}
SHARED = {"colours.css": "charts.css", "marks.css": "marks.css"}
"""With the pages that reports are."""
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


def owner_of(engine: Engine, others: Sequence[str], settings: ServeSettings) -> Owner:
    """An owner of `engine` that offers the drafters `others` as well, and lookup, which needs nothing."""
    names = [*others, *(["lookup"] if engine.drafter.name != "lookup" and "lookup" not in others else [])]
    engines: dict[str, Engine] = {}
    for one in (engine, *(engine.with_drafter(name) for name in names)):
        if (name := one.drafter.name) in engines:
            raise DrafterError(f"two drafters are called {shown(name)}; name one apart, as in -d DRAFTER:as=mine")
        engines[name] = one
    return Owner(engine, engines, settings)


def create_app(owner: Owner, settings: ServeSettings) -> FastAPI:
    """The application that answers with `owner`, which the caller starts and stops."""
    prefix, off = settings.root_path, {"docs_url": None, "redoc_url": None}
    given: Any = {**off, "redirect_slashes": False, "servers": [{"url": prefix}] if prefix else None}
    app = FastAPI(title="seeahead", version=seeahead.__version__, **given)
    app.state.owner = owner  # for those who run the application
    server = _Server(owner, settings)
    server.add_to(app)
    add_schemas(app, ChatBody, TextBody)
    app.add_middleware(Failing, refused=server.metrics.refused)
    if checks_hosts(settings):
        app.add_middleware(HostCheck, settings=settings, refused=server.metrics.refused)
    if settings.allowed_origins:
        origins = list(settings.allowed_origins)
        headers: Any = {"allow_headers": ["*"], "expose_headers": ["retry-after"]}  # clients send many of their own
        app.add_middleware(CORSMiddleware, allow_origins=origins, allow_methods=["GET", "POST"], **headers)
    if prefix:
        app.add_middleware(Below, prefix=prefix)
    return app


class _Server:
    def __init__(self, owner: Owner, settings: ServeSettings) -> None:
        self.owner, self.settings, self.started = owner, settings, int(time())
        self.bodies = Bodies(settings.max_body_bytes, settings.image_bytes)
        self.metrics = Metrics(settings.model_name, owner)

    def add_to(self, app: FastAPI) -> None:
        def add(method: Any, path: str, handler: Any, **more: Any) -> None:
            """In both spellings: a redirect to one would name an address that is not that of a proxy before this."""
            method(path, **more)(handler)
            method(f"{path}/", **{**more, "include_in_schema": False})(handler)

        guarded: Any = {"dependencies": [Depends(self._check_key)]}
        add(app.post, "/v1/chat/completions", self.chat, **described(ChatBody), **guarded)
        add(app.post, "/v1/completions", self.text, **described(TextBody), **guarded)
        add(app.get, "/v1/models", self.models, **guarded)
        app.get("/v1/models/{name:path}", **guarded)(self.model)
        add(app.get, "/health", self.health)
        add(app.get, "/ready", self.ready)
        add(app.get, "/version", self.version)
        add(app.get, "/metrics", self.show_metrics, response_class=Response)
        add(app.get, "/docs", self.docs, include_in_schema=False)
        app.get("/", include_in_schema=False)(self.page)
        for path, handler in (("/health", self.health), ("/ready", self.ready), ("/", self.page)):
            app.head(path, include_in_schema=False)(handler)  # which monitors ask
        app.get("/page/{name}", include_in_schema=False)(self.page_part)
        app.exception_handler(ApiError)(self.refuse)
        app.exception_handler(HTTPException)(self.refuse_route)

    # ---- answers

    async def chat(self, request: Request) -> Response:
        """Answer a conversation, with images if there are any."""
        return await self._told(request, ChatBody, self._conversation)

    async def text(self, request: Request) -> Response:
        """Continue a text as it is: no template is put around it."""
        return await self._told(request, TextBody, self._continued)

    async def _told(
        self, request: Request, kind: type[Body], read: Callable[[Body, Hold], Prompt | ModelInputs]
    ) -> Response:
        async with self.bodies.read(request, kind) as body:
            choices, shape = await self._answer(request, body, partial(read, body))
            is_streamed = body.stream
        del body  # which may be large; the answers are waited for without it
        if is_streamed:
            return EventStream(choices, shape, self.settings.timeout_seconds, self.metrics)
        return JSONResponse(await whole(choices, shape, request.receive, self.settings.timeout_seconds, self.metrics))

    def _conversation(self, body: ChatBody, hold: Hold) -> Prompt:
        with _about("messages"):
            prompt = chat_prompt(body, self.settings, hold)
            self.owner.check_length("".join(message.text for message in prompt.messages))
            return prompt

    def _continued(self, body: TextBody, _: Hold) -> ModelInputs:
        family, given = self.owner.engine.family, body.given
        with _about("prompt"):
            ids = self._read(given) if isinstance(given, str) else given
            if not ids:
                raise InputError("the prompt has no tokens; give at least one word")
            if max(ids) >= family.vocab_size:
                raise InputError(f"token {max(ids)} is none of this model's, which has {family.vocab_size:,}")
            if family.image_token_ids.intersection(ids):
                told = "the prompt holds a token that stands for an image; ask /v1/chat/completions for images"
                raise InputError(told)
        return family.text_inputs(torch.tensor([ids], dtype=torch.int64, device=family.device))

    def _read(self, text: str) -> list[int]:
        self.owner.check_length(text)
        with self.owner.encoding:
            return list(self.owner.engine.family.tokenizer(text)["input_ids"])

    async def _answer(
        self, request: Request, body: ChatBody | TextBody, read: Callable[[Hold], Prompt | ModelInputs]
    ) -> tuple[list[Choice], Shape]:
        settings = self.settings
        if body.model != settings.model_name:
            raise _no_model(body.model, settings.model_name)
        field, given_most = body.most_tokens
        most = given_most or min(UNSAID_TOKENS, settings.max_new_tokens)
        limits = {"n": "max_choices", field: "max_new_tokens"}
        for name, number in (("n", body.num_choices), (field, most)):
            if number > (limit := getattr(settings, limits[name])):
                option = limits[name].replace("_", "-")
                told = f"{name} is {number}; at most {limit} are allowed here; the server's --{option} allows more"
                raise ApiError(400, told, param=name)
        given = {**body.settings(), "max_new_tokens": most}
        drafting, is_chat = body.drafting, isinstance(body, ChatBody)
        with _about("speculative"):
            self.owner.engine_of(drafting.drafter)
        seeds = [None if body.seed in (None, -1) else (body.seed + index) % 2**63 for index in range(body.num_choices)]
        options = drafting.drafter, drafting.num_nodes, body.num_logprobs, drafting.details
        wanted = [Asked({**given, "seed": seed}, *options) for seed in seeds]
        async with in_time(request.receive, settings.timeout_seconds):
            try:
                tickets = await self.owner.ask(wanted, read, has_images=body.num_images > 0, is_far=body.is_far)
            except SeeaheadError as error:
                is_about_prompt = isinstance(error, LengthError)
                raise ApiError.of(error, ("messages" if is_chat else "prompt") if is_about_prompt else None) from None
        choices = [Choice(index, ticket) for index, ticket in enumerate(tickets)]
        shape = Shape(settings.model_name, is_chat, drafting.details, body.num_logprobs is not None)
        if body.stream:
            shape.options = body.stream_options or StreamOptions()
        return choices, shape

    # ---- what the server is

    async def models(self) -> dict[str, Any]:
        """The one model that is served."""
        return {"object": "list", "data": [self._described()]}

    async def model(self, name: str) -> dict[str, Any]:
        """The model by its name."""
        if name != self.settings.model_name:
            raise _no_model(name, self.settings.model_name)
        return self._described()

    def _described(self) -> dict[str, Any]:
        owner, settings, executor = self.owner, self.settings, self.owner.engine.family.executor
        limits = executor.limits
        own = {
            "drafters": list(owner.drafters),
            "default_drafter": owner.default_drafter,
            "max_length": limits.max_length,
            "takes_images": owner.engine.family.can_see,
            **settings.model_dump(include={"max_new_tokens", "max_images", "max_body_bytes"}),
            "max_image_bytes": min(MAX_BYTES, settings.max_body_bytes),
            "executor": executor.name,
            "precision": executor.precision,
            "dtype": str(limits.dtype).removeprefix("torch."),
            "device": str(limits.device),
            "version": seeahead.__version__,
        }
        name = settings.model_name
        made: dict[str, Any] = {"id": name, "object": "model", "created": self.started, "owned_by": "seeahead"}
        return {**made, "root": name, "parent": None, "max_model_len": limits.max_length, "seeahead": own}

    async def health(self) -> JSONResponse:
        """Whether the process is alive: 503 where nothing would ever be answered again."""
        is_alive = self.owner.is_alive
        return JSONResponse({"status": "alive" if is_alive else "dead"}, 200 if is_alive else 503)

    async def ready(self) -> JSONResponse:
        """Whether requests are answered: 503 while the server starts or shuts down."""
        is_ready = self.owner.is_ready
        return JSONResponse({"status": "ready" if is_ready else "not ready"}, 200 if is_ready else 503)

    async def version(self) -> dict[str, str]:
        """The release of seeahead."""
        return {"version": seeahead.__version__}

    async def show_metrics(self) -> Response:
        """Counters and times for Prometheus."""
        return Response(self.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    # ---- the page

    async def page(self) -> Response:
        return _packaged("serve", "page/index.html", "text/html")

    async def docs(self, request: Request) -> Response:
        return Response(page_of(request.app, request.scope["path"]), headers=_HEADERS, media_type="text/html")

    async def page_part(self, name: str) -> Response:
        if name in SHARED:
            return _packaged("bench", f"templates/{SHARED[name]}", "text/css")
        if name not in PAGE:
            raise HTTPException(404)
        return _packaged("serve", f"page/{name}", PAGE[name])

    # ---- refusals

    async def _check_key(self, request: Request) -> None:
        if not self.settings.api_keys:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        known = [hmac.compare_digest(given.strip().encode(), key.encode()) for key in self.settings.api_keys]
        if kind.lower() != "bearer" or not any(known):
            message = "this server asks for an API key; send it as 'Authorization: Bearer KEY'"
            raise ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})

    async def refuse(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        self.metrics.refused(error.status)
        return error.response()

    async def refuse_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        told = {404: f"there is no {shown(request.scope['path'])} here", 405: f"{request.method} is not done here"}
        message = told.get(error.status_code, str(error.detail))
        self.metrics.refused(error.status_code)
        return ApiError(error.status_code, message, headers=dict(error.headers or {})).response()


@contextmanager
def _about(param: str) -> Iterator[None]:
    """Inside, an error of ours is about this field."""
    try:
        yield
    except SeeaheadError as error:
        raise ApiError.of(error, param) from None


def _no_model(given: str, served: str) -> ApiError:
    message = f"there is no model {shown(given)} here; this server has {shown(served)}"
    return ApiError(404, message, code="model_not_found", param="model")


def _packaged(package: str, path: str, media_type: str) -> Response:
    return Response((files("seeahead") / package / path).read_bytes(), headers=_HEADERS, media_type=media_type)

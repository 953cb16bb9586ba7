"""What a server allows its clients."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from seeahead.errors import InputError, allowed, shown
from seeahead.image_formats import MAX_PIXELS

READERS = 4
"""Requests whose images are decoded at once."""
UNSAID_TOKENS = 1024
"""Of an answer at most, where its request says nothing: each has room kept for all that it may say."""
LEAST_CACHE = 256
"""Tokens of all slots together."""
_OPTIONS = {"model_name": "served-model-name"}
"""That are called otherwise on the command line."""
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/\s*]+")
_HOST = re.compile(r"[^/\s*@]+")
_PREFIX = re.compile(r"(/[\w.~-]+)*", re.ASCII)


class OwnerLimits(BaseModel):
    """Of the owner of a model. Descriptions are the help of the options."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    num_at_once: int = Field(default=16, ge=1, le=1024, description="requests that share passes")
    max_waiting: int = Field(default=256, ge=0, description="requests that may wait")
    prompt_tokens: int = Field(default=256, ge=16)  # of prompts read between two steps of other answers
    num_kept: int = Field(default=8, ge=0, le=1024, description="slots kept for next turns; 0 keeps none")
    # Of requests whose prompt is not read yet; others wait.
    image_bytes: int = Field(
        default=2 << 30, ge=1 << 20, description="bytes that decoded images may take, and bodies as many again"
    )
    timeout_seconds: float = Field(default=600.0, gt=0, description="seconds an answer may take")
    cache_tokens: int = Field(
        default=0,
        ge=0,
        description="tokens held in all slots; 0: 65536, on a GPU at most what half of its free memory holds",
    )

    @field_validator("cache_tokens")
    @classmethod
    def _are_enough(cls, tokens: int) -> int:
        if 0 < tokens < LEAST_CACHE:
            raise PydanticCustomError("cache_tokens", "0, or at least {least}", {"least": LEAST_CACHE})
        return tokens


class ServeSettings(OwnerLimits):
    """Of one server. `api_keys`: none, and everybody may ask. `allowed_origins`: pages elsewhere that may ask.

    `allowed_hosts`: names beside localhost under which it answers (`hosts.py`). `root_path`: what a proxy puts before
    all paths, whether it takes it away again or not."""

    model_name: str = Field(min_length=1, max_length=200)
    host: str = Field("127.0.0.1", description="where to listen; 127.0.0.1 is this machine alone")
    port: int = Field(8000, ge=0, le=65_535, description="0 takes a free one")
    api_keys: tuple[Annotated[str, Field(min_length=1)], ...] = Field((), repr=False)
    allow_urls: bool = False
    image_folder: Path | None = None
    max_body_bytes: int = Field(192 << 20, ge=1 << 10, description="most bytes of a request, and of the files it names")
    max_images: int = Field(16, ge=0, le=1000, description="most images of a request")
    max_pixels: int = Field(MAX_PIXELS, ge=1, le=MAX_PIXELS, description="most pixels of an image")
    max_choices: int = Field(8, ge=1, le=128)  # the most `n` may be
    max_new_tokens: int = Field(4096, ge=1, description="most tokens of an answer")
    request_timeout_seconds: float = Field(60.0, gt=0, description="seconds a request may take to come in")
    max_connections: int = Field(512, ge=1, description="clients connected at once")
    allowed_origins: tuple[str, ...] = ()
    allowed_hosts: tuple[str, ...] = ()
    root_path: str = ""

    @field_validator("allowed_origins")
    @classmethod
    def _as_browsers_send_them(cls, origins: tuple[str, ...]) -> tuple[str, ...]:
        found = tuple(origin.lower().removesuffix("/") for origin in origins)
        if not all(_ORIGIN.fullmatch(origin) for origin in found):
            raise PydanticCustomError("origin", "a page's address without its path, such as https://my.test, or *")
        return found

    @field_validator("allowed_hosts")
    @classmethod
    def _are_names(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_HOST.fullmatch(host) for host in hosts):
            raise PydanticCustomError("host", "names or addresses of hosts alone, such as my.test")
        return hosts

    @field_validator("root_path")
    @classmethod
    def _begins_paths(cls, path: str) -> str:
        found = path.removesuffix("/")
        if not _PREFIX.fullmatch(found):
            raise PydanticCustomError("prefix", "what paths begin with, such as /some/prefix")
        return found


def settings_from(**values: Any) -> ServeSettings:
    """Raises InputError, in one line, for a value that is not allowed."""
    try:
        settings = ServeSettings(**values)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        field, given = str(fault["loc"][0]), fault["input"]
        name = _OPTIONS.get(field, field.removesuffix("_seconds")).replace("_", "-")
        if isinstance(given, tuple):
            name, given = name.removesuffix("s"), ", ".join(map(str, given))
        raise InputError(f"--{name} is {shown(str(given))}; allowed: {allowed(fault['msg'])}") from None
    if settings.image_folder is not None and not settings.image_folder.is_dir():
        raise InputError(f"--image-folder {shown(str(settings.image_folder))} is no folder; give one that exists")
    return settings

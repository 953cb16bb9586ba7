"""Messages of the API become prompts. An image's address is a client's word: only what is allowed is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from PIL.Image import Image

from seeahead.errors import ImageError, InputError, counted, shown
from seeahead.fetch import MAX_LETTERS
from seeahead.images import MAX_PIXELS, PIXEL_BYTES, OpenedImage, open_image
from seeahead.prompt import Message, Prompt, make_prompt
from seeahead.serve.recent import Recent, bytes_of
from seeahead.serve.room import Hold, Room
from seeahead.serve.schema import ChatBody, ChatMessage, ImagePart, is_web
from seeahead.serve.settings import ServeSettings

_FETCHES = 4  # web addresses of one request that are read at once: each may hold a large image in memory
_DECODING_BYTES = 16
"""A pixel that is decoded takes at most so many more than it has in the end: what is copied, turned or put on white."""
_DECODING = Room(_DECODING_BYTES * MAX_PIXELS)
_DECODED = Recent(bytes_of)
_KIND = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):")


def chat_prompt(body: ChatBody, settings: ServeSettings, hold: Hold = lambda num_bytes: None) -> Prompt:
    """Images decoded, fetched where that is allowed. `hold` is told what they will take before they are decoded, and
    may wait. Raises InputError."""
    if body.num_images > settings.max_images:
        held = counted(body.num_images, "image")
        raise InputError(f"the messages hold {held}; at most {settings.max_images} may be there")
    calls = (call for message in body.messages for call in message.tool_calls or ())
    tools = {str(call.get("id")): _called(call) for call in calls}
    said = [(message, list(_said(message, tools))) for message in body.messages]
    urls = [part.url for _, parts in said for part in parts if isinstance(part, ImagePart)]
    images = iter(_images([_source(url, settings) for url in urls], settings, hold))
    messages: list[Message] = []
    is_after_tool = False
    for message, parts in said:
        role, is_tool = _ROLES[message.role], message.role == "tool"
        made = tuple(part if isinstance(part, str) else next(images) for part in parts)
        if messages and role == messages[-1].role == "user" and (is_tool or is_after_tool):
            # What tools say and what the user says to it is one turn: many templates want turns to alternate.
            made = (*messages.pop().parts, "\n\n", *made)
        if made:
            messages.append(Message(role, _in_one(made)))
            is_after_tool = is_tool
    return make_prompt(Prompt(tuple(messages)))


def _in_one(parts: Sequence[str | Image]) -> tuple[str | Image, ...]:
    """With texts beside one another as one: some templates trim each, and some read the first one alone."""
    made = list[str | Image]()
    for part in parts:
        if made and isinstance(part, str) and isinstance(made[-1], str):
            made[-1] += part
        else:
            made.append(part)
    return tuple(made)


def _images(sources: Sequence[str | Path], settings: ServeSettings, hold: Hold) -> list[Image]:
    """All files are there, and their sizes known, before the first one is decoded."""
    opened, most = _opened(sources, settings), settings.image_bytes // PIXEL_BYTES
    num_pixels = sum(one.num_pixels for one in opened)
    if num_pixels > most:
        raise ImageError(f"the images have {num_pixels:,} pixels together, the limit is {most:,}; make them smaller")
    if opened:  # texts wait for nobody
        hold(PIXEL_BYTES * num_pixels)
    if settings.num_kept:
        return [_DECODED.get(one.digest, partial(_decoded, one)) for one in opened]
    return [_decoded(one) for one in opened]


def _decoded(opened: OpenedImage) -> Image:
    with _DECODING.taken(_DECODING_BYTES * opened.num_pixels):
        return opened.load()


def _opened(sources: Sequence[str | Path], settings: ServeSettings) -> list[OpenedImage]:
    """Web addresses are fetched side by side; nothing more is read once there is too much."""
    sizes, most = list[int](), settings.max_body_bytes

    def read(source: str | Path) -> OpenedImage:
        if sum(sizes) <= most:
            opened = open_image(source, allow_urls=settings.allow_urls, max_pixels=settings.max_pixels)
            sizes.append(opened.num_bytes)
            if sum(sizes) <= most:
                return opened
        raise ImageError(f"the files of the images have more than {most:,} bytes together; make them smaller")

    fetchers = ThreadPoolExecutor(_FETCHES, "seeahead-fetches")
    try:
        fetched = [
            fetchers.submit(read, source) if isinstance(source, str) and is_web(source) else None for source in sources
        ]
        return [read(source) if one is None else one.result() for source, one in zip(sources, fetched, strict=True)]
    finally:
        fetchers.shutdown(cancel_futures=True)


_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "user"}


def _called(call: Mapping[str, Any]) -> str | None:
    function = call.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    return name if isinstance(name, str) else None


def _said(message: ChatMessage, tools: Mapping[str, str | None]) -> Iterator[str | ImagePart]:
    """Texts and images in their order; nothing for an assistant's turn that says nothing.

    `tools`: the names of those that were called, by the call's own."""
    if message.role == "tool":
        given = message.tool_call_id or ""
        yield f"Result of the tool {message.name or tools.get(given) or given}".rstrip() + ":\n"
    if isinstance(message.content, str):
        yield message.content
    for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
        if isinstance(part, ImagePart):
            yield part
        else:
            # Texts of parts are lines of their own, as other servers have it.
            is_after_text = number > 0 and not isinstance(message.content[number - 1], ImagePart)  # type: ignore[index]
            yield ("\n" if is_after_text else "") + (part.text if part.text is not None else part.refusal or "")
    if message.content is None and message.refusal:
        yield message.refusal
    for call in message.tool_calls or ():
        yield json.dumps(call.get("function", call), ensure_ascii=False)


def _source(url: str, settings: ServeSettings) -> str | Path:
    """The address as it may be read; a path of this machine never is one, but below the allowed folder."""
    found = _KIND.match(url[:40])
    kind = found.group(1).lower() if found else ""
    if kind != "data" and len(url) > MAX_LETTERS:
        raise ImageError(f"an image's address has {len(url):,} letters; at most {MAX_LETTERS:,} are read here")
    if kind == "data" or (kind in ("http", "https") and settings.allow_urls):
        return url.strip()
    if kind in ("http", "https"):
        raise ImageError(f"{shown(url)} is a web address, which this server does not fetch; send a data: URI")
    if kind == "file" and settings.image_folder is not None:
        return _below(settings.image_folder, url.strip())
    allowed = ["a data: URI", *(["a web address"] if settings.allow_urls else [])]
    allowed += ["a file:// address below the server's image folder"] if settings.image_folder is not None else []
    raise ImageError(f"an image is given as {shown(url)}; allowed here: {', '.join(allowed)}")


def _below(folder: Path, url: str) -> Path:
    refused = ImageError(f"{shown(url)} is not a file below the server's image folder; give one that is")
    try:
        parts = urlsplit(url)
        path = Path(unquote(parts.path))
        inside = path.resolve(strict=True).is_relative_to(folder.resolve())
        if parts.netloc not in ("", "localhost") or not inside:
            raise refused
    except (OSError, ValueError, RuntimeError):
        raise refused from None
    return path

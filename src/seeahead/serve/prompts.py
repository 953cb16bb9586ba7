"""Messages of the API become prompts. An image's address is a client's word: only what is allowed is read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from seeahead.errors import ImageError, InputError, shown
from seeahead.images import load_image
from seeahead.prompt import Prompt, make_prompt
from seeahead.serve.schema import ChatBody, ChatMessage, ImagePart
from seeahead.serve.settings import ServeSettings

_FETCHES = 4  # web addresses of one request that are read at once: each may hold a large image in memory
_KIND = re.compile(r"\s*([a-zA-Z][a-zA-Z0-9+.-]*):")


def chat_prompt(body: ChatBody, settings: ServeSettings) -> Prompt:
    """Images decoded, fetched where that is allowed. Raises InputError."""
    if body.num_images > settings.max_images:
        raise InputError(f"the messages hold {body.num_images} images; at most {settings.max_images} are allowed here")
    calls = (call for message in body.messages for call in message.tool_calls or ())
    tools = {str(call.get("id")): _called(call) for call in calls}
    messages: list[dict[str, Any]] = [
        {"role": _ROLES[message.role], "content": [_content(part, settings) for part in parts]}
        for message in body.messages
        if (parts := list(_said(message, tools)))
    ]
    if messages and messages[-1]["role"] != "user":
        raise InputError("the last message is not the user's; end the conversation with a question")
    afar = [part for one in messages for part in one["content"] if str(part.get("image"))[:4].lower() == "http"]
    with ThreadPoolExecutor(_FETCHES, "seeahead-fetches") as fetchers:
        images = fetchers.map(partial(load_image, allow_urls=settings.allow_urls), [part["image"] for part in afar])
        for part, image in zip(afar, images):
            part["image"] = image
    return make_prompt(messages)


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


def _content(part: str | ImagePart, settings: ServeSettings) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image", "image": _source(part.url, settings)}


def _source(url: str, settings: ServeSettings) -> str | Path:
    """The address as it may be read; a path of this machine never is one, but below the allowed folder."""
    found = _KIND.match(url[:40])
    kind = found.group(1).lower() if found else ""
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
        path = Path(unquote(parts.path)).resolve(strict=True)
        if parts.netloc not in ("", "localhost") or not path.is_relative_to(folder.resolve()):
            raise refused
    except (OSError, ValueError, RuntimeError):
        raise refused from None
    return path

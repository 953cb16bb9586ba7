"""Where training conversations come from, by what a user writes after --data."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from seeahead.checked import exists
from seeahead.data.conversations import Conversation, read_conversations
from seeahead.data.public_conversations import PUBLIC, load_public
from seeahead.data.sources import Progress


def conversations_from(
    source: Path | str, cache: Path, seed: int, count: int, progress: Progress | None = None
) -> list[Conversation]:
    """At most `count` conversations: of "demo", a public data set (`NAME` or `NAME=FOLDER`), a folder or a .jsonl file.

    Raises InputError when there is no such thing, or something in it is wrong."""
    if str(source) == "demo":
        from seeahead.data.demo_conversations import demo_conversations

        return demo_conversations(cache, count, seed, progress)
    name, equals, folder = str(source).partition("=")
    if not exists(Path(source)) and (equals or name in PUBLIC or Path(source).suffix == ""):
        return list(islice(load_public(name, Path(folder) if equals else None), count))
    return read_conversations(Path(source), count)

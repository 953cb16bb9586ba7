"""Where training conversations come from, by what a user writes after --data."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from seeahead.checked import exists
from seeahead.data.conversations import Conversation, read_conversations
from seeahead.data.public import read_public
from seeahead.data.public_table import TRAINING
from seeahead.errors import InputError, shown


def conversations_from(source: Path | str, count: int) -> list[Conversation]:
    """At most `count` conversations: of a public data set (`NAME` or `NAME=FOLDER`), a folder or a .jsonl file.

    Raises InputError when there is no such thing, or something in it is wrong."""
    name, equals, folder = str(source).partition("=")
    if exists(Path(source)) or not (equals or name in TRAINING or Path(source).suffix == ""):
        return read_conversations(Path(source), count)
    if name == "demo":
        raise InputError("the demo model's own questions are made in a clone: python -m recipes.demo_model drafter")
    if name not in TRAINING:
        raise InputError(
            f"unknown training data {shown(name)}; allowed: {', '.join(TRAINING)}, a folder, a .jsonl file"
        )
    return list(islice(read_public(name, TRAINING[name], Path(folder) if equals else None), count))

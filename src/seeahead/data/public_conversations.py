"""Public data sets to train on, by name: from a folder in the form they are published in, or through `datasets`.

--data llava-instruct=FOLDER      from disk
--data llava-instruct             by its Hub name, which needs a network and the package `datasets`
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from seeahead.data.conversations import MARKER, Conversation
from seeahead.data.items import find_picture
from seeahead.data.public_rows import find_files, read_rows
from seeahead.errors import InputError
from seeahead.pictures import PictureSource

Talk = list[tuple[str, str]]
ROLES = {"human": "user", "user": "user", "gpt": "assistant", "chatgpt": "assistant", "assistant": "assistant"}
CAPTION = "Describe the picture in one sentence."


@dataclass(frozen=True)
class PublicConversations:
    """One data set: its Hub name, the files its folder holds, and how a row is read as messages and pictures."""

    title: str
    hub: str
    files: tuple[str, ...]  # globs; the first that finds anything is read
    folders: tuple[str, ...]  # that may hold the pictures
    talk: Callable[[Mapping[str, Any]], Talk]
    picture: Callable[[Mapping[str, Any]], str | None]
    key: str = ""  # name of the list inside a JSON object
    split: str = "train"


def turns(row: Mapping[str, Any]) -> Talk:
    """LLaVA's and ShareGPT's form. Conversations that do not take turns are left out: ShareGPT has some."""
    said = [(ROLES.get(turn["from"], ""), str(turn["value"])) for turn in row["conversations"]]
    if said and said[0][0] == "assistant":  # begun in the middle
        said = said[1:]
    wanted = itertools.cycle(("user", "assistant"))
    alternates = all(role == expected and text.strip() for (role, text), expected in zip(said, wanted))
    return said if alternates and len(said) > 1 else []


def caption(row: Mapping[str, Any]) -> Talk:
    said = row.get("caption") or row.get("answer")
    text = said[0] if isinstance(said, list) and said else said
    return [("user", CAPTION), ("assistant", str(text))] if text else []


def science(row: Mapping[str, Any]) -> Talk:
    """Question and lettered options; the answer is the letter's option with its rationale."""
    options = [f"{letter}. {option}" for letter, option in zip(ascii_uppercase, row["choices"])]
    asked = "\n".join([*([row["hint"]] if row.get("hint") else []), row["question"], *options])
    reason = f" {row['solution']}" if row.get("solution") else ""
    return [("user", f"{asked}\nAnswer and give the reason."), ("assistant", f"{options[row['answer']]}.{reason}")]


def science_picture(row: Mapping[str, Any]) -> str | None:
    return f"{row['split']}/{row['id']}/{row['image']}" if row.get("image") else None


_LLAVA = ("train2017", "coco/train2017", "images", "")

PUBLIC: Mapping[str, PublicConversations] = {
    "llava-instruct": PublicConversations(
        "LLaVA-Instruct-150K",
        "liuhaotian/LLaVA-Instruct-150K",
        ("llava_instruct_150k.json", "llava_instruct_80k.json", "*.json"),
        _LLAVA,
        turns,
        lambda row: row.get("image"),
    ),
    "llava-mix665k": PublicConversations(
        "LLaVA-1.5 mix 665K",
        "liuhaotian/LLaVA-Instruct-150K",
        ("llava_v1_5_mix665k.json",),
        ("", "images"),
        turns,
        lambda row: row.get("image"),
    ),
    "coco-captions": PublicConversations(
        "COCO captions",
        "lmms-lab/COCO-Caption2017",
        ("captions_train2017.json", "captions_train2014.json"),
        ("train2017", "train2014", "images", ""),
        caption,
        lambda row: f"{row['image_id']:012d}.jpg",
        key="annotations",
        split="val",
    ),
    "scienceqa": PublicConversations(
        "ScienceQA",
        "derek-thomas/ScienceQA",
        ("problems.json",),
        ("images", ""),
        science,
        science_picture,
    ),
    "sharegpt": PublicConversations(
        "ShareGPT",
        "anon8231489123/ShareGPT_Vicuna_unfiltered",
        ("ShareGPT_V3_unfiltered_cleaned_split.json", "*.json"),
        ("",),
        turns,
        lambda row: None,
    ),
}


def load_public(name: str, folder: Path | None) -> Iterator[Conversation]:
    """The training conversations of the data set called `name`, in its own order.

    Raises InputError for an unknown name, a folder that does not hold it, a wrong row, or a missing package."""
    if name not in PUBLIC:
        raise InputError(f"unknown training data '{name}'; allowed: demo, {', '.join(PUBLIC)}, a folder, a .jsonl file")
    entry = PUBLIC[name]
    return _from_folder(name, entry, folder) if folder is not None else _from_hub(name, entry)


def _from_folder(name: str, entry: PublicConversations, folder: Path) -> Iterator[Conversation]:
    files = find_files(folder, entry.files) if folder.is_dir() else []
    if not files:
        wanted = " or ".join(entry.files)
        raise InputError(f"nothing of {name} is in {folder}; get {entry.hub} and put {wanted} there")
    for file in files:
        for row in read_rows(file, folder, entry.key):
            if row.values.get("split", entry.split) != entry.split:
                continue
            talk, picture = _read(entry, row.values, row.where)
            homes = [home / inside for home in (file.parent, folder) for inside in entry.folders]
            shown = () if picture is None else (find_picture(picture, homes, folder, row.where),)
            if talk:
                yield _conversation(talk, shown)


def _from_hub(name: str, entry: PublicConversations) -> Iterator[Conversation]:
    try:
        datasets = importlib.import_module("datasets")
    except ImportError:
        raise InputError(
            f"{name} by its Hub name needs the package datasets; pip install datasets, or say {name}=FOLDER"
        ) from None
    try:
        rows = datasets.load_dataset(entry.hub, split=entry.split, streaming=True)
    except (OSError, ValueError, RuntimeError) as error:  # no network, no such set, or one that runs code of its own
        reason = str(error).strip().partition("\n")[0]
        raise InputError(f"cannot load {entry.hub}: {reason}; get it yourself and say {name}=FOLDER") from None
    for number, row in enumerate(rows, 1):
        talk, _ = _read(entry, row, f"{entry.hub} row {number}", has_picture=False)
        # A name is of no use without the file: pictures come decoded, or not at all.
        picture = row.get("image")
        if talk and not isinstance(picture, str):
            yield _conversation(talk, () if picture is None else (picture.convert("RGB"),))


def _read(
    entry: PublicConversations, row: Mapping[str, Any], where: str, has_picture: bool = True
) -> tuple[Talk, str | None]:
    try:
        return entry.talk(row), entry.picture(row) if has_picture else None
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError(f"{where} is not a row of {entry.title} ({reason}); get {entry.hub}") from None


def _conversation(talk: Talk, pictures: tuple[PictureSource, ...]) -> Conversation:
    """Markers as many as pictures, the first message's if the data set has them, else before it."""
    marked = sum(text.count(MARKER) for _, text in talk)
    if marked != len(pictures):
        talk = [(role, text.replace(MARKER, "").strip()) for role, text in talk]
        talk[0] = (talk[0][0], MARKER * len(pictures) + talk[0][1])
    return Conversation(tuple(talk), pictures)

"""A drafter's folder, here or on the hub: read, checked, and compared with the target it was made for.

Ours holds config.json, model.safetensors (a Llama's tensors, or one layer's), the map of its vocabulary and, for a
vision drafter, adapter.safetensors. In config.json, `drafter` has its `kind` and the fingerprint of its `target`; older
folders say the kind by the keys they have. Nothing in a folder is run, and every size is checked before anything is
built.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from seeahead.checked import as_table, checked, is_folder, placed, read_json
from seeahead.drafters.formats import SAFE, SAVED, check_is_read, is_published, may_be
from seeahead.drafters.vocabulary import FILE_NAME, DraftVocabulary
from seeahead.errors import DrafterError, ModelError, SeeaheadError, escaped, shown
from seeahead.executors.checkpoint import WEIGHTS
from seeahead.families.base import Family
from seeahead.target import Target

ADAPTER = "adapter.safetensors"
PRIOR = "auto.json"
"""What training learned of when the drafter is right; a drafter may be without."""
FILES = ("config.json", WEIGHTS, FILE_NAME, ADAPTER, PRIOR)
KEY = "drafter"
HEAD = "head"
"""The kind of what others published."""
IMAGE_ADAPTER, MSD = "image_adapter", "feature_drafter"
"""Keys of config.json under which a vision drafter's adapter and a feature drafter's options stand."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """A table of config.json, under `key`."""

    key: ClassVar[str]

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Raises ModelError for what is no such table."""
        return checked(cls, values, f"'{cls.key}' in the drafter's config.json", ModelError)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Folder:
    """`values`: what its config.json says."""

    path: Path
    values: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Folder:
        """Raises ModelError where config.json says nothing, or that it is a drafter's which is not read here."""
        folder = cls(path, read_json(path / "config.json", "give a model folder, or get it again", ModelError))
        check_is_read(folder.values, folder.where)
        return folder

    @classmethod
    def find(cls, source: str | Path) -> Folder | None:
        """A drafter's folder, as `at` gives it; None for any other model."""
        folder = cls.at(source)
        return folder if folder.is_drafter else None

    @classmethod
    def at(cls, source: str | Path) -> Folder:
        """A drafter's folder, fetched from the hub where `source` is an id, with `@` and a revision behind it where a
        certain one is meant; of any other model its config alone.

        Raises DrafterError for an id that the hub, or its copy here, does not have."""
        return cls.read(Path(source)) if is_folder(source) else cls._fetched(str(source))

    @classmethod
    def _fetched(cls, name: str) -> Folder:
        owner, _, revision = name.partition("@")
        try:
            found = cls.read(Path(hf_hub_download(owner, "config.json", revision=revision or None)).parent)
            if not found.is_ours and not may_be(found.values):
                return found
            for patterns in (FILES,) if found.is_ours else (FILES + SAFE, SAVED):
                whole = Path(snapshot_download(owner, revision=revision or None, allow_patterns=list(patterns)))
                if any(whole.glob(SAFE[0])):
                    break
            return cls.read(whole)
        except SeeaheadError:
            raise
        except (OSError, ValueError, EntryNotFoundError) as error:
            if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
                raise DrafterError(
                    f"drafter {shown(name)} has no config.json on the hub; put the config that it was trained with "
                    "beside its weights, and give the folder"
                ) from None
            reason = escaped(str(error).strip().partition("\n")[0]) or type(error).__name__
            raise DrafterError(
                f"drafter {shown(name)} is no folder here, and the hub does not give it: {reason}; check the id, or "
                "give a folder"
            ) from None

    @property
    def where(self) -> str:
        """For messages."""
        return placed(self.path / "config.json")

    @property
    def own(self) -> dict[str, Any]:
        """What was written of it here, beside what others read."""
        return as_table(self.values.get(KEY) or {}, f"{self.where}: {KEY}", ModelError)

    @property
    def made_for(self) -> dict[str, Any]:
        """The fingerprint of its target, as far as that was written."""
        return as_table(self.own.get("target") or {}, f"{self.where}: target", ModelError)

    @property
    def kind(self) -> str:
        if (kind := self.own.get("kind")) is not None:
            return str(kind)
        if not self.is_ours and self._is_published:
            return HEAD
        keys = {MSD: "msd", IMAGE_ADAPTER: "vision", "vision_config": "vlm"}
        return next((kind for key, kind in keys.items() if key in self.values), "language")

    @property
    def method(self) -> str:
        """The kind, and of heads that were trained here the one that it is."""
        if self.kind != HEAD or not self.is_ours:
            return self.kind
        return "vispec" if "vispec_num_query_tokens" in self.values else "eagle3"

    @property
    def is_drafter(self) -> bool:
        """Whether it is a drafter's, ours or a published one; else it is any model's."""
        return self.is_ours or self._is_published

    @cached_property
    def _is_published(self) -> bool:
        return is_published(self.path, self.values)

    @property
    def is_ours(self) -> bool:
        """Whether it was trained here, not published by others."""
        keys = (KEY, "unknown_draft_id", MSD, IMAGE_ADAPTER)
        return any(key in self.values for key in keys) or (self.path / FILE_NAME).is_file()

    def vocabulary(self) -> DraftVocabulary:
        """Raises ModelError for what is none."""
        return DraftVocabulary.read(self.path, dict(self.values))

    def check_target(self, target: Target) -> None:
        """Raises DrafterError where the drafter was made for a target of other tokens or another width; warns where
        the weights alone differ. Folders that name no target are not checked here."""
        made_for = self.made_for
        if not made_for or target.family is None:
            return
        found = fingerprint_of(target)
        for name, what in _MUST_FIT.items():
            if made_for.get(name) is not None and found[name] is not None and made_for[name] != found[name]:
                raise DrafterError(
                    f"drafter {shown(str(self.path))} was made for a target whose {what} is "
                    f"{shown(str(made_for[name]))}, this one's is {shown(str(found[name]))}; take a drafter made for "
                    "this target, or drafter='lookup'"
                )
        if None not in (made_for.get("weights"), found["weights"]) and made_for["weights"] != found["weights"]:
            _log.warning(
                "drafter %s was made for other weights of this shape: answers stay exact, but its drafts may be "
                "refused more often",
                shown(str(self.path)),
            )

    def is_of_other_words(self, family: Family) -> bool:
        """Whether it was made for a target with another tokenizer, as far as both are known."""
        known = self.made_for.get("tokenizer")
        ours = None if family.processor is None else _words_of(family.tokenizer)
        return None not in (known, ours) and known != ours


_MUST_FIT = {"vocab_size": "number of tokens", "tokenizer": "tokenizer (by hash)", "width": "width"}
_SAMPLED = 8
"""Rows of the embedding that stand for a model's weights."""


def _words_of(tokenizer: Any) -> str:
    added = tokenizer.get_added_vocab()  # a model's own special tokens change nothing about the others
    own = sorted((word, number) for word, number in tokenizer.get_vocab().items() if word not in added)
    return hashlib.sha256(json.dumps(own).encode()).hexdigest()[:16]


def fingerprint_of(target: Target) -> dict[str, Any]:
    """What a drafter's folder keeps of the target it was made for; weights are compared as bfloat16."""
    limits, family = target.executor.limits, target.family
    rows: Any = None if family is None else family.model.get_input_embeddings().weight
    weights = None
    if rows is not None and rows.is_floating_point() and rows.device.type != "meta":
        chosen = torch.linspace(0, len(rows) - 1, _SAMPLED, device=rows.device).long()
        sampled = rows.detach()[chosen].to("cpu", torch.bfloat16).view(torch.int16)
        weights = hashlib.sha256(sampled.numpy().tobytes()).hexdigest()[:16]
    return {
        "model_type": None if family is None else family.model.config.model_type,
        "vocab_size": limits.vocab_size,
        "width": limits.width,
        "tokenizer": None if target.tokenizer is None else _words_of(target.tokenizer),
        "weights": weights,
    }

"""Published drafters, ready for a target: `head` is whatever format its authors gave it (`published`).

Answers are exact in any dialect; a wrong one only makes drafts that are refused. So what the files leave open is tried
on the target's own words when a drafter is loaded (`probe`).
"""

from __future__ import annotations

import logging
import re
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from seeahead.checked import as_table
from seeahead.drafters.dialects import TargetFacts
from seeahead.drafters.features import FeatureDrafter, head_of
from seeahead.drafters.folder import HEAD, Folder
from seeahead.drafters.head_networks import spoken
from seeahead.drafters.probe import best_dialect
from seeahead.drafters.published import Published, read_published
from seeahead.drafters.spec import FolderSpec
from seeahead.drafters.vocabulary import FILE_NAME as MAP
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import DrafterError, ModelError, shown
from seeahead.executors.linear import pack, packed_linear
from seeahead.families.loading import check_room
from seeahead.target import Target

_PADDING = 512
"""Rows by which tables of one vocabulary may differ: they are padded to round sizes."""
_VISION = re.compile(r"(_\d+)?_vl")
"""What the type of a vision-language model has beside that of the text models of its kind."""
_log = logging.getLogger(__name__)


class HeadSpec(FolderSpec):
    """`source`: a folder or hub id of a published drafter."""

    kind = HEAD
    probe: Annotated[bool, Field(description="try what its files leave open on the target's words")] = True

    def read(self, folder: Folder | None, target: Target) -> FeatureDrafter:
        if folder is None or folder.kind != HEAD:
            raise DrafterError(f"{shown(str(self.source))} is no published drafter; give the folder or hub id of one")
        check_made_for(folder, target)
        limits = target.executor.limits
        if target.family is not None:
            check_room(folder.path, folder.values, limits.dtype, target.family)
        found = read_published(folder.path, folder.values, facts_of(target), limits.width)
        has_map = (folder.path / MAP).is_file()  # beside tensors that others read without one
        vocabulary = folder.vocabulary() if has_map else _vocabulary(found, target)
        network = found.network.to(limits.device, limits.dtype).eval()
        own = None if found.embedding is None else _own_embedding(found, target)
        if own is None and network.decoder.config.hidden_size != limits.width:
            raise DrafterError(
                f"{folder.where}: its layer has width {network.decoder.config.hidden_size}, the target's embedding "
                f"{limits.width}, and it brings none of its own; take one trained for this target, or drafter='lookup'"
            )
        head = _head(found, vocabulary, target)
        for module in (network, *network.children(), *network.decoder.layers):
            pack(module, may_round=True)

        def made(dialect: Any) -> FeatureDrafter:
            speaking = spoken(network, dialect)
            ready = speaking.decoder.for_head(head)
            given = {**self.drafting, "name": self.name or found.format}
            return FeatureDrafter.on(target, speaking, vocabulary, ready, embedding=own, **given)

        chosen = found.choice.first
        if self.probe and not folder.is_ours:  # what was trained here is what its config says
            chosen = best_dialect(found.choice, made, target, found.digest)
        _log.info(
            "drafter %s: %s, %s head, %s embedding, %s",
            shown(str(self.source)),
            found.format,
            "the target's" if found.head is None else "its own",
            "the target's" if own is None else "its own",
            chosen,
        )
        return made(chosen)


def facts_of(target: Target) -> TargetFacts:
    """Raises DrafterError for a target of which nothing is known."""
    family, executor = target.family, target.executor
    config: Any = getattr(executor, "config", None) if family is None else family.text_config
    if config is None:
        raise DrafterError("a published drafter wants a target whose layers are known; load it as a model")
    rope = getattr(config, "rope_parameters", None) or {}
    return TargetFacts(config.num_hidden_layers, bool(target.image_token_ids), tuple(rope.get("mrope_section") or ()))


def check_made_for(folder: Folder, target: Target) -> None:
    """Raises DrafterError where a config names another target. Warns where it calls itself by the type of another,
    where it names the text models of the target's kind, or where it names none and the target sees images."""
    if target.family is None:
        return
    model, type_ = target.family.model, target.family.model.config.model_type
    named = _named_targets(folder)
    ours = {
        "type": (type_, target.family.text_config.model_type),
        "architecture": (type(model).__name__, *(model.config.architectures or ())),
    }
    size = folder.values.get("vocab_size")
    for what, name in named.items():
        if name in ours[what]:
            continue
        if name == _VISION.sub("", type_) and isinstance(size, int) and abs(size - target.vocab_size) <= _PADDING:
            _log.warning(
                "drafter %s was made for a target of type %s, this one is %s, which sees images: answers stay exact, "
                "but about images more drafts may be refused",
                shown(str(folder.path)),
                name,
                type_,
            )
        else:
            raise DrafterError(
                f"drafter {shown(str(folder.path))} was made for a target of {what} {shown(name)}, this one is "
                f"{shown(ours[what][0])}; take a drafter made for this target, or drafter='lookup'"
            )
    # EAGLE-1, MSD and ViSpec call themselves by their target's type; an EAGLE-3 by that of its layer.
    if not named and target.image_token_ids and folder.values.get("model_type") != type_:
        _log.warning(
            "drafter %s does not say that it was made for a target of type %s: answers stay exact, but of another "
            "target's drafter most drafts are refused",
            shown(str(folder.path)),
            type_,
        )


def _named_targets(folder: Folder) -> dict[str, str]:
    """What a config says of its target, where it says anything."""
    values, where = folder.values, folder.where
    verifier = as_table(values.get("speculators_config") or {}, f"{where}: speculators_config", ModelError)
    verifier = as_table(verifier.get("verifier") or {}, f"{where}: verifier", ModelError)
    architectures = verifier.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    said = {"type": values.get("target_model_type") or folder.made_for.get("model_type"), "architecture": first}
    return {what: name for what, name in said.items() if isinstance(name, str)}


def _vocabulary(found: Published, target: Target) -> DraftVocabulary | None:
    """Raises DrafterError where the drafter's tokens are not the target's."""
    if found.target_ids is not None:
        vocabulary = DraftVocabulary(found.target_ids, 0)
        vocabulary.check_target(target.vocab_size)
        return vocabulary
    if found.head is None or len(found.head) == target.vocab_size:
        return None
    if abs(len(found.head) - target.vocab_size) > _PADDING:
        raise DrafterError(
            f"the drafter's head has {len(found.head)} tokens and no map, the target has {target.vocab_size}; take a "
            "drafter trained for this target, or drafter='lookup'"
        )
    return DraftVocabulary(torch.arange(min(len(found.head), target.vocab_size)), 0)


def _head(found: Published, vocabulary: DraftVocabulary | None, target: Target) -> nn.Module:
    """The drafter's own, or the target's, over draft ids."""
    if found.head is None:
        return head_of(target, vocabulary)
    limits, size = target.executor.limits, target.vocab_size if vocabulary is None else len(vocabulary)
    return packed_linear(found.head[:size].to(limits.device, limits.dtype), may_round=True)


def _own_embedding(found: Published, target: Target) -> nn.Embedding | None:
    """The drafter's, padded to the target's tokens; None where its rows are the target's, up to rounding."""
    assert found.embedding is not None
    executor: Any = target.executor
    limits, rows = executor.limits, found.embedding
    width = found.network.decoder.config.hidden_size
    if rows.ndim != 2 or rows.shape[1] != width or abs(len(rows) - limits.vocab_size) > _PADDING:
        raise DrafterError(
            f"the drafter's embedding is {' x '.join(map(str, rows.shape))}, the target has {limits.vocab_size} tokens "
            f"and the drafter's layer width {width}; take one trained for this target, or drafter='lookup'"
        )
    sampled = torch.linspace(0, min(len(rows), limits.vocab_size) - 1, 64).long()
    if width == limits.width:
        ours = executor.embed(sampled.to(limits.device)).float().cpu()
        if torch.allclose(rows[sampled].float(), ours, rtol=1 / 64, atol=1e-6):
            return None
    padded = rows.new_zeros(limits.vocab_size, width)
    size = min(len(rows), limits.vocab_size)
    padded[:size] = rows[:size]
    embedding: nn.Embedding = nn.Embedding.from_pretrained(padded.to(limits.device, limits.dtype))
    return embedding

"""The drafters, by the name a user gives. Implementations are imported when first needed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seeahead.drafters.options import split_options, with_options
from seeahead.errors import DrafterError, shown

if TYPE_CHECKING:
    import torch

    from seeahead.drafting import Drafter

KINDS: dict[str, str] = {
    "none": "no drafts: plain decoding, the baseline",
    "lookup": "what followed the same words before, in prompt and answer; needs no model",
    "language": "a small language model that does not see the image (a folder or hub id)",
    "vision": "a small language model with an image adapter on the target's view of the image (a folder)",
    "tabed": "several views of the prompt as one batch of a vision drafter, weighted as the answer goes; no training",
    "msd": "one layer on the target's own features, pictures kept apart from text (a folder)",
}
NEEDS_MODEL = ("language", "vision", "tabed", "msd")
"""Kinds that are nothing without weights made for the target."""

FASTEST = ("msd", "vision", "language")
"""Of drafters that are made for a target, the one to take if nobody says (docs/results)."""


def make_drafter(
    spec: str | Path | Drafter,
    *,
    device: torch.device,
    dtype: torch.dtype,
    own: Mapping[str, Path] | None = None,
) -> Drafter:
    """A drafter from a kind, a folder, a hub id, or as it is. `own`: folders of drafters made for this target, by kind.

    Settings may follow: `language:chain=5` (see `drafters/options.py`).

    Raises DrafterError or ModelError, in one line, if there is none.
    """
    if not isinstance(spec, str | Path):
        return spec
    name, options = split_options(str(spec))

    def make(part: str) -> Drafter:
        return make_drafter(part, device=device, dtype=dtype, own=own)

    if name == "tabed":
        from seeahead.drafters.tabed import make_tabed

        return make_tabed(options, make, str(spec))
    if options:
        return with_options(make(name), options, str(spec))
    return _without_model(name) or _from_weights(_source(name, own or {}), device, dtype)


def kind_of(values: Mapping[str, Any]) -> str:
    """Which kind of drafter a folder holds, from its config.json's `values`."""
    from seeahead.models import adapter, feature

    return "msd" if feature.CONFIG_KEY in values else "vision" if adapter.CONFIG_KEY in values else "language"


def _without_model(kind: str) -> Drafter | None:
    if kind == "none":
        from seeahead.drafters.empty import EmptyDrafter

        return EmptyDrafter()
    if kind == "lookup":
        from seeahead.drafters.lookup import LookupDrafter

        return LookupDrafter()
    return None


def _source(name: str, own: Mapping[str, Path]) -> str | Path:
    """The folder or hub id of a drafter that is a model."""
    if name in NEEDS_MODEL:
        if name not in own:
            raise DrafterError(
                f"the {name} drafter needs a model made for this target; give its folder or hub id as drafter"
            )
        return own[name]
    from seeahead.checked import is_folder

    if is_folder(name) or name.count("/") == 1:
        return name
    near = difflib.get_close_matches(name, KINDS, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise DrafterError(f"unknown drafter {shown(name)}; {hint}allowed are {', '.join(KINDS)}, a folder or a hub id")


def _from_weights(source: str | Path, device: torch.device, dtype: torch.dtype) -> Drafter:
    from seeahead.drafters import folder
    from seeahead.drafters.language import LanguageDrafter
    from seeahead.families import family_for
    from seeahead.families.loading import load_model

    if (found := folder.find(source)) is not None:
        return folder.make(found, dtype, device)
    model, tokenizer = load_model(source, dtype, str(device))
    return LanguageDrafter(family_for(model, tokenizer))

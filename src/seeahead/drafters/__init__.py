"""The drafters, by the name a user gives. Implementations are imported when first needed.

A drafter is one file: a spec with checked settings that binds to a target, and the drafter that comes of it. To add
one, write the file and name its spec here.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seeahead.errors import DrafterError, escaped, shown

if TYPE_CHECKING:
    from seeahead.drafters.spec import DrafterSpec
    from seeahead.drafting import Drafter
    from seeahead.target import Target

KINDS: dict[str, str] = {
    "none": "no drafts: plain decoding, the baseline",
    "lookup": "what followed the same words before, in prompt and answer; needs no model",
    "language": "a small language model that does not see the image (a folder or hub id)",
    "vlm": "a smaller vision-language model of any kind, shown the images itself (a folder or hub id)",
    "vision": "a small language model with an image adapter on the target's view of the image (a folder)",
    "tabed": "several views of the prompt as one batch of vision or vlm, weighted as the answer goes; no training",
    "msd": "one layer on the target's own features, images kept apart from text (a folder)",
    "head": "a published EAGLE-3, EAGLE, ViSpec or MSD head for this target (a folder or hub id)",
    "auto": "lookup and all that were made for the target, in one tree, as far as it pays (the default)",
}
_SPECS = {
    "none": "none:EmptyDrafter",
    "lookup": "lookup:LookupDrafter",
    "language": "language:LanguageSpec",
    "vlm": "vlm:VlmSpec",
    "vision": "vision:VisionSpec",
    "tabed": "tabed:TabedSpec",
    "msd": "msd:MsdSpec",
    "head": "heads:HeadSpec",
    "auto": "auto:AutoSpec",
}
MEMBERS = ("msd", "head", "vision", "vlm", "language")
"""Kinds of drafters made for a target that `auto` has as members where they are there."""
_OF_DEMO = ("msd", "vision", "language")

_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
"""module:Class, a spec of the user's own."""


def bind(drafter: str | Path | DrafterSpec | Drafter, target: Target, own: Mapping[str, Path] | None = None) -> Drafter:
    """A drafter for `target` from its name, its spec, or as it is. `own`: folders of drafters made for this target, by
    kind. Raises DrafterError or ModelError, in one line, if there is none."""
    from seeahead.drafters.spec import DrafterSpec

    check_is_drafter(drafter)
    if isinstance(drafter, str | Path):
        drafter = spec_of(drafter, own)
    return drafter.bind(target) if isinstance(drafter, DrafterSpec) else drafter


def check_is_drafter(drafter: object) -> None:
    """Raises DrafterError for what is no name, no spec and no drafter, as far as that shows without a target."""
    from seeahead.checked import shown_value
    from seeahead.drafters.spec import DrafterSpec

    is_one = not isinstance(drafter, type) and all(hasattr(drafter, name) for name in ("name", "want", "start"))
    if not is_one and not isinstance(drafter, str | Path | DrafterSpec):
        raise DrafterError(
            f"drafter is {shown_value(drafter)}; give a name, a spec or a drafter, and several as 'auto:members=A+B'"
        )


def check_names(names: Iterable[str], own: Mapping[str, Path]) -> None:
    """Raises as `spec_of` does for a name that names no drafter, before anything is built or loaded."""
    for name in names:
        spec_of(name, own)


def folders_for(target: object) -> dict[str, Path]:
    """Folders of the drafters that are there for a target, by kind: for one that is named, or for a model, by the name
    that it was loaded by; of the demo, which may not be built yet, the kinds alone."""
    from seeahead.drafters.at_hand import at_hand

    if target == "demo":
        return dict.fromkeys(_OF_DEMO, Path())
    name = target if isinstance(target, str | Path) else getattr(target, "name_or_path", None)
    return at_hand(name) if isinstance(name, str | Path) and name else {}


def spec_of(text: str | Path, own: Mapping[str, Path] | None = None) -> DrafterSpec:
    """The spec that `text` names: a kind, a folder, a hub id, or module:Class; settings may follow, as in
    `language:chain=5` or `out/mine/drafter:as=mine`. Raises DrafterError or ModelError, in one line, if there is none.
    """
    from seeahead.checked import exists

    name, settings = split_settings(str(text))
    if settings:  # it is called by what was written, unless `as` says how
        settings.setdefault("as", str(text))
    is_own_kind = _OWN.fullmatch(name) is not None and not exists(Path(name))
    given_here = {"own"} if is_own_kind else {"own", "source"}
    if hidden := sorted(settings.keys() & given_here):
        raise DrafterError(f"drafter {shown(str(text))} has no setting {hidden[0]!r}; give a folder itself as drafter")
    own = dict(own or {})
    kind, colon, rest = name.partition(":")
    if colon and kind in KINDS and not exists(Path(name)):
        raise DrafterError(
            f"{shown(rest)} in drafter {shown(str(text))} is not a setting; write settings as {kind}:NAME=VALUE"
        )
    if name in KINDS:
        spec = spec_class(name)
        if "source" in spec.model_fields:
            if name not in own:
                raise DrafterError(
                    f"the {name} drafter needs a model made for this target; give its folder or hub id as drafter"
                )
            settings["source"] = own[name]
    elif is_own_kind:
        spec = _spec_at(name)
    else:
        spec = spec_class(_kind_of(name))
        settings["source"] = name
    return spec.made({**settings, "own": own}, str(text))


def spec_class(kind: str) -> type[DrafterSpec]:
    """The spec of a kind."""
    return _spec_at(f"{__name__}.{_SPECS[kind]}")


def split_settings(text: str) -> tuple[str, dict[str, Any]]:
    """A drafter's name and its settings. Raises DrafterError for one that is given twice or not finished."""
    name, colon, tail = text.rpartition(":")
    # A colon may also stand in a path.
    if not colon or "=" not in tail:
        return text, {}
    settings: dict[str, Any] = {}
    for part in tail.split(","):
        key, equals, value = part.partition("=")
        if not (key and equals and value) or key in settings:
            raise DrafterError(
                f"{shown(part)} in drafter {shown(text)} is not a setting; "
                f"write settings as {escaped(name)}:depth=5,width=1"
            )
        settings[key] = value
    return name, settings


def _kind_of(name: str) -> str:
    """Of a drafter's folder or hub id; any other model drafts as a language model, or as one that sees."""
    from seeahead.checked import is_folder

    if not is_folder(name) and name.partition("@")[0].count("/") != 1:  # a revision may have more
        near = difflib.get_close_matches(name, KINDS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        allowed = f"{', '.join(KINDS)}, a folder, a hub id or module:Class"
        raise DrafterError(f"unknown drafter {shown(name)}; {hint}allowed are {allowed}")
    from seeahead.drafters.at_hand import check_published
    from seeahead.drafters.folder import Folder

    if not is_folder(name):
        check_published(name)
    kind = Folder.at(name).kind
    if kind not in MEMBERS:
        raise DrafterError(
            f"drafter {shown(name)} is of the unknown kind {shown(kind)}; known are {', '.join(MEMBERS)}"
        )
    return kind


def _spec_at(name: str) -> type[DrafterSpec]:
    from seeahead.drafters.spec import DrafterSpec

    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        why = escaped(str(error))
        raise DrafterError(f"drafter {shown(name)} cannot be imported: {why}; check the name and PYTHONPATH") from None
    if not isinstance(found, type) or not issubclass(found, DrafterSpec):
        raise DrafterError(
            f"{shown(name)} is not a drafter's spec; derive a class from seeahead.drafters.spec.DrafterSpec"
        )
    return found

"""An ensemble from the settings behind its name: `tabed:views=MTP,rule=grid`, `tabed:views=MT,members=lookup+msd`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.options import number, with_options
from seeahead.drafters.views_drafter import ViewsDrafter
from seeahead.drafters.vision import VisionDrafter
from seeahead.drafting import Drafter
from seeahead.errors import DrafterError, shown

NO_VIEWS = "none"


def make_tabed(options: Mapping[str, str], make: Callable[[str], Drafter], spec: str) -> Drafter:
    """`views` (letters, or none), `vision` (whose views: a folder, by default the target's own), `pooled`, `captions`,
    `members` (others, joined by +), `rule`, `weights` (joined by +); settings of trees as for other drafters.

    Raises DrafterError for what is no setting, or cannot be a member."""
    given = dict(options)
    views, source = given.pop("views", "MT"), given.pop("vision", "vision")
    of_views: dict[str, Any] = {name: given.pop(name) for name in ("captions",) if name in given}
    if "pooled" in given:
        of_views["pooled"] = number(given.pop("pooled"), int, spec)
    members: list[Any] = []
    if views != NO_VIEWS:
        vision = make(source)
        if not isinstance(vision, VisionDrafter):
            raise DrafterError(
                f"{shown(source)} is no vision drafter, so it has no views; give the folder of one as vision="
            )
        members.append(ViewsDrafter(vision, views, **of_views))
    for name in filter(None, given.pop("members", "").split("+")):
        member = make(name)
        if not hasattr(member, "voice"):
            raise DrafterError(f"{shown(name)} cannot be a member of an ensemble; lookup, language, vision and msd can")
        members.append(member)
    weights = tuple(number(weight, float, spec) for weight in filter(None, given.pop("weights", "").split("+")))
    drafter = EnsembleDrafter(tuple(members), given.pop("rule", "grid"), weights=weights)
    return with_options(drafter, given, spec) if options else drafter

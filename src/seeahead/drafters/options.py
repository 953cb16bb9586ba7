"""Settings behind a drafter's name: `language:chain=5`, `vision:depth=7,width=2`, `out/mine/drafter:as=mine`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from seeahead.errors import DrafterError, escaped, shown

if TYPE_CHECKING:
    from seeahead.drafting import Drafter


def split_options(spec: str) -> tuple[str, dict[str, str]]:
    """The drafter's own name and its settings. Raises DrafterError for a setting that is said twice or not finished."""
    name, colon, tail = spec.rpartition(":")
    # A colon may also stand in a path.
    if not colon or "=" not in tail:
        return spec, {}
    options: dict[str, str] = {}
    for part in tail.split(","):
        key, equals, value = part.partition("=")
        if not (key and equals and value) or key in options:
            raise DrafterError(
                f"{shown(part)} in drafter {shown(spec)} is no setting; "
                f"write settings as {escaped(name)}:depth=5,width=1"
            )
        options[key] = value
    return name, options


def with_options(drafter: Drafter, options: Mapping[str, str], spec: str) -> Drafter:
    """`drafter` with other settings; it is then called by `spec`, or by what `as` says.

    `chain=N` is short for a chain of N tokens whatever the drafter thinks of them. Raises DrafterError for a setting
    that this drafter has not."""
    given = dict(options)
    changes: dict[str, Any] = {"name": given.pop("as", spec)}
    limits: Any = getattr(drafter, "limits", None)
    if limits is not None and "chain" in given:
        depth = number(given.pop("chain"), int, spec)
        limits = replace(limits, depth=depth, width=1, num_nodes=depth, min_probability=0.0)
    for key, value in given.items():
        of_limits = _kinds(limits)
        if key in of_limits:
            limits = replace(limits, **{key: number(value, of_limits[key], spec)})
        elif key in (own := _kinds(drafter)):
            changes[key] = number(value, own[key], spec)
        else:
            known = [*(["chain"] if limits is not None else []), *of_limits, *own, "as"]
            raise DrafterError(f"drafter {shown(spec)} has no setting {shown(key)}; it has {', '.join(known)}")
    if limits is not None:
        changes["limits"] = limits
    settings: Any = drafter
    if not hasattr(settings, "__dataclass_fields__"):
        raise DrafterError(f"drafter {shown(spec)} has no settings; leave out what follows the colon")
    changed: Drafter = replace(settings, **changes)
    return changed


def _kinds(holder: Any) -> dict[str, type]:
    """Settings that are numbers, with what each is now."""
    if holder is None:
        return {}
    values = {field.name: getattr(holder, field.name) for field in fields(holder)}
    numbers = {name: type(value) for name, value in values.items() if isinstance(value, bool | int | float)}
    return {name: kind for name, kind in numbers.items() if not name.startswith("wants_")}


def number(text: str, kind: type, spec: str) -> Any:
    """A setting's value. Raises DrafterError for what is no number, or too small a one."""
    try:
        value = bool(int(text)) if kind is bool else kind(text)
    except ValueError:
        raise DrafterError(f"{shown(text)} in drafter {shown(spec)} is no number") from None
    if not 0 <= value < math.inf or (kind is int and value < 1):
        raise DrafterError(
            f"{shown(text)} in drafter {shown(spec)} is too small or endless; allowed is 1 or more, for probabilities 0"
        )
    return value

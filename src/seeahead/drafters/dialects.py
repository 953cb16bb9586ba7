"""What a published drafter's config says of rotary positions and of the states it reads, and what else it may mean.

Trainers have written bases of rotary positions that they did not use, lists of layers counted in two ways, and M-RoPE
in two layouts on two kinds of positions; their engines differ as well. So a config gives a first guess and what may be
true in its place.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import product
from math import isfinite
from typing import Annotated, Any

from seeahead.checked import as_table, checked, flag, real, shown_value, whole
from seeahead.compat import STATIC_ROTATIONS, scaled_rotation
from seeahead.drafters.feature_decoder import Rotation
from seeahead.drafters.formats import ANGELSLIM, LAYER_IDS, SPECFORGE, SPECULATORS, writer_of
from seeahead.drafters.head_networks import Dialect, default_layers, shifted_layers
from seeahead.errors import ModelError

_USUAL = 10000.0
"""The base of rotary positions that trainers use which do not pass on the config's."""
_TABLES = ("rope_scaling", "rope_parameters")
_GROWING = ("dynamic", "longrope")
"""Types of rotary positions that are others in a long text."""
_Layers = tuple[Annotated[int, whole(0, 1023)], ...]
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Rope:
    """Of the tables `rope_scaling` and `rope_parameters`."""

    rope_theta: Annotated[float, real(0, 1e15, above=True)]
    mrope_section: tuple[Annotated[int, whole(0, 1 << 12)], ...] = ()
    mrope_interleaved: Annotated[bool, flag()] = False
    scaling: tuple[tuple[str, Any], ...] = ()

    def plain(self) -> Rotation:
        """On one axis."""
        return Rotation(self.rope_theta, scaling=self.scaling)


@dataclass(frozen=True)
class _Eagle:
    """Of what a config says of EAGLE-3."""

    eagle_aux_hidden_state_layer_ids: _Layers | None = None
    norm_before_residual: Annotated[bool | None, flag()] = None


@dataclass(frozen=True)
class Choice:
    """The dialect that a config tells, and `others` that may be meant: those that text decides, and those that images
    do."""

    first: Dialect
    of_text: tuple[Dialect, ...] = ()
    of_images: tuple[Dialect, ...] = ()

    def all(self) -> list[Dialect]:
        """Each that text may decide, with all that images may."""
        return [
            replace(
                one, rotation=replace(seen.rotation, theta=one.rotation.theta), is_next=seen.is_next, visual=seen.visual
            )
            for one in (self.first, *self.of_text)
            for seen in (self.first, *self.of_images)
        ]


@dataclass(frozen=True)
class TargetFacts:
    """What of a target decides how states and positions are read: `sections` of M-RoPE, where it has three axes."""

    num_layers: int
    sees: bool = False
    sections: tuple[int, ...] = ()


def rope_of(values: Mapping[str, Any], where: str, head_width: int) -> tuple[_Rope, str]:
    """Of a config, and the type it names. Both tables may stand there, of two releases. Raises ModelError for a type
    that is unknown; one that depends on the length of a text is read as if it were none."""
    tables = [as_table(values.get(name) or {}, f"{where}: rope", ModelError) for name in _TABLES]
    kinds = [table.get("type") or table.get("rope_type") or "default" for table in tables]
    told, kind = {**tables[0], **tables[1]}, next((kind for kind in kinds if kind != "default"), "default")
    if kind not in (allowed := ("default", "mrope", *STATIC_ROTATIONS, *_GROWING)):
        raise ModelError(f"{where}: rope type is {shown_value(kind)}; allowed: {', '.join(allowed)}")
    known = {name: told[name] for name in ("mrope_section", "mrope_interleaved") if told.get(name) is not None}
    theta = values.get("rope_theta") or told.get("rope_theta") or _USUAL
    known["rope_theta"] = float(theta) if isinstance(theta, int) and not isinstance(theta, bool) else theta
    rope = checked(_Rope, known, f"{where}: rope", ModelError)
    if kind in STATIC_ROTATIONS:
        rope = replace(rope, scaling=_scaling({**told, "rope_type": kind}, values, where, rope.rope_theta, head_width))
    elif kind in _GROWING:
        _log.warning(
            "%s: rope type %s depends on the length of a text and is read as the default: answers stay exact, but in "
            "long texts more drafts may be refused",
            where,
            kind,
        )
    return rope, kind


def _scaling(
    told: Mapping[str, Any], values: Mapping[str, Any], where: str, theta: float, head_width: int
) -> tuple[tuple[str, Any], ...]:
    """Of a table that stretches rotary positions, what transformers reads. Raises ModelError where it reads nothing."""
    name = "original_max_position_embeddings"
    table = {**told, name: told.get(name) or values.get(name) or values.get("max_position_embeddings")}
    scaling = tuple((name, one) for name, one in sorted(table.items()) if isinstance(one, int | float | str))
    with suppress(ArithmeticError, KeyError, RuntimeError, TypeError, ValueError):
        frequencies, factor = scaled_rotation({**dict(scaling), "rope_theta": theta}, head_width)
        if bool(frequencies.isfinite().all()) and frequencies.shape == (head_width // 2,) and isfinite(factor):
            return scaling
    raise ModelError(f"{where}: rope is {shown_value(dict(told))}; allowed: the numbers that its type wants")


def plain_choice(values: Mapping[str, Any], where: str, head_width: int, visuals: Sequence[str] = ("seen",)) -> Choice:
    """Of ViSpec, EAGLE-1 and MSD. `visuals`: the last two may have the same tensors, else the base alone is in
    doubt."""
    rope, _ = rope_of(values, where, head_width)
    first, *others = (Dialect(rope.plain(), visual=visual) for visual in visuals)
    usual = (replace(first, rotation=replace(first.rotation, theta=_USUAL)),) if rope.rope_theta != _USUAL else ()
    return Choice(first, usual, tuple(others))


def eagle3_choice(
    values: Mapping[str, Any], where: str, num_states: int, head_width: int, target: TargetFacts
) -> Choice:
    """Of EAGLE-3. `values`: the config, with what a nested table says of the layer in its place."""
    writer, (rope, kind) = writer_of(values), rope_of(values, where, head_width)
    told = eagle_of(values, where)
    layers, residual = _layers(told, where, num_states, writer, target), told.norm_before_residual
    rotations = _rotations(rope, where, target, head_width)
    theta = _USUAL if writer == ANGELSLIM and kind == "default" and not rope.mrope_interleaved else rope.rope_theta
    first = Dialect(replace(rope.plain(), theta=theta), layers, bool(residual), writer == SPECFORGE, "placeholder")
    named = (kind == "mrope" or rope.mrope_interleaved) and len(rotations) > 1
    if named and writer == ANGELSLIM:
        first = replace(first, rotation=replace(rotations[-1], theta=theta))
    elif named and writer not in SPECULATORS and kind == "mrope":
        first = replace(first, rotation=replace(rotations[1], theta=theta))
    near = [shifted_layers(layers, by, target.num_layers) for by in (0, -1, 1)]
    norms = [first.carries_norm] if residual is not None else [first.carries_norm, not first.carries_norm]
    of_text = [
        replace(first, rotation=replace(first.rotation, theta=base), layers=read, carries_norm=norm)
        for base, read, norm in product(dict.fromkeys((theta, rope.rope_theta, _USUAL)), dict.fromkeys(near), norms)
    ]
    of_images = [
        replace(first, rotation=rotation, is_next=is_next, visual=visual)
        for rotation in (rotations if target.sees else [])
        for is_next in ((False, True) if rotation.sections else (first.is_next,))
        for visual in ("placeholder", "seen")
    ]
    return Choice(first, tuple(one for one in of_text if one != first), tuple(of_images))


def eagle_of(values: Mapping[str, Any], where: str) -> _Eagle:
    """In a table of its own or beside it, where a null says nothing. Raises ModelError for what is none of it."""
    nested = as_table(values.get("eagle_config") or {}, f"{where}: eagle_config", ModelError)
    told = {name: value for table in (nested, values) for name, value in table.items() if value is not None}
    return checked(_Eagle, told, where, ModelError, is_open=True)


def _layers(told: _Eagle, where: str, num_states: int, writer: str, target: TargetFacts) -> tuple[int, ...]:
    """Whose inputs are read. Trainers name layers by their outputs, speculators by their inputs."""
    ids = told.eagle_aux_hidden_state_layer_ids
    if ids is None:
        return default_layers(target.num_layers)
    if not ids or len(ids) != num_states or max(ids) >= target.num_layers:
        raise ModelError(
            f"{where}: {LAYER_IDS} is {shown_value(list(ids))}; allowed: as many as fc reads, {num_states}, of the "
            f"target's {target.num_layers} layers"
        )
    return shifted_layers(ids, 0 if writer in SPECULATORS else 1, target.num_layers)


def _rotations(rope: _Rope, where: str, target: TargetFacts, head_width: int) -> list[Rotation]:
    """One axis; and for targets with three, chunked and interleaved, with the config's sections or the target's."""
    plain, sections = rope.plain(), rope.mrope_section or target.sections
    if not target.sections:
        return [plain]
    if len(sections) != 3 or sum(sections) != head_width // 2:
        if rope.mrope_section:
            _log.warning(
                "%s: mrope_section is %s, and a head has %d pairs of numbers: its positions are read on one axis",
                where,
                list(sections),
                head_width // 2,
            )
        return [plain]
    return [plain, *(replace(plain, sections=sections, is_interleaved=one) for one in (False, True))]

"""What a published drafter's config says of rotary positions and of the states it reads, and what else it may mean.

Trainers have written bases of rotary positions that they did not use, lists of layers counted in two ways, and M-RoPE
in two layouts on two kinds of positions; their engines differ as well. So a config gives a first guess and what may be
true in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, Any

from seeahead.checked import as_table, checked, flag, real, shown_value, whole
from seeahead.drafters.feature_decoder import Rotation
from seeahead.drafters.formats import ANGELSLIM, SPECFORGE, SPECULATORS
from seeahead.drafters.head_networks import Dialect, default_layers, shifted_layers
from seeahead.errors import ModelError

_USUAL = 10000.0
"""The base of rotary positions that trainers use which do not pass on the config's."""
_Layers = tuple[Annotated[int, whole(0, 1023)], ...]


@dataclass(frozen=True)
class _Rope:
    """Of the tables `rope_scaling` and `rope_parameters`."""

    rope_theta: Annotated[float, real(0, 1e15, above=True)] = _USUAL
    mrope_section: tuple[Annotated[int, whole(0, 1 << 12)], ...] = ()
    mrope_interleaved: Annotated[bool, flag()] = False


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
        return [both for one in (self.first, *self.of_text) for both in self.beside(one)]

    def among(self, chosen: Dialect) -> list[Dialect]:
        """Dialects with what images have decided, and all that text may."""
        return [
            replace(
                chosen,
                rotation=replace(chosen.rotation, theta=one.rotation.theta),
                layers=one.layers,
                carries_norm=one.carries_norm,
            )
            for one in (self.first, *self.of_text)
        ]

    def beside(self, chosen: Dialect) -> list[Dialect]:
        """Dialects with what text has decided, and all that images may."""
        changes = ((one.rotation, one.is_next, one.visual) for one in (self.first, *self.of_images))
        return [
            replace(
                chosen,
                rotation=replace(rotation, theta=chosen.rotation.theta),
                is_next=is_next,
                visual=visual,
            )
            for rotation, is_next, visual in changes
        ]


@dataclass(frozen=True)
class TargetFacts:
    """What of a target decides how states and positions are read: `sections` of M-RoPE, where it has three axes."""

    num_layers: int
    sees: bool = False
    sections: tuple[int, ...] = ()


def rope_of(values: Mapping[str, Any], where: str) -> tuple[_Rope, str]:
    """Of a config, and the type it names. Raises ModelError for scaled positions, which no drafter for VLMs has."""
    told = as_table(values.get("rope_parameters") or values.get("rope_scaling") or {}, f"{where}: rope", ModelError)
    kind = told.get("type") or told.get("rope_type") or "default"
    if kind not in ("default", "mrope"):
        raise ModelError(f"{where}: rope type is {shown_value(kind)}; allowed: default, mrope")
    known = {name: told[name] for name in ("mrope_section", "mrope_interleaved") if told.get(name) is not None}
    theta = values.get("rope_theta") or told.get("rope_theta") or _USUAL
    known["rope_theta"] = float(theta) if isinstance(theta, int) and not isinstance(theta, bool) else theta
    if isinstance(known.get("mrope_section"), list):
        known["mrope_section"] = tuple(known["mrope_section"])
    return checked(_Rope, known, f"{where}: rope", ModelError), kind


def coupled_choice(values: Mapping[str, Any], where: str, is_open: bool) -> Choice:
    """Of EAGLE-1 and MSD; `is_open`: the tensors do not tell which of the two it is."""
    rope, _ = rope_of(values, where)
    visuals = ("alone", "seen") if is_open else ("alone",)
    return _choice(rope.rope_theta, [Dialect(Rotation(rope.rope_theta), visual=visual) for visual in visuals])


def plain_choice(values: Mapping[str, Any], where: str) -> Choice:
    """Of ViSpec and of EAGLE-1 whose tensors tell: the base alone is in doubt."""
    rope, _ = rope_of(values, where)
    return _choice(rope.rope_theta, [Dialect(Rotation(rope.rope_theta))])


def eagle3_choice(
    values: Mapping[str, Any], where: str, num_states: int, head_width: int, target: TargetFacts
) -> Choice:
    """Of EAGLE-3. `values`: the config, with what a nested table says of the layer in its place."""
    writer = next(iter(values.get("architectures") or [""]), "")
    rope, kind = rope_of(values, where)
    layers, residual = _states(values, where, num_states, writer, target)
    rotations = _rotations(rope, target, head_width)
    theta = _USUAL if writer == ANGELSLIM and kind == "default" and not rope.mrope_interleaved else rope.rope_theta
    first = Dialect(Rotation(theta), layers, bool(residual), writer == SPECFORGE, "placeholder")
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


def _choice(theta: float, visuals: Sequence[Dialect]) -> Choice:
    first, *others = visuals
    usual = (replace(first, rotation=Rotation(_USUAL)),) if theta != _USUAL else ()
    return Choice(first, usual, tuple(others))


def _states(
    values: Mapping[str, Any], where: str, num_states: int, writer: str, target: TargetFacts
) -> tuple[tuple[int, ...], bool | None]:
    """Layers whose inputs are read, and what the config says of the residual.

    Trainers name layers by their outputs, speculators by their inputs."""
    nested = as_table(values.get("eagle_config") or {}, f"{where}: eagle_config", ModelError)
    told = checked(_Eagle, _listed({**nested, **values}), where, ModelError, is_open=True)
    ids = told.eagle_aux_hidden_state_layer_ids
    if ids is None:
        return default_layers(target.num_layers, num_states), told.norm_before_residual
    if len(ids) != num_states or max(ids) >= target.num_layers:
        raise ModelError(
            f"{where}: eagle_aux_hidden_state_layer_ids is {shown_value(list(ids))}; allowed: as many as fc "
            f"reads, {num_states}, of the target's {target.num_layers} layers"
        )
    counted = 0 if writer in SPECULATORS else 1
    return shifted_layers(ids, counted, target.num_layers), told.norm_before_residual


def _listed(values: Mapping[str, Any]) -> dict[str, Any]:
    name = "eagle_aux_hidden_state_layer_ids"
    ids = values.get(name)
    return {**values, name: tuple(ids)} if isinstance(ids, list) else dict(values)


def _rotations(rope: _Rope, target: TargetFacts, head_width: int) -> list[Rotation]:
    """One axis; and for targets with three, chunked and interleaved, with the config's sections or the target's."""
    plain, sections = Rotation(rope.rope_theta), rope.mrope_section or target.sections
    if not target.sections or len(sections) != 3 or sum(sections) != head_width // 2:
        return [plain]
    return [plain, *(Rotation(rope.rope_theta, sections, is_interleaved) for is_interleaved in (False, True))]

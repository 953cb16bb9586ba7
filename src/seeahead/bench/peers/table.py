"""The engines that can be asked beside ours, and the peers that come of them, from `table.toml`. No torch."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True)
class OtherEngine:
    """Software that has an environment of its own, and what asks it there: a file among the programs, or a path."""

    name: str
    title: str
    program: str
    packages: tuple[str, ...]  # as pip takes them, pinned
    unwanted: tuple[str, ...]  # come along with these, and are taken out again

    @property
    def programs(self) -> tuple[Path, ...]:
        """What converts a model."""
        return _PROGRAMS / self.program, _PROGRAMS / "older_names.py"

    def command(self, python: Path, *words: str) -> list[str]:
        """That runs the program with these arguments."""
        return [str(python), str(_PROGRAMS / "answer.py"), str(_PROGRAMS / self.program), *words]


@dataclass(frozen=True)
class Peer:
    """One way to run an engine. Without `converts_to`, it reads the target's own folder."""

    name: str
    engine: OtherEngine
    precision: str  # of its weights
    converts_to: str = ""  # what the model is converted to before, in the engine's word
    uses_lookup: bool = False
    keeps_weights: bool = False  # in what it converts to

    def has_weights_of(self, precision: str) -> bool:
        """Whether its weights are, number by number, those of a target of this precision."""
        return (self.keeps_weights or not self.converts_to) and self.precision == precision


def _read() -> Mapping[str, Peer]:
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    engines = {}
    for name, entry in table["engines"].items():
        lists = {key: tuple(entry[key]) for key in ("packages", "unwanted")}
        engines[name] = OtherEngine(name, **{**entry, **lists})
    return {name: Peer(name, **{**entry, "engine": engines[entry["engine"]]}) for name, entry in table["peers"].items()}


OTHERS = _read()
"""By name."""


def spelled(name: str) -> str:
    """A peer's name from how a command line likes it, without blanks."""
    return name.replace("-", " ")

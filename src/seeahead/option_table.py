"""Every field of transformers' GenerationConfig: honoured, without effect on tokens, or refused (`options.toml`)."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Option:
    """One field. `treatment`: "honoured", "no effect" or "refused"; `why`: what happens, or what to do instead.

    `allowed`: of a refused one, the values that are not refused.
    """

    treatment: str
    why: str
    allowed: tuple[Any, ...]

    def allows(self, value: Any) -> bool:
        likes = (value is one or (type(value) is type(one) and value == one) for one in self.allowed)
        return self.treatment != "refused" or any(likes)


_TABLE = tomllib.loads(Path(__file__).with_name("options.toml").read_text(encoding="utf-8"))

OPTIONS = {
    name: Option(treatment, why, (None, *_TABLE["allowed"].get(name, ())))
    for treatment in ("honoured", "no effect", "refused")
    for name, why in _TABLE[treatment].items()
}
"""Every field, in the order of the documents. One that is not here is refused as soon as it has a value."""

NEVER_READ: tuple[str, ...] = tuple(_TABLE["never_read"]["fields"])

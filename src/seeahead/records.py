"""What happened, token by token: the raw integers and seconds from which every figure is derived. No torch here."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Origin = Literal["drafted", "target"]
"""Who said a token first: the drafter (and the target agreed), or the target itself."""

FinishReason = Literal["end", "length", "stop", "context"]
"""Why an answer ended: end token, max_new_tokens, stop string, or the model's context was full."""


@dataclass(frozen=True)
class Step:
    """One propose-score-verify-commit round. Tokens after the end of the answer are not in it.

    `num_drafted` counts the tree's nodes, `depth` its levels, `num_accepted` the accepted nodes (also those that the
    answer's end cut off). `host` time is `seconds` minus the two forward shares.
    """

    emitted: tuple[int, ...]
    origins: tuple[Origin, ...]
    num_drafted: int
    depth: int
    num_accepted: int
    seconds_draft: float
    seconds_target: float
    seconds: float

    @property
    def seconds_host(self) -> float:
        return self.seconds - self.seconds_draft - self.seconds_target


@dataclass(frozen=True)
class Generation:
    """One answer: the prefill token first, then the tokens of every step."""

    num_prompt_tokens: int
    first_token: int
    steps: tuple[Step, ...] = ()
    finish_reason: FinishReason = "length"
    seconds_prefill: float = 0.0
    seconds_drafter_start: float = 0.0
    drafter: str = "none"
    notes: tuple[str, ...] = field(default=())

    @property
    def token_ids(self) -> tuple[int, ...]:
        return (self.first_token, *(token for step in self.steps for token in step.emitted))

    @property
    def origins(self) -> tuple[Origin, ...]:
        return ("target", *(origin for step in self.steps for origin in step.origins))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` is the inverse."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Generation:
        steps = tuple(
            Step(**{**step, "emitted": tuple(step["emitted"]), "origins": tuple(step["origins"])})
            for step in value["steps"]
        )
        return cls(**{**value, "steps": steps, "notes": tuple(value["notes"])})

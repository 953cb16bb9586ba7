"""The model that answers: how its prompts are read (`family`), and who runs it (`executor`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from seeahead.executor import Executor

if TYPE_CHECKING:
    from seeahead.families.base import Family


@dataclass(frozen=True)
class Target:
    """`family` is None for an executor alone, which is given token ids and knows no words."""

    executor: Executor
    family: Family | None = None

    @classmethod
    def of(cls, model: Target | Family | Executor) -> Target:
        """A target from itself, from a family (run by transformers), or from an executor alone."""
        if isinstance(model, Target):
            return model
        executor: Any = getattr(model, "executor", None)
        if executor is None:
            return cls(model)  # type: ignore[arg-type]
        return cls(executor, model)  # type: ignore[arg-type]

    @property
    def vocab_size(self) -> int:
        return self.executor.limits.vocab_size

    @property
    def image_token_ids(self) -> frozenset[int]:
        """Ids that stand for images, which no drafter may propose."""
        return frozenset() if self.family is None else self.family.image_token_ids

    @property
    def end_token_ids(self) -> tuple[int, ...]:
        return () if self.family is None else self.family.end_token_ids

    @property
    def tokenizer(self) -> Any:
        """None where none is known."""
        return None if self.family is None or self.family.processor is None else self.family.tokenizer

"""What cannot be learned from is left out, counted by its reason, and said: one bad picture does not end a night."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from seeahead.errors import escaped

_MOST_TOLD = 3


class LeftOut:
    """Questions or conversations without which a run goes on."""

    def __init__(self) -> None:
        self._reasons: Counter[str] = Counter()

    def add(self, reason: str) -> None:
        self._reasons[escaped(reason, 200)] += 1

    def __len__(self) -> int:
        return self._reasons.total()

    def __str__(self) -> str:
        """How many, and the commonest reasons."""
        told = [f"{number} since {reason}" for reason, number in self._reasons.most_common(_MOST_TOLD)]
        more = len(self._reasons) - _MOST_TOLD
        return f"{len(self)} left out: {'; '.join(told)}{f'; and {more} more reasons' if more > 0 else ''}"

    def tell(self, report: Callable[[str], None], what: str) -> None:
        """One line, where there are any."""
        if len(self):
            report(f"{what}: {self}")

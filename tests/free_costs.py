"""What `auto` knows of costs, as a table of a test's own: decisions that do not depend on the machine."""

from __future__ import annotations

from seeahead.drafters.auto import AutoDrafter, AutoSpec
from seeahead.drafters.experience import Experience, Kind
from seeahead.drafting import Drafter


class TableTimes:
    """A pass takes 1, and `per_row` for each row beyond the first."""

    def __init__(self, per_row: float = 0.0) -> None:
        self.per_row = per_row

    def at(self, length: int) -> None:
        """As dear after any text."""

    def seconds(self, rows: int, num_requests: int = 1) -> float:
        return 1.0 + self.per_row * (rows - 1)

    def plain(self, num_requests: int = 1) -> float:
        return self.seconds(num_requests, num_requests)

    def by_nodes(self, num_requests: int, most: int) -> list[float]:
        return [self.seconds(num_requests * (1 + number), num_requests) for number in range(most + 1)]

    def has_tried(self, rows: int, num_requests: int) -> bool:
        return True

    def reach(self, executor: object, sizes: object) -> None:
        """Nothing is measured."""

    def begin(self) -> None:
        """No size costs more at first."""

    def learn(self, rows: int, num_requests: int, seconds: float) -> None:
        """The table stays."""


class TableExperience(Experience):
    """`levels`: seconds of a pass by drafter, else `level`."""

    def __init__(self, per_row: float = 0.0, level: float = 0.0, **levels: float) -> None:
        super().__init__(TableTimes(per_row))
        self._table, self._else = levels, level

    def level(self, name: str, num_requests: int) -> float:
        return self._table.get(name, self._else)

    def start_seconds(self, name: str, kind: Kind) -> float:
        return self.level(name, 1)


def auto(*members: Drafter, experience: Experience | None = None, **settings: int) -> AutoDrafter:
    """All of `members`, at no cost unless `experience` says otherwise."""
    named = {f"{member.name} {number}": member for number, member in enumerate(members)}
    return AutoDrafter(named, experience or TableExperience(), AutoSpec(**settings), "auto")

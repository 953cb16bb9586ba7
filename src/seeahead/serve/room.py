"""Memory that several threads share: who finds no room waits for it, in the order in which they came."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

Hold = Callable[[int], None]
"""Takes so many bytes until whoever asks is done; waits where there are not so many."""


class Room:
    """At most so many bytes at a time, except that whoever is alone has what it needs."""

    def __init__(self, most: int, held: Callable[[], int] = int) -> None:
        """`held`: bytes that others have, who call `wake` when they have fewer; none by default."""
        self._most, self._held = most, held
        self._taken = 0
        self._queue = deque[object]()
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, num_bytes: int, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Inside, they are taken. `check` is called while it waits, at each `wake`, and raises where waiting has no
        sense any more."""
        me = object()
        with self._changed:
            self._queue.append(me)
            try:
                while self._queue[0] is not me or not self._has_room(num_bytes):
                    check()
                    self._changed.wait()
                self._taken += num_bytes
            finally:
                self._queue.remove(me)
                self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._taken -= num_bytes
                self._changed.notify_all()

    @contextmanager
    def holding(self, check: Callable[[], None]) -> Iterator[Hold]:
        """What takes bytes, once, until the end."""
        with ExitStack() as held:
            yield lambda num_bytes: held.enter_context(self.taken(num_bytes, check))

    def wake(self) -> None:
        """Whoever waits looks again."""
        with self._changed:
            self._changed.notify_all()

    def _has_room(self, num_bytes: int) -> bool:
        used = self._taken + self._held()
        return used == 0 or used + num_bytes <= self._most

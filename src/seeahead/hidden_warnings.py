"""Warnings of other packages that are nobody's business here, hidden in several threads at once."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_num_inside = 0
_saved = warnings.catch_warnings()


@contextmanager
def hidden(category: type[Warning] = Warning, module: str = "") -> Iterator[None]:
    """Inside, no warnings of `category` are shown that come from modules whose names match `module`, a pattern.

    Filters belong to the whole process, and `warnings.catch_warnings` restores whatever it found, also what another
    thread has set meanwhile. So the first thread that comes keeps the filters and the last one that leaves restores
    them; until then those of all are in force."""
    global _num_inside, _saved
    with _lock:
        if _num_inside == 0:
            _saved = warnings.catch_warnings()
            _saved.__enter__()
        _num_inside += 1
        warnings.filterwarnings("ignore", category=category, module=module)
    try:
        yield
    finally:
        with _lock:
            _num_inside -= 1
            if _num_inside == 0:
                _saved.__exit__(None, None, None)

"""Python's search for garbage, which takes 0.2 seconds over all that a loaded model consists of."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def loaded_is_none() -> Iterator[None]:
    """Inside, no search looks at what was there before: answers are not held up by it."""
    gc.collect()
    gc.freeze()
    gc.collect()  # else a full search waits until a quarter as much as was there is new
    try:
        yield
    finally:
        gc.unfreeze()

"""What was made of images lately: a conversation sends all its images again with each turn."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from PIL.Image import Image

from seeahead.images import PIXEL_BYTES

_Made = TypeVar("_Made")
_MOST_BYTES = 64 << 20
"""Of decoded images that are kept; and of those for which what the model's processor made is kept, with that."""


class Recent(Generic[_Made]):
    """Values by key, those used last, of at most so many bytes together. For several threads."""

    def __init__(self, size: Callable[[_Made], int], most_bytes: int = _MOST_BYTES) -> None:
        self._size, self._most = size, most_bytes
        self._held: dict[Hashable, _Made] = {}  # in the order of their last use
        self._num_bytes, self._lock = 0, threading.Lock()

    def get(self, key: Hashable, make: Callable[[], _Made]) -> _Made:
        """The value under `key`; made where it is not there."""
        with self._lock:
            if key in self._held:
                found = self._held[key] = self._held.pop(key)
                return found
        made = make()
        with self._lock:
            if key not in self._held and self._size(made) <= self._most:
                self._held[key] = made
                self._num_bytes += self._size(made)
            while self._num_bytes > self._most:
                self._num_bytes -= self._size(self._held.pop(next(iter(self._held))))
        return made


def bytes_of(image: Image) -> int:
    """Of one that is decoded."""
    return PIXEL_BYTES * image.width * image.height


def remember_images(processor: Any) -> None:
    """Have `processor`, which nobody else may have, make the same images ready once while they are recent."""
    own: Any = getattr(processor, "image_processor", None)
    if not callable(getattr(own, "preprocess", None)):
        return
    recent, preprocess = Recent[tuple[list[Image], Any]](_size), own.preprocess

    def remembered(images: Any, *args: Any, **settings: Any) -> Any:
        seen = _flat(images)
        if not all(isinstance(image, Image) for image in seen):
            return preprocess(images, *args, **settings)
        key = (_shape(images), tuple(map(id, seen)), repr((args, settings)))
        # The images are kept with what was made of them: another one may else have the same id.
        _, made = recent.get(key, lambda: (seen, preprocess(images, *args, **settings)))
        return copy.copy(made)  # processors take things out of it

    own.preprocess = remembered


def _size(held: tuple[list[Image], Any]) -> int:
    """Bytes of images and of what was made of them."""
    images, made = held
    return sum(map(bytes_of, images)) + sum(getattr(value, "nbytes", 0) for value in made.values())


def _flat(images: Any) -> list[Any]:
    return [leaf for one in images for leaf in _flat(one)] if isinstance(images, list | tuple) else [images]


def _shape(images: Any) -> Any:
    return tuple(map(_shape, images)) if isinstance(images, list | tuple) else None

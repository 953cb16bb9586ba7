"""Token ids that grow as an answer does, as a tensor that is written in place: no step copies what came before."""

from __future__ import annotations

from collections.abc import Sequence

import torch


class TokenHistory:
    """The ids of prompt and answer; with `is_distinct` each id once, for what does not ask how often it stood there."""

    def __init__(self, tokens: Sequence[int], *, is_distinct: bool = False) -> None:
        self._seen: set[int] | None = set() if is_distinct else None
        self._data = torch.zeros(len(tokens) + 256, dtype=torch.int64)
        self._length = 0
        self.extend(tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """These come after all so far."""
        if self._seen is not None:
            tokens = [token for token in dict.fromkeys(tokens) if token not in self._seen]
            self._seen.update(tokens)
        self._write(tokens)
        self._length += len(tokens)

    def followed_by(self, tokens: Sequence[int], device: torch.device) -> torch.Tensor:
        """[length]: all so far and `tokens`, which are not kept. A view, valid until the next call."""
        if self._data.device != device:
            self._data = self._data.to(device)
        self._write(tokens)
        return self._data[: self._length + len(tokens)]

    @torch.inference_mode()
    def _write(self, tokens: Sequence[int]) -> None:
        end = self._length + len(tokens)
        if end > len(self._data):
            grown = self._data.new_zeros(max(end, 2 * len(self._data)))
            grown[: self._length] = self._data[: self._length]
            self._data = grown
        if tokens:
            self._data[self._length : end] = torch.tensor(list(tokens), device=self._data.device)

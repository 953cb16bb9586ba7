"""Growing token ids become text: a fragment per run of tokens of one origin, never half a character, no stop text.

A step costs what its own tokens cost, however long the answer is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple


class Fragment(NamedTuple):
    """New text, and the tokens and origins that it is of."""

    text: str
    token_ids: tuple[int, ...]
    origins: tuple[str, ...]


class Detokenizer:
    """The text of one answer."""

    def __init__(self, to_text: Callable[[Sequence[int]], str], stop_texts: Sequence[str]) -> None:
        """`stop_texts`: what the answer's text ends before."""
        self.to_text, self._stop_texts = to_text, stop_texts
        self._longest = max((len(stop) for stop in stop_texts), default=1) - 1
        self._held: list[tuple[int, str]] = []
        # Text is made of the newest tokens: the first `_num_known` of them are in the text already, and only there so
        # that what follows is spelled as it is in the whole (a leading blank, a character of several tokens).
        self._newest: list[int] = []
        self._num_known = 0
        self._known = ""
        self._waiting = ""  # text that may yet turn out to be a stop text's beginning
        self._fragments: list[str] = []

    @property
    def text(self) -> str:
        return "".join(self._fragments)

    def add(self, tokens: Sequence[int], origins: Sequence[str], is_last: bool) -> Iterator[Fragment]:
        """The fragments that `tokens` complete; `is_last`: nothing comes after them."""
        for index, (token, origin) in enumerate(zip(tokens, origins, strict=True)):
            self._newest.append(token)
            self._held.append((token, origin))
            is_end = is_last and index == len(tokens) - 1
            if not is_end and index + 1 < len(origins) and origins[index + 1] == origin:
                continue
            if not self._read(is_end):
                continue
            text = self._before_stop() if is_end else self._without_begun_stop()
            self._waiting = self._waiting[len(text) :]
            self._fragments.append(text)
            held, self._held = self._held, []
            yield Fragment(text, tuple(token for token, _ in held), tuple(origin for _, origin in held))

    def _read(self, is_end: bool) -> bool:
        """Take in the text of the tokens not yet known; False where they end inside a character."""
        longer = self.to_text(self._newest)
        if longer.endswith("\ufffd") and not is_end:
            return False
        self._waiting += longer[len(self._known) :]
        new = self._newest[self._num_known :]
        if text := self.to_text(new):
            self._newest, self._known = new, text
        else:  # hidden tokens: what follows is spelled by what is before them
            self._known = longer
        self._num_known = len(self._newest)
        return True

    def _without_begun_stop(self) -> str:
        """What waits, without an end that may yet become a stop text."""
        text = self._waiting
        for length in range(min(self._longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop_texts):
                return text[:-length]
        return text

    def _before_stop(self) -> str:
        places = [place for stop in self._stop_texts if (place := self._waiting.find(stop)) >= 0]
        return self._waiting[: min(places)] if places else self._waiting

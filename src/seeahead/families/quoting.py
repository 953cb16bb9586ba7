"""Texts that spell a special token, such as `<image>` or `<|im_end|>`: they are read as text, never as the token.

Chat templates, processors and tokenizers find special tokens in the prompt by their spelling, wherever it comes from.
So a prompt that spells some is first written with stand-ins in their place, which neither template nor processor takes
for anything. Where the finished text becomes token ids, the spellings return, as text.
"""

from __future__ import annotations

import copy
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tokenizers import AddedToken
from transformers import BatchEncoding

from seeahead.errors import InputError, shown

_MARKS = range(0xE000, 0xF8FF)
"""Private use characters: no template and no tokenizer gives them a meaning."""


class SpecialTokens:
    """What no text may stand for: special tokens, and others that do their work without being marked as special.

    `words` count whatever they are, `names` where they are tokens, and so do tokens in brackets with which a template
    marks `turns`: a text with those would end its own turn.
    """

    def __init__(
        self, tokenizer: Any, words: Iterable[str] = (), names: Iterable[str | None] = (), turns: str = ""
    ) -> None:
        self.tokenizer = tokenizer
        added = {token.content: (index, token) for index, token in tokenizer.added_tokens_decoder.items()}
        special = {name for name, (_, token) in added.items() if token.special or _marks_turns(name, turns)}
        special |= {*words, *tokenizer.all_special_tokens, *(name for name in names if name in added)}
        spellings = {name for name in special if name.strip()}
        longest_first = sorted(spellings, key=lambda name: (-len(name), name))
        self.pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")
        self.tokens = {name: added[name] for name in longest_first if name in added}
        self._copies: dict[str, Any] = {}

    def are_spelled(self, text: str) -> bool:
        """Whether something in `text` would become a special token."""
        if self.pattern.search(text):
            return True
        if not any(token.normalized for _, token in self.tokens.values()):
            return False
        # Where tokens are looked for in normalised text, other letters may become one.
        unknown = self.tokenizer.unk_token_id
        ids = {index for index, _ in self.tokens.values() if index != unknown}
        return not ids.isdisjoint(self.tokenizer.encode(text, add_special_tokens=False))

    def stand_ins(self, texts: Sequence[str]) -> tuple[list[str], LiteralTokenizer]:
        """`texts` without any spelling of a special token, and the tokenizer that puts them back, as text.

        Raises InputError where the tokenizer cannot read a special token's spelling as text.
        """
        whole = "".join(texts)
        if getattr(self.tokenizer, "backend_tokenizer", None) is None:
            raise InputError(_impossible(whole, self.pattern))
        mark = next((chr(code) for code in _MARKS if chr(code) not in whole), None)
        if mark is None:
            raise InputError("the text holds every private use character of Unicode; leave one of them out")
        # Neighbouring texts may spell a token together, so they are searched as one.
        spans = [match.span() for match in self.pattern.finditer(whole)]
        marked: list[str] = []
        spellings: list[str] = []
        start = 0
        for text in texts:
            pieces, at, end = [], start, start + len(text)
            for first, last in ((max(first, start), min(last, end)) for first, last in spans):
                if first < last:
                    pieces.append(f"{whole[at:first]}{mark}{len(spellings)}{mark}")
                    spellings.append(whole[first:last])
                    at = last
            marked.append("".join(pieces) + whole[at:end])
            start = end
        if mark not in self._copies:
            self._copies[mark] = _renaming_copy(self, mark)
        return marked, LiteralTokenizer(self, self._copies[mark], mark, spellings)


class LiteralTokenizer:
    """A tokenizer for one prompt with stand-ins; what is not about token ids is the tokenizer's own business.

    Special tokens that are written out stay special, since the template or the processor wrote them; what stand-ins
    stand for is text.
    """

    def __init__(self, special: SpecialTokens, backend: Any, mark: str, spellings: list[str]) -> None:
        self._theirs = special.tokenizer
        self._special, self._backend, self._mark, self._spellings = special, backend, mark, spellings
        self._pattern = re.compile(f"{mark}([0-9]+){mark}|{special.pattern.pattern}")
        tokens = special.tokens.values()
        self._ids = {backend.token_to_id(_name(index, mark)): index for index, _ in tokens}
        self._never = {index for index, _ in tokens} - {self._theirs.unk_token_id}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._theirs, name)

    def __call__(
        self,
        text: str | list[str],
        add_special_tokens: bool = True,
        return_tensors: Any = None,
        return_token_type_ids: bool | None = None,
        **_: Any,
    ) -> BatchEncoding:
        """What the tokenizer answers for single texts that need neither padding nor truncation."""
        read = [self._encode(one, add_special_tokens) for one in ([text] if isinstance(text, str) else text)]
        ids = [row for row, _ in read]
        encoded = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}
        if return_token_type_ids or (
            return_token_type_ids is None and "token_type_ids" in self._theirs.model_input_names
        ):
            encoded["token_type_ids"] = [[0] * len(row) for row in ids]
        if isinstance(text, str) and return_tensors is None:
            return BatchEncoding({name: rows[0] for name, rows in encoded.items()})
        return _Located([place for _, place in read], encoded, tensor_type=return_tensors)

    def _encode(self, text: str, add_special_tokens: bool) -> tuple[list[int], Callable[[int], int | None]]:
        """Token ids, and which of them a character of `text` went into."""
        written, starts, length, at = [], [(0, 0)], 0, 0
        for match in self._pattern.finditer(text):
            written += [text[at : match.start()], self._rewritten(match)]
            at = match.end()
            starts.append((match.start(), length + len(written[-2])))
            length += len(written[-2]) + len(written[-1])
            starts.append((at, length))
        encoding = self._backend.encode("".join(written) + text[at:], add_special_tokens=add_special_tokens)

        def place(character: int) -> int | None:
            start, start_written = starts[bisect_right(starts, character, key=lambda pair: pair[0]) - 1]
            token: int | None = encoding.char_to_token(start_written + character - start)
            return token

        for token, is_added in zip(encoding.ids, encoding.special_tokens_mask, strict=True):
            if token in self._never and not is_added:
                raise InputError(_impossible("".join(self._spellings), self._special.pattern))
        return [self._ids.get(token, token) for token in encoding.ids], place

    def _rewritten(self, match: re.Match[str]) -> str:
        """What a stand-in stands for, or the copy's name of a special token; other words stay as they are."""
        if match[1] is not None:
            return self._spellings[int(match[1])]
        known = self._special.tokens.get(match[0])
        return match[0] if known is None else _name(known[0], self._mark)


class _Located(BatchEncoding):
    """Encoded texts which can still say where a character went: Idefics3's processor asks for the ends of images."""

    def __init__(self, places: list[Callable[[int], int | None]], *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._places = places

    def char_to_token(self, batch_or_char_index: int, char_index: int | None = None, sequence_index: int = 0) -> Any:
        row, character = (0, batch_or_char_index) if char_index is None else (batch_or_char_index, char_index)
        return self._places[row](character)


def _renaming_copy(special: SpecialTokens, mark: str) -> Any:
    """The tokenizer's backend with other names for its special tokens, which no text has, and none by their own.

    So the text around a template's tokens is cut into pieces as always. A copy, since others use theirs meanwhile.
    """
    backend = copy.deepcopy(special.tokenizer.backend_tokenizer)
    backend.no_padding()
    backend.no_truncation()
    # Special tokens are text from here on, but only those that are marked as such.
    backend.encode_special_tokens = True
    tokens = list(special.tokens.values())
    backend.add_special_tokens(
        [_changed(token, token.content, special=True) for _, token in tokens if not token.special]
    )
    backend.add_tokens([_changed(token, _name(index, mark), special=False) for index, token in tokens])
    return backend


def _name(index: int, mark: str) -> str:
    return f"{mark}{index}{mark}"


def _marks_turns(name: str, turns: str) -> bool:
    return name in turns and (name[:1], name[-1:]) in (("<", ">"), ("[", "]"))


def _changed(token: AddedToken, content: str, *, special: bool) -> AddedToken:
    return AddedToken(content, special=special, normalized=token.normalized, lstrip=token.lstrip, rstrip=token.rstrip)


def _impossible(text: str, pattern: re.Pattern[str]) -> str:
    found = pattern.search(text)
    what = shown(found[0]) if found else "a special token in other letters"
    return f"the text spells {what}, which this tokenizer can only read as the special token itself; leave it out"

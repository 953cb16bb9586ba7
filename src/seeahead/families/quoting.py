"""Texts that spell a special token, such as `<image>` or `<|im_end|>`: they are read as text, never as the token.

Chat templates, processors and tokenizers find special tokens in the prompt by their spelling, wherever it comes from.
So a prompt that spells some is first written with other letters in them, which neither template nor processor takes
for anything. Where the finished text becomes token ids, those letters return, as text, and a copy of the tokenizer
knows its special tokens, as the template wrote them, by other names. All stand-ins are as long as what they stand for,
so that every character keeps its place.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from tokenizers import AddedToken
from transformers import BatchEncoding

from seeahead.errors import InputError, shown

_FOR_TEXT, _FOR_NAMES = range(0xE000, 0xF900), range(0xF0000, 0xFFFFE)
"""Private use characters: no template and no tokenizer gives them a meaning."""
_MOST_BLOCKS = 4
"""Sets of names for special tokens. A copy of the tokenizer with each is kept, since it takes long to make, so a text
must not make one necessary of its own."""


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
        self.pattern = re.compile(_one_of(longest_first))
        self.tokens = {name: added[name] for name in longest_first if name in added}
        self._copies: dict[int, Any] = {}

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
            raise InputError(self.impossible(whole))
        # Neighbouring texts may spell a token together, so they are searched as one.
        spelled = "".join(sorted(set("".join(self.pattern.findall(whole)))))
        taken = set(whole)
        others = "".join(islice((chr(code) for code in _FOR_TEXT if chr(code) not in taken), len(spelled)))
        size = 1 + len(self.tokens)  # of a block: a name's first letter is its own, the rest one that all share
        starts = _FOR_NAMES[: _MOST_BLOCKS * size : size]
        start = next((one for one in starts if taken.isdisjoint(map(chr, range(one, one + size)))), None)
        if start is None or start + size > _FOR_NAMES.stop or len(others) < len(spelled):
            raise InputError("the text spells special tokens beside private use characters; leave one of them out")
        names = [chr(start + place) + chr(start) * (len(name) - 1) for place, name in enumerate(self.tokens, 1)]
        if start not in self._copies:
            self._copies[start] = self._renaming_copy(names)
        backend = self._copies[start]
        marked = iter(self.pattern.sub(lambda match: match[0].translate(str.maketrans(spelled, others)), whole))
        parts = ["".join(islice(marked, len(text))) for text in texts]
        return parts, LiteralTokenizer(self, backend, names, str.maketrans(others, spelled), whole)

    def impossible(self, text: str) -> str:
        """What is said of a text with a special token that cannot be read as text."""
        found = self.pattern.search(text)
        what = shown(found[0]) if found else "a special token in other letters"
        return f"the text spells {what}, which this tokenizer can only read as the special token itself; leave it out"

    def _renaming_copy(self, names: Sequence[str]) -> Any:
        """The tokenizer's backend that knows special tokens by `names`, and by their own for text.

        So the text around a template's tokens is cut into pieces as always. A copy, since others use theirs meanwhile.
        """
        backend = copy.deepcopy(self.tokenizer.backend_tokenizer)
        backend.no_padding()
        backend.no_truncation()
        # Special tokens are text from here on, but only those that are marked as such.
        backend.encode_special_tokens = True
        tokens = [token for _, token in self.tokens.values()]
        backend.add_special_tokens(
            [_changed(token, token.content, special=True) for token in tokens if not token.special]
        )
        backend.add_tokens([_changed(token, name, special=False) for name, token in zip(names, tokens)])
        return backend


class LiteralTokenizer:
    """A tokenizer for one prompt with stand-ins; what is not about token ids is the tokenizer's own business.

    Special tokens that are written out stay special, since the template or the processor wrote them; what stand-ins
    stand for is text.
    """

    def __init__(
        self, special: SpecialTokens, backend: Any, names: Sequence[str], back: dict[int, int], whole: str
    ) -> None:
        """`backend` knows special tokens by `names`; `back`: stand-ins -> letters of `whole`, the prompt's text."""
        self._theirs = special.tokenizer
        self._special, self._backend, self._back, self._whole = special, backend, back, whole
        self._names = dict(zip(special.tokens, names))
        indices = [index for index, _ in special.tokens.values()]
        self._ids = {backend.token_to_id(name): index for name, index in zip(names, indices)}
        self._never = set(indices) - {self._theirs.unk_token_id}

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
        ids = [[self._ids.get(token, token) for token in encoding.ids] for encoding in read]
        encoded = {"input_ids": ids, "attention_mask": [[1] * len(row) for row in ids]}
        if return_token_type_ids or (
            return_token_type_ids is None and "token_type_ids" in self._theirs.model_input_names
        ):
            encoded["token_type_ids"] = [[0] * len(row) for row in ids]
        if isinstance(text, str) and return_tensors is None:
            return BatchEncoding({name: rows[0] for name, rows in encoded.items()})
        return BatchEncoding(encoded, read, tensor_type=return_tensors)

    def _encode(self, text: str, add_special_tokens: bool) -> Any:
        named = self._special.pattern.sub(lambda match: self._names.get(match[0], match[0]), text)
        encoding = self._backend.encode(named.translate(self._back), add_special_tokens=add_special_tokens)
        for token, is_added in zip(encoding.ids, encoding.special_tokens_mask, strict=True):
            if token in self._never and not is_added:
                raise InputError(self._special.impossible(self._whole))
        return encoding


def _one_of(words: Iterable[str]) -> str:
    """A pattern for the longest of `words` that stands at a place. By their letters, as a tree: of a thousand that
    begin alike, one after the other would be tried wherever that beginning stands."""
    tree: dict[str, Any] = {}
    for word in words:
        node = tree
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}  # a word ends here

    def written(node: Mapping[str, Any]) -> str:
        run = ""
        while len(node) == 1 and "" not in node:  # the only way on, which may be long
            ((letter, node),) = node.items()
            run += letter
        ways = [re.escape(letter) + written(below) for letter, below in node.items() if letter]
        return re.escape(run) + (f"(?:{'|'.join(ways)}){'?' * ('' in node)}" if ways else "")

    return written(tree) or "(?!)"


def _marks_turns(name: str, turns: str) -> bool:
    return name in turns and (name[:1], name[-1:]) in (("<", ">"), ("[", "]"))


def _changed(token: AddedToken, content: str, *, special: bool) -> AddedToken:
    return AddedToken(content, special=special, normalized=token.normalized, lstrip=token.lstrip, rstrip=token.rstrip)

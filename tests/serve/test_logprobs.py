"""Tokens as they are told beside an answer: text as it stands there, and bytes, those of half a character too."""

from types import SimpleNamespace

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from seeahead.reply import Piece
from seeahead.serve.logprobs import Spelling, TokenLogprob, Watcher, spelled
from seeahead.serve.replies import Choice, Shape
from seeahead.serve.ticket import Event
from tests.serve.conftest import chat
from tests.serve.test_streams import events

# As Llama 2 and LLaVA have them: blanks are letters, a byte may be a token, an answer's first blank is left out.
NAMES = ("<unk>", "<s>", "\u2581a", "b", "\u2581", "<0xE7>", "<0x8C>", "<0xAB>", "\u2581\u732b")
STRIPS = decoders.Sequence(
    [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
)


@pytest.fixture(scope="module")
def tokenizer():
    made = Tokenizer(models.BPE({name: index for index, name in enumerate(NAMES)}, [], unk_token="<unk>"))
    made.decoder = STRIPS
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", clean_up_tokenization_spaces=False)


def test_a_token_is_told_as_it_stands_in_the_answer(tokenizer):
    answer = [2, 3, 2, 4, 5, 6, 7, 8]
    told = [spelled(tokenizer, tokenizer.decode, one, before) for before, one in zip([None, *answer], answer)]
    assert [one.text for one in told[:4]] == ["a", "b", " a", " "]
    assert [one.data for one in told[4:7]] == [b"\xe7", b"\x8c", b"\xab"]
    assert b"".join(one.data for one in told).decode() == tokenizer.decode(answer) == "ab a \u732b \u732b"


def test_bytes_of_half_a_character_are_its_own():
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({name: index for index, name in enumerate(letters)}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=made, clean_up_tokenization_spaces=False)
    answer = tokenizer("a \u732b")["input_ids"]
    told = [spelled(tokenizer, tokenizer.decode, one, before) for before, one in zip([None, *answer], answer)]
    assert [one.data for one in told] == [b"a", b" ", b"\xe7", b"\x8c", b"\xab"]


def test_a_token_alone_is_read_once_however_often_it_is_told(tokenizer):
    asked = []

    def to_text(tokens):
        asked.append(tuple(tokens))
        return tokenizer.decode(tokens)

    watcher = Watcher(tokenizer, to_text, len(NAMES))
    watcher.watch([2, 3, 2, 3], torch.zeros(4, len(NAMES)))
    told = watcher.take()
    assert [one.said.text for one in told] == ["a", "b", " a", "b"]
    assert all(len(one.top) == len(NAMES) for one in told)
    alone = [tokens for tokens in asked if len(tokens) == 1]
    assert len(alone) == len(set(alone)) == len(NAMES)


def test_bytes_that_nobody_knows_are_not_invented(tokenizer):
    assert spelled(tokenizer, lambda _: "\ufffd", 3, None).data is None


def test_of_a_text_they_say_where_tokens_begin_and_the_likelier_of_two_with_one_text():
    """As OpenAI's older route has it; three tokens may be one character, which a later step completes."""
    shape, choice = (
        Shape("tiny", is_chat=False, wants_logprobs=True),
        Choice(0, SimpleNamespace(request=SimpleNamespace(num_resumed=0))),
    )
    parts = [
        ("a ", b"a "),
        *(("\ufffd", bytes([byte])) for byte in "\u732b".encode()),
        ("b", b"b"),
        ("?", None),
        ("c", b"c"),
    ]
    said = [TokenLogprob(one := Spelling(*part), -1.0, ((one, -1.0), (one, -2.0))) for part in parts]
    chunks = []
    for text, start, end in (("a ", 0, 2), ("\u732bb?c", 2, 7)):
        event = Event((Piece(text),), logprobs=tuple(said[start:end]))
        choice.add(event)
        chunks.append(shape.chunk(choice, event)["choices"][0]["logprobs"])
    [whole] = shape.whole([choice])["choices"]
    assert whole["text"] == "a \u732bb?c"
    assert whole["logprobs"]["text_offset"] == [0, 2, 2, 2, 3, 4, 5]
    assert [place for one in chunks for place in one["text_offset"]] == whole["logprobs"]["text_offset"]
    assert {value for one in whole["logprobs"]["top_logprobs"] for value in one.values()} == {-1.0}


def test_a_stream_tells_every_token(served, monkeypatch):
    """Also those inside a character, whose text comes with a later one."""
    body = chat("one two", logprobs=True, top_logprobs=1, max_tokens=9)
    whole = events(served, body)
    made = served.owner._made

    def halved(*given):
        ticket = made(*given)
        to_text = ticket.answer.detokenizer.to_text
        ticket.answer.detokenizer.to_text = lambda ids: to_text(ids) + ("\ufffd" if len(ids) % 2 else "")
        return ticket

    monkeypatch.setattr(served.owner, "_made", halved)
    parted = events(served, body)
    assert len(_logprobs(whole)) == 9
    assert _logprobs(parted) == pytest.approx(_logprobs(whole), abs=1e-4)


def _logprobs(chunks):
    found = [chunk["choices"][0]["logprobs"] for chunk in chunks if chunk["choices"]]
    return [token["logprob"] for one in found if one is not None for token in one["content"]]

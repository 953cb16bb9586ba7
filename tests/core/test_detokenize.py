"""Tokens become text: a fragment per source, never half a character, nothing from a stop text on."""

import pytest

from seeahead.detokenize import Detokenizer


def of_bytes(tokens):
    """A token is a byte, as in a byte-level vocabulary."""
    return bytes(tokens).decode("utf-8", errors="replace")


def of_words(tokens):
    """A word-level vocabulary whose words have a blank before them, save the first."""
    return " ".join(f"w{token}" for token in tokens)


def fragments(steps, to_text=of_bytes, stop=()):
    """The fragments after each of `steps` (tokens, sources), and all text."""
    detokenizer = Detokenizer(to_text, stop)
    told = []
    for number, (tokens, sources) in enumerate(steps):
        told.append(list(detokenizer.add(tokens, sources, is_last=number == len(steps) - 1)))
    return told, detokenizer.text


def by_target(*parts):
    """Steps of the target's tokens, from texts or bytes."""
    return [(list(part if isinstance(part, bytes) else part.encode()), ["target"] * len(part)) for part in parts]


def test_a_fragment_has_the_tokens_of_one_source():
    steps = [(list(b"abc"), ["drafted", "drafted", "target"]), (list(b"d"), ["target"])]
    told, text = fragments(steps)
    assert [(one.text, one.origins) for one in told[0]] == [("ab", ("drafted",) * 2), ("c", ("target",))]
    assert [one.text for one in told[1]] == ["d"]
    assert text == "abcd"


def test_half_a_character_waits_for_the_rest_of_it():
    whole = "aé🦓"
    pieces = [whole.encode()[place : place + 1] for place in range(len(whole.encode()))]
    told, text = fragments(by_target(*pieces))
    assert [[one.text for one in step] for step in told] == [["a"], [], ["é"], [], [], [], ["🦓"]]
    assert text == whole
    assert [one.token_ids for one in told[6]] == [tuple("🦓".encode())]


def test_half_a_character_at_the_end_is_told_as_it_is():
    told, text = fragments(by_target(b"a", b"\xf0"))
    assert [one.text for one in told[-1]] == ["\ufffd"]
    assert text == "a\ufffd"


def test_every_token_is_in_one_fragment_whatever_waits():
    steps = [*by_target(*("é🦓x".encode()[place : place + 2] for place in range(0, 7, 2)))]
    told, _ = fragments(steps)
    assert [token for step in told for one in step for token in one.token_ids] == list("é🦓x".encode())


def test_words_are_spelled_as_in_the_whole():
    steps = [([number], ["target"]) for number in range(6)]
    told, text = fragments(steps, of_words)
    assert text == of_words(range(6)) == "w0 w1 w2 w3 w4 w5"
    assert "".join(one.text for step in told for one in step) == text


@pytest.mark.parametrize("parts", [("ab", "cSTOP"), ("abcS", "T", "O", "P"), ("a", "bcST", "OP"), ("abcSTOP",)])
def test_a_stop_text_over_several_pieces_is_never_shown(parts):
    told, text = fragments(by_target(*parts), stop=("STOP",))
    assert text == "abc"
    shown = ""
    for step in told:
        shown += "".join(one.text for one in step)
        assert "abc".startswith(shown)


def test_what_only_began_like_a_stop_text_is_shown_in_the_end():
    told, text = fragments(by_target("aST", "OR", "E", "ST"), stop=("STOP",))
    assert [[one.text for one in step] for step in told] == [["a"], ["STOR"], ["E"], ["ST"]]
    assert text == "aSTOREST"


def test_of_several_stop_texts_the_first_in_the_text_ends_it():
    assert fragments(by_target("one, two; three"), stop=(";", ","))[1] == "one"
    assert fragments(by_target("on", "e en", "d"), stop=("xyz", "end"))[1] == "one "


def test_a_step_costs_its_own_tokens_however_long_the_answer_is():
    lengths = []

    def to_text(tokens):
        lengths.append(len(tokens))
        return of_bytes(tokens)

    detokenizer = Detokenizer(to_text, ())
    for number in range(300):
        list(detokenizer.add([97 + number % 20], ["target"], is_last=False))
    assert max(lengths) <= 4


@pytest.mark.parametrize("hidden", [1, 2])
def test_a_hidden_token_takes_no_blank_from_the_next_word(hidden):
    """However the answer is cut into steps: a decoder strips the blank of what stands first."""

    def to_text(tokens):
        return of_words([token for token in tokens if token >= 0])

    tokens = [1, 2, *[-1] * hidden, 3, 4]
    for size in (1, 2, len(tokens)):
        steps = [
            (tokens[at : at + size], ["target"] * len(tokens[at : at + size])) for at in range(0, len(tokens), size)
        ]
        assert fragments(steps, to_text)[1] == "w1 w2 w3 w4"

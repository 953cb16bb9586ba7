"""Answers end at the right token, wherever in a block it falls."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest
from transformers import GenerationConfig

from seeahead.errors import InputError, ModelError
from seeahead.stopping import StopRule, check_is_shown, check_stop_texts, end_tokens_of, holds_text

_WORDS = ["", "a", "b", "ab", " end", "é"]


def _text(tokens: Sequence[int]) -> str:
    return "".join(_WORDS[token] for token in tokens)


def test_the_end_token_is_the_last_token() -> None:
    assert StopRule(10, frozenset([0])).cut([1, 1], [1, 0, 2]) == (2, "end")


@pytest.mark.parametrize("end", [0, 4, 5])
def test_every_end_token_of_several_ends_an_answer(end: int) -> None:
    rule = StopRule(10, frozenset([5, 0, 4]))
    assert rule.cut([1, 1], [1, end, 2]) == (2, "end")
    assert rule.cut([], [end]) == (1, "end")


@pytest.mark.parametrize(("named", "ends"), [(None, ()), (7, (7,)), ([7], (7,)), ([7, 3, 9], (7, 3, 9))])
def test_a_generation_config_names_no_end_token_or_one_or_several(named: object, ends: tuple[int, ...]) -> None:
    assert set(end_tokens_of(GenerationConfig(eos_token_id=named))) == set(ends)


def test_the_limit_cuts_a_block() -> None:
    assert StopRule(4).cut([1, 1], [1, 1, 1]) == (2, "length")
    assert StopRule(6).cut([1, 1], [1, 1, 1]) == (3, None)


def test_the_context_cuts_a_block_and_says_so() -> None:
    assert StopRule(10, room=3).cut([1, 1], [1, 1]) == (1, "context")
    assert StopRule(10, room=0).limit == 1, "prefill yields one token in any case"


def test_a_stop_string_ends_with_the_token_that_completes_it() -> None:
    rule = StopRule(10, is_over=(holds_text(("ba",), _text),))
    assert rule.cut([1, 2], [1, 2, 1]) == (1, "stop"), "begun before the block"
    assert rule.cut([1], [2, 1, 1]) == (2, "stop")
    assert rule.cut([1], [1, 3]) == (2, None)
    assert rule.cut([], [3, 3, 1]) == (2, "stop"), "completed inside a token"


@pytest.mark.parametrize("stop", ["ab", "aab", "\u00e9ab"])
@pytest.mark.parametrize("num_hidden", [1, 2, 7])
def test_a_stop_string_may_have_hidden_tokens_inside(stop: str, num_hidden: int) -> None:
    """They have no letters, however many they are."""
    rule = StopRule(99, is_over=(holds_text((stop,), _text),))
    said = [_WORDS.index(letter) for letter in stop[:-1]]
    inside = [token for letter in said for token in (letter, *[0] * num_hidden)]
    assert rule.cut([1, *inside], [2]) == (1, "stop")
    assert rule.cut([1, *inside], [0, 2, 1]) == (2, "stop")
    assert rule.cut([1, *inside, 1], [4]) == (1, None)


def test_an_end_token_before_the_stop_string_wins() -> None:
    assert StopRule(10, frozenset([5]), is_over=(holds_text(("ab",), _text),)).cut([], [5, 3]) == (1, "end")


@pytest.mark.parametrize("limit", [0, -3, True, 2.5, "5"])
def test_a_wrong_limit_is_refused(limit: object) -> None:
    with pytest.raises(InputError):
        StopRule(limit)


@pytest.mark.parametrize("stop", [("",), ("ab", "\ud800"), ("a\udfffb",), 3, ["a", 3]])
def test_wrong_stop_texts_are_refused(stop: object) -> None:
    with pytest.raises(InputError):
        check_stop_texts(stop)


def test_an_end_token_below_zero_is_none_and_what_is_no_token_is_one_line():
    assert end_tokens_of(SimpleNamespace(eos_token_id=-1)) == ()
    assert end_tokens_of(SimpleNamespace(eos_token_id=[5, -1])) == (5,)
    for wrong in ("x", {}, [None], [[1], [2, 3]], object()):
        with pytest.raises(ModelError, match="eos_token_id of the model's generation config is") as told:
            end_tokens_of(SimpleNamespace(eos_token_id=wrong))
        assert "\n" not in str(told.value)


def test_a_stop_text_that_no_text_can_hold_is_refused():
    check_is_shown(["</s>", "<s", "end"], ["</s>", "<s>"])
    with pytest.raises(InputError, match="holds the special token '</s>', which no text shows; give the token alone"):
        check_is_shown(["end", "</s>User:"], ["</s>", "<s>"])


def test_a_stop_text_behind_a_token_that_ends_answers_never_comes_and_does_no_harm():
    check_is_shown(["</s>", "</s>\n<s>user"], ["</s>", "<s>"], ["</s>"])
    for refused in ("then</s>", "<s>user</s>"):
        with pytest.raises(InputError, match="give the token alone"):
            check_is_shown([refused], ["</s>", "<s>"], ["</s>"])

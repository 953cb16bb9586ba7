"""Text-only questions of two sides, and facts that are of use."""

import pytest

from recipes.demo_model.texts import clean_fact, text_questions

NOUNS = [f"thing{number}" for number in range(80)]


def test_text_questions_of_the_two_sides_share_no_noun() -> None:
    sides = [" ".join(text_questions(NOUNS, held_out, 200, 1)) for held_out in (True, False)]
    named = [{noun for noun in NOUNS if f"{noun}?" in side or f"{noun}." in side} for side in sides]
    assert named[0]
    assert named[1]
    assert not named[0] & named[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An owl is a bird that hunts at night. It hears well and fli", "An owl is a bird that hunts at night."),
        ("I'm sorry, as an AI I cannot describe this thing for you.", ""),
        ("A bird.", ""),
    ],
)
def test_facts_are_cut_to_whole_useful_sentences(text: str, expected: str) -> None:
    assert clean_fact(text) == expected

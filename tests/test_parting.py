"""Where two answers part, and by how little the target preferred its own token there."""

import pytest

from seeahead.families import family_for
from seeahead.prompt import make_prompt
from seeahead.proof import logit_gap, parting
from seeahead.testing import tiny_model, tiny_processor

MESSAGES = [{"role": "user", "content": [{"type": "text", "text": "a b a b"}]}]


@pytest.fixture(scope="module")
def family():
    return family_for(tiny_model("llava", max_position_embeddings=512), tiny_processor("llava"))


@pytest.fixture(scope="module")
def plain(family):
    from seeahead.api import Engine
    from seeahead.drafters.none import EmptyDrafter

    return Engine(family, EmptyDrafter()).generate(MESSAGES, max_new_tokens=8, temperature=0.0).token_ids


@pytest.mark.parametrize(
    ("one", "other", "place"), [((1, 2), (1, 2), None), ((1, 2), (1, 3), 1), ((1, 2), (1,), 1), ((), (4,), 0)]
)
def test_where_answers_part(one, other, place):
    assert parting(one, other) == place


@pytest.mark.parametrize("position", [0, 1, 5])
def test_the_gap_at_the_first_difference_is_the_targets_own(family, plain, position):
    other = [*plain[:position], 41 if plain[position] != 41 else 42, *plain[position + 1 :]]
    # The plain answer is greedy: its token has the highest logit there.
    assert logit_gap(family, family.encode(make_prompt(MESSAGES)), plain, other, position)[0] > 0


def test_an_answer_that_ends_earlier_has_no_gap(family, plain):
    assert logit_gap(family, family.encode(make_prompt(MESSAGES)), plain, plain[:4], 4) is None

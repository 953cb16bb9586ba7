"""What pages say in words beside the figures: what was kept of drafts, what was not asked."""

from dataclasses import replace

import pytest

from seeahead.bench.summary import kept, summarize
from tests.bench.test_summary import TWO, record


def test_what_the_end_of_an_answer_cut_off_was_not_kept():
    whole = TWO[2]
    first, last = whole.generation.steps
    cut = replace(whole.generation, steps=(first, replace(last, num_accepted=2)))
    assert kept(replace(whole, generation=cut)) == " · 5 tokens, 2 of 4 drafted tokens kept"


@pytest.mark.parametrize(
    ("more", "why"), [({}, "an image could not be read"), ({"reads_text_only": True}, "the model reads text only")]
)
def test_what_was_not_asked_is_said(more, why):
    settings = {"dtype": "float32", "left_out": ["x", "y"], **more}
    assert summarize(record(TWO, settings=settings)).warnings[0] == f"2 questions were left out, because {why}: x, y."

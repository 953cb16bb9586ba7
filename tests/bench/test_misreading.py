"""A peer that sees other images than the model: nothing else shows it, since other weights part answers as well."""

import re
from dataclasses import replace

import pytest

from seeahead.bench.html import report
from seeahead.bench.record import PLAIN, Asked
from seeahead.bench.summary import summarize
from tests.bench.test_summary import of, peer, plain, record

NUM = 12  # of questions with an image, and as many without
ASKED = tuple(Asked(f"q{place}", "one", "?", ("a.png",) if place < NUM else ()) for place in range(2 * NUM))


def summary(num_seen):
    """Of two peers of one engine, of which one says what plain says of so many images, and one of another engine; all
    answer a half of the other questions alike."""
    runs = [plain(place, 4) for place in range(2 * NUM)]
    for name, seen in (("engine fp16", num_seen), ("engine int8", NUM), ("other", NUM)):
        for place in range(2 * NUM):
            is_same = place < seen or (place >= NUM and place % 2)
            run = peer(place, name, 5, 0.1, 0.2)
            runs.append(replace(run, token_ids=runs[place].token_ids if is_same else run.token_ids[::-1]))
    names = ("engine fp16", "engine int8", "other")
    others = {name: {"has_weights_of_target": False, "precision": "float32"} for name in names}
    settings = {"dtype": "float32", "others": others}
    return summarize(record(tuple(runs), ASKED, (PLAIN, *names), names, settings=settings))


@pytest.mark.parametrize(("num_seen", "is_blind"), [(1, True), (5, True), (7, False), (NUM, False)])
def test_a_peer_that_hardly_sees_is_told_and_not_set_beside_ours(num_seen, is_blind):
    found = summary(num_seen)
    assert found.misreading == ({"engine fp16", "engine int8"} if is_blind else set()), "one converter, one fault"
    beside = {entry.other.method for entry in found.against[0.0]}
    assert beside == ({"other"} if is_blind else {"engine fp16", "engine int8", "other"})
    told = [line for line in found.warnings if "can hardly have seen" in line]
    assert len(told) == (2 if is_blind else 0)
    if is_blind:
        assert f"{num_seen} of {NUM} answers about images are plain's, and {NUM // 2} of {NUM} others" in told[0]
        assert "engine" not in " ".join(found.headline)
    assert of(found, "other").same_by_sight == {True: (NUM, NUM), False: (NUM // 2, NUM)}


def test_a_page_draws_no_peer_that_hardly_sees_and_keeps_it_in_its_tables():
    page = report(summary(1).record)
    drawn = "".join(re.findall(r'<svg.*?</svg>|<div class="stacks">.*?<figcaption>', page, re.DOTALL))
    assert ">other<" in drawn
    assert "engine" not in drawn
    assert "Not drawn, since they can hardly have seen what the model sees: engine fp16, engine int8." in page
    assert '<th scope="row">engine fp16<small>peer, saw other images</small></th>' in page
    assert '<th scope="row">other<small>peer</small></th>' in page
    assert "Not drawn" not in report(summary(NUM).record)

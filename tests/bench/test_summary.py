"""Every figure of a benchmark run, against records small enough to work out by hand."""

import subprocess
import sys
from dataclasses import replace

import pytest

from seeahead.bench.answers import bootstrap_weights
from seeahead.bench.record import PLAIN, Asked, Costs, Gap, Record, Run
from seeahead.bench.summary import summarize
from seeahead.records import Generation, Step
from tests.bench.made_record import ERROR, FAILED, METHODS, SCENARIOS, made_record


def run(asked, method, steps, *, first=1.0, tokens=None, repeat=0, temperature=0.0, prefill=0.5, start=0.0, extra=0.0):
    """`steps`: (tokens emitted, drafted, depth, draft seconds, target seconds, seconds)."""
    made, place = [], 1
    for emitted, drafted, depth, draft, target, seconds in steps:
        origins = ("drafted",) * (emitted - 1) + ("target",)
        token_ids = tuple(range(place, place + emitted))
        made.append(Step(token_ids, origins, drafted, depth, emitted - 1, draft, target, seconds))
        place += emitted
    generation = Generation(10, 0, tuple(made), "end", prefill, start, method)
    total = first + sum(step.seconds for step in made) + extra
    return Run(asked, method, repeat, temperature, tokens or generation.token_ids, "", first, total, 100, generation)


def plain(asked, num_tokens, seconds=1.0, **more):
    return run(asked, PLAIN, [(1, 0, 0, 0.0, seconds * 0.75, seconds)] * num_tokens, **more)


def peer(asked, method, num_tokens, first, total, **more):
    return Run(asked, method, 0, 0.0, tuple(range(num_tokens)), "", first, total, **more)


def record(runs, asked=None, methods=(PLAIN, "ours"), peers=(), **more):
    asked = asked or (Asked("a", "one", "?"), Asked("b", "two", "?"))
    costs = Costs(100, {1: 2.0, 3: 3.0, 5: 4.0})
    values = {"num_parameters": {"target": 100, "ours": 10}, "settings": {"dtype": "float32"}, "gaps": (), **more}
    return Record({}, values["settings"], values["num_parameters"], costs, methods, peers, asked, runs, values["gaps"])


TWO = (
    plain(0, 4),  # 4 tokens in 4 s
    plain(1, 6),  # 6 tokens in 6 s
    # 4 tokens in 2 s; two levels drafted per step, of which the first keeps both, the second none
    run(0, "ours", [(3, 2, 2, 0.25, 0.5, 1.0), (1, 2, 2, 0.25, 0.5, 1.0)], start=0.5, first=1.5),
    # 6 tokens in 1.5 s
    run(1, "ours", [(4, 4, 4, 0.25, 0.25, 0.75), (2, 4, 4, 0.25, 0.25, 0.75)], start=0.5, first=1.5),
)


@pytest.fixture(scope="module")
def two():
    return summarize(record(TWO))


@pytest.fixture(scope="module")
def whole():
    return summarize(made_record())


def of(summary, method, temperature=0.0):
    return next(entry for entry in summary.methods[temperature] if entry.method == method)


def test_speed_ups_by_their_definitions(two):
    ours = of(two, "ours")
    assert ours["speed-up"].value == pytest.approx((2.0 * 4.0) ** 0.5)  # per scenario 2 and 4
    assert ours["ratio of sums"].value == pytest.approx((10 / 3.5) / (10 / 10))
    assert ours["mean of ratios"].value == pytest.approx(3.0)
    assert ours["tokens/s"].value == pytest.approx(10 / 3.5)
    assert {name: part["ratio of sums"].value for name, part in ours.groups["scenario"].items()} == pytest.approx(
        {"one": 2.0, "two": 4.0}
    )
    assert [part.num_questions for part in ours.groups["scenario"].values()] == [1, 1]
    assert ours.groups["scenario"]["one"]["ratio of sums"].ends is None, "one question says nothing about the spread"


def test_efficiency_is_averaged_over_scenarios_and_told_by_what_is_seen():
    asked = (Asked("a", "one", "?", ("p.png",)), Asked("b", "two", "?", ("p.png",), (("?", "!"),)))
    ours = of(summarize(record(TWO, asked)), "ours")
    assert ours["τ by scenario"].value == pytest.approx((2.0 * 3.0) ** 0.5), "4 tokens in 2 steps, 6 in 2"
    assert ours.groups["kind"]["one image"]["τ"].value == pytest.approx(2.0)
    assert ours.groups["kind"]["later turn"]["τ"].value == pytest.approx(3.0)
    assert [name for name, part in ours.groups["kind"].items() if part.num_questions] == ["one image", "later turn"]


def test_whole_answers(two):
    ours, base = of(two, "ours"), of(two, PLAIN)
    assert ours["end to end"].value == pytest.approx(((5 / 3.5) * (7 / 3.0)) ** 0.5)
    assert ours["first token"].value == 1.5
    assert ours["first token p95"].value == 1.5
    assert base["answer p95"].value == 7.0
    assert ours["slower"].value == 0.0
    slow = summarize(record((*TWO[:3], run(1, "ours", [(6, 9, 9, 1.0, 1.0, 9.0)]))))
    assert of(slow, "ours")["slower"].value == 0.5


def test_what_drafts_were_like(two):
    drafts = of(two, "ours")
    assert drafts["τ"].value == pytest.approx(10 / 4)
    assert drafts["accepted"].value == pytest.approx(1.5)
    assert drafts["γ"].value == pytest.approx(3.0)
    assert drafts["drafted"].value == pytest.approx(3.0)
    # Depths 1 to 4: (reached by, accepted by) 4 and 3, 4 and 2, 2 and 1, 2 and 0 steps.
    assert [share.value for share in drafts.acceptance_by_depth] == pytest.approx([3 / 4, 2 / 4, 1 / 2, 0.0])
    assert drafts["draft"].value == pytest.approx(1.0 / 3.5)
    assert drafts["host"].value == pytest.approx(1.0 / 3.5)


def test_what_drafts_could_be_worth(two):
    drafts = of(two, "ours")
    assert drafts["c (parameters)"].value == pytest.approx(0.1)
    assert drafts["MBSU (parameters)"].value == pytest.approx(2.5 / (1 + 3 * 0.1))
    assert drafts["c (measured)"].value == pytest.approx((1.0 / 12) / 1.0)
    assert drafts["MBSU (measured)"].value == pytest.approx(2.5 / (1 + 3 * (1 / 12)))
    # V(3) = 1.5 twice, V(5) = 2 twice: seven plain steps' worth, ten plain seconds.
    assert drafts["ceiling"].value == pytest.approx(10 / 7)
    base = of(two, PLAIN)
    assert (base["τ"].value, base["ceiling"].value, base["c (measured)"]) == (1.0, 1.0, None)
    assert base.acceptance_by_depth == ()


def test_where_the_time_goes(two):
    assert of(two, "ours").own.seconds_split == pytest.approx(
        {"prefill": 0.5, "draft": 0.5 + 0.5, "target": 0.75, "host": 3.25 - 2.25}
    )
    assert sum(of(two, PLAIN).own.seconds_split.values()) == pytest.approx(6.0)


def test_identical_answers_are_counted_and_only_greedy_ones():
    other = run(1, "ours", [(6, 5, 5, 0.1, 0.1, 0.5)], tokens=(0, 1, 2, 3, 4, 5, 99))
    sampled = plain(0, 3, temperature=1.0), run(0, "ours", [(3, 2, 2, 0.1, 0.1, 1.0)], temperature=1.0)
    found = summarize(record((*TWO[:3], other, *sampled), gaps=(Gap(1, "ours", 0, 6, 0.05),)))
    assert of(found, "ours").num_identical == 1
    assert of(found, "ours").num_answers == 2
    assert [gap.logit_gap for gap in of(found, "ours").gaps] == [0.05]
    assert of(found, "ours", 1.0).num_identical is None
    assert of(found, "ours", 1.0).gaps == ()
    assert of(found, "ours", 1.0)["speed-up"].value == pytest.approx(3.0)
    assert not [line for line in found.warnings if "not the plain one" in line]


def test_repeats_of_a_question_are_averaged():
    again = plain(0, 4, seconds=3.0, repeat=1)
    found = summarize(record((*TWO, again)))
    assert of(found, "ours").groups["scenario"]["one"]["ratio of sums"].value == pytest.approx(2.0 * 2)


def test_answers_are_grouped_by_the_length_of_the_plain_one(whole):
    found = {name: part.num_questions for name, part in of(whole, "language").groups["length"].items()}
    assert found == {"up to 16": 4, "17 to 64": 4, "65 to 256": 4, "over 256": 4}


def test_a_question_of_one_token_has_no_decoding_to_compare():
    runs = (plain(0, 0), run(0, "ours", []), *TWO[1::2])
    found = of(summarize(record(runs)), "ours")
    assert found.groups["scenario"]["one"]["ratio of sums"] is None
    assert found["speed-up"].value == pytest.approx(4.0)
    assert found["mean of ratios"].value == pytest.approx(4.0)


def test_peers_have_seconds_but_no_steps():
    runs = (*TWO, peer(0, "other", 5, 2.0, 3.0), peer(1, "other", 7, 2.0, 5.0))
    found = summarize(record(runs, methods=(PLAIN, "ours", "other"), peers=("other",)))
    entry = of(found, "other")
    assert entry.is_peer
    assert entry["τ"] is None
    assert entry.groups["scenario"]["one"]["τ"] is None
    assert entry["speed-up"].value == pytest.approx((4.0 * 2.0) ** 0.5)
    assert entry.own.seconds_split == pytest.approx({"prefill": 2.0, "not split": 2.0})
    assert found.against[0.0][0].method == "ours", "a peer without a counterpart meets our fastest"
    assert found.against[0.0][0]["speed-up"].value == pytest.approx(1.0)


def test_a_peer_that_wins_is_named():
    runs = (*TWO, peer(0, "other", 5, 2.0, 2.5), peer(1, "other", 7, 2.0, 3.0))
    found = summarize(record(runs, methods=(PLAIN, "ours", "other"), peers=("other",)))
    assert found.headline[-1].startswith(
        "A peer is faster in greedy answers: other answers 2.16 times as fast as plain"
    )
    close = "Peers about as fast as ours end to end in greedy answers: ours has 0.85× (0.71–1.00) the rate of other"
    assert found.warnings[-1].startswith(close)


def test_a_peer_that_failed_on_a_question_is_not_named_for_the_others():
    runs = (*TWO, peer(0, "other", 5, 2.0, 2.5), Run(1, "other", 0, 0.0, error=ERROR))
    found = summarize(record(runs, methods=(PLAIN, "ours", "other"), peers=("other",)))
    assert not [line for line in found.headline if line.startswith("A peer is faster")]


def test_a_peer_that_wins_at_another_temperature_is_named_with_its_figures():
    sampled = [replace(one, temperature=1.0) for one in TWO]
    runs = (*TWO, *sampled, *(peer(place, "other", 5, 2.0, 9.0) for place in (0, 1)))
    runs += tuple(replace(peer(place, "other", 5, 0.1, 0.2), temperature=1.0) for place in (0, 1))
    found = summarize(record(runs, methods=(PLAIN, "ours", "other"), peers=("other",)))
    assert found.headline[-1].startswith("A peer is faster at temperature 1: other answers ")
    assert found.rivals == found.warnings
    assert [line.partition(":")[0] for line in found.rivals] == ["Peers faster than ours end to end at temperature 1"]


def test_peers_meet_the_method_that_does_what_they_do(whole):
    assert [(entry.method, entry.other.method) for entry in whole.against[0.0]] == [
        (PLAIN, "transformers"),
        ("language", "transformers assisted"),
        ("lookup", "transformers lookup"),
    ]
    plain_again = whole.against[0.0][0]["speed-up"]
    assert plain_again.value == pytest.approx(1 / of(whole, "transformers")["speed-up"].value)
    assert whole.against[0.0][2]["speed-up"] is None


def test_a_failed_peer_is_a_row_with_its_error(whole):
    entry = of(whole, FAILED)
    assert entry.own.errors == (ERROR,) * 32
    assert (entry.num_answers, entry.num_identical) == (0, 0)
    assert [entry[word] for word in ("speed-up", "τ", "host")] == [None] * 3
    reason = f": {ERROR.removeprefix('ValueError: ')}."
    assert any(line.startswith(f"{FAILED} failed on 32 of 32") and reason in line for line in whole.warnings)


def test_what_nobody_should_believe_is_said():
    # Three tokens in one pass, nine times as fast: the plain loop wastes its time.
    fast = tuple(run(place, "ours", [(3, 2, 2, 0.0, 0.1, 1 / 3)]) for place in (0, 1))
    found = summarize(record((plain(0, 3), plain(1, 3), *fast)))
    assert found.warnings == (
        "ours is 9.00 times as fast as plain at temperature 0 with only 3.00 tokens per pass: "
        "the plain loop is slower than it should be.",
    )
    gaps = (Gap(0, "ours", 0, 3, 0.4), Gap(1, "ours", 0, 3, 0.1), Gap(1, "ours", 0, 4, None))
    said = " ".join(summarize(record(TWO, gaps=gaps)).warnings)
    assert "ours: 1 answer is not the plain one" in said
    assert "largest logit gap +0.40, allowed 0.1" in said
    assert "of another length" in said
    assert "rounding" not in " ".join(summarize(record(TWO, gaps=gaps, settings={"dtype": "bfloat16"})).warnings)


def test_questions_that_a_method_was_not_put_are_left_out_and_named():
    found = summarize(record(TWO[:3]))
    assert of(found, "ours")["speed-up"].value == pytest.approx(2.0)
    assert "ours was put only 1 of 2 questions at temperature 0." in found.warnings


def test_the_headline_says_what_happened(whole):
    first, same = whole.headline
    assert first.startswith("With drafts (language) whole answers come 2.16 times as fast as plain decoding (")
    assert "), decoding alone 2.35 times (" in first
    assert same == "32 of 32 answers are token-identical in float32."
    gap, again = Gap(1, "ours", 0, 3, 0.05), Gap(0, "ours", 0, 3, None)
    other = tuple(replace(one, token_ids=(9,)) if one.key[:2] == (1, "ours") else one for one in TWO)
    tied = "; the other one differs from where rounding chose between two close tokens (logits at most 0.05 apart)."
    assert summarize(record(other, gaps=(gap,))).headline[1].endswith(tied)
    for gaps in ((), (again,), (replace(gap, logit_gap=0.2),)):
        assert summarize(record(other, gaps=gaps)).headline[1] == "1 of 2 answers are token-identical in float32."
    slow = summarize(record((*TWO[:2], *(run(place, "ours", [(4, 9, 9, 1.0, 1.0, 8.0)]) for place in (0, 1)))))
    assert slow.headline[0].startswith("No drafter pays off here: the best, ours, answers 0.")
    assert "no speed-up" in summarize(record(TWO[:2], methods=(PLAIN,))).headline[0]


def test_intervals_hold_their_figures_and_are_reproducible(whole):
    again = summarize(made_record())
    for entry, same in zip(whole.methods[0.0], again.methods[0.0]):
        for name in ("speed-up", "ratio of sums", "mean of ratios", "end to end", "tokens/s", "answer p95"):
            figure = entry[name]
            assert figure == same[name]
            if figure is not None:
                assert figure.low <= figure.value <= figure.high
    assert of(whole, "language")["speed-up"].low < of(whole, "language")["speed-up"].high


def test_everything_asked_is_covered(whole):
    assert tuple(whole.record.scenarios) == SCENARIOS
    assert list(whole.methods) == [0.0, 1.0]
    assert [entry.method for entry in whole.methods[1.0]] == list(METHODS)
    assert len(whole.record.asked) == 16


def test_a_record_survives_json():
    once = Record.from_json(made_record().to_json())  # seconds are rounded to microseconds
    assert Record.from_json(once.to_json()) == once
    assert once.runs[2].pieces[1] == (" w101", "drafted")


def test_no_torch_is_needed():
    code = "import sys, seeahead.bench.html, seeahead.bench.markdown; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_turns_of_a_conversation_are_drawn_together():
    record = made_record()
    follow_up = replace(record.asked[1], earlier=(("Who?", "A cat."),))
    weights = bootstrap_weights(replace(record, asked=(record.asked[0], follow_up, *record.asked[2:])))
    assert weights.shape[1] == len(record.asked)
    assert (weights[:, 0] == weights[:, 1]).all()
    assert (weights[:, 1] != weights[:, 2]).any()
    assert (weights[0] == 1).all()


def test_a_table_that_cannot_be_true_is_said_to_be_disturbed():
    calm, disturbed = Costs(100, {1: 2.0, 3: 1.9, 5: 4.0}), Costs(100, {1: 2.0, 3: 1.7, 5: 4.0})
    assert (calm.is_disturbed, disturbed.is_disturbed) == (False, True)
    assert summarize(made_record(costs=calm)).warnings == summarize(made_record()).warnings
    assert "ceilings below are not to be trusted" in summarize(made_record(costs=disturbed)).warnings[0]


def test_the_turns_of_one_conversation_say_nothing_about_the_spread():
    """Intervals draw conversations, of which there is one."""
    asked = (Asked("a", "one", "Who?"), Asked("a#2", "one", "What?", (), (("Who?", "A cat."),)))
    found = of(summarize(replace(record(TWO), asked=asked)), "ours")
    assert found.num_questions == 2
    assert found["speed-up"].ends is None
    assert [share.ends for share in found.acceptance_by_depth] == [None] * 4


def test_questions_about_one_image_are_drawn_together_whatever_their_scenario():
    asked = [
        Asked(f"{scenario} {number}", scenario, "?", (f"{number}.png",)) for scenario in ("a", "b") for number in "1234"
    ]
    asked += [Asked("c 1", "c", "?", ("x", "y")), Asked("c 2", "c", "?", ("y", "x"))]
    asked += [Asked("c 3", "c", "?"), Asked("c 4", "c", "?"), Asked("c 4#2", "c", "?", (), (("?", "!"),))]
    made = record((), tuple(asked))
    assert made.clusters == (0, 1, 2, 3, 0, 1, 2, 3, 4, 4, 5, 6, 6)
    weights = bootstrap_weights(made)
    assert (weights[:, :4] == weights[:, 4:8]).all()
    assert (weights[:, 0] != weights[:, 1]).any()
    assert weights[:, :4].sum(axis=1) == pytest.approx(4), "a scenario keeps its weight"


def test_one_image_says_nothing_about_the_spread():
    def ends(*images):
        asked = tuple(Asked(name, "one", "?", (name,)) for name in images)
        return of(summarize(record(TWO, asked)), "ours")["ratio of sums"].ends

    assert ends("a.png", "b.png") is not None
    assert ends("a.png", "a.png") is None

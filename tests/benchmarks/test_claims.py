"""The page of claims: every outcome is reached by computation."""

import re
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.claims.figures import FIGURES, StoredRun, by_scenario
from benchmarks.claims.judge import Finding, Outcome, judge, overall
from benchmarks.claims.page import in_words, render_claims
from benchmarks.claims.rules import Bound, Cannot, Group, Needs, read_claims
from seeahead.bench.record import Asked, Costs, Gap, Record, Run
from seeahead.bench.statistics import interval, ratio
from seeahead.bench.summary import summarize
from seeahead.records import Generation, Step
from tests.bench.made_record import made_record

GROUPS = {
    "stories": Group(means="five images", images=(4, 10), turn="first"),
    "captions": Group(means="descriptions", scenarios=("caption",)),
    "follow-ups": Group(means="later turns", turn="later"),
}
ASKED = (
    Asked("a", "caption", "What is it?", ("cat.jpg",)),
    Asked("b", "story", "Tell a story.", tuple("12345")),
    Asked("c", "follow-up", "More?", ("cat.jpg",), (("What is it?", "A cat."),)),
    Asked("d", "text only", "Why?"),
)
COUNT = 2
"""Questions of each scenario, all alike: their intervals have no width."""
# τ of each method in the four scenarios; 12 tokens each, 0.1 s per plain step, 0.12 s per drafted one.
PER_STEP = {"none": (1, 1, 1, 1), "language": (2, 2, 3, 4), "vision": (3, 1, 2, 4)}


def run(asked, method, per_step, temperature=0.0, tokens=None):
    tokens = tokens or tuple(range(100, 113))
    seconds, drafting = (0.1, 0.0) if method == "none" else (0.12, 0.01)
    steps = []
    for start in range(1, 13, per_step):
        emitted = tokens[start : start + per_step]
        origins = ("drafted",) * (len(emitted) - 1) + ("target",)
        depth = 0 if method == "none" else 5
        steps.append(Step(emitted, origins, depth, depth, len(emitted) - 1, drafting, 0.1, seconds))
    generation = Generation(10, tokens[0], tuple(steps), "end", drafter=method)
    return Run(asked, method, 0, temperature, tokens, "text", 0.1, 0.1 + len(steps) * seconds, 0, generation)


def record(drop=(), gaps=(), other=(), count=COUNT, changed=None):
    """All methods on all questions at temperature 0, except `drop`; `other` are pairs answered otherwise, `changed` has
    the tokens per step of pairs that are not like their scenario."""
    paces, tokens = changed or {}, dict.fromkeys(other, tuple(range(7, 20)))
    runs = [
        run(asked, method, paces.get((method, asked), per_step[asked % 4]), tokens=tokens.get((method, asked)))
        for method, per_step in PER_STEP.items()
        for asked in range(4 * count)
        if (method, asked) not in drop
    ]
    return Record(
        {"date": "2026-11-22", "commit": "a" * 40, "has_local_changes": False, "hardware": {"cpu": "CPU", "gpu": None}},
        {"model_type": "llava", "dtype": "float32", "device": "cpu", "num_threads": 2},
        {"target": 1_000_000, "language": 50_000, "vision": 100_000},
        Costs(200, {1: 0.1, 4: 0.11, 8: 0.12}),
        tuple(PER_STEP),
        (),
        asked_of(count),
        tuple(runs),
        tuple(gaps),
    )


def asked_of(count):
    """Each time about other images: intervals draw images."""
    images = (tuple(f"{name} {number}" for name in entry.pictures) for number in range(count) for entry in ASKED)
    return tuple(replace(entry, pictures=names) for entry, names in zip(ASKED * count, images, strict=True))


def found(rule, **kwargs):
    return judge(rule, [StoredRun("bench-x.json", record(**kwargs))], GROUPS)


def bound(kind, method, **kwargs):
    return Bound(kind=kind, method=method, **kwargs)


def tau(method, **kwargs):
    return bound("block_efficiency", method, **kwargs)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("method", ["lookup", "language"])
def test_figures_and_their_intervals_are_those_of_the_report(method, temperature):
    value = made_record()
    entry = next(entry for entry in summarize(value).methods[temperature] if entry.method == method)
    everything = np.ones(len(value.asked), dtype=np.bool_)
    stored = StoredRun("bench-x.json", value)
    sample = stored.sample(method, temperature, everything)

    def figure(kind, part=sample, over=None):
        draws = FIGURES[kind].draws(part)
        return interval(draws if over is None else ratio(draws, over), part.num_drawn)

    assert figure("block_efficiency") == entry["τ"]
    assert figure("speed_up") == entry["speed-up"]
    if method == "language":  # the other has no parameters
        found, known = figure("memory_bound_speed_up"), entry["MBSU (parameters)"]
        assert vars(found) == pytest.approx(vars(known))
    plain = FIGURES["step_seconds"].draws(stored.sample("none", temperature, everything))
    assert vars(figure("draft_seconds", over=plain)) == pytest.approx(vars(entry["c (measured)"]))
    for scenario, part in by_scenario(sample).items():
        assert figure("block_efficiency", part) == entry.groups["scenario"][scenario]["τ"]
    if temperature == 0:
        assert figure("identical").value == entry.num_identical / entry.num_answers


@pytest.mark.parametrize(
    ("rule", "outcome", "text"),
    [
        (tau("language", at_least=2.0, questions="captions"), Outcome.HOLDS, "2.00"),
        (tau("language", at_most=1.9, questions="captions"), Outcome.FAILS, "2.00"),
        (tau("vision", against=("language",), questions="captions", at_least=1.4), Outcome.HOLDS,
         "1.500 = 3.00 / 2.00"),
        (tau("vision", against=("language",), questions="stories", at_least=1.0), Outcome.FAILS,
         "0.500 = 1.00 / 2.00"),
        (tau("vision", against=("language", "none"), of="lowest", questions="follow-ups", at_least=2), Outcome.HOLDS,
         "2.000 = 2.00 / 1.00"),
        (tau("vision", against=("language", "none"), of="mean", questions="follow-ups", at_least=1), Outcome.HOLDS,
         "1.000 = 2.00 / 2.00"),
        (tau("vision", against=("language", "none"), of="mean", questions="follow-ups", above=1), Outcome.FAILS,
         "1.000 = 2.00 / 2.00"),
        (tau("language", above=1.9, questions="captions"), Outcome.HOLDS, "2.00"),
        (tau("vision", questions="stories", against_questions="captions", at_most=0.7), Outcome.HOLDS,
         "0.333 = 1.00 / 3.00"),
        (tau("vision", over="every", at_least=1.5), Outcome.FAILS,
         "1.00 in story to 4.00 in text only; holds in 3, does not hold in 1 of 4"),
        (tau("vision", over="any", at_least=4), Outcome.HOLDS,
         "1.00 in story to 4.00 in text only; holds in 1, does not hold in 3 of 4"),
        (tau("vision", over="any", at_most=0.9), Outcome.FAILS,
         "1.00 in story to 4.00 in text only; does not hold in 4 of 4"),
        (bound("identical", "vision", at_least=1.0), Outcome.HOLDS, "100.0 %"),
        (bound("num_parameters", "vision", against=("language",), at_most=1), Outcome.FAILS, "2.000 = 0.10 M / 0.05 M"),
        (bound("draft_seconds", "vision", against=("language",), at_most=1.05), Outcome.HOLDS,
         "1.000 = 2.00 ms / 2.00 ms"),
        (bound("step_seconds", "vision", against=("none",), at_most=1.05), Outcome.FAILS,
         "1.200 = 120.0 ms / 100.0 ms"),
        (tau("msd", at_least=1), Outcome.NOT_YET, "needs a stored run with `msd`"),
        (tau("language", at_least=1, temperature=1.0), Outcome.NOT_YET,
         "needs a stored run with `language` at temperature 1"),
        (tau("language", at_least=1, device="cuda"), Outcome.NOT_YET, "needs a stored run on cuda with `language`"),
        (Needs(what="a trained drafter"), Outcome.NOT_YET, "needs a trained drafter"),
        (Cannot(why="two targets are needed"), Outcome.CANNOT, "two targets are needed"),
    ],
)  # fmt: skip
def test_every_outcome_is_reached(rule, outcome, text):
    assert (found(rule).outcome, found(rule).text) == (outcome, text)


def test_a_group_that_nobody_asked_is_not_yet():
    rule = tau("language", at_least=1, questions="stories")
    value = judge(rule, [], GROUPS)
    assert (value.outcome, value.text) == (Outcome.NOT_YET, "needs a stored run with `language`")
    without = found(rule, drop=[(method, asked) for method in PER_STEP for asked in (1, 5)])
    assert (without.outcome, without.text) == (Outcome.NOT_YET, "needs a stored run with `language` on stories")


def test_methods_are_compared_on_the_same_questions_only():
    value = found(tau("vision", at_least=1), drop=[("vision", 1)])
    assert value.outcome is Outcome.NOT_YET
    assert "answered the same questions" in value.text


def test_a_rounding_tie_counts_as_identical_only_up_to_its_bound():
    other = [("vision", 0)]
    strict, lenient = (bound("identical", "vision", at_least=1.0, ties_up_to=gap) for gap in (0.0, 0.25))
    assert found(strict, other=other).text == "87.5 %"
    assert found(lenient, other=other).outcome is Outcome.NOT_YET  # nobody stored the gap
    for gap, outcome, largest in (
        (0.125, Outcome.HOLDS, ", largest gap 0.125"),
        (-2.0, Outcome.FAILS, ", largest gap 2"),
        (None, Outcome.FAILS, ""),
    ):
        value = found(lenient, other=other, gaps=[Gap(0, "vision", 0, 3, gap)])
        assert value.outcome is outcome
        assert value.text.endswith(f" % in float32 (7 of 8 token-identical{largest})"), "in the numbers of its run"


def test_one_rule_that_fails_decides_against_a_claim():
    order = [Outcome.FAILS, Outcome.CANNOT, Outcome.NOT_YET, Outcome.HOLDS]
    for number in range(4):
        assert overall([Finding(outcome, "") for outcome in reversed(order[number:])]) is order[number]


def test_a_rule_is_told_in_words():
    rule = tau("msd", against=("eagle", "language"), questions="captions", over="every", at_least=1.0, device="cuda")
    words = "in every scenario: τ of `msd` on captions at least 1 × the highest of `eagle` and `language`, on a GPU"
    assert in_words(rule) == words
    rule = bound("identical", "msd", at_least=0.99, ties_up_to=0.25)
    tie = "(identical, or parting at a rounding tie: a logit gap up to 0.25)"
    assert in_words(rule) == f"share of identical answers of `msd` {tie} at least 99%"
    rule = tau("vision", questions="stories", against_questions="captions", at_most=0.7)
    assert in_words(rule) == "τ of `vision` on stories at most 0.7 × its own on captions"


def test_a_bound_inside_the_interval_leaves_a_rule_undecided():
    changed = {("vision", 0): 6, ("vision", 4): 4, ("vision", 8): 2, ("vision", 12): 3}
    for at_least, outcome in ((1.5, Outcome.HOLDS), (3.0, Outcome.UNDECIDED), (7.0, Outcome.FAILS)):
        value = found(tau("vision", questions="captions", at_least=at_least), count=4, changed=changed)
        assert value.outcome is outcome
        assert re.fullmatch(r"3\.20 \(2\.\d\d–5\.\d\d\)", value.text)
    for over, at_least, outcome in (
        ("every", 2.9, Outcome.FAILS),  # of stories it is 1
        ("every", 1.0, Outcome.HOLDS),
        ("any", 4.2, Outcome.UNDECIDED),
        ("any", 3.9, Outcome.HOLDS),
    ):
        rule = tau("vision", over=over, at_least=at_least)
        assert found(rule, count=4, changed=changed).outcome is outcome


def test_a_single_question_decides_nothing():
    assert found(tau("vision", at_least=1, questions="captions"), count=1).outcome is Outcome.UNDECIDED


def test_a_ratio_is_paired():
    """Both methods vary from question to question, their ratio does not."""
    changed = {(method, asked): pace for asked, pace in ((0, 2), (4, 6)) for method in ("language", "vision")}
    value = found(tau("vision", against=("language",), questions="captions", at_least=1, at_most=1), changed=changed)
    assert (value.outcome, value.text) == (Outcome.HOLDS, "1.000 = 3.00 / 3.00")


def test_the_largest_run_comes_first():
    few = record(drop=[(method, 3) for method in PER_STEP])
    ordered = sorted((StoredRun("few", few), StoredRun("all", record())), key=lambda run: run.rank, reverse=True)
    assert [run.file for run in ordered] == ["all", "few"]


def rows(page):
    """(outcome, whole line) of every claim on the page."""
    return [(match[1], line) for line in page.splitlines() if (match := re.search(r"\| \*\*([a-z ]+)\*\* \|$", line))]


def test_the_page_without_any_result():
    page = render_claims({})
    outcomes = [outcome for outcome, _ in rows(page)]
    assert len(outcomes) == len(read_claims().claims)
    assert set(outcomes) == {"not yet", "cannot be tested here"}
    assert "No stored run decides" in page
    counts = [outcomes.count(outcome) for outcome in Outcome]
    (total,) = re.findall(r"^\| all .*", page, re.MULTILINE)
    assert total.split()[3::2] == list(map(str, counts))


def test_the_page_with_a_record_says_which():
    records = {"bench-cpu.json": record()}
    page = render_claims(records)
    assert {"holds", "does not hold", "not yet", "cannot be tested here"} == {outcome for outcome, _ in rows(page)}
    assert "1. `results/bench-cpu.json`: 2026-11-22, commit `aaaaaaaaaaaa`; llava" in page
    (costs,) = re.findall(r"^\| 1 +\|.*", page, re.MULTILINE)
    assert costs.split("|")[-2].strip() == "0.050 (`language`); 0.100 (`vision`)"
    assert {"1.10", "1.20"} <= set(costs.split())
    for outcome, line in rows(page):
        assert ("[run 1]" in line) == (outcome in ("holds", "does not hold", "undecided")) or "<br>" in line
    assert render_claims(records) == page

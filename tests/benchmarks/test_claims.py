"""The page of claims: every outcome is reached by computation, and a broken entry is named."""

import re

import pytest

from benchmarks.claims.evidence import from_record, read_evidence
from benchmarks.claims.judge import Finding, Outcome, judge, overall
from benchmarks.claims.page import MAX_CLAIM_LENGTH, read_claims, render_claims
from benchmarks.claims.rules import Bound, Cannot, Group, Needs, in_words
from seeahead import metrics
from seeahead.bench.record import Asked, Costs, Gap, Record, Run, write_record
from seeahead.errors import InputError
from seeahead.records import Generation, Step
from tests.sizes import ROOT

GROUPS = {
    "stories": Group("five pictures", pictures=(4, 10), turn="first"),
    "captions": Group("descriptions", scenarios=("caption",)),
    "follow-ups": Group("later turns", turn="later"),
}
ASKED = (
    Asked("a", "caption", "What is it?", ("cat.jpg",)),
    Asked("b", "story", "Tell a story.", tuple("12345")),
    Asked("c", "follow-up", "More?", ("cat.jpg",), (("What is it?", "A cat."),)),
    Asked("d", "text only", "Why?"),
)
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
    return Run(asked, method, 0, temperature, tokens, "text", 0.1, 0.1 + 12 * seconds, 0, generation)


def record(drop=(), gaps=(), other=()):
    """All methods on all questions at temperature 0, except `drop`; `other` are pairs answered otherwise."""
    runs = [
        run(asked, method, per_step[asked], tokens=tuple(range(7, 20)) if (method, asked) in other else None)
        for method, per_step in PER_STEP.items()
        for asked in range(4)
        if (method, asked) not in drop
    ]
    return Record(
        {"date": "2026-11-22", "commit": "a" * 40, "has_local_changes": False, "hardware": {"cpu": "CPU", "gpu": None}},
        {"model_type": "llava", "dtype": "float32", "device": "cpu", "num_threads": 2},
        {"target": 1000, "language": 50, "vision": 100},
        Costs(200, {1: 0.1, 4: 0.11, 8: 0.12}),
        tuple(PER_STEP),
        (),
        ASKED,
        tuple(runs),
        tuple(gaps),
    )


def found(rule, **kwargs):
    return judge(rule, [from_record("bench-x.json", record(**kwargs))], GROUPS)


def tau(method, **kwargs):
    return Bound("block_efficiency", method, **kwargs)


def test_figures_are_those_of_metrics():
    value = record()
    by_method = {name: [run.generation for run in value.runs if run.method == name] for name in PER_STEP}
    own = metrics.block_efficiency(by_method["language"])
    rule = tau("language", at_least=own - 1e-9, at_most=own + 1e-9)
    assert found(rule) == Finding(Outcome.HOLDS, f"{own:.2f}", "bench-x.json")
    speed_ups = [
        metrics.token_rate([a]) / metrics.token_rate([b]) for a, b in zip(by_method["language"], by_method["none"])
    ]
    mean = metrics.geometric_mean(speed_ups)
    assert found(Bound("speed_up", "language", at_least=mean - 1e-9, at_most=mean + 1e-9)).outcome is Outcome.HOLDS
    bound = metrics.memory_bound_speed_up(own, 5, 0.05)
    memory = Bound("memory_bound_speed_up", "language", at_least=bound - 1e-9, at_most=bound + 1e-9)
    assert found(memory).outcome is Outcome.HOLDS


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
        (tau("vision", questions="stories", against_questions="captions", at_most=0.7), Outcome.HOLDS,
         "0.333 = 1.00 / 3.00"),
        (tau("vision", over="every", at_least=1.5), Outcome.FAILS, "1.00 (story) to 4.00 (text only)"),
        (tau("vision", over="any", at_least=4), Outcome.HOLDS, "4.00 (text only)"),
        (tau("vision", over="any", at_most=1), Outcome.HOLDS, "1.00 (story)"),
        (tau("vision", over="any", at_least=4.1), Outcome.FAILS, "4.00 (text only)"),
        (Bound("identical", "vision", at_least=1.0), Outcome.HOLDS, "100.0%"),
        (Bound("num_parameters", "vision", against=("language",), at_most=1), Outcome.FAILS, "2.000 = 100 / 50"),
        (Bound("draft_seconds", "vision", against=("language",), at_most=1.05), Outcome.HOLDS, "1.000 = 0.002 / 0.002"),
        (Bound("step_seconds", "vision", against=("none",), at_most=1.05), Outcome.FAILS, "1.200 = 0.12 / 0.1"),
        (tau("msd", at_least=1), Outcome.NOT_YET, "needs a stored run with `msd`"),
        (tau("language", at_least=1, temperature=1.0), Outcome.NOT_YET,
         "needs a stored run with `language` at temperature 1"),
        (tau("language", at_least=1, device="cuda"), Outcome.NOT_YET, "needs a stored run on cuda with `language`"),
        (Needs("a trained drafter"), Outcome.NOT_YET, "needs a trained drafter"),
        (Cannot("two targets are needed"), Outcome.CANNOT, "two targets are needed"),
    ],
)  # fmt: skip
def test_every_outcome_is_reached(rule, outcome, text):
    assert (found(rule).outcome, found(rule).text) == (outcome, text)


def test_a_group_that_nobody_asked_is_not_yet():
    rule = tau("language", at_least=1, questions="stories")
    value = judge(rule, [], GROUPS)
    assert (value.outcome, value.text) == (Outcome.NOT_YET, "needs a stored run with `language`")
    without = found(rule, drop=[(method, 1) for method in PER_STEP])
    assert (without.outcome, without.text) == (Outcome.NOT_YET, "needs a stored run with `language` on stories")


def test_methods_are_compared_on_the_same_questions_only():
    value = found(tau("vision", at_least=1), drop=[("vision", 1)])
    assert value.outcome is Outcome.NOT_YET
    assert "answered the same questions" in value.text


def test_a_rounding_tie_counts_as_identical_only_up_to_its_bound():
    other = [("vision", 0)]
    strict, lenient = (Bound("identical", "vision", at_least=1.0, ties_up_to=gap) for gap in (0.0, 0.25))
    assert found(strict, other=other).text == "75.0%"
    assert found(lenient, other=other).outcome is Outcome.NOT_YET  # nobody stored the gap
    for gap, outcome in ((0.125, Outcome.HOLDS), (2.0, Outcome.FAILS), (None, Outcome.FAILS)):
        assert found(lenient, other=other, gaps=[Gap(0, "vision", 0, 3, gap)]).outcome is outcome


def test_one_rule_that_fails_decides_against_a_claim():
    order = [Outcome.FAILS, Outcome.CANNOT, Outcome.NOT_YET, Outcome.HOLDS]
    for number in range(4):
        assert overall([Finding(outcome, "") for outcome in reversed(order[number:])]) is order[number]


def test_a_rule_is_told_in_words():
    rule = tau("msd", against=("eagle", "language"), questions="captions", over="every", at_least=1.0, device="cuda")
    words = "in every scenario: τ of `msd` on captions at least 1 × the highest of `eagle` and `language`, on a GPU"
    assert in_words(rule) == words
    rule = Bound("identical", "msd", at_least=0.99, ties_up_to=0.25)
    assert in_words(rule).startswith("share of identical answers of `msd` at least 99% (leaving the plain answer at")
    rule = tau("vision", questions="stories", against_questions="captions", at_most=0.7)
    assert in_words(rule) == "τ of `vision` on stories at most 0.7 × its own on captions"


def test_the_largest_run_comes_first(tmp_path):
    write_record(tmp_path / "bench-all.json", record())
    write_record(tmp_path / "bench-few.json", record(drop=[(method, 3) for method in PER_STEP]))
    files = [entry.file for entry in read_evidence(tmp_path)]
    assert files == ["bench-all.json", "bench-few.json"]
    (tmp_path / "bench-x.json").write_text("{}")
    with pytest.raises(InputError, match=r"no benchmark record"):
        read_evidence(tmp_path)


def rows(page):
    """(outcome, whole line) of every claim on the page."""
    return [(match[1], line) for line in page.splitlines() if (match := re.search(r"\| \*\*([a-z ]+)\*\* \|$", line))]


def test_the_page_without_any_result(tmp_path):
    page = render_claims(tmp_path)
    outcomes = [outcome for outcome, _ in rows(page)]
    assert len(outcomes) == len(read_claims().claims)
    assert set(outcomes) == {"not yet", "cannot be tested here"}
    assert "No stored run decides" in page
    counts = [outcomes.count(outcome) for outcome in Outcome]
    assert page.rstrip().endswith(f"| all | {' | '.join(map(str, counts))} |")


def test_the_page_with_a_record_says_which(tmp_path):
    write_record(tmp_path / "bench-cpu.json", record())
    page = render_claims(tmp_path)
    assert {"holds", "does not hold", "not yet", "cannot be tested here"} == {outcome for outcome, _ in rows(page)}
    assert "1. `results/bench-cpu.json`: 2026-11-22, commit `aaaaaaaaaaaa`; llava" in page
    assert "V(4) = 1.10, V(8) = 1.20; c by parameters is 0.050 for `language`, 0.100 for `vision`." in page
    for outcome, line in rows(page):
        assert ("[run 1]" in line) == (outcome in ("holds", "does not hold")) or "<br>" in line
    assert render_claims(tmp_path) == page


def test_the_claims_are_short_and_come_from_all_three_papers():
    book = read_claims()
    assert set(book.papers) == {"2404.08856", "2505.14260", "2601.20357"} == {claim.paper for claim in book.claims}
    assert all(len(claim.claim) <= MAX_CLAIM_LENGTH for claim in book.claims)
    bounds = [rule for claim in book.claims for rule in claim.rules if isinstance(rule, Bound)]
    assert set(book.methods) <= {name for rule in bounds for name in (rule.method, *rule.against)}
    assert set(book.groups) <= {name for rule in bounds for name in (rule.questions, rule.against_questions)}


def test_every_scenario_that_a_group_names_exists():
    """A group whose scenarios were renamed would quietly judge fewer questions."""
    text = "".join(path.read_text() for path in (ROOT / "src/seeahead").rglob("*.py"))
    names = {name for group in read_claims().groups.values() for name in group.scenarios}
    assert not [name for name in names if f'"{name}"' not in text]


BROKEN_ENTRY = """
[papers]
"2404.08856" = "one"
[methods]
language = "text only"
[questions.captions]
means = "descriptions"
[[claims]]
id = "first"
paper = "2404.08856"
where = "abstract"
source = "paper"
claim = "It is faster."
measured_on = "one set"
their_figure = "2"
rules = [{ kind = "speed_up", method = "language", questions = "captions", at_least = 1.0 }]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('where = "abstract"\n', "", "claim 'first' lacks the field 'where'"),
        ('id = "first"\n', "", "claim '1' lacks the field 'id'"),
        ('"2404.08856"\nwhere', '"1234.5"\nwhere', "claim 'first': unknown paper '1234.5'"),
        ('source = "paper"', 'source = "hearsay"', "unknown source 'hearsay'; allowed are paper, code"),
        ("It is faster.", "x" * 201, "'claim' has 201 characters"),
        ("rules = [{", "rules = []\n#", "claim 'first' has no rule"),
        ("rules = [{", "rules = 3\n#", "'rules' is 3; it should be a list"),
        ("speed_up", "speedup", "claim 'first': unknown kind 'speedup'; allowed are block_efficiency"),
        ('kind = "speed_up", ', "", "claim 'first' lacks the field 'kind'"),
        ('method = "language", ', "", "claim 'first' lacks the field 'method'"),
        ('"language", questions', '"langauge", questions', "unknown method 'langauge'; allowed are language"),
        ('questions = "captions"', 'questions = "caption"', "unknown group of questions 'caption'"),
        (", at_least = 1.0", "", "the rule has no bound"),
        ("at_least = 1.0", 'at_least = "1"', "'at_least' is '1'; it should be a number"),
        ("at_least = 1.0", "at_lest = 1.0", "unknown field 'at_lest'"),
        ("at_least = 1.0", 'at_least = 1.0, over = "all"', "unknown over 'all'; allowed are together, every, any"),
        ("at_least = 1.0", 'at_least = 1.0, over = "any", against_questions = "captions"', "share no scenario"),
        ('kind = "speed_up"', 'kind = "step_seconds"', "only against another method"),
        ('kind = "speed_up"', 'kind = "identical", temperature = 1.0', "means the plain greedy answers"),
        ('{ kind = "speed_up", method = "language", questions = "captions", at_least = 1.0 }', '{ kind = "needs" }',
         "claim 'first' lacks the field 'what'"),
        ('{ kind = "speed_up", method = "language", questions = "captions", at_least = 1.0 }', '"faster"',
         "claim 'first' is 'faster'; it should be a table"),
        ('means = "descriptions"', 'mean = "descriptions"', "questions 'captions' lacks the field 'means'"),
        ('means = "descriptions"', 'means = "x"\npictures = [1]', "give the least and the most number"),
        ('means = "descriptions"', 'means = "x"\nturn = "last"', "unknown turn 'last'; allowed are first, later"),
        ("[[claims]]", "[[claims]", "cannot read the claims"),
        ("[methods]\n", "[method]\n", "lacks the field 'methods'"),
    ],
)  # fmt: skip
def test_a_broken_entry_is_named(tmp_path, old, new, message):
    assert old in BROKEN_ENTRY
    path = tmp_path / "claims.toml"
    path.write_text(BROKEN_ENTRY.replace(old, new, 1))
    with pytest.raises(InputError) as raised:
        read_claims(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_id_is_given_once(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(BROKEN_ENTRY + BROKEN_ENTRY[BROKEN_ENTRY.index("[[claims]]") :])
    with pytest.raises(InputError, match="claim 'first': its id is given twice"):
        read_claims(path)

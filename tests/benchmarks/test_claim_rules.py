"""The file of claims: what stands in it exists, and a broken entry is named."""

import pytest

from benchmarks.claims.rules import MAX_CLAIM_LENGTH, read_claims
from seeahead.errors import InputError
from tests.sizes import ROOT


def test_the_claims_are_short_and_come_from_all_three_papers():
    book = read_claims()
    assert set(book.papers) == {"2404.08856", "2505.14260", "2601.20357"} == {claim.paper for claim in book.claims}
    assert all(len(claim.claim) <= MAX_CLAIM_LENGTH for claim in book.claims)
    bounds = [rule for claim in book.claims for rule in claim.bounds]
    assert set(book.methods) <= {name for rule in bounds for name in (rule.method, *rule.against)}
    assert set(book.questions) <= {name for rule in bounds for name in (rule.questions, rule.against_questions)}


def test_every_scenario_that_a_group_names_exists():
    """A group whose scenarios were renamed would quietly judge fewer questions."""
    folders, kinds = ("src", "recipes"), (".py", ".jsonl", ".toml")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in kinds]
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    names = {name for group in read_claims().questions.values() for name in group.scenarios}
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
        ('where = "abstract"\n', "", "it lacks claim 'first'.where"),
        ('id = "first"\n', "", "it lacks claim '1'.id"),
        ('"2404.08856"\nwhere', '"1234.5"\nwhere', "claim 'first': unknown paper '1234.5'"),
        ('source = "paper"', 'source = "hearsay"', "claim 'first'.source: Input should be 'paper', 'code'"),
        ("It is faster.", "x" * 201, "claim 'first'.claim: String should have at most 200"),
        ("rules = [{", "rules = []\n#", "claim 'first'.rules: Tuple should have at least 1"),
        ("rules = [{", "rules = 3\n#", "claim 'first'.rules: Input should be a valid array"),
        ("speed_up", "speedup", "claim 'first'.rules.0: Input tag 'speedup'"),
        ('kind = "speed_up", ', "", "claim 'first'.rules.0: Unable to extract tag"),
        ('method = "language", ', "", "it lacks claim 'first'.rules.0.speed_up.method"),
        ('"language", questions', '"langauge", questions', "unknown method 'langauge'; allowed are language"),
        ('questions = "captions"', 'questions = "caption"', "unknown group of questions 'caption'"),
        (", at_least = 1.0", "", "the rule has no bound"),
        ("at_least = 1.0", 'at_least = "1"', "speed_up.at_least: Input should be a valid number"),
        ("at_least = 1.0", "at_lest = 1.0", "unknown claim 'first'.rules.0.speed_up.at_lest"),
        ("at_least = 1.0", 'at_least = 1.0, over = "all"', "Input should be 'together', 'every' or 'any'"),
        ("at_least = 1.0", 'at_least = 1.0, over = "any", against_questions = "captions"', "share no scenario"),
        ('kind = "speed_up"', 'kind = "step_seconds"', "only against another method"),
        ('kind = "speed_up"', 'kind = "identical", temperature = 1.0', "means the plain greedy answers"),
        ('{ kind = "speed_up", method = "language", questions = "captions", at_least = 1.0 }', '{ kind = "needs" }',
         "it lacks claim 'first'.rules.0.needs.what"),
        ('{ kind = "speed_up", method = "language", questions = "captions", at_least = 1.0 }', '"faster"',
         "claim 'first'.rules.0: Input should be an object"),
        ('means = "descriptions"', 'mean = "descriptions"', "it lacks questions.captions.means"),
        ('means = "descriptions"', 'means = "x"\nimages = [1]', "it lacks questions.captions.images.1"),
        ('means = "descriptions"', 'means = "x"\nturn = "last"', "questions.captions.turn: Input should be"),
        ("[[claims]]", "[[claims]", "cannot read the claims"),
        ("[methods]\n", "[method]\n", "it lacks methods"),
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

"""Settings behind a drafter's name: what is written, what it means, what is refused."""

from pathlib import Path

import pytest

import seeahead
from seeahead.drafters import KINDS, bind, spec_class, spec_of, split_settings
from seeahead.drafters.language import LanguageSpec
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.none import EmptyDrafter
from seeahead.drafters.spec import DrafterSpec
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.errors import DrafterError
from seeahead.target import Target
from tests.drafters.tiny_folders import make, write
from tests.table_executor import TableExecutor

OWN = {"language": Path("made/for/this/target")}
TARGET = Target(TableExecutor.random())


def language(text):
    spec = spec_of(text, OWN)
    assert isinstance(spec, LanguageSpec)
    return spec


@pytest.mark.parametrize("path", ["language", "out/a:b/drafter", r"C:\drafters\mine", "org/model"])
def test_a_colon_alone_is_no_setting(path):
    assert split_settings(path) == (path, {})


def test_settings_change_the_tree_and_the_name():
    assert split_settings("out/a:b:depth=3,draws=1") == ("out/a:b", {"depth": "3", "draws": "1"})
    spec = language("language:depth=3,width=1,min_probability=0.25,draws=1")
    assert spec.limits() == TreeLimits(3, 1, TreeLimits().num_nodes, 0.25)
    assert spec.draws is True
    assert spec.source == OWN["language"]
    assert spec.title == "language:depth=3,width=1,min_probability=0.25,draws=1"
    assert language("language:chain=5,as=five").limits() == TreeLimits(5, 1, 5, 0.0)
    assert language("language:chain=5,as=five").title == "five"
    assert language("language").title == "language"
    assert language("language").limits() == TreeLimits()


def test_a_kind_takes_settings_too():
    drafter = bind("lookup:max_match=12,width=1", TARGET)
    assert drafter == LookupDrafter(max_match=12, width=1, name="lookup:max_match=12,width=1")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("language:gamma=5", r"has no setting 'gamma'; it has .*depth, width, num_nodes, min_probability.*chain"),
        ("language:depth=five", "setting depth of drafter 'language:depth=five' is 'five'; allowed: a valid integer"),
        ("language:depth=0", "is '0'; allowed: at least 1"),
        ("language:depth=", "'depth=' in drafter .* is not a setting; write settings as language:depth=5"),
        ("language:depth=2,depth=3", "is not a setting"),
        ("language:min_probability=nan", "min_probability .* is 'nan'; allowed: a finite number"),
        ("language:min_probability=inf", "min_probability .* is 'inf'; allowed: a finite number"),
        ("language:min_probability=1.5", "is '1.5'; allowed: at most 1"),
        ("language:chain=0", "setting chain .* at least 1"),
        ("lookup:min_match=5,max_match=3", r"min_match \(5\) up to max_match \(3\)"),
        ("none:depth=1", "drafter 'none:depth=1' has no setting 'depth'"),
    ],
)
def test_what_is_no_setting_is_said(text, message):
    with pytest.raises(DrafterError, match=message):
        spec_of(text, OWN)


def test_every_kind_says_which_settings_it_has():
    for kind in KINDS:
        assert spec_class(kind).kind == kind
        assert "as" in spec_class(kind).settings()
        assert "source" not in spec_class(kind).settings()
    with pytest.raises(DrafterError, match="did you mean 'lookup'"):
        spec_of("lokup")


def test_costs_are_measured_where_tuned_trees_are_asked_for(tmp_path):
    folder = write("language", tmp_path / "drafter")
    assert make(folder).limits.costs is None
    assert make(f"{folder}:tuned=1").limits.costs is not None


@pytest.mark.parametrize("nasty", ["\x1b[31mred", "two\nlines", "\ud800", "x" * 5000])
@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "language:{}=1",
        "language:depth={}",
        "{}:depth=0",
        "{}:depth=",
        "tabed:members={}",
        "tabed:views=none,members=lookup,rule={}",
        "tabed:views={}",
        "tabed:vision={}",
    ],
)
def test_what_was_typed_is_repeated_on_one_line(text, nasty):
    with pytest.raises(DrafterError) as caught:
        bind(text.format(nasty), TARGET, OWN)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


# ---- a class of the user's own


class OwnSpec(DrafterSpec):
    """As somebody else would write one."""

    kind = "own"
    strength: int = 1

    def bind(self, target):
        return EmptyDrafter()


def test_a_spec_of_the_users_own_is_named_by_module_and_class():
    spec = spec_of(f"{__name__}:OwnSpec:strength=3,as=mine")
    assert (spec.strength, spec.title) == (3, "mine")
    assert spec_of(f"{__name__}:OwnSpec").title == "own"
    assert isinstance(bind(f"{__name__}:OwnSpec", TARGET), EmptyDrafter)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{__name__}:OwnSpec:colour=1", "has no setting 'colour'; it has as, strength"),
        (f"{__name__}:Nobody", "cannot be imported: .*check the name"),
        ("no.such.module:Spec", "cannot be imported: No module named"),
        ("seeahead.drafters.msd:MsdNetwork", "is not a drafter's spec; derive a class from .*DrafterSpec"),
        ("seeahead.drafters:KINDS", "is not a drafter's spec"),
    ],
)
def test_what_is_no_spec_of_ones_own_is_said(text, message):
    with pytest.raises(DrafterError, match=message):
        spec_of(text)


def test_specs_and_drafters_are_taken_as_they_are():
    drafter = LookupDrafter(min_match=1)
    assert bind(drafter, TARGET) is drafter
    assert bind(LookupDrafter(min_match=1), TARGET) == drafter


@pytest.mark.parametrize("thing", [None, 3, ["lookup", "msd"], {"a": 1}, LookupDrafter, object()])
def test_what_is_no_drafter_is_told_in_one_line(thing):
    with pytest.raises(DrafterError, match="give a name, a spec or a drafter, and several as") as told:
        bind(thing, TARGET)
    assert "\n" not in str(told.value)
    if thing is not None:  # which is the default there
        with pytest.raises(DrafterError, match="give a name, a spec or a drafter"):
            seeahead.load("no/such/model", thing)


def test_who_decides_over_all_requests_is_no_member_of_another():
    with pytest.raises(DrafterError, match="drafter 'auto' cannot be a member of another; name its members there"):
        bind("auto:members=lookup+auto", TARGET)


@pytest.mark.parametrize("name", ["a/" + "x" * 300, "x" * 300 + ":B", "x" * 5000])
def test_names_too_long_for_a_file_are_refused_as_others_are(name):
    with pytest.raises(DrafterError) as told:
        spec_of(name)
    assert "\n" not in str(told.value)

"""Settings behind a drafter's name."""

import pytest
import torch

from seeahead.drafters import make_drafter
from seeahead.drafters.growth import GrowthLimits
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.options import split_options, with_options
from seeahead.errors import DrafterError
from seeahead.testing.tables import TableExecutor

LANGUAGE = LanguageDrafter(TableExecutor.random())


def made(spec, drafter=LANGUAGE):
    return with_options(drafter, split_options(spec)[1], spec)


@pytest.mark.parametrize("path", ["language", "out/a:b/drafter", r"C:\drafters\mine", "org/model"])
def test_a_colon_alone_is_no_setting(path):
    assert split_options(path) == (path, {})


def test_settings_change_the_tree_and_the_name():
    assert split_options("out/a:b:depth=3,draws=1") == ("out/a:b", {"depth": "3", "draws": "1"})
    drafter = made("language:depth=3,width=1,min_probability=0.25,draws=1")
    assert drafter.limits == GrowthLimits(3, 1, GrowthLimits().num_nodes, 0.25)
    assert drafter.draws is True
    assert drafter.name == "language:depth=3,width=1,min_probability=0.25,draws=1"
    assert made("language:chain=5,as=five").limits == GrowthLimits(5, 1, 5, 0.0)
    assert made("language:chain=5,as=five").name == "five"
    assert LANGUAGE.name == "language"


def test_a_kind_takes_settings_too():
    drafter = make_drafter("lookup:max_match=12,width=1", device=torch.device("cpu"), dtype=torch.float32)
    assert drafter == LookupDrafter(max_match=12, width=1, name="lookup:max_match=12,width=1")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "language:gamma=5",
            "has no setting 'gamma'; it has chain, depth, width, num_nodes, min_probability",
        ),
        ("language:depth=five", "'five' in drafter 'language:depth=five' is no number"),
        ("language:depth=0", "'0' .* is too small"),
        ("language:depth=", "'depth=' in drafter .* is no setting; write settings as language:depth=5"),
        ("language:depth=2,depth=3", "is no setting"),
        ("language:min_probability=nan", "'nan' .* is too small or endless"),
        ("language:min_probability=inf", "'inf' .* is too small or endless"),
    ],
)
def test_what_is_no_setting_is_said(spec, message):
    with pytest.raises(DrafterError, match=message):
        made(spec)


@pytest.mark.parametrize("nasty", ["\x1b[31mred", "two\nlines", "\ud800", "x" * 5000])
@pytest.mark.parametrize(
    "spec",
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
def test_what_was_typed_is_repeated_on_one_line(spec, nasty):
    def make(name):
        return make_drafter(name, device=torch.device("cpu"), dtype=torch.float32)

    with pytest.raises(DrafterError) as caught:
        make(spec.format(nasty)) if spec.startswith(("{}", "tabed")) else made(spec.format(nasty))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000

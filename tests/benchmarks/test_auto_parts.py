"""The study of what its parts give auto: its variants answer as plain decoding does, and its page."""

import pytest

import seeahead
from benchmarks.studies import auto_parts
from seeahead.data.suite import Item, Suite, Turn
from seeahead.drafters.auto import AutoDrafter, AutoSpec
from seeahead.drafters.experience import Experience
from seeahead.drafters.pass_times import PassTimes
from seeahead.testing import SelfDrafter, tiny_model, tiny_processor


class Free(Experience):
    """A drafter that runs the target takes several of its passes, and would soon be left alone."""

    def level(self, name, num_requests):
        return 0.0


@pytest.fixture(scope="module")
def figures():
    plain = seeahead.load((tiny_model("llava"), tiny_processor("llava")), "none")
    engines = {"none": plain}
    for name, kind in auto_parts.KINDS.items():
        members = {"self": SelfDrafter(plain.target.executor, 4), "lookup": plain.with_drafter("lookup").drafter}
        auto = AutoDrafter(members, Free(PassTimes(plain.target.executor)), AutoSpec(), "auto")
        engines[name] = plain.with_drafter(auto_parts.Changed(auto, kind, name))
    items = [Item(f"{task} {n}", task, (), (Turn("one two " * (n + 2), 8),)) for task in "ab" for n in range(3)]
    return auto_parts.measure(engines, Suite("tiny", "", tuple(items)), 1)


@pytest.mark.parametrize("kind", ["one", "eight"])
def test_all_answer_as_plain_decoding_does(figures, kind):
    assert figures[kind].keys() == {"none", *auto_parts.KINDS}
    for figure in figures[kind].values():
        assert figure["same_as_plain"] == figure["answers"] == {"one": 6, "eight": 2}[kind]
        assert figure["lowest_scenario"] in ("a", "b")
        assert figure["tokens_per_pass"] > 0


def test_members_that_are_misled_are_never_right(figures):
    assert figures["one"]["auto, all members wrong"]["tokens_per_pass"] == 1.0
    assert figures["one"]["auto without a budget"]["tokens_per_pass"] > 1.0


def test_the_page_has_a_line_for_each(figures):
    source = {"command": ["auto_parts.py"], "commit": "abc", "hardware": {"cpu": "a CPU", "num_cores": 2}}
    about = {"executor": "transformers", "questions": 6, "scenarios": 2}
    page = auto_parts.documents({"provenance": source, "settings": about, **figures})["results/auto-parts.md"]
    assert [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("|")][2:] == [
        "plain",
        *auto_parts.KINDS,
    ]
    assert "python -m benchmarks.studies.auto_parts" in page
    assert "6 questions in 2 scenarios" in page

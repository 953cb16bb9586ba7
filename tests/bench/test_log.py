"""Answers of a run under way: what comes back after a kill, and files that are another's, damaged, in use or full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from seeahead.bench.log import Log
from seeahead.bench.record import Run
from seeahead.errors import InputError

ASKED, FOUND = {"model": "demo", "seed": 1}, {"methods": ["none"]}
RUN = Run(0, "none", 0, 0.0, (1, 2), "a\u2028b\x85c é 🐱", 0.1, 0.2)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out" / "bench.partial.jsonl"


def written(path, *runs):
    with Log(path, ASKED) as log:
        log.begin(FOUND)
        for run in runs:
            log.add(run)
    return path.read_bytes()


def test_answers_with_any_sign_in_them_come_back(path):
    written(path, RUN)
    with Log(path, ASKED) as log:
        log.begin(FOUND)
        assert list(log.runs.values()) == [RUN]


@pytest.mark.parametrize("cut", [1, 5, 30])
def test_a_line_that_was_cut_is_asked_again(path, cut):
    whole = written(path, RUN, Run(1, "none", 0, 0.0, (1,)))
    path.write_bytes(whole[:-cut])
    with Log(path, ASKED) as log:
        log.begin(FOUND)
        assert list(log.runs.values()) == [RUN]
        log.add(Run(1, "none", 0, 0.0, (1,)))
    assert path.read_bytes() == whole


def test_a_first_line_that_was_cut_is_written_again(path):
    whole = written(path)
    for length in (0, 1, 9, 12, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert written(path) == whole


@pytest.mark.parametrize(
    ("asked", "found", "says"),
    [({"model": "demo", "seed": 2}, FOUND, r"\(seed\)"), (ASKED, {"methods": ["none", "msd"]}, r"\(methods\)")],
)
def test_what_differs_is_named(path, asked, found, says):
    whole = written(path, RUN)
    with pytest.raises(InputError, match=f"of other settings {says}"), Log(path, asked) as log:
        log.begin(found)
    assert path.read_bytes() == whole


GARBAGE = [
    b"garbage\n",
    b"no line",
    b"\x00" * 50,
    b"\xff\xfe\n",
    b"[]\n",
    b"3\n",
    b"null\n",
    b"{}\n",
    b"[" * 99 + b"\n",
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda data: repr(data[:12]))
def test_garbage_in_the_first_line_is_one_line_and_stays(path, garbage):
    path.parent.mkdir()
    path.write_bytes(garbage)
    with pytest.raises(InputError, match="is damaged in line 1; delete it, or choose another --output"):
        Log(path, ASKED)
    assert path.read_bytes() == garbage


@pytest.mark.parametrize("garbage", [*(data for data in GARBAGE if data.endswith(b"\n")), b'{"asked": -1}\n'])
def test_garbage_in_a_later_line_is_one_line_and_stays(path, garbage):
    whole = written(path, RUN) + garbage
    path.write_bytes(whole)
    with pytest.raises(InputError, match="is damaged in line 3; delete it"):
        Log(path, ASKED)
    assert path.read_bytes() == whole


def test_a_run_that_came_to_nothing_leaves_no_file(path):
    with pytest.raises(RuntimeError), Log(path, ASKED):
        raise RuntimeError("the model cannot be loaded")
    assert not path.exists()


@pytest.mark.parametrize("place", ["a folder", "under a file"])
def test_a_place_that_cannot_be_written_is_one_line(tmp_path, place):
    (tmp_path / "file").write_text("")
    where = {"a folder": tmp_path, "under a file": tmp_path / "file" / "x"}[place]
    with pytest.raises(InputError, match="cannot write"):
        Log(where, ASKED)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_one_line_and_keeps_what_was_written(path, monkeypatch):
    with pytest.raises(InputError, match="No space left on device; what was answered is kept"), Log(path, ASKED) as log:  # noqa: PT012
        log.begin(FOUND)
        log.add(RUN)
        os.dup2(os.open("/dev/full", os.O_WRONLY), log._stream.fileno())
        log.add(Run(1, "none", 0, 0.0, (1,)))
    with Log(path, ASKED) as log:
        assert list(log.runs.values()) == [RUN]


@pytest.mark.skipif(sys.platform == "win32", reason="locks")
def test_a_run_that_begins_where_another_ends_keeps_its_file(path):
    others = []

    class Ending:
        """The stream of a run that ends; the other one begins as soon as it is closed."""

        def __init__(self, stream):
            self.stream = stream

        def close(self):
            self.stream.close()
            if not others:
                others.append(Log(path, ASKED))
                others[0].begin(FOUND)

    with Log(path, ASKED) as log:
        log.begin(FOUND)
        log._stream = Ending(log._stream)
        log.finish()
    with others[0] as other:
        other.add(RUN)
    with Log(path, ASKED) as log:
        assert list(log.runs.values()) == [RUN]


HOLDING = """
import sys
from pathlib import Path
from seeahead.bench.log import Log
with Log(Path(sys.argv[1]), {"model": "demo", "seed": 1}) as log:
    log.begin({"methods": ["none"]})
    print("open", flush=True)
    sys.stdin.read()
"""


def test_two_runs_do_not_share_a_file_and_a_killed_one_holds_nothing(path):
    with subprocess.Popen([sys.executable, "-c", HOLDING, path], stdin=-1, stdout=-1) as process:
        assert process.stdout.readline() == b"open\n"
        with pytest.raises(InputError, match=r"another run is writing .*; wait for its end"):
            Log(path, ASKED)
        process.kill()
        process.wait()
    written(path, RUN)

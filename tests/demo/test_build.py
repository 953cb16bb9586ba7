"""A damaged demo model is built anew; what killed builds and older versions left goes; places are named."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors import SafetensorError

from seeahead.cache_folder import default_cache
from seeahead.demo import build, cached
from seeahead.errors import ModelError
from tests.demo.test_first_build import cache  # noqa: F401  (a fixture)

WEIGHTS = "target/model.safetensors"


@pytest.fixture
def counted(monkeypatch):
    """How often something was built; the building itself is a copy."""
    builds = []

    def copied(folder, gguf, tell):
        builds.append(folder)
        for name in (WEIGHTS, "target/config.json", "drafters/language/model.safetensors"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(os.urandom(2_000_000))
        cached.seal(folder)

    monkeypatch.setattr(build, "build_into", copied)
    return builds


def zero(path):
    path.write_bytes(bytes(path.stat().st_size))


DAMAGES = {
    "truncated": lambda folder: os.truncate(folder / WEIGHTS, 1_000_000),
    "empty file": lambda folder: os.truncate(folder / WEIGHTS, 0),
    "all zero": lambda folder: zero(folder / WEIGHTS),
    "longer": lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes() + b"x"),
    "no weights": lambda folder: (folder / WEIGHTS).unlink(),
    "no drafters": lambda folder: shutil.rmtree(folder / "drafters"),
    "empty config": lambda folder: (folder / "target/config.json").write_text(""),
    "empty folder": lambda folder: (shutil.rmtree(folder), folder.mkdir()),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "manifest of nothing": lambda folder: (folder / "manifest.json").write_text('{"files": {}}'),
    "manifest of another kind": lambda folder: (folder / "manifest.json").write_text("[[[3]]]"),
    "manifest of zeros": lambda folder: (folder / "manifest.json").write_bytes(bytes(300)),
    "a file": lambda folder: (shutil.rmtree(folder), folder.write_text("in the way")),
    "a dangling link": lambda folder: (shutil.rmtree(folder), folder.symlink_to("nowhere")),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_said_and_built_anew(name, cache, counted):  # noqa: F811
    paths = build.ensure(cache)
    folder = build.demo_folder(cache)
    assert build.state(cache)["is_built"]
    DAMAGES[name](folder)
    state = build.state(cache)
    assert not state["is_built"]
    assert "is built anew" in state["problem"]
    told = []
    assert build.ensure(cache, lambda what, share: told.append(what)) == paths
    assert "of no use" in told[0]
    assert len(counted) == 2
    assert build.state(cache)["is_built"]
    assert [path.name for path in cache.iterdir()] == [folder.name]
    build.ensure(cache)
    assert len(counted) == 2


def test_what_cannot_be_built_anew_names_the_folder_to_delete(cache, counted, monkeypatch):  # noqa: F811
    build.ensure(cache)
    DAMAGES["truncated"](build.demo_folder(cache))

    def offline(cache, tell):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(build, "find_gguf", offline)
    with pytest.raises(ModelError, match=f"No space left on device; delete {build.demo_folder(cache)}"):
        build.ensure(cache)


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        shutil.Error([("a", "b", "No space left on device")]),
    ],
    ids=["system", "safetensors", "copies"],
)
def test_a_disk_that_is_full_is_one_line_and_leaves_nothing(error, cache, monkeypatch):  # noqa: F811
    def full(folder, gguf, tell):
        (folder / "half").write_bytes(b"half")
        raise error

    monkeypatch.setattr(build, "build_into", full)
    with pytest.raises(ModelError, match=r"No space left on device.*set XDG_CACHE_HOME") as refused:
        build.ensure(cache)
    assert "\n" not in str(refused.value)
    assert list(cache.iterdir()) == []


def test_a_disk_without_room_for_the_download_is_known_before_it(cache, monkeypatch):  # noqa: F811
    monkeypatch.setattr(build, "find_gguf", lambda cache, tell: build.download_gguf(cache / "x.gguf", tell))
    monkeypatch.setattr(build, "archive_of", lambda *given: pytest.fail("downloaded"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(ModelError, match="No space left on device; free 500 MB there"):
        build.ensure(cache)
    assert list(cache.iterdir()) == []


def test_shipped_weights_that_are_damaged_are_named(cache):  # noqa: F811
    (build.WEIGHTS / "vision.safetensors").write_bytes(b"half")
    with pytest.raises(ModelError, match=r"shipped demo weights are damaged .*; install seeahead again"):
        build.ensure(cache)


def test_a_package_without_drafters_is_named(cache):  # noqa: F811
    shutil.rmtree(build.WEIGHTS / "drafters" / "language")
    with pytest.raises(ModelError, match="lacks the demo weights drafters"):
        build.ensure(cache)


def test_packages_that_the_build_needs_are_named(cache, monkeypatch):  # noqa: F811
    monkeypatch.setattr(build, "NEEDED_PACKAGES", ("no_such_package", "numpy"))
    with pytest.raises(ModelError, match=r"built with no_such_package; pip install '\.\[demo\]'"):
        build.ensure(cache)


@pytest.mark.parametrize("place", ["under a file", "read-only"])
def test_a_cache_that_cannot_be_made_is_one_line(place, cache, tmp_path):  # noqa: F811
    (tmp_path / "file").write_text("")
    where = {"under a file": tmp_path / "file" / "cache", "read-only": Path("/proc/seeahead")}[place]
    with pytest.raises(ModelError, match=r"cannot build the demo model in .*; free 500 MB there, or set XDG"):
        build.ensure(where)


KILLED = """
import os, sys
from pathlib import Path
from types import SimpleNamespace
from seeahead.demo import cached
with cached.workspace(Path(sys.argv[1]), "demo-0123456789ab.partial-") as folder:
    (folder / "half").write_text("half")
    print("there", flush=True)
    sys.stdin.read()
"""


def test_the_folder_of_a_killed_build_goes_at_the_next_start_and_that_of_a_living_one_stays(cache, counted):  # noqa: F811
    build.ensure(cache)
    with subprocess.Popen([sys.executable, "-c", KILLED, cache], stdin=-1, stdout=-1) as process:
        assert process.stdout.readline() == b"there\n"
        build.ensure(cache)
        assert len(list(cache.glob("*.partial-*"))) == 1
        process.kill()
        process.wait()
    build.ensure(cache)
    assert list(cache.glob("*.partial-*")) == []


def test_folders_of_other_builds_go_when_nobody_uses_them_and_others_are_left_alone(cache, counted):  # noqa: F811
    build.ensure(cache)
    whole = json.dumps({"files": {"x": "1"}})
    own = {"demo-000000000000", "download-photos", "demo-download.partial-photos00", "packages", "demo-mine", "models"}
    for name in (*own, "demo-111111111111", "demo-222222222222"):
        (cache / name).mkdir()
        (cache / name / "x").write_text("x")
        os.utime(cache / name, (time.time() - 8 * 86400,) * 2)
    (cache / "demo-download.partial-empty000").mkdir()
    os.utime(cache / "demo-download.partial-empty000", (time.time() - 8 * 86400,) * 2)
    (cache / "demo-111111111111" / "manifest.json").write_text(whole)
    (cache / "demo-222222222222" / "manifest.json").write_text(whole)
    os.utime(cache / "demo-222222222222" / "manifest.json", (time.time() - 8 * 86400,) * 2)
    build.ensure(cache)
    left = {path.name for path in cache.iterdir()}
    assert left == {build.demo_folder(cache).name, "demo-111111111111", *own}


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"HOME": "/home/me"}, "/home/me/.cache/seeahead"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/big/cache"}, "/big/cache/seeahead"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": ""}, "/home/me/.cache/seeahead"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "relative"}, "/home/me/.cache/seeahead"),
        ({"HOME": "", "XDG_CACHE_HOME": "/big/cache"}, "/big/cache/seeahead"),
    ],
)
def test_where_the_cache_lies(environment, expected, monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert default_cache() == Path(expected)


def test_an_empty_home_is_not_the_root_of_the_disk(monkeypatch):
    import pwd

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    assert default_cache() == Path(pwd.getpwuid(os.getuid()).pw_dir) / ".cache" / "seeahead"


def test_no_home_at_all_is_one_line(monkeypatch):
    import pwd

    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", "")
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(ModelError, match="set XDG_CACHE_HOME to a folder"):
        default_cache()

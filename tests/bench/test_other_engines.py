"""Other engines beside ours: environments that are made once, what is asked, what is claimed of answers."""

import json
import platform
import sys
from pathlib import Path

import pytest

from seeahead import bench
from seeahead.bench.figures import FIGURES
from seeahead.bench.html import report
from seeahead.bench.markdown import markdown, short
from seeahead.bench.peers import set_up
from seeahead.bench.peers.table import OTHERS, OtherEngine, Peer
from seeahead.bench.schema import Settings
from seeahead.bench.suites import Item, Suite
from seeahead.data.suite import BUNDLED as IMAGES
from seeahead.data.suite import Turn
from seeahead.demo import cached
from seeahead.errors import InputError, ModelError

PROGRAM = """
import json, os, sys
class Engine:
    versions = {"engine": "1.2"}
    def __init__(self, settings):
        print("a library's own words")
        if settings["uses_lookup"]:
            sys.exit("no such model")
    def answer(self, asked):
        if asked["messages"][0]["text"] == "Compare.":
            raise ValueError("two images\\nare too many")
        told = {"token_ids": [5, 6, 7], "text": json.dumps(asked["messages"])}
        return {**told, "seconds_first": 0.01, "seconds_total": 0.03}
"""
SUITE = Suite(
    "tiny",
    "three questions",
    (
        Item("a", "describe", (IMAGES / "cat.jpg",), (Turn("What is this?", 6), Turn("And then?", 6))),
        Item("b", "two", (IMAGES / "shapes_before.png", IMAGES / "shapes_after.png"), (Turn("Compare.", 6),)),
    ),
)


@pytest.fixture
def others(tmp_path, monkeypatch):
    """Three peers of one made-up engine whose Python is ours."""
    (tmp_path / "program.py").write_text(PROGRAM)
    engine = OtherEngine("made-up", "Made Up", str(tmp_path / "program.py"), ("made-up==1",), ("in-the-way",))
    peers = {
        "made up int8": Peer("made up int8", engine, "int8", "int8"),
        "made up int8 lookup": Peer("made up int8 lookup", engine, "int8", "int8", uses_lookup=True),
        "made up": Peer("made up", engine, "float32"),
    }
    for name in list(OTHERS):
        monkeypatch.delitem(OTHERS, name)
    for name, peer in peers.items():
        monkeypatch.setitem(OTHERS, name, peer)
    monkeypatch.setattr(set_up, "default_cache", lambda: tmp_path / "cache")
    return peers


@pytest.fixture
def commands(monkeypatch):
    """What set-up runs, in place of running it: an environment gets a link to our Python, a conversion one file."""
    run = []

    def pretend(command):
        run.append("convert" if "convert" in command else command[2])
        if "venv" in command:
            (Path(command[-1]) / "bin").mkdir(parents=True)
            (Path(command[-1]) / "bin" / "python").symlink_to(sys.executable)
        if "convert" in command:
            Path(command[-2]).mkdir()
            (Path(command[-2]) / "weights").write_text("8 bits")

    monkeypatch.setattr(set_up, "_run", pretend)
    return run


def test_setting_up_happens_once_and_says_how_far_it_is(others, commands, tiny):
    told = []
    assert set_up.set_up(tiny, progress=lambda *stage: told.append(stage)) == list(others)
    assert commands == ["venv", "pip", "pip", "convert"]
    assert [share for _, share in told] == [0, 1 / 3, 2 / 3, 0]
    assert set_up.set_up(tiny) == list(others)
    assert len(commands) == 4
    set_up.check(list(others), tiny)


def test_what_was_not_finished_is_made_anew(others, commands, tiny):
    engine = others["made up"].engine
    folder = set_up.environment(engine)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("half there")
    with pytest.raises(InputError, match=r"peer 'made up' is not set up for this model; run: seeahead bench --set-up"):
        set_up.check(["made up"], tiny)
    set_up.set_up(tiny)
    model = set_up.model_of(others["made up int8"], tiny)
    assert cached.damage(model) is None
    (model / "weights").write_text("cut")
    with pytest.raises(InputError, match=f"--set-up-peers -m {tiny}"):
        set_up.check(["made up int8"], tiny)
    set_up.set_up(tiny)
    assert (model / "weights").read_text() == "8 bits"
    assert [path.name for path in model.parent.iterdir() if path.is_dir()] == [model.name]


def test_another_model_is_converted_for_itself(others, commands, tiny, tmp_path):
    set_up.set_up(tiny)
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text("{}")
    set_up.check(["made up"], str(other))
    with pytest.raises(InputError, match="not set up for this model"):
        set_up.check(["made up int8"], str(other))


def test_a_failed_set_up_says_why_now_and_later(others, tiny, monkeypatch):
    failing = [sys.executable, "-c", "import sys; sys.exit('WARNING: old\\nERROR: No matching distribution\\n')"]
    ran = set_up._run
    monkeypatch.setattr(set_up, "_run", lambda command: ran(failing))
    says = "exit code 1: ERROR: No matching distribution"
    with pytest.raises(InputError, match=f"Made Up cannot be set up: .* {says}"):
        set_up.set_up(tiny)
    with pytest.raises(InputError, match=f"the last attempt failed .*{says}.*; run: "):
        set_up.check(["made up"], tiny)


def test_an_engine_that_somebody_else_sets_up_does_not_end_the_others(others, commands, tiny, monkeypatch):
    busy = OtherEngine("busy", "Busy", others["made up"].engine.program, ("busy==1",), ())
    monkeypatch.setitem(OTHERS, "busy", Peer("busy", busy, "float32"))
    with set_up._locked(set_up.environment(busy)), pytest.raises(InputError) as refused:
        set_up.set_up(tiny, ["busy", "made up"])
    reason = f"another process is setting up {set_up.environment(busy).name}; wait for its end"
    assert str(refused.value) == f"Busy cannot be set up: {reason}"
    set_up.check(["made up"], tiny)


@pytest.mark.parametrize(
    ("names", "says"),
    [(["transformers"], "'transformers' needs no setting up"), (["vlm"], "'vlm' needs no setting up, or is none")],
)
def test_only_other_engines_are_set_up(names, says):
    with pytest.raises(InputError, match=says):
        set_up.set_up("demo", names)


@pytest.fixture
def result(others, commands, tiny):
    set_up.set_up(tiny)
    return bench.run(
        tiny,
        ["lookup"],
        SUITE,
        peers=["made-up-int8", "made-up-int8-lookup", "made-up"],
        temperatures=[0.0],
        measures_costs=False,
    )


def test_another_engine_is_asked_what_ours_are_asked(result):
    answers = result.record.first_answers()
    run = answers[1]["made up int8"]
    assert run.token_ids == (5, 6, 7)
    assert (run.seconds_first, run.seconds_total) == (0.01, 0.03)
    assert run.peak_bytes < answers[1]["none"].peak_bytes, "its own process's"
    first, reply, second = json.loads(run.text)
    assert [Path(path).name for path in first["images"]] == ["cat.jpg"]
    assert (first["text"], second["text"]) == ("What is this?", "And then?")
    assert reply == {"role": "assistant", "images": [], "text": answers[0]["none"].text}


def test_one_that_fails_is_shown_with_its_error_and_the_run_goes_on(result):
    record = result.record
    assert len(record.runs) == 3 * 5
    errors = {name: {runs[name].error for runs in record.first_answers().values()} for name in record.methods}
    assert errors["none"] == errors["lookup"] == {""}
    assert errors["made up int8"] == {"", "PeerError: ValueError: two images are too many"}
    assert errors["made up int8 lookup"] == {"PeerError: its process ended with exit code 1: no such model"}
    page = markdown(result.summary)
    failed = "made up int8 lookup failed on 3 of 3 answers at temperature 0: its process ended"
    assert f"{failed} with exit code 1: no such model" in page
    assert "made up int8 failed on 1 of 3 answers" in page


def test_its_versions_and_precision_are_kept(result):
    facts = result.record.settings["others"]
    assert facts["made up int8"] == {
        "precision": "int8",
        "has_weights_of_target": False,
        "versions": {"engine": "1.2", "python": platform.python_version()},
    }
    assert facts["made up"]["has_weights_of_target"]
    assert Settings.model_validate(result.record.settings).others["made up"].versions["engine"] == "1.2"


def test_nothing_is_claimed_of_answers_from_other_weights(result):
    cells = {entry.method: FIGURES["identical"].cell(entry) for entry in result.summary.methods[0.0]}
    assert (cells["made up int8"].value, cells["made up int8"].spread) == ("0 of 2", "other weights or precision")
    assert cells["lookup"].value == "3 of 3"
    assert cells["made up"].value == "0 of 2", "on the target's own weights they can be compared"
    assert {gap.method for gap in result.record.gaps} == {"made up"}
    assert "other weights" in report(result.record)


def test_precisions_are_told_apart(result):
    rows = short(result.summary).partition("### Ours over peers")[2].splitlines()[4:]
    told = {row.split(" | ")[0].rpartition("/ ")[2].strip(): row for row in rows}
    assert "| end to end |" in " ".join(short(result.summary).partition("### Ours over peers")[2].split())
    assert "on the same weights" in told["made up"]
    assert "in another precision" in told["made up int8"]
    assert "in another precision (int8)" in report(result.record)


def test_without_names_all_that_are_at_hand_are_asked(others, commands, tiny):
    set_up.set_up(tiny, ["made up"])
    found = bench.run(tiny, ["lookup"], SUITE, peers=[], temperatures=[0.0], count=1, measures_costs=False)
    assert found.record.peers == ("transformers", "transformers lookup", "made up")


def test_a_peer_that_nobody_named_and_that_does_not_start_is_left_out(others, commands, tiny, monkeypatch, caplog):
    set_up.set_up(tiny, ["made up"])

    def start(*given):
        raise ModelError("it does not start")

    monkeypatch.setattr("seeahead.bench.peers.outside.start", start)
    asked = {"temperatures": [0.0], "count": 1, "measures_costs": False}
    found = bench.run(tiny, ["lookup"], SUITE, peers=[], **asked)
    assert found.record.peers == ("transformers", "transformers lookup")
    assert "the peer made up is left out: it does not start" in caplog.text
    with pytest.raises(ModelError, match="it does not start"):
        bench.run(tiny, ["lookup"], SUITE, peers=["made up"], **asked)


def test_one_that_is_not_set_up_is_refused_before_a_model_is_loaded(others, tiny, monkeypatch):
    monkeypatch.setattr("seeahead.api.load", None)
    with pytest.raises(InputError, match="peer 'made up int8' is not set up for this model; run: seeahead bench --set"):
        bench.run(tiny, ["lookup"], SUITE, peers=["made up int8"])


def test_the_table_says_how_peers_run():
    assert OTHERS["genai int8"].precision == "int8"
    assert not OTHERS["genai int8"].has_weights_of("int8"), "rounded by somebody else"
    assert all("==" in package for peer in OTHERS.values() for package in peer.engine.packages)
    assert OTHERS["vllm"].has_weights_of("float32"), "under other names"
    for peer in OTHERS.values():
        assert all(Path(word).is_file() for word in peer.engine.command(Path(sys.executable))[1:])

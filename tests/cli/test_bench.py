"""`seeahead bench` and `seeahead report` as a whole, on a tiny LLaVA: what they print, write, continue and refuse."""

import json
import shutil

import pytest

from seeahead import api
from seeahead.bench import benchmark
from seeahead.bench.methods import digest, weights_of
from seeahead.bench.record import read_record
from seeahead.bench.suites import SUITES
from seeahead.cli import main, parser_of
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.errors import ModelError
from seeahead.testing import tiny_model, tiny_processor


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Two pictures and no file of questions."""
    folder = tmp_path_factory.mktemp("my pictures")
    for name in ("cat.jpg", "bus.jpg"):
        shutil.copy(PICTURES / name, folder / name)
    return folder


@pytest.fixture(scope="module")
def measured(tiny, pictures, tmp_path_factory):
    output = tmp_path_factory.mktemp("bench")
    words = ["bench", "--quick", "--data", str(pictures), "-m", tiny, "--peers", "--max-new-tokens", "8"]
    assert main([*words, "-o", str(output)]) == 0
    return output


def test_a_folder_of_pictures_is_asked_the_default_question(measured):
    record = read_record(measured / "bench.json")
    assert {entry.question for entry in record.asked} == {"Describe the picture in detail."}
    assert record.methods[:3] == ("none", "lookup", "auto")
    assert record.peers == ("transformers", "transformers lookup")
    assert len(record.runs) == 2 * 5
    assert record.gaps == ()
    assert 0 < record.settings["harness_share"] < 1
    assert not (measured / "bench.partial.jsonl").exists()


def test_the_record_names_no_path_of_the_machine(measured, tiny, pictures):
    text = (measured / "bench.json").read_text()
    assert tiny not in text
    assert str(pictures) not in text
    assert json.loads(text)["settings"]["suite"] == pictures.stem


def test_help_names_every_suite_and_peers_may_be_named_apart(capsys):
    assert main(["bench", "--help"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert all(name in shown for name in SUITES)
    assert parser_of("bench").parse_args(["--peers", "a", "b", "-m", "x"]).peers == ["a", "b"]


def test_the_terminal_gets_tables_and_no_page(tiny, pictures, tmp_path, capsys):
    words = ["bench", "--quick", "--data", str(pictures), "-m", tiny, "-d", "lookup", "--max-new-tokens", "4"]
    assert main([*words, "-o", str(tmp_path)]) == 0
    shown = capsys.readouterr().out
    assert 5 < len(shown.splitlines()) < 40
    assert "What the words mean" not in shown


def test_folders_with_odd_names_and_nothing_left_beside_them(tiny, pictures, tmp_path, monkeypatch):
    """A blank, an umlaut and Chinese: a model, images and results lie there; where the shell is stays empty."""
    odd, here = tmp_path / "mein Ordner ü 猫", tmp_path / "here"
    shutil.copytree(tiny, odd / "model ü")
    shutil.copytree(pictures, odd / "Bilder 猫")
    here.mkdir()
    monkeypatch.chdir(here)
    model = ["-m", str(odd / "model ü"), "-d", "lookup", "--max-new-tokens", "4"]
    assert main(["generate", "What is this?", "-i", str(odd / "Bilder 猫" / "cat.jpg"), *model]) == 0
    assert main(["bench", "--quick", "--data", str(odd / "Bilder 猫"), *model, "-o", str(odd / "out ü")]) == 0
    assert main(["report", str(odd / "out ü" / "bench.json"), "-o", str(odd / "Seite.html")]) == 0
    assert (odd / "Seite.html").exists()
    assert list(here.iterdir()) == []


def test_the_report_is_rendered_again_from_the_record(measured, tmp_path, capsys):
    page, table = tmp_path / "page.html", tmp_path / "table.md"
    words = ["report", str(measured / "bench.json"), "-o", str(page), "--output", str(table)]
    assert main(words) == 0
    assert page.read_text() == (measured / "bench.html").read_text()
    assert "lookup" in table.read_text()
    assert "written:" in capsys.readouterr().err


def test_a_model_that_cannot_see_is_asked_in_words_only(tmp_path, capsys):
    tiny_model("llama", max_position_embeddings=1024).save_pretrained(tmp_path / "model")
    tiny_processor("llama").save_pretrained(tmp_path / "model")
    words = ["bench", "--count", "1", "--repeats", "1", "--temperature", "0", "-m", str(tmp_path / "model")]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    record = read_record(tmp_path / "out" / "bench.json")
    assert {entry.scenario for entry in record.asked} == {"text only, short", "text only, long"}
    assert "lookup" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--suite", "chartq"], "did you mean chartqa"),
        (["--suite", "chartqa"], "ChartQA"),
        (["--data", "no/such/folder"], "does not exist"),
        (["--count", "0"], "count is 0; allowed is 1 or more"),
        (["--repeats", "0"], "repeats is 0; allowed is 1 or more"),
        (["--data", "photos", "--max-new-tokens", "0"], "max_new_tokens is 0; allowed is 1 or more"),
        (["--temperature", "0.7"], "temperatures are 0.7; 0 must be among them"),
        (["--seed", "-1"], "seed is -1; allowed is a whole number from 0"),
        (["--seed", str(2**64)], "allowed is a whole number from 0"),
        (
            ["--suite", "demo", "--data", "photos"],
            "--data photos says what is asked; leave --suite out",
        ),
        (["--growth", "transformers", "graps"], "executor is 'graps'; allowed are auto, transformers"),
        (["--growth", "openvino:int3"], "dtype 'int3' is not supported by executor openvino"),
        (["--growth", "-d", "lookup"], "--growth measures passes, and asks no questions; leave --drafter out"),
        (["--growth", "--executor", "exact"], "--growth names executors itself, such as --growth openvino:int8; leave"),
        (["--growth", "--dtype", "float32"], "leave --dtype out"),
        (["--growth", "--repeats", "3"], "leave --repeats out"),
        (["--growth", "--seed", "0"], "leave --seed out"),
        (["--max-new-tokens", "9"], "a suite says how long its answers are; leave --max-new-tokens out"),
        (["--data", "photos", "--folder", "x"], "--data photos says what is asked; leave --folder out"),
        (["--set-up-peers", "--seed", "3"], "--set-up-peers installs engines, and ends; leave --seed out"),
        (
            ["--temperature", "0", "--temperature", "1e-7"],
            "temperature is 1e-07; allowed is 0 (greedy) or",
        ),
        (["--temperature", "0", "--temperature", "nan"], "temperature is nan; allowed is 0 (greedy)"),
        (["-o", "pyproject.toml/out"], "cannot write into"),
        (["-d", "lokup"], "did you mean 'lookup'?"),
        (["--peers", "llama.cpp"], 'no peer \'llama.cpp\'; allowed: "transformers", "transformers lookup", '),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(words, says, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "load", None)
    output = [] if "-o" in words else ["-o", str(tmp_path)]
    assert main(["bench", *words, *output]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


@pytest.fixture
def some_broken(pictures, tmp_path):
    """Two whole pictures, one cut in half and one of words."""
    folder = tmp_path / "some broken"
    shutil.copytree(pictures, folder)
    whole = (folder / "cat.jpg").read_bytes()
    (folder / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "words.png").write_text("no picture")
    return folder


def test_pictures_that_cannot_be_read_are_left_out_and_said(tiny, some_broken, tmp_path, capsys):
    words = ["bench", "--data", str(some_broken), "-m", tiny, "--temperature", "0", "--max-new-tokens", "4", "--json"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    assert "'half.jpg' is left out: " in told.err
    assert "'words.png' is left out: " in told.err
    assert json.loads(told.out) == json.loads((tmp_path / "out" / "bench.json").read_text()), "JSON alone"
    page = (tmp_path / "out" / "bench.html").read_text()
    assert "2 questions were left out, because an image could not be read: half.jpg, words.png" in page
    record = read_record(tmp_path / "out" / "bench.json")
    assert record.settings["left_out"] == ["half.jpg", "words.png"]
    assert len(record.asked) == 2
    assert str(tmp_path) not in (tmp_path / "out" / "bench.json").read_text()


def test_where_no_picture_can_be_read_nothing_is_loaded(some_broken, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(api, "load", None)
    for name in ("cat.jpg", "bus.jpg"):
        (some_broken / name).unlink()
    assert main(["bench", "--data", str(some_broken), "-o", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no image of some broken can be read" in line


def test_what_needs_no_model_to_be_wrong_is_refused_before_one_is_loaded(pictures, tmp_path, capsys, monkeypatch):
    def load(*given, **more):
        raise ModelError("loaded")

    monkeypatch.setattr(api, "load", load)
    words = ["bench", "--data", str(pictures), "-o", str(tmp_path)]
    partial = tmp_path / "bench.partial.jsonl"
    for text, says in (
        ('{"asked": {"seed": 3}, "found": {}}\n', "holds a run of other settings"),
        ("garbage\n", "is damaged in line 1; delete it"),
    ):
        partial.write_text(text)
        assert main(words) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line
        assert partial.read_text() == text
    partial.unlink()
    (tmp_path / "bench.html").mkdir()
    assert main(words) == 2
    assert "cannot write into" in capsys.readouterr().err
    (tmp_path / "bench.html").rmdir()
    assert main(words) == 2
    assert "error: loaded" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_with_changed_settings_does_not_go_on_with_the_answers_of_another(tiny, pictures, tmp_path, capsys):
    words = ["bench", "--data", str(pictures), "-m", tiny, "--temperature", "0", "-o", str(tmp_path)]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(benchmark, "write_record", _interrupted)
        assert main([*words, "--max-new-tokens", "4"]) == 130
    assert (tmp_path / "bench.partial.jsonl").is_file()
    capsys.readouterr()
    for change in (["--max-new-tokens", "5"], ["--seed", "3"], ["--count", "1"], ["-d", "none"], ["--peers"]):
        given = [*words, *([] if "--max-new-tokens" in change else ["--max-new-tokens", "4"]), *change]
        assert main(given) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "holds a run of other settings" in line
    assert main([*words, "--max-new-tokens", "4"]) == 0


def _interrupted(*given):
    raise KeyboardInterrupt


def test_the_record_keeps_a_hash_of_the_weights_of_every_drafter(tiny, pictures, tmp_path):
    tiny_model("llama", max_position_embeddings=1024).save_pretrained(tmp_path / "drafter")
    tiny_processor("llama").save_pretrained(tmp_path / "drafter")
    words = [
        "bench",
        "--quick",
        "--data",
        str(pictures),
        "-m",
        tiny,
        "--max-new-tokens",
        "4",
        "-o",
        str(tmp_path / "out"),
    ]
    assert main([*words, "-d", "lookup", "-d", f"{tmp_path / 'drafter'}:as=mine"]) == 0
    record = read_record(tmp_path / "out" / "bench.json")
    assert record.settings["drafters"] == {"mine": digest(tmp_path / "drafter")}
    assert f"mine {digest(tmp_path / 'drafter')}" in (tmp_path / "out" / "bench.html").read_text()
    before = digest(tmp_path / "drafter")
    (tmp_path / "drafter" / "config.json").write_text("{}")
    assert digest(tmp_path / "drafter") != before


def test_where_the_weights_of_a_drafter_lie(tmp_path):
    (tmp_path / "mine").mkdir()
    own = {"vision": tmp_path / "vision", "msd": tmp_path / "msd"}
    mine = str(tmp_path / "mine")
    for spec, expected in (
        ("none", None),
        ("lookup:chain=3", None),
        ("msd:depth=3", tmp_path / "msd"),
        ("tabed", tmp_path / "vision"),
        (f"tabed:vision={mine}", tmp_path / "mine"),
        (f"{mine}:as=x", tmp_path / "mine"),
        ("nobody/has-this", None),
    ):
        assert weights_of(spec, own) == expected, spec


def test_a_report_of_nothing_is_refused(capsys, tmp_path):
    assert main(["report", str(tmp_path / "none.json")]) == 2
    assert "cannot read the record" in capsys.readouterr().err


def test_a_report_says_where_it_cannot_write_before_it_reads(capsys, tmp_path):
    record = tmp_path / "bench.html"
    for words, says in (
        (["-o", str(tmp_path)], "cannot be written as a file"),
        (["-o", str(tmp_path / "x.html"), "-o", str(tmp_path)], "cannot be written as a file"),
        (["-o", str(tmp_path / "x.html"), "-o", "/proc/seeahead/x.md"], "cannot be written as a file"),
        (["-o", str(tmp_path / "x.pdf")], "ends in neither .html nor .md"),
        ([], "is the record already"),
        (["-o", str(record)], "is the record already"),
        (["-o", str(tmp_path / "x.md"), "-o", str(tmp_path / "x.md")], "is written already"),
    ):
        assert main(["report", str(record), *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line, words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("record", [".", "/", ".."])
def test_a_report_of_a_folder_is_refused(record, capsys):
    assert main(["report", record]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("seeahead: error: ")

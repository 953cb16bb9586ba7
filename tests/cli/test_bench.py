"""`seeahead bench` and `seeahead report` as a whole, on a tiny LLaVA: what they print, write, continue and refuse."""

import json
import shutil

import pytest

from seeahead.bench.record import Costs, read_record
from seeahead.cli import bench, main
from seeahead.demo.scenarios import PICTURES
from seeahead.testing import tiny_model
from seeahead.testing.processors import tiny_processor


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
    assert record.methods[:2] == ("none", "lookup")
    assert record.peers == ("transformers", "transformers lookup")
    assert len(record.runs) == 2 * 4
    assert record.gaps == ()
    assert 0 < record.settings["harness_share"] < 1
    assert not (measured / "bench.partial.jsonl").exists()


def test_the_record_names_no_path_of_the_machine(measured, tiny, pictures):
    text = (measured / "bench.json").read_text()
    assert tiny not in text
    assert str(pictures) not in text
    assert json.loads(text)["settings"]["suite"] == pictures.stem


def test_the_report_is_rendered_again_from_the_record(measured, tmp_path, capsys):
    page, table = tmp_path / "page.html", tmp_path / "table.md"
    words = ["report", str(measured / "bench.json"), "--html", str(page), "--markdown", str(table)]
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
        (["--count", "0"], "--count is 0; allowed is 1 or more"),
        (["--repeats", "0"], "--repeats is 0; allowed is 1 or more"),
        (["--temperature", "0.7"], "--temperature lacks 0"),
        (["-o", "pyproject.toml/out"], "cannot write into"),
        (["-d", "lokup"], "did you mean 'lookup'?"),
        (["--peers", "vllm"], 'no peer \'vllm\'; allowed: "transformers", "transformers lookup", '),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(words, says, capsys, tmp_path):
    output = [] if "-o" in words else ["-o", str(tmp_path)]
    assert main(["bench", *words, *output]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert len(error.splitlines()) == 1


def test_a_report_of_nothing_is_refused(capsys, tmp_path):
    assert main(["report", str(tmp_path / "none.json")]) == 2
    assert "cannot read the record" in capsys.readouterr().err


def test_a_report_says_where_it_cannot_write_before_it_reads(capsys, tmp_path):
    record = tmp_path / "bench.html"
    for words, says in (
        (["--html", str(tmp_path)], "cannot be written as a file"),
        (["--html", str(tmp_path / "x"), "--markdown", str(tmp_path)], "cannot be written as a file"),
        (["--html", str(tmp_path / "x"), "--markdown", "/proc/seeahead/x.md"], "cannot be written as a file"),
        ([], "is the record already"),
        (["--html", str(record)], "is the record already"),
        (["--html", str(tmp_path / "x"), "--markdown", str(tmp_path / "x")], "is the page already"),
    ):
        assert main(["report", str(record), *words]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert says in line, words
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("firsts", "num_measured"), [((2.0,), 1), ((1.5, 2.0), 2), ((1.5, 1.6, 1.7, 2.0), 3)])
def test_a_disturbed_table_is_measured_anew_twice_at_most(monkeypatch, firsts, num_measured):
    measured = iter([Costs(10, {1: 2.0, 4: seconds}) for seconds in firsts])
    seen = []
    monkeypatch.setattr(bench, "measure_table_once", lambda plain: seen.append(next(measured)) or seen[-1])
    assert bench.measure_table(None) is seen[-1]
    assert len(seen) == num_measured

"""`seeahead train drafter`: one's own data to a drafter that generate takes, and one line for what is wrong."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from seeahead.cli import main

RECIPE = Path(__file__).parents[2] / "recipes" / "drafters" / "demo-smoke.toml"


@pytest.fixture(scope="module")
def talk(tmp_path_factory):
    path = tmp_path_factory.mktemp("talk") / "talk.jsonl"
    rows = [
        {"messages": [{"role": "user", "content": f"Is it {n}?"}, {"role": "assistant", "content": "Yes."}]}
        for n in range(8)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def words(tiny, talk, out, *more):
    return ["train", "drafter", "--recipe", str(RECIPE), "-m", tiny, "--data", str(talk), "-o", str(out), *more]


def test_a_drafter_is_trained_told_about_and_used(tiny, talk, tmp_path, capsys):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.read_text().replace("vocabulary = 300", "vocabulary = 0"))
    out = tmp_path / "out"
    assert main([*words(tiny, talk, out), "--recipe", str(recipe)]) == 0
    told = capsys.readouterr()
    folder = told.out.strip()
    assert folder == str(out / "drafter")
    assert "instruction: finished after 2 steps" in told.err
    assert "distillation: held-out agreement" in (out / "train.log").read_text()
    assert main(["generate", "-m", tiny, "-d", f"{folder}:chain=2,as=mine", "--max-new-tokens", "8", "What?"]) == 0
    capsys.readouterr()
    assert main([*words(tiny, talk, out), "--recipe", str(recipe)]) == 0
    assert "done before" in capsys.readouterr().err


def test_what_is_wrong_is_one_line_and_nothing_is_loaded(tiny, talk, tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"messages": [{"role": "user", "content": "Hi"}]}\n{"messages": 3}\n')
    (tmp_path / "file").write_text("not a folder")
    for given, message in (
        (words("no/such/model", bad, tmp_path / "a"), "bad.jsonl line 2: messages is 3; allowed: a list of messages"),
        (words("no/such/model", tmp_path / "none.jsonl", tmp_path / "a"), "none.jsonl does not exist"),
        (words("no/such/model", "lava-instruct", tmp_path / "a"), "unknown training data 'lava-instruct'"),
        (words(tiny, talk, tmp_path / "file"), "cannot be a folder, since a file is there; give another --output"),
        (
            words(tiny, tmp_path / "none.jsonl", tmp_path / "a", "--dtype", "int3"),
            "dtype 'int3' is not supported; allowed are",
        ),
        (["train", "drafter", "-o", str(tmp_path / "a")], "no recipe given; add --recipe FILE"),
        (["train", "drafter", "--recipe", "x.toml"], "no folder given for the results; add --output FOLDER"),
        (["train", "drafter", "--recipe", "x.toml", "-o", str(tmp_path / "a")], "no recipe at x.toml"),
    ):
        assert main(given) == 2
        told = capsys.readouterr().err.strip().splitlines()[-1]
        assert message in told
        assert told.startswith("seeahead: error: ")


def test_what_the_user_has_set_stands_in_for_what_is_not_said(talk, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr("seeahead.train.run.train_drafter", lambda *given, **more: said.append((given[1], more)) or "")
    given = ["train", "drafter", "--recipe", str(RECIPE), "-o", str(tmp_path / "out")]
    for more in ([], ["--dtype", "float32", "--device", "cpu", "-m", "mine"]):
        for name, value in {"DTYPE": "bfloat16", "DEVICE": "cuda", "MODEL": "theirs"}.items():
            monkeypatch.setenv(f"SEEAHEAD_{name}", value)
        assert main([*given, *more]) == 0
    assert [(model, more["dtype"], more["device"]) for model, more in said] == [
        ("theirs", "bfloat16", "cuda"),
        ("mine", "float32", "cpu"),
    ]


def test_help_says_whose_model_is_trained_for(capsys):
    assert main(["help"]) == 0
    line = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["train"])
    assert "for a model of yours" in line
    assert main(["train", "--help"]) == 0
    assert "shipped" not in capsys.readouterr().out


def test_what_is_wrong_leaves_no_folder_behind_and_names_its_option(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["train", "drafter", "--recipe", str(tmp_path / "none.toml"), "-o", str(out)]) == 2
    assert not out.exists()
    (tmp_path / "file").write_text("")
    given = ["train", "drafter", "--recipe", str(RECIPE), "-o", str(out), "--answers", str(tmp_path / "file" / "a")]
    assert main(given) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("since a file is there; give another --answers")


def test_a_drafter_that_cannot_be_remembered_is_there_all_the_same(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        "seeahead.train.run.load", lambda *given, **more: SimpleNamespace(family=SimpleNamespace(end_token_ids=(3,)))
    )
    monkeypatch.setattr("seeahead.train.run.Dataset", lambda *given: given)
    monkeypatch.setattr("seeahead.train.run.train", lambda dataset, out, start: out / "drafter")
    monkeypatch.setattr("seeahead.train.run.check", lambda *given: None)
    given = ["train", "drafter", "--recipe", str(RECIPE), "-m", "owner/name", "-o", str(tmp_path / "out")]

    def refused(*given):
        raise OSError(30, "Read-only file system")

    for remember, told in ((refused, "name it with -d"), (lambda *given: None, "auto drafts with it from now on")):
        monkeypatch.setattr("seeahead.train.run.remember", remember)
        assert main(given) == 0
        captured = capsys.readouterr()
        assert captured.out.strip() == str(tmp_path / "out" / "drafter")
        assert told in captured.err

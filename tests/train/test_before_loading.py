"""What is wrong with a training shows before its target is loaded, in one line; and it needs no more than it says."""

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from seeahead.data.conversations import Conversation, read_conversations
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.errors import InputError, ModelError, SeeaheadError
from seeahead.train import run
from seeahead.train.loop import Processes
from seeahead.train.run import plot_losses, train_drafter
from seeahead.train.stage import Limits, Stage

RECIPES = Path(__file__).parents[2] / "recipes" / "drafters"


@pytest.fixture(autouse=True)
def _nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*arguments: object, **more: object) -> None:
        raise AssertionError("the target was loaded")

    monkeypatch.setattr(run, "load", load)


def write_talk(folder: Path, *images: str | None) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"What is {n}?"}], **({"images": [name]} if name else {})}
        for n, name in enumerate(images)
    ]
    (folder / "talk.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "talk.jsonl"


def cut_off(folder: Path, name: str) -> None:
    whole = (PICTURES / "cow.jpg").read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2])


def train(recipe: str | Path, data: list[Path], out: Path, **more: object) -> None:
    path = RECIPES / recipe if isinstance(recipe, str) else recipe
    train_drafter(path, "no/such/model", data, out, lambda line: None, **more)


@pytest.mark.parametrize("junk", [b"", b"junk", b"\xff\xd8\xff\xe0" * 40, None], ids=range(4))
def test_a_broken_image_is_refused_with_file_and_line(tmp_path, junk) -> None:
    shutil.copy(PICTURES / "cow.jpg", tmp_path / "good.jpg")
    if junk is None:
        cut_off(tmp_path, "bad.jpg")
    else:
        (tmp_path / "bad.jpg").write_bytes(junk)
    talk = write_talk(tmp_path, "good.jpg", None, "good.jpg", "bad.jpg", "bad.jpg", "good.jpg")
    with pytest.raises(InputError, match=r"talk\.jsonl line 4: .*bad\.jpg"):
        train("own-pictures.toml", [talk], tmp_path / "out")


def test_a_broken_image_among_questions_or_in_a_folder_is_refused_by_name(tmp_path) -> None:
    shutil.copy(PICTURES / "cow.jpg", tmp_path / "good.jpg")
    cut_off(tmp_path, "bad.jpg")
    with pytest.raises(InputError, match=r"bad\.jpg' is truncated or damaged"):
        train("own-pictures.toml", [tmp_path], tmp_path / "out")
    rows = [{"image": "good.jpg", "turns": ["What?"]}, {"image": "bad.jpg", "turns": ["What?"]}]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(InputError, match=r"asked\.jsonl line 2: .*bad\.jpg' is truncated or damaged"):
        train("own-pictures.toml", [tmp_path / "asked.jsonl"], tmp_path / "out")


def test_only_what_is_asked_for_is_opened(tmp_path) -> None:
    shutil.copy(PICTURES / "cow.jpg", tmp_path / "good.jpg")
    cut_off(tmp_path, "bad.jpg")
    talk = write_talk(tmp_path, "good.jpg", "good.jpg", "bad.jpg")
    assert len(read_conversations(talk, 2)) == 2
    with pytest.raises(InputError, match="line 3"):
        read_conversations(talk, 3)


@pytest.mark.parametrize("name", ["none.jsonl", "x" * 5000, f"{'x' * 5000}.jsonl"])
def test_data_that_are_not_there_are_one_line(tmp_path, name) -> None:
    with pytest.raises(InputError):
        train("own-pictures.toml", [tmp_path / name], tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('["nothing.txt"]', r"nothing\.txt does not exist; give a text file"),
        (f'["{"x" * 5000}"]', "does not exist; give a text file"),
        ('["package:nothing"]', "no text package 'nothing'; allowed: dict-gcide"),
    ],
)
def test_a_text_that_is_not_there_is_one_line(tmp_path, text, message) -> None:
    lines = (RECIPES / "base-cpu.toml").read_text().splitlines()
    kept = [f"text = {text}" if line.startswith("text = ") else line for line in lines]
    (tmp_path / "recipe.toml").write_text("\n".join(kept))
    with pytest.raises(InputError, match=message):
        train(tmp_path / "recipe.toml", [], tmp_path / "out")


def test_nothing_to_learn_from_or_to_start_from_is_one_line(tmp_path) -> None:
    talk = write_talk(tmp_path, None)
    with pytest.raises(InputError, match="give --data"):
        train("chat-cpu.toml", [], tmp_path / "out")
    with pytest.raises(InputError, match="give a count of 1 or more"):
        train("chat-cpu.toml", [talk], tmp_path / "out", count=0)
    with pytest.raises(ModelError, match="dtype 'int3' is not supported; allowed are auto, float32"):
        train("chat-cpu.toml", [talk], tmp_path / "out", dtype="int3")
    with pytest.raises(InputError, match="trains nothing by itself; give the drafter to take with --start"):
        train("vision-text-cpu.toml", [talk], tmp_path / "out")
    for start in (tmp_path / "none", tmp_path):
        with pytest.raises(ModelError, match="is not a drafter to start from"):
            train("chat-cpu.toml", [talk], tmp_path / "out", start=start)
    (tmp_path / "config.json").write_text('{"feature_drafter": {}}')
    with pytest.raises(ModelError, match="is msd, which language cannot start from"):
        train("chat-cpu.toml", [talk], tmp_path / "out", start=tmp_path)
    (tmp_path / "config.json").write_text('{"unknown_draft_id": 0, "hidden_size": 96}')
    with pytest.raises(ModelError, match="is 96 wide, the recipe's adapter is made for 320; give that width in its"):
        train("vision-cpu.toml", [talk], tmp_path / "out", start=tmp_path)
    (tmp_path / "config.json").write_text("[")
    with pytest.raises(SeeaheadError, match="is not JSON"):
        train("chat-cpu.toml", [talk], tmp_path / "out", start=tmp_path)


# ---- the image of the losses


def stage_with(folder: Path, lines: str, told: list[str]) -> Stage:
    (folder / "words.losses.jsonl").write_text(lines)
    return Stage("words", folder, Limits(1, 1, 0.1), told.append)


def test_without_matplotlib_the_image_of_the_losses_is_left_out(tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    plot_losses([stage_with(tmp_path, '{"step": 1, "loss": 2.0}\n', [])], tmp_path / "losses.svg")
    assert not (tmp_path / "losses.svg").exists()


@pytest.mark.parametrize("is_first", [True, False])
def test_a_missing_matplotlib_is_told_once_before_anything_is_done(tmp_path, monkeypatch, is_first) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told: list[str] = []

    class CutOffError(Exception):
        pass

    def responses(dataset: run.Dataset) -> None:
        dataset.report("gathered")
        raise CutOffError

    class OneOfTwo(Processes):
        def __init__(self) -> None:
            super().__init__()
            self.is_first = is_first

    monkeypatch.setattr(run, "Processes", OneOfTwo)

    monkeypatch.setattr(run.Dataset, "gather", responses)
    recipe = run.read_drafter_recipe(RECIPES / "chat-cpu.toml")
    data = run.Dataset(recipe, None, [Conversation((("user", "Why?"),))], tmp_path, told.append, tmp_path)
    with pytest.raises(CutOffError):
        run.train(data, tmp_path)
    first = "losses.svg will be left out, since matplotlib is not installed: pip install '.[train]'"
    assert told == ([first, "gathered"] if is_first else [])


def test_lines_that_an_interruption_broke_off_are_left_out_of_it(tmp_path) -> None:
    lines = '{"step": 1, "loss": 2.0}\n{"step": 2, "loss": 1.0}\n{"step": 3, "lo\n[]\n{"step": 4}\n'
    plot_losses([stage_with(tmp_path, lines, [])], tmp_path / "losses.svg")
    assert (tmp_path / "losses.svg").stat().st_size > 0


def test_a_target_without_an_end_is_refused_before_it_writes(tmp_path, monkeypatch) -> None:
    family = SimpleNamespace(end_token_ids=())
    monkeypatch.setattr(run, "load", lambda *given, **more: SimpleNamespace(family=family))
    monkeypatch.setattr(run, "train", lambda *given: pytest.fail("it was trained for"))
    talk = write_talk(tmp_path, None)
    with pytest.raises(ModelError, match="has no end token for a drafter to learn; give its generation config an eos"):
        train("own-pictures.toml", [talk], tmp_path / "out")

"""Answers in a folder are used again where they are sound, and of the same target, data and recipe.

Questions that cannot be asked are left out and counted."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seeahead.data.conversations import Conversation
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.errors import InputError
from seeahead.families import family_for
from seeahead.images import load_image
from seeahead.testing import tiny_model, tiny_processor
from seeahead.train import responses
from seeahead.train.data import FILE_NAME, Dataset, origin_of_answers
from seeahead.train.recipe import DrafterRecipe, GenerationSettings, Network, StageRecipe
from seeahead.train.responses import batches_in, read_batch
from seeahead.train.stage import Limits

WRITING = GenerationSettings(minutes=60.0, batch_size=4, max_new_tokens=4, visual_tokens=2)
LIMITS_OF_STAGE = Limits(steps=5, batch_size=2, learning_rate=0.1)
STAGE = StageRecipe("words", ("answers",), {"cross-entropy": 1.0}, LIMITS_OF_STAGE)
RECIPE = DrafterRecipe("vision", 7, Network(visual_tokens=2), WRITING, (STAGE,))


def family_of(**changes):
    return family_for(tiny_model("llava", **changes), tiny_processor("llava"))


@pytest.fixture(scope="module")
def family():
    return family_of()


def talk(*numbers):
    image = PICTURES / "cow.jpg"
    return [Conversation((("user", f"<image>What is {n}?"),), (image,)) for n in numbers]


def gather(family, folder, conversations=(), recipe=RECIPE, lines=None):
    report = (lines if lines is not None else []).append
    material = Dataset(recipe, family, conversations or talk(*range(6)), folder, report, folder)
    return material.gather()["answers"]


@pytest.fixture(scope="module")
def written(family, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "answers"
    gather(family, folder)
    return folder


@pytest.fixture
def answers(written, tmp_path):
    return shutil.copytree(written, tmp_path / "answers")


# ---- whose answers they are


def retrained():
    """A fine-tune of a single matrix: its first and last tensors are those of what it was tuned from."""
    family = family_of()
    with torch.no_grad():
        family.model.get_decoder().layers[1].self_attn.v_proj.weight.mul_(1.01)
    return family


def retold():
    family = family_of()
    family.processor.chat_template += " "
    return family


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: family_of(seed=1), "another target's weights"),
        (retrained, "another target's weights"),
        (retold, "another target's chat template"),
        (lambda: family_of(rms_norm_eps=1e-3), "another target's settings"),
        (lambda: family_for(tiny_model("llava_next"), tiny_processor("llava_next")), "target was LlavaForCond"),
    ],
    ids=["other weights", "one matrix", "template", "settings", "class"],
)
def test_answers_of_another_target_are_refused(answers, make, told) -> None:
    before = {path.name: path.read_bytes() for path in answers.iterdir()}
    with pytest.raises(InputError, match=rf"are not of this run: .*{told}.*choose another --answers or --output"):
        gather(make(), answers)
    assert {path.name: path.read_bytes() for path in answers.iterdir()} == before


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": 2}, "batch_size was 4, is 2"),
        ({"max_new_tokens": 9}, "max_new_tokens was 4, is 9"),
        ({"sampled_every": 1}, "sampled_every was 4, is 1"),
        ({"visual_tokens": None}, "visual_tokens was 2, is None"),
        ({"features": True}, "features was False, is True"),
    ],
)
def test_answers_written_by_another_recipe_are_refused(family, answers, changes, told) -> None:
    with pytest.raises(InputError, match=told):
        gather(family, answers, recipe=replace(RECIPE, writing=replace(WRITING, **changes)))
    with pytest.raises(InputError, match="seed was 7, is 8"):
        gather(family, answers, recipe=replace(RECIPE, seed=8))


def test_answers_to_other_data_are_refused(family, answers) -> None:
    for conversations in (talk(*range(7)), talk(*range(5)), [Conversation((("user", "What?"),))]):
        with pytest.raises(InputError, match="another data"):
            gather(family, answers, conversations)


def test_the_same_run_with_more_minutes_uses_them_again(family, answers) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in answers.iterdir()}
    more = replace(RECIPE, writing=replace(WRITING, minutes=90.0))
    assert len(gather(family_of(), answers, recipe=more)) == 6
    assert {path.name: path.stat().st_mtime_ns for path in answers.iterdir()} == before


def test_no_image_is_opened_again_once_every_question_is_answered(family, answers, monkeypatch) -> None:
    opened = []
    monkeypatch.setattr("seeahead.data.conversations.load_image", lambda path: opened.append(path) or load_image(path))
    assert len(gather(family, answers)) == 6
    assert opened == []
    (answers / "00001.jsonl").unlink()
    assert len(gather(family, answers)) == 6
    assert len(opened) == 6


def test_what_the_minutes_did_not_suffice_for_is_asked_next_time(family, tmp_path) -> None:
    few = replace(RECIPE, writing=replace(WRITING, minutes=1e-9))
    assert 0 < len(gather(family, tmp_path, recipe=few)) < 6
    assert len(gather(family, tmp_path)) == 6


@pytest.mark.parametrize("name", ["00000.jsonl", "mine.jsonl"])
def test_a_folder_of_somebody_elses_lines_is_refused_and_left_alone(family, tmp_path, name) -> None:
    (tmp_path / name).write_text('{"messages": []}\n')
    with pytest.raises(InputError, match=rf"holds \.jsonl files but no {FILE_NAME}.*choose another --answers"):
        gather(family, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    (tmp_path / FILE_NAME).write_text("{")
    with pytest.raises(InputError, match="is not JSON"):
        gather(family, tmp_path)


# ---- whether they are sound


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DAMAGES = {
    "cut off": cut,
    "empty": lambda path: path.write_bytes(b""),
    "junk": lambda path: path.write_bytes(b"\xff\x00junk\n"),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("suffix", [".jsonl", ".safetensors"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_batch_is_written_anew(family, answers, damage, suffix) -> None:
    sound = {path.name: path.read_text() for path in batches_in(answers)}
    DAMAGES[damage]((answers / "00000.jsonl").with_suffix(suffix))
    told: list[str] = []
    assert len(gather(family, answers, lines=told)) == 6
    is_simply_missing = (damage, suffix) == ("gone", ".jsonl")
    assert any("00000.jsonl is damaged and is written anew" in line for line in told) is not is_simply_missing
    for name, before in sound.items():
        kept = [[row[key] for key in ("view", "ids")] for row in map(json.loads, before.splitlines())]
        assert [[list(row.view), list(row.ids)] for row in read_batch(answers / name)] == kept


@pytest.mark.parametrize(
    "line", ["3", "[]", "{}", '{"seconds": 1}', '{"seconds": "x", "view": [], "ids": []}', "{", "[" * 100_000]
)
def test_a_line_of_another_form_is_a_damaged_batch(answers, line) -> None:
    path = answers / "00000.jsonl"
    path.write_text(path.read_text() + line + "\n")
    assert read_batch(path) is None


def test_other_files_beside_the_answers_do_not_count(family, answers) -> None:
    (answers / "notes.jsonl").write_text("what I did\n")
    assert len(gather(family, answers)) == 6


def test_a_batch_of_empty_answers_is_written_once(family, tmp_path, monkeypatch) -> None:
    """Not once more at every start, as what is damaged."""
    write, numbers, told = responses.written_by, iter(range(9)), []

    def silent_at_first(*arguments, **settings):
        traces = write(*arguments, **settings)
        if next(numbers) == 0:
            for trace in traces:
                trace.embeddings = None
        return traces

    monkeypatch.setattr(responses, "written_by", silent_at_first)
    found = [line.ids for line in gather(family, tmp_path, lines=told)]
    assert 0 < len(found) < 6
    assert f"{6 - len(found)} since the target's answer is empty" in told[-1]
    said = told[-1]
    told.clear()
    num_written = next(numbers)
    assert [line.ids for line in gather(family, tmp_path, lines=told)] == found
    assert told == [said], "said again, though nothing is written again"
    assert next(numbers) == num_written + 1


# ---- questions that cannot be asked


def test_questions_longer_than_the_context_are_left_out_and_counted(tmp_path) -> None:
    narrow, told = family_of(max_position_embeddings=96), []
    conversations = [*talk(*range(5)), Conversation((("user", "very " * 1000),))]
    assert len(gather(narrow, tmp_path / "a", conversations, lines=told)) == 5
    assert (
        told[-1]
        == "own answers: 1 left out: 1 since question and answer are longer than the target's context of 96 tokens"
    )
    with pytest.raises(
        InputError, match=r"wrote nothing within the minutes allowed .*longer than the target's context"
    ):
        gather(narrow, tmp_path / "b", conversations[-1:])


def test_a_question_that_the_target_refuses_does_not_end_the_run(family, tmp_path, monkeypatch) -> None:
    """Also where a whole window of them comes first."""
    encode = family.encode

    def choosy(prompt):
        if "bad" in prompt.messages[-1].text:
            raise InputError("the text contains what stands for an image")
        return encode(prompt)

    monkeypatch.setattr(family, "encode", choosy)
    bad, told = [Conversation((("user", f"bad {n}"),)) for n in range(40)], []
    recipe = replace(RECIPE, writing=replace(WRITING, batch_size=2))
    assert len(gather(family, tmp_path, [*bad, *talk(1, 2)], recipe, told)) == 2
    assert "40 left out: 40 since the text contains" in told[-1]


def test_a_image_that_is_broken_meanwhile_does_not_end_the_run(family, tmp_path) -> None:
    shutil.copy(PICTURES / "cow.jpg", tmp_path / "cow.jpg")
    cut(tmp_path / "cow.jpg")
    told: list[str] = []
    conversations = [*talk(1, 2), Conversation((("user", "<image>What?"),), (tmp_path / "cow.jpg",))]
    assert len(gather(family, tmp_path / "answers", conversations, lines=told)) == 2
    assert "1 left out: 1 since" in told[-1]
    assert "cow.jpg' is truncated or damaged" in told[-1]


def test_given_answers_that_are_too_long_are_left_out_and_counted(tmp_path) -> None:
    narrow, told = family_of(max_position_embeddings=96), []
    long = Conversation((("user", "What?"), ("assistant", "very " * 1000)))
    short = Conversation((("user", "What?"), ("assistant", "Yes.")))
    recipe = replace(RECIPE, kind="language", stages=(replace(STAGE, data=("conversations",)),))
    material = Dataset(recipe, narrow, [long, short], tmp_path, told.append, tmp_path)
    assert len(material.given_answers()) == 1
    assert told == [
        "given answers: 1 left out: 1 since question and answer are longer than the target's context of 96 tokens"
    ]


@pytest.mark.parametrize(
    ("model_type", "settings", "kept"),
    [
        ("qwen2_vl", {"visual_tokens": 4}, True),
        ("qwen2_vl", {"visual_tokens": None}, False),
        ("qwen2_vl", {"visual_tokens": 4, "features": True}, False),
        ("llava", {"visual_tokens": 4}, False),
    ],
)
def test_answers_whose_views_had_no_markers_are_not_gone_on_with(model_type, settings, kept):
    """Where a target has any, and they were left out of what is kept."""
    recipe = replace(RECIPE, writing=replace(WRITING, **settings))
    family = family_for(tiny_model(model_type), tiny_processor(model_type))
    assert ("markers" in origin_of_answers(family, (), recipe)) is kept

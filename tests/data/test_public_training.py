"""Public training sets in the form they are published in, two rows each, and what is refused."""

import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from seeahead.data.conversations import conversations_from
from seeahead.data.public import CAPTION, TRAINING
from seeahead.errors import InputError
from tests.data.public_data import llava_instruct, picture, scienceqa, write


def load(name, folder):
    return conversations_from(name if folder is None else f"{name}={folder}", 99)


def sharegpt(folder):
    said = [{"from": "human", "value": "Hello?"}, {"from": "gpt", "value": "Hello."}]
    write(folder / "ShareGPT_V3_unfiltered_cleaned_split.json", [
        {"id": "a", "conversations": said},
        {"id": "b", "conversations": [said[1], *said]},  # begun in the middle
        {"id": "c", "conversations": [said[0], said[0]]},
        {"id": "d", "conversations": []},
    ])  # fmt: skip


def mix(folder):
    said = [{"from": "human", "value": "Is it red?\n<image>"}, {"from": "gpt", "value": "No."}]
    text = [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "Because."}]
    write(folder / "llava_v1_5_mix665k.json", [
        {"id": "1", "image": "gqa/images/7.jpg", "conversations": said},
        {"id": "2", "conversations": text},
    ])  # fmt: skip
    picture(folder / "gqa/images/7.jpg")


def coco(folder):
    write(folder / "annotations/captions_train2017.json", {
        "images": [], "annotations": [{"image_id": 9, "id": 1, "caption": "A man cooks."}],
    })  # fmt: skip
    picture(folder / "train2017/000000000009.jpg")


def test_llava_keeps_its_turns_and_the_place_of_the_image(tmp_path):
    llava_instruct(tmp_path)
    first, second = load("llava-instruct", tmp_path)
    assert [role for role, _ in first.messages] == ["user", "assistant"] * 2
    assert [path.name for path in first.images] == ["000000033471.jpg"]
    ((prompt, answer),) = second.exchanges()
    assert prompt.messages[0].parts[0] == "Describe it."
    assert isinstance(prompt.messages[0].parts[1], Image.Image)
    assert answer == "It is a dog."


def test_conversations_that_do_not_take_turns_are_left_out(tmp_path):
    sharegpt(tmp_path)
    found = list(load("sharegpt", tmp_path))
    assert [conversation.messages for conversation in found] == [(("user", "Hello?"), ("assistant", "Hello."))] * 2


def test_text_and_images_may_be_mixed(tmp_path):
    mix(tmp_path)
    assert [len(conversation.images) for conversation in load("llava-mix665k", tmp_path)] == [1, 0]


def test_an_assistant_shows_no_image(tmp_path):
    said = [{"from": "human", "value": "Is it red?"}, {"from": "gpt", "value": "<image>\nNo."}]
    write(tmp_path / "llava_v1_5_mix665k.json", [{"id": "1", "image": "7.jpg", "conversations": said}])
    picture(tmp_path / "7.jpg")
    (found,) = load("llava-mix665k", tmp_path)
    ((prompt, answer),) = found.exchanges()
    assert [isinstance(part, str) for part in prompt.messages[0].parts] == [False, True]
    assert answer == "No."


def test_captions_and_science_questions_become_questions_with_answers(tmp_path):
    coco(tmp_path / "coco")
    (caption,) = load("coco-captions", tmp_path / "coco")
    assert caption.messages == (("user", f"<image>{CAPTION}"), ("assistant", "A man cooks."))
    scienceqa(tmp_path / "science")
    (science,) = load("scienceqa", tmp_path / "science")
    (_, asked), (_, answer) = science.messages
    assert asked.startswith("Which is wet?\nA. ice\nB. fire\n")
    assert answer == "B. fire."
    assert science.images == ()


def test_by_the_hub_name_images_come_decoded(monkeypatch):
    rows = [{"image": Image.new("L", (4, 4)), "answer": ["A cat."]}]
    asked = []
    fake = SimpleNamespace(load_dataset=lambda *names, **settings: asked.append((names, settings)) or rows)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    (found,) = load("coco-captions", None)
    assert asked == [(("lmms-lab/COCO-Caption2017",), {"split": "val", "streaming": True})]
    assert found.images[0].mode == "RGB"
    rows.append({"image": "no image", "answer": ["A dog."]})
    with pytest.raises(InputError, match=r"cannot read row 2 of lmms-lab/.*; get it yourself and say coco-captions=FO"):
        list(load("coco-captions", None))
    for name in ("llava-instruct", "llava-mix665k"):
        with pytest.raises(InputError, match=f"names images that lie elsewhere; get them too, and say {name}=FOLDER"):
            list(load(name, None))


@pytest.mark.parametrize(("year", "image"), [(2014, "COCO_train2014_000000000007.jpg"), (2017, "000000000007.jpg")])
def test_captions_of_both_years_find_their_images(year, image, tmp_path):
    rows = {"annotations": [{"image_id": 7, "caption": "A cat."}]}
    write(tmp_path / f"captions_train{year}.json", rows)
    (tmp_path / f"train{year}").mkdir()
    Image.new("RGB", (4, 4)).save(tmp_path / f"train{year}" / image)
    (found,) = load("coco-captions", tmp_path)
    assert [path.name for path in found.images] == [image]


def test_what_is_wrong_is_said(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="unknown training data 'llava'; allowed: llava-instruct"):
        conversations_from("llava", 1)
    with pytest.raises(InputError, match=r"made in a clone: python -m recipes\.demo_model drafter"):
        conversations_from("demo", 1)
    for name in TRAINING:
        with pytest.raises(InputError, match=rf"nothing of {name} is in .*; get "):
            list(load(name, tmp_path))
    write(tmp_path / "problems.json", {"1": {"question": "?", "split": "train"}})
    with pytest.raises(InputError, match=r"row 1 is not a row of ScienceQA \(KeyError: 'choices'\)"):
        list(load("scienceqa", tmp_path))
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="needs the package datasets; pip install datasets, or say sharegpt=FOLDER"):
        list(load("sharegpt", None))

    def unreachable(*names, **settings):
        raise ConnectionError("no network\nmore")

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=unreachable))
    with pytest.raises(InputError, match=r"cannot load .*: no network; get it yourself and say sharegpt=FOLDER"):
        list(load("sharegpt", None))

"""Drafters that this machine has for a target: found by its name, used where nobody names one, never in the way."""

import json
import os
import shutil
from dataclasses import replace

import pytest
from transformers import AutoModelForImageTextToText

import seeahead
from seeahead.bench.benchmark import _drafters
from seeahead.drafters import at_hand as module
from seeahead.drafters import check_names, folders_for, spec_of
from seeahead.drafters.at_hand import PublishedTable, at_hand, remember
from seeahead.errors import DrafterError, ModelError
from seeahead.testing import tiny_processor
from tests.drafters.head_folders import write_head
from tests.drafters.tiny_folders import write, write_whole

HEADS, VLM = ("lucylyn/MSD-LLaVA1.5-7B", "JLKang/ViSpec-llava-1.5-7b-hf"), "mjbooo/lvlm68m"


@pytest.fixture(autouse=True)
def _cache(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "default_cache", lambda: tmp_path / "cache")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny model's folder: target and drafter at once."""
    return write_whole(tmp_path_factory.mktemp("models") / "vlm")


def members_of(engine):
    return list(engine.drafter.members)


def test_auto_takes_what_was_trained_for_the_model_however_it_is_loaded(model, tmp_path, monkeypatch):
    assert at_hand(model) == folders_for(model) == {}
    assert members_of(seeahead.load(model)) == ["lookup"]
    trained = shutil.copytree(model, tmp_path / "trained")
    remember(str(model), trained)
    assert at_hand(model) == {"vlm": trained}
    engine = seeahead.load(model)
    assert members_of(engine) == ["vlm", "lookup"]
    settings = {"prompt": "what now", "max_new_tokens": 12, "temperature": 0}
    drafted, plain = engine.generate(**settings), engine.with_drafter("none").generate(**settings)
    assert drafted.token_ids == plain.token_ids
    assert members_of(seeahead.load(model, "auto:members=lookup")) == ["lookup"]
    assert seeahead.load(model, "vlm").drafter.name == "vlm"
    pair = AutoModelForImageTextToText.from_pretrained(model), tiny_processor("llava")
    assert members_of(seeahead.load(pair)) == ["vlm", "lookup"]
    monkeypatch.chdir(model.parent)
    assert at_hand("vlm") == {"vlm": trained}  # another spelling of the same folder


def test_custom_generate_takes_them_too(model, tmp_path):
    remember(str(model), shutil.copytree(model, tmp_path / "trained"))
    given = AutoModelForImageTextToText.from_pretrained(model)
    ids = tiny_processor("llava").tokenizer("what now", return_tensors="pt").input_ids
    loop = seeahead.custom_generate()
    asked = {"input_ids": ids, "max_new_tokens": 8, "do_sample": False}
    drafted = given.generate(**asked, custom_generate=loop)
    assert drafted.tolist() == given.generate(**asked).tolist()
    _, drafter = loop._last
    assert list(drafter.members) == ["vlm", "lookup"]


def test_the_last_one_of_a_kind_counts_and_other_targets_have_none(tmp_path):
    first, second, msd = (write(kind, tmp_path / name) for kind, name in zip(["vision", "vision", "msd"], "abc"))
    for folder in (first, msd, second):
        remember("owner/name", folder)
    assert at_hand("owner/name") == {"msd": msd, "vision": second}
    assert at_hand("owner/other") == {}
    shutil.rmtree(second)  # what was moved is not missed
    assert at_hand("owner/name") == {"msd": msd}
    check_names(["msd"], folders_for("owner/name"))
    with pytest.raises(DrafterError, match="needs a model made for this target"):
        check_names(["vision"], folders_for("owner/name"))


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"folder": 3}', '{"target": "a", "folder": "\\u0000"}'])
def test_a_damaged_record_is_none(tmp_path, damage):
    remember("owner/name", write("msd", tmp_path / "msd"))
    (record,) = (tmp_path / "cache").rglob("*.json")
    assert json.loads(record.read_text())["target"] == "owner/name"
    record.write_text(damage)
    assert at_hand("owner/name") == {}


def test_published_ones_are_taken_once_the_hub_s_cache_has_them(model, tmp_path, monkeypatch):
    fetched = {}
    monkeypatch.setattr(module, "try_to_load_from_cache", lambda name, file, revision: fetched.get(name))
    target = PublishedTable.read().targets["LLaVA-1.5 7B"]
    assert at_hand(target) == {}
    whole = shutil.copytree(model, tmp_path / "whole")
    fetched[VLM] = str(whole / "config.json")
    assert at_hand(target) == at_hand(f"{target}@main") == {"vlm": whole}
    assert at_hand("Qwen/Qwen2-VL-7B-Instruct") == {}
    (config_alone := tmp_path / "config").mkdir()
    shutil.copy(whole / "config.json", config_alone)
    fetched[VLM] = str(config_alone / "config.json")  # as a look at it leaves it
    assert at_hand(target) == {}


@pytest.mark.parametrize("name", ["Cloudriver/EAGLE3-LLaVA1.5-7B", "Irisssme/HiViS-Qwen2.5-VL-7B-Instruct@main"])
def test_a_published_one_of_a_form_that_is_not_read_is_told_by_its_id(name):
    with pytest.raises(DrafterError, match=r"has a form of its own \(.*\), which is not read here; docs/"):
        spec_of(name)


def test_what_does_not_fit_is_left_out_with_one_line_unless_it_was_asked_for(model, tmp_path, caplog):
    remember(str(model), write("msd", tmp_path / "msd"))
    engine = seeahead.load(model)
    assert members_of(engine) == ["lookup"]
    (told,) = [line for line in caplog.messages if "msd" in line]
    assert told.startswith("auto goes on without msd: ")
    assert "\n" not in told
    with pytest.raises((DrafterError, ModelError)):
        seeahead.load(model, "msd")


def test_of_each_kind_one_is_taken_the_trained_before_the_fetched_and_the_last_before_others(tmp_path, monkeypatch):
    folders = {name: write_head("msd llava", tmp_path / name.partition("/")[0]) for name in HEADS}
    for age, folder in enumerate(reversed(folders.values())):
        os.utime(folder, (1000 - age, 1000 - age))
    found = {name: str(folder / "config.json") for name, folder in folders.items()}
    monkeypatch.setattr(module, "try_to_load_from_cache", lambda name, file, revision: found.get(name))
    target = PublishedTable.read().targets["LLaVA-1.5 7B"]
    assert at_hand(target) == {"head": folders[HEADS[1]]}
    trained = write_head("msd llava", tmp_path / "trained")
    remember(target, trained)
    assert at_hand(target) == {"head": trained}


def test_what_is_not_read_here_is_not_taken(model, tmp_path, monkeypatch):
    table, whole = PublishedTable.read(), shutil.copytree(model, tmp_path / "whole")
    monkeypatch.setattr(module, "try_to_load_from_cache", lambda name, file, revision: str(whole / file))
    target = table.targets["LLaVA-1.5 7B"]
    assert at_hand(target) == {"vlm": whole}
    unread = {name: replace(one, is_read=False) for name, one in table.formats.items()}
    monkeypatch.setattr(PublishedTable, "read", lambda: replace(table, formats=unread))
    assert at_hand(target) == {}


def test_what_is_wrong_with_what_nobody_asked_for_is_nothing_to_an_answer(model, tmp_path, caplog):
    trained = shutil.copytree(model, tmp_path / "trained")
    (trained / "auto.json").write_text("{")  # cut off
    remember(str(model), trained)
    assert members_of(seeahead.load(model)) == ["vlm", "lookup"]
    assert [line for line in caplog.messages if line.startswith("auto learns anew what vlm is good at: ")]
    with pytest.raises(DrafterError):
        seeahead.load(model, f"auto:members={trained}+lookup")


def test_a_benchmark_of_another_model_names_lookup_and_auto_whatever_is_there(model, tmp_path):
    remember(str(model), shutil.copytree(model, tmp_path / "trained"))
    assert _drafters(None, str(model)) == ["lookup", "auto"]
    assert _drafters(None, "demo") == ["lookup", "language", "msd", "vision", "auto"]

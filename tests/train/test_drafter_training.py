"""Drafters are trained end to end, as every recipe says but in seconds: they learn, can be cut off, and draft."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import seeahead
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.drafters import bind
from seeahead.drafters.auto import AutoSpec
from seeahead.drafters.experience import PRIOR
from seeahead.drafters.none import EmptyDrafter
from seeahead.errors import InputError, ModelError
from seeahead.target import Target
from seeahead.train import loop
from seeahead.train.data import Dataset
from seeahead.train.examples import SLOT, Example
from seeahead.train.language import examples_for
from seeahead.train.recipe import GenerationSettings, Network, read_drafter_recipe
from seeahead.train.run import train

RECIPES = Path(__file__).parents[2] / "recipes" / "drafters"
OTHERS = [
    *("language-gpu", "vision-gpu", "msd-gpu"),
    *("demo-smoke", "own-pictures", "vision-single-cpu"),
    *("eagle-cpu", "language-cpu", "msd-both-cpu", "msd-demo", "msd-demo-short-cpu"),
    *("msd-no-ramp-cpu", "msd-pictures-cpu", "msd-text-cpu", "msd-short-cpu", "eagle3-short-cpu", "vispec-short-cpu"),
]
"""Recipes of the demo, for one's own images, and those that another is compared with."""
TWINS = sorted({path.stem for path in RECIPES.glob("*-cpu.toml")} - set(OTHERS))
PROSE = "A small bird sat on a branch. It looked around, and then it sang. " * 40
NUM_STEPS = 100


@pytest.fixture(scope="module")
def conversations(talk):
    return talk(
        [
            {"role": "user", "content": f"What is {number * 7}?"},
            {"role": "assistant", "content": f"It is {number}."},
        ]
        for number in range(60)
    )


def shrunk(name, corpus, num_steps=NUM_STEPS, **changes):
    """The recipe, small."""
    recipe = read_drafter_recipe(RECIPES / f"{name}.toml")
    stages = []
    for stage in recipe.stages:
        limits = replace(stage.limits, steps=num_steps, minutes=float("inf"), batch_size=8, learning_rate=1e-2)
        stages.append(replace(stage, limits=limits))
    network = Network(width=32, layers=1, vocabulary=0, visual_tokens=2, adapter_width=8)
    writing = GenerationSettings(minutes=60.0, batch_size=16, max_new_tokens=20, visual_tokens=2)
    text = (str(corpus),) if recipe.text else ()
    return replace(recipe, network=network, writing=writing, stages=tuple(stages), text=text, **changes)


@pytest.fixture(scope="module")
def trained(family, conversations, tmp_path_factory):
    """Folders of all four variants, each started from the one before, by name."""
    root = tmp_path_factory.mktemp("drafters")
    (root / "prose.txt").write_text(PROSE)
    folders, start = {}, None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "REPORT_SECONDS", -1.0)  # every step
        for name in ("base-cpu", "chat-cpu", "vision-cpu", "vision-text-cpu"):
            recipe = shrunk(name, root / "prose.txt")
            data = Dataset(recipe, family, conversations, root / "answers", lambda line: None, root)
            start = folders[name] = train(data, root / name, start)
    return folders


def test_auto_begins_with_what_the_training_learned(family, trained):
    [known] = json.loads((trained["chat-cpu"] / PRIOR).read_text())["skills"][:1]
    drafter = AutoSpec(members=(f"{trained['chat-cpu']}:as=mine",)).bind(Target.of(family))
    learned = drafter.experience.skills["mine", (known["num_images"], known["is_greedy"])]
    assert learned.value == known["log_odds"]


def provenance(folder):
    return json.loads((folder / "provenance.json").read_text())


def test_there_is_a_recipe_and_a_twin_for_every_variant():
    assert TWINS == ["base-cpu", "chat-cpu", "eagle3-cpu", "msd-cpu", "vision-cpu", "vision-text-cpu", "vispec-cpu"]
    assert {path.stem for path in RECIPES.glob("*.toml")} == {*TWINS, *(t.removesuffix("-cpu") for t in TWINS), *OTHERS}
    for name in OTHERS:
        assert read_drafter_recipe(RECIPES / f"{name}.toml").stages
    for twin in TWINS:
        large, small = (read_drafter_recipe(RECIPES / f"{name}.toml") for name in (twin.removesuffix("-cpu"), twin))
        assert large.kind == small.kind
        assert [stage.name for stage in large.stages] == [stage.name for stage in small.stages]
        assert all(stage.limits.minutes <= 60 or stage.limits.steps <= 5000 for stage in small.stages)


@pytest.mark.parametrize(
    ("name", "stage"), [("base-cpu", "pre-training"), ("chat-cpu", "instruction"), ("chat-cpu", "distillation")]
)
def test_the_loss_falls(trained, name, stage):
    file = trained[name].parent / f"{stage}.losses.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    # TVD++ is a policy gradient: its value is no measure, what it brings is.
    key, sign = ("agreement", -1) if stage == "distillation" else ("loss", 1)
    first, last = (sum(row[key] for row in part) for part in (rows[:5], rows[-6:-1]))
    assert sign * last < sign * first


def test_the_trained_drafter_beats_the_untrained_one_and_distilling_beats_pretraining(trained):
    base, chat = (provenance(trained[name])["held_out_agreement"] for name in ("base-cpu", "chat-cpu"))
    assert chat["distillation"] > 0.5
    assert chat["distillation"] > base["pre-training"] + 0.1
    assert chat["before"] == pytest.approx(base["pre-training"], abs=0.05)  # stored in bfloat16


@pytest.mark.parametrize("name", ["base-cpu", "chat-cpu", "vision-cpu", "vision-text-cpu"])
def test_what_is_trained_drafts_for_its_target(family, trained, name):
    drafter = bind(trained[name], Target.of(family))
    assert drafter.name == ("vision" if name == "vision-cpu" else "language")
    engine = seeahead.Engine(family, drafter)
    messages = "What is 14?", [PICTURES / "cow.jpg"]
    plain = engine.with_drafter("none").generate(*messages, max_new_tokens=24, temperature=0.0)
    drafted = engine.generate(*messages, max_new_tokens=24, temperature=0.0)
    assert drafted.token_ids == plain.token_ids
    if name != "base-cpu":
        assert drafted.metrics["block_efficiency"] > 1.5
    assert (trained[name] / "losses.svg").is_file() == (name != "vision-text-cpu")


def test_the_text_part_is_the_language_model_of_the_compact_vlm(trained):
    seeing, blind = (load_file(trained[name] / "model.safetensors") for name in ("vision-cpu", "vision-text-cpu"))
    assert seeing.keys() == blind.keys()
    assert all(torch.equal(seeing[name], blind[name]) for name in seeing)
    assert not (trained["vision-text-cpu"] / "adapter.safetensors").exists()


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(family, conversations, trained, tmp_path, monkeypatch):
    answers, num_steps = trained["chat-cpu"].parents[1] / "answers", 12
    recipe = shrunk("chat-cpu", "", num_steps)
    data = Dataset(recipe, family, conversations, answers, lambda line: None, tmp_path)
    whole = train(data, tmp_path / "whole", trained["base-cpu"])
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    gradient, calls = loop.gradient, []

    def cut_off(*arguments):
        calls.append(1)
        if len(calls) == num_steps + 5:
            raise KeyboardInterrupt
        return gradient(*arguments)

    monkeypatch.setattr(loop, "gradient", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut off", trained["base-cpu"])
    finished = train(data, tmp_path / "cut off", trained["base-cpu"])
    assert len(calls) == 2 * num_steps + 1
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, finished))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_answers_are_written_once_and_go_on_where_they_stopped(family, conversations, tmp_path):
    recipe = shrunk("chat-cpu", "")

    def run():
        data = Dataset(recipe, family, conversations, tmp_path / "answers", lambda line: None, tmp_path)
        return data.gather()["answers"]

    first = run()
    assert len(first) == len(conversations)
    files = sorted((tmp_path / "answers").iterdir())
    stamps = {file.name: file.stat().st_mtime_ns for file in files}
    lost = [file for file in files if file.suffix == ".jsonl"][-1]
    lost.unlink()
    assert [line.ids for line in run()] == [line.ids for line in first]
    changed = {file.name for file in (tmp_path / "answers").iterdir() if file.stat().st_mtime_ns != stamps[file.name]}
    assert {Path(name).stem for name in changed} == {lost.stem, "all"}


def test_answers_are_those_of_the_target_and_images_are_kept(family, conversations, tmp_path):
    recipe = shrunk("vision-cpu", "")
    data = Dataset(recipe, family, conversations[:4], tmp_path, lambda line: None, tmp_path)
    lines = {tuple(token for token in line.ids[: line.start] if token != SLOT): line for line in data.responses()}
    engine = seeahead.Engine(family, EmptyDrafter())
    for conversation in conversations[:4]:
        ((prompt, _),) = conversation.exchanges()
        tokens = family.encode(prompt).token_ids[0].tolist()
        line = lines[tuple(token for token in tokens if token not in family.image_token_ids)]
        reply = engine.generate(prompt, max_new_tokens=20, temperature=0.0)
        assert line.learned == reply.token_ids
        assert [top[0] for top in line.top_ids] == list(reply.token_ids)
        assert (0 if line.visual is None else len(line.visual)) == 2 * len(prompt.images)


def test_what_cannot_be_done_is_said(family, conversations, tmp_path):
    def run(recipe, asked=conversations, start=None):
        train(Dataset(recipe, family, asked, tmp_path / "answers", lambda line: None, tmp_path), tmp_path, start)

    with pytest.raises(InputError, match="give --data"):
        run(shrunk("chat-cpu", ""), ())
    with pytest.raises(InputError, match="trains nothing by itself; give the drafter to take with --start"):
        run(shrunk("vision-text-cpu", ""))
    with pytest.raises(ModelError, match="is not a drafter to start from"):
        run(shrunk("chat-cpu", ""), start=tmp_path)
    with pytest.raises(InputError, match="does not exist; give a text file"):
        run(shrunk("base-cpu", tmp_path / "nothing.txt"))


def test_a_stage_may_leave_out_answers_about_several_images():
    lines = [Example((5, 6), 1, visual=None if not count else torch.zeros(16 * count, 4)) for count in (0, 1, 2)]
    adapter, both = read_drafter_recipe(RECIPES / "vision-single-cpu.toml").stages
    assert examples_for(both, {"answers": lines}, 16) == lines[:2]
    assert examples_for(adapter, {"answers": lines}, 16) == lines[1:2]
    assert examples_for(replace(both, most_pictures=0), {"answers": lines}, 16) == lines


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('kind = "vision"', 'kind = "seeing"', "kind is 'seeing'; allowed: language, vision"),
        ('kind = "vision"', 'kind = "language"', "a language drafter has no adapter to train"),
        ('data = "answers"', 'data = "pictures"', r"\(adapter\): data is 'pictures'; allowed: text"),
        ('"forward-kl"', '"backward-kl"', "loss is 'backward-kl'; allowed: cross-entropy, forward-kl, tvd"),
        ("features = true", "visual_tokens = 4", "sees 16 visual tokens, answers keep 4"),
        ("seed = 7", "sede = 7", "unknown sede; allowed here: kind"),
        ('name = "both"', 'name = "adapter"', "two stages of one name"),
        ("learning_rate = 1e-3", "leaning_rate = 1e-3", "unknown leaning_rate"),
        ('data = "answers"', 'data = "text"', 'data is "text", and no text is named'),
        ('data = "answers"', 'data = "answers"\nmost_pictures = -1', "most_pictures is -1"),
    ],
)
def test_a_wrong_recipe_is_refused_with_what_is_allowed(tmp_path, old, new, message):
    text = (RECIPES / "vision-cpu.toml").read_text()
    assert old in text
    (tmp_path / "recipe.toml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        read_drafter_recipe(tmp_path / "recipe.toml")

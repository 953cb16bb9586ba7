"""The pieces of the stages on a tiny model: packing, adapters, and the whole smoke recipe."""

import json
import random
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoProcessor

from recipes.demo_model.answers import add_adapters, answer_loss, collate
from recipes.demo_model.card import page
from recipes.demo_model.dialogues import Example, Turn
from recipes.demo_model.pipeline import run_recipe
from recipes.demo_model.prompts import asked, prompts_of, text_prompt
from recipes.demo_model.recipe import read_recipe
from recipes.demo_model.smoke import smoke_sources
from recipes.demo_model.training import DemoTraining, vision_sizes
from recipes.demo_model.writing import answered
from seeahead.demo.model import build_processor, build_target, place_weights
from seeahead.errors import SeeaheadError

RECIPE = Path(__file__).parents[2] / "recipes" / "demo-smoke.toml"


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory) -> DemoTraining:
    folder = tmp_path_factory.mktemp("training")
    recipe = read_recipe(RECIPE)
    return DemoTraining(recipe, smoke_sources(folder / "made", recipe.seed), folder, lambda line: None, folder)


def test_packed_dialogues_cost_what_they_cost_alone(training: DemoTraining) -> None:
    model = training.fresh_target().float()
    add_adapters(model, 2)
    model.float()
    example = training.source(held_out=False).draw("shapes")
    dialogues = example.dialogues[:3]

    def loss(chosen: tuple[tuple[Turn, ...], ...]) -> tuple[float, int]:
        pack = training.packer.pack(Example(example.images, chosen, "shapes"), random.Random(0))
        count = sum(label != -100 for label in pack.labels)
        return answer_loss(model, collate([pack, pack]), training.packer.image_id).item(), count

    alone = [loss((dialogue,)) for dialogue in dialogues]
    together = loss(dialogues)
    assert together[1] == sum(count for _, count in alone)
    expected = sum(value * count for value, count in alone) / together[1]
    assert together[0] == pytest.approx(expected, rel=2e-3)


def test_packed_ids_are_what_the_processor_makes_of_the_chat(training: DemoTraining) -> None:
    example = training.source(held_out=False).draw("picture-pair")
    dialogue = example.dialogues[1]
    pack = training.packer.pack(Example(example.images, (dialogue,), "pair"), random.Random(0))
    messages = []
    for number, turn in enumerate(dialogue):
        images = [{"type": "image"}] * (2 if number == 0 else 0)
        messages.append({"role": "user", "content": [*images, {"type": "text", "text": turn.question}]})
        messages.append({"role": "assistant", "content": turn.answer})
    text = training.processor.apply_chat_template(messages)
    inputs = training.processor(text=text, images=list(example.images), return_tensors="pt")
    assert inputs["input_ids"][0].tolist() == pack.ids
    opened = training.processor.apply_chat_template(messages[:-1], add_generation_prompt=True)
    assert opened == asked(dialogue[:-1], dialogue[-1].question, 2) == prompts_of(example)[1].text


def test_an_unfinished_answer_teaches_no_end(training: DemoTraining) -> None:
    ends = [training.packer.dialogue((Turn("Why?", "Because", "text", (), done),))[1] for done in (True, False)]
    assert 2 in ends[0]
    assert 2 not in ends[1]


def test_the_exported_weights_merge_into_the_same_model(training: DemoTraining) -> None:
    model = training.fresh_target().float()
    adapter = add_adapters(model, 2)
    with torch.no_grad():
        for name, value in adapter.items():
            value.copy_(torch.randn_like(value) * 0.1 if name.endswith("lora_B") else value)
    training.export_target(model, adapter)
    merged = training.fresh_target()
    place_weights(merged, training.out / "weights")
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        model.float()
        expected, found = model(input_ids=ids).logits, merged(input_ids=ids).logits
    assert (expected - found).abs().max() < 0.05 * expected.abs().max()


def test_answers_written_in_a_batch_are_the_answers_written_alone(training: DemoTraining) -> None:
    model = training.fresh_target().float()
    prompts = [text_prompt("What is an owl?"), text_prompt("Why?")]
    together = answered(model, training.processor, prompts, 6)
    assert together == [answered(model, training.processor, [prompt], 6)[0] for prompt in prompts]


def test_the_smoke_recipe_runs_whole_and_resumes(tmp_path: Path) -> None:
    lines: list[str] = []
    run_recipe(RECIPE, tmp_path / "out", tmp_path / "cache", "card", lines.append)
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert {row["met"] for row in card["targets"]} <= {True, False}
    rendered = page({**card, "notes": ["A note."]})
    assert "<!--" not in rendered
    assert "| easy-VQA test questions right | >= 0.9 |" in rendered
    assert "- A note." in rendered
    drafter = tmp_path / "out" / "weights" / "drafters" / "language"
    config = json.loads((drafter / "config.json").read_text())
    d2t = load_file(drafter / "draft_vocabulary.safetensors")["d2t"]
    assert config["vocab_size"] == len(d2t) == 300
    assert config["unknown_draft_id"] == 0
    target = AutoModelForImageTextToText.from_pretrained(tmp_path / "out" / "target")
    assert config["target_vocab_size"] == target.config.text_config.vocab_size
    assert AutoProcessor.from_pretrained(tmp_path / "out" / "target").image_token == "<image>"
    lines.clear()
    run_recipe(RECIPE, tmp_path / "out", tmp_path / "cache", "card", lines.append)
    done = [line.partition(":")[0] for line in lines if "done before" in line]
    assert done == ["features and soft-words", "answers", "instruction", "distillation"]


def test_a_broken_set_of_weights_is_named(training: DemoTraining) -> None:
    other = build_target(training.sources.language, training.sources.tokenizer, vision_sizes(32, 1, 2))
    training.export_target(training.fresh_target(), {})
    with pytest.raises(SeeaheadError, match=r"vision\.safetensors and the vision tower differ"):
        place_weights(other, training.out / "weights")


def test_the_processor_counts_placeholders_right(training: DemoTraining) -> None:
    processor = build_processor(training.sources.tokenizer)
    example = training.source(held_out=False).draw("shape-pair")
    inputs = processor(text="<image>\n<image>\nWhat?", images=list(example.images), return_tensors="pt")
    assert int((inputs["input_ids"] == training.packer.image_id).sum()) == 128
    assert tuple(inputs["pixel_values"].shape) == (2, 3, 128, 128)

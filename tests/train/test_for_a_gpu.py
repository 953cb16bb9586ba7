"""What a GPU does otherwise, on a CPU: responses written in step, prompts encoded by processes, batches gathered."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from seeahead.data.conversations import MARKER, Conversation
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.errors import InputError
from seeahead.executor import FEATURES
from seeahead.executors.fuse import fused_decoder
from seeahead.families import family_for
from seeahead.prompt import make_prompt
from seeahead.testing import tiny_model, tiny_processor
from seeahead.train import features, generation, language
from seeahead.train.data import Dataset
from seeahead.train.encoding import encoded
from seeahead.train.examples import TOP, Example
from seeahead.train.features import FeatureObjective
from seeahead.train.gathered import GatheredExamples
from seeahead.train.language import LanguageObjective
from seeahead.train.recipe import GenerationSettings, Network, read_drafter_recipe
from seeahead.train.run import agreement

RECIPES = Path(__file__).parents[2] / "recipes" / "drafters"
WRITING = GenerationSettings(minutes=9.0, batch_size=16, max_new_tokens=12, features=True)


@pytest.fixture(scope="module")
def family():
    return family_for(tiny_model("llava"), tiny_processor("llava"))


@pytest.fixture(scope="module")
def conversations():
    image = str(PICTURES / "cow.jpg")
    return [
        Conversation(
            (("user", MARKER * (number % 3) + f"What is {number}" + " x" * (number % 5)),), (image,) * (number % 3)
        )
        for number in range(30)
    ]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    return tmp_path_factory.mktemp("answers") / "answers"


def in_step(monkeypatch):
    monkeypatch.setattr(generation, "_decoder_for_all", lambda family: fused_decoder(family.model).decoder)


def test_responses_written_in_step_are_those_written_slot_by_slot(family, monkeypatch):
    image = PICTURES / "cow.jpg"
    asked = ("What is this?", [image]), ("And what would a bird say?", []), ("Both?", [image, image])
    prompts = [family.encode(make_prompt(*one)) for one in asked]
    alone = generation.written_by(family, prompts, 12, FEATURES)
    in_step(monkeypatch)
    for one, other in zip(alone, generation.written_by(family, prompts, 12, FEATURES), strict=True):
        assert one.ids == other.ids
        torch.testing.assert_close(one.features[-1], other.features[-1], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(one.embeddings, other.embeddings, rtol=1e-4, atol=1e-4)
        assert one.row()["top_ids"] == other.row()["top_ids"]


def test_drawn_responses_depend_on_the_seed_alone(family, monkeypatch):
    in_step(monkeypatch)
    prompts = [family.encode(make_prompt("What is this?", [])) for _ in range(4)]
    first, again, other = (
        [one.ids for one in generation.written_by(family, prompts, 12, FEATURES, seed=seed)] for seed in (3, 3, 4)
    )
    assert first == again != other
    assert len({tuple(ids) for ids in first}) > 1


def test_processes_encode_as_one_does(family, conversations):
    prompts = [prompt for entry in conversations[:9] for prompt, _ in entry.exchanges()]
    one, several = (list(encoded(family, prompts, workers)) for workers in (0, 2))
    for alone, sent in zip(one, several, strict=True):
        assert torch.equal(alone.token_ids, sent.token_ids)
        assert alone.extras.keys() == sent.extras.keys()
        assert all(torch.equal(value, sent.extras[name]) for name, value in alone.extras.items())


def test_a_refusal_comes_back_from_a_process(conversations):
    blind = family_for(tiny_model("llama"), tiny_processor("llava").tokenizer)
    prompts = [prompt for entry in conversations[:3] for prompt, _ in entry.exchanges()]
    refused = [isinstance(found, InputError) for found in encoded(blind, prompts, 2)]
    assert refused == [False, True, True]


@pytest.mark.parametrize(("pictures", "num_visual"), [("pooled", 1), ("pooled", 4), ("full", 0), ("dropped", 0)])
def test_gathered_features_are_the_batches_made_one_by_one(
    family, conversations, answers, monkeypatch, pictures, num_visual
):
    recipe = read_drafter_recipe(RECIPES / "msd-gpu.toml")
    network = Network(vocabulary=60, pictures=pictures, visual_tokens=num_visual)
    recipe = replace(recipe, network=network, writing=WRITING)
    objective = FeatureObjective.begin(
        Dataset(recipe, family, conversations, answers, lambda line: None, answers), None
    )
    examples = objective.data["answers"][:9]
    single = objective.batch(examples)
    monkeypatch.setattr(features, "gathers", lambda device: True)
    del objective.gathered
    together = objective.batch(examples)
    for name, value in (vars(together) | vars(together.slate)).items():
        if isinstance(value, torch.Tensor):
            known = getattr(single, name, None) if name in vars(single) else getattr(single.slate, name)
            torch.testing.assert_close(value, known, msg=lambda told, name=name: f"{name}: {told}")
    assert agreement(objective) >= 0
    loss, _ = objective.loss(examples, recipe.stages[0], torch.Generator().manual_seed(3))
    loss.backward()


@pytest.mark.parametrize("kind", ["language", "vision"])
def test_gathered_examples_are_the_batches_made_one_by_one(family, conversations, answers, monkeypatch, kind):
    recipe = read_drafter_recipe(RECIPES / f"{kind}-gpu.toml")
    network = replace(recipe.network, width=32, layers=1, vocabulary=60, visual_tokens=1)
    recipe = replace(recipe, network=network, writing=WRITING)
    data = Dataset(recipe, family, conversations, answers, lambda line: None, answers)
    objective = LanguageObjective.begin(data, None)
    examples = objective.data["answers"][3:12]
    single, _ = objective.read(examples)
    monkeypatch.setattr(language, "gathers", lambda device: True)
    del objective.gathered
    same(objective.read(examples)[0], single)


def same(found, known):
    for name, value in vars(found).items():
        assert (value is None) == (getattr(known, name) is None)
        assert value is None or (value.dtype == getattr(known, name).dtype and torch.equal(value, getattr(known, name)))


def test_text_holds_no_room_for_what_it_lacks():
    table, cpu = torch.arange(50).where(torch.arange(50) % 3 > 0, -1), torch.device("cpu")
    text = [Example(tuple(range(start, start + 20))) for start in range(20)]
    top = tuple(tuple(range(first, first + TOP)) for first in (1, 7))
    answers = [Example((5, 6, 9, 11), 2, top, ((0.25,) * TOP, (0.125,) * TOP)), Example((0, 8, 9), 1)]
    mixed = [*text[:9], *answers, *text[9:]]
    gathered = GatheredExamples(mixed, table, 1, cpu)
    for chosen in ([mixed[3], mixed[9], mixed[10]], mixed[9:10], mixed[:2], mixed[::-1]):
        same(gathered.batch(chosen), GatheredExamples(chosen, table, 1, cpu).batch(chosen))
    held = GatheredExamples(text, table, 1, cpu)
    same(held.batch(text[3:5]), GatheredExamples(text[3:5], table, 1, cpu).batch(text[3:5]))
    tensors = [value for value in vars(held).values() if isinstance(value, torch.Tensor)]
    assert sum(value.nbytes for value in tensors) < 10 * 20 * len(text)

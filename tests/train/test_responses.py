"""The target's own answers: what is recorded beside them is what the target itself saw and felt, in every family."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.drafters.language import runs
from seeahead.executor import FEATURES, Want
from seeahead.families import family_for
from seeahead.prompt import make_prompt
from seeahead.session import Session
from seeahead.testing import VISION_FAMILIES, tiny_model, tiny_processor
from seeahead.train import responses
from seeahead.train.examples import MARK, SLOT
from seeahead.train.recipe import GenerationSettings, read_drafter_recipe
from seeahead.train.responses import TargetResponses, features_of
from tests.lossless.cases import WITH_EVERY_DRAFTER

RECIPE = Path(__file__).parents[2] / "recipes" / "drafters" / "vision-cpu.toml"
QUESTIONS = ("What is this?", "And what would a bird say of what is to be seen here?")


@pytest.fixture(scope="module", params=[name for name in VISION_FAMILIES if name in WITH_EVERY_DRAFTER])
def family(request):
    return family_for(tiny_model(request.param), tiny_processor(request.param))


def written(family, folder, images, **settings):
    writing = GenerationSettings(minutes=60.0, batch_size=2, max_new_tokens=6, sampled_every=0, **settings)
    prompts = [make_prompt(question, images) for question in QUESTIONS]
    own = TargetResponses(folder, family, writing, lambda line: None)
    own.write((prompt, None) for prompt in prompts)
    files = sorted(folder.glob("*.jsonl"))
    rows = [
        (json.loads(line), file, place) for file in files for place, line in enumerate(file.read_text().splitlines())
    ]
    inputs = sorted((family.encode(prompt) for prompt in prompts), key=lambda entry: entry.token_ids.shape[1])
    return own, [(*row, entry) for row, entry in zip(rows, inputs, strict=True)]


def own_pass(family, inputs, answer):
    """Embeddings of the prompt, features of all tokens but the last, without batch and padding."""
    session = Session(family.executor, 512)
    prompt = session.prefill(inputs, Want(FEATURES, embeddings=True))
    rest = session.score(answer[:-1], range(-1, len(answer) - 2), Want(FEATURES))
    return prompt.embeddings, torch.cat((prompt.features[-1], rest.features[-1]))


def test_recorded_features_are_those_of_the_target(family, tmp_path):
    _, rows = written(family, tmp_path, [PICTURES / "cow.jpg"], features=True)
    for row, file, place, inputs in rows:
        stored = load_file(file.with_suffix(".safetensors"))
        embeddings, features = own_pass(family, inputs, row["ids"])
        ids = inputs.token_ids[0]
        is_visual = torch.isin(ids, torch.tensor(sorted(family.image_token_ids)))
        assert [token < 0 for token in row["view"]] == is_visual.tolist()
        torch.testing.assert_close(stored[str(place)].float(), embeddings[is_visual], rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(stored[features_of(place, -1)].float(), features, rtol=1e-2, atol=2e-2)


def test_a_drafter_of_words_is_shown_images_without_their_markers(family, tmp_path):
    own, rows = written(family, tmp_path, [PICTURES / "cow.jpg"], features=True)
    for line, (row, _, _, inputs) in zip(own.examples(2), rows, strict=True):
        view = line.ids[: line.start]
        assert MARK not in view
        assert view.count(SLOT) == len(line.visual) <= 2 * (1 + row["view"].count(MARK))
        words = [token for token in inputs.token_ids[0].tolist() if token not in family.image_token_ids]
        assert [token for token in view if token >= 0] == words
    assert all(line.visual is None and SLOT not in line.ids for line in own.examples())


def test_images_and_tiles_stay_apart_that_have_markers_between_them(family, tmp_path):
    """As they do when it drafts."""
    own, rows = written(family, tmp_path, [PICTURES / "cow.jpg"] * 2, visual_tokens=4)
    for line, (*_, inputs) in zip(own.examples(2), rows, strict=True):
        shown = runs(inputs.token_ids[0].tolist(), family.image_token_ids)
        places = [place for tokens, start, is_image in shown if is_image for place in range(start, start + len(tokens))]
        num = sum(place - 1 not in places for place in places)
        assert num > 0
        assert line.ids[: line.start].count(SLOT) == len(line.visual) == 2 * num


@pytest.mark.parametrize(("every", "seeds"), [(0, [None] * 4), (1, [0, 1, 2, 3]), (2, [None, 1, None, 3])])
def test_as_many_batches_are_drawn_as_the_recipe_says_and_none_where_it_says_0(tmp_path, monkeypatch, every, seeds):
    path, seen, write = tmp_path / "recipe.toml", [], responses.written_by
    path.write_text(RECIPE.read_text().replace("sampled_every = 4", f"sampled_every = {every}"))
    settings = replace(read_drafter_recipe(path).writing, batch_size=1, max_new_tokens=2)
    assert settings.sampled_every == every

    def watched(*given, seed, **more):
        seen.append(seed)
        return write(*given, seed=seed, **more)

    monkeypatch.setattr(responses, "written_by", watched)
    family = family_for(tiny_model("llava"), tiny_processor("llava"))
    own = TargetResponses(tmp_path / "answers", family, settings, lambda line: None)
    own.write((make_prompt(question, ()), None) for question in QUESTIONS * 2)
    assert seen == seeds

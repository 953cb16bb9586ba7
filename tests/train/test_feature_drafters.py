"""A feature drafter is trained end to end, in seconds; what it learns from, and in what order."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import seeahead
from seeahead.data.suite import BUNDLED as PICTURES
from seeahead.drafters import bind
from seeahead.drafters.folder import KEY
from seeahead.drafters.msd import MsdNetwork, MsdOptions
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.errors import InputError, ModelError, SeeaheadError
from seeahead.target import Target
from seeahead.train import loop
from seeahead.train.data import Dataset
from seeahead.train.examples import Example, mixed, ramp
from seeahead.train.feature_networks import Learner
from seeahead.train.features import FeatureObjective
from seeahead.train.losses import FEATURE_LOSS
from seeahead.train.recipe import GenerationSettings, read_drafter_recipe
from seeahead.train.responses import TargetResponses, loaded
from seeahead.train.run import train

RECIPES = Path(__file__).parents[2] / "recipes" / "drafters"
NUM_STEPS = 160


@pytest.fixture(scope="module")
def conversations(talk):
    return talk([{"role": "user", "content": f"What is {number * 7}?"}] for number in range(40))


def shrunk(num_steps=NUM_STEPS, name="msd-cpu", **changes):
    recipe = read_drafter_recipe(RECIPES / f"{name}.toml")
    (stage,) = recipe.stages
    limits = replace(
        stage.limits, steps=num_steps, batch_size=8, learning_rate=1e-2, matrix_rate=0.0, minutes=float("inf")
    )
    writing = GenerationSettings(minutes=60.0, batch_size=16, max_new_tokens=20, features=True)
    stages = (replace(stage, limits=limits, **changes),)
    return replace(recipe, network=replace(recipe.network, vocabulary=0), writing=writing, stages=stages)


METHODS = {"msd": "msd-cpu", "eagle3": "eagle3-cpu", "vispec": "vispec-cpu"}
"""Recipes, by what reports call their drafters."""


@pytest.fixture(scope="module")
def folders(family, conversations, tmp_path_factory):
    """Of a trained drafter of each method. EAGLE-3's answers serve the others too."""
    root, made = tmp_path_factory.mktemp("features"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "REPORT_SECONDS", -1.0)  # every step
        for method in ("eagle3", "msd", "vispec"):
            recipe = shrunk(NUM_STEPS if method == "msd" else NUM_STEPS // 2, METHODS[method])
            data = Dataset(recipe, family, conversations, root / "answers", lambda line: None, root)
            made[method] = train(data, root / method)
    return made


@pytest.fixture(scope="module")
def trained(folders):
    return folders["msd"]


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_falls_and_the_trained_drafter_beats_the_untrained_one(folders, method):
    folder = folders[method]
    name = shrunk(name=METHODS[method]).stages[0].name
    rows = [json.loads(line) for line in (folder.parent / f"{name}.losses.jsonl").read_text().splitlines()]
    first, last = (sum(row["loss"] for row in part) for part in (rows[:5], rows[-6:-1]))
    assert last < first
    agreement = json.loads((folder / "provenance.json").read_text())["held_out_agreement"]
    assert agreement[name] > max(0.5, agreement["before"])


@pytest.mark.parametrize("method", METHODS)
def test_what_is_trained_drafts_for_its_target(family, folders, method, caplog):
    trained = folders[method]
    assert bind(trained, Target.of(family)).name == method
    assert not caplog.records, "its folder says for which target it was made"
    # A chain whatever the drafter thinks of it: where logits are small, so is every probability.
    engine = seeahead.Engine(family, bind(f"{trained}:chain=4", Target.of(family)))
    messages = "What is 14?", [PICTURES / "cow.jpg"]
    plain = engine.with_drafter("none").generate(*messages, max_new_tokens=24, temperature=0.0)
    drafted = engine.generate(*messages, max_new_tokens=24, temperature=0.0)
    assert drafted.token_ids == plain.token_ids
    assert drafted.metrics["block_efficiency"] > 1.5


def test_a_run_that_was_cut_off_ends_as_one_that_was_not(family, conversations, trained, tmp_path, monkeypatch):
    answers, num_steps = trained.parents[1] / "answers", 16
    data = Dataset(shrunk(num_steps), family, conversations, answers, lambda line: None, tmp_path)
    whole = train(data, tmp_path / "whole")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    gradient, calls = loop.gradient, []

    def cut_off(*arguments):
        calls.append(1)
        if len(calls) == num_steps // 2:
            raise KeyboardInterrupt
        return gradient(*arguments)

    monkeypatch.setattr(loop, "gradient", cut_off)
    with pytest.raises(KeyboardInterrupt):
        train(data, tmp_path / "cut off")
    finished = train(data, tmp_path / "cut off")
    one, other = (load_file(folder / "model.safetensors") for folder in (whole, finished))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("method", METHODS)
def test_training_goes_on_from_a_drafter_for_this_target_only(family, conversations, folders, tmp_path, method):
    answers, start = folders[method].parents[1] / "answers", folders[method]
    recipe = shrunk(8, METHODS[method])
    [stage] = recipe.stages
    data = Dataset(recipe, family, conversations, answers, lambda line: None, tmp_path)
    folder = train(data, tmp_path / "further", start)
    further = json.loads((folder / "provenance.json").read_text())["held_out_agreement"]
    before = json.loads((start / "provenance.json").read_text())["held_out_agreement"][stage.name]
    assert further["before"] == pytest.approx(before, abs=0.05)  # stored in bfloat16
    with pytest.raises(ModelError, match="is not a drafter to start from"):
        train(data, tmp_path / "none", tmp_path)
    other = "eagle3" if method == "msd" else "msd"
    with pytest.raises(ModelError, match=f"is {other}, which {method} cannot start from"):
        train(data, tmp_path / "other", folders[other])


def test_training_goes_on_from_no_drafter_of_other_words(family, conversations, folders, tmp_path):
    start = shutil.copytree(folders["msd"], tmp_path / "start")
    config = json.loads((start / "config.json").read_text())
    config[KEY]["target"]["tokenizer"] = "0123456789abcdef"
    (start / "config.json").write_text(json.dumps(config))
    data = Dataset(shrunk(8), family, conversations, folders["msd"].parents[1] / "answers", lambda line: None, tmp_path)
    with pytest.raises(ModelError, match="or other words for them; start from one for this target"):
        train(data, tmp_path / "further", start)


def test_a_stage_belongs_to_the_tokens_that_it_drafts(family, conversations, folders, tmp_path, monkeypatch):
    """More answers make others of them likeliest."""
    recipe, lines = replace(shrunk(4), network=replace(shrunk().network, vocabulary=90)), []
    data = Dataset(recipe, family, conversations, folders["msd"].parents[1] / "answers", lines.append, tmp_path)
    train(data, tmp_path / "out")
    train(data, tmp_path / "out")
    assert "done before" in "".join(lines)
    vocabulary = Dataset.vocabulary
    monkeypatch.setattr(Dataset, "vocabulary", lambda self, kinds: vocabulary(self, {"answers": kinds["answers"][:2]}))
    with pytest.raises(SeeaheadError, match="another vocabulary"):
        train(data, tmp_path / "out")


@pytest.mark.parametrize("token", [10**6, -1, None])
def test_special_tokens_that_the_target_has_not_are_left_out(family, conversations, folders, tmp_path, token):
    data = Dataset(shrunk(8), family, conversations, folders["msd"].parents[1] / "answers", lambda line: None, tmp_path)
    own = family.model.generation_config
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(own, "pad_token_id", token)
        patch.setattr(own, "bos_token_id", token)
        assert data.begin == data.end
        assert int(data.vocabulary({"answers": [Example([5, 6], 1)]}).target_ids.max()) < family.vocab_size


def test_answers_without_inner_states_are_not_taken_for_those_that_have_them(family, conversations, folders, tmp_path):
    kept = folders["msd"].parents[1] / "answers"
    shutil.copytree(kept, tmp_path / "answers")
    origin = tmp_path / "answers" / "origin.json"
    values = json.loads(origin.read_text())
    assert values.pop("inner states") == "(1, 1, 0)"
    origin.write_text(json.dumps(values))
    recipe = shrunk(8, METHODS["eagle3"])
    data = Dataset(recipe, family, conversations, tmp_path / "answers", lambda line: None, tmp_path)
    with pytest.raises(InputError, match="inner states was not there"):
        train(data, tmp_path / "out")


# ---- what is taught


@pytest.fixture
def recorded(family, trained):
    own = TargetResponses(trained.parents[1] / "answers", family, shrunk().writing, lambda line: None)
    return [loaded(example) for example in own.feature_examples(8192)[:6]]


def learner(family, **options):
    torch.manual_seed(0)
    network = MsdNetwork.beside(family.model, MsdOptions(**options), 512)
    data = Dataset(shrunk(), family, (), Path(), lambda line: None, Path())
    return FeatureObjective(data, {}, Learner(network, DraftVocabulary(torch.arange(family.vocab_size), 0)))


def test_every_token_of_the_answer_is_taught_and_none_of_the_prompt(family, recorded):
    for options in ({}, {"visual": "dropped"}, {"is_decoupled": False}):
        batch = learner(family, **options).batch(recorded, None)
        for row, line in enumerate(recorded):
            chosen = batch.slate.rows == row
            assert batch.tokens[chosen].tolist() == list(line.ids[line.start :])
            columns = batch.slate.columns[chosen].tolist()
            removed = line.ids.count(-1) if options.get("visual") == "dropped" else 0
            assert columns == list(range(line.start - 2 - removed, len(line.ids) - 2 - removed))
            torch.testing.assert_close(batch.wanted[chosen], line.features[-1][line.start - 1 :].float())


def test_the_loss_changes_nothing_of_its_batch(family, recorded):
    made = learner(family)
    batch = made.batch(recorded[:4], None)
    held = {**vars(batch.slate), "wanted": batch.wanted, "tokens": batch.tokens}
    before = {name: value.detach().clone() for name, value in held.items() if value is not None}
    loss, values = made.loss_of(batch, FEATURE_LOSS["msd"], ahead=1)
    loss.backward()
    assert all(torch.equal(value, held[name].detach()) for name, value in before.items())
    assert {"regression", "agreement", "agreement 1"} <= values.keys()


def test_it_starts_as_the_targets_last_layer(family):
    network = MsdNetwork.beside(family.model, MsdOptions(), 512)
    decoder = family.model.get_decoder()
    torch.testing.assert_close(network.decoder.layers[0].down.weight, decoder.layers[-1].mlp.down_proj.weight)
    torch.testing.assert_close(network.decoder.norm, decoder.norm.weight)
    feature = torch.randn(family.width)
    torch.testing.assert_close(network.text(torch.zeros(family.width), feature), feature)


# ---- the mixture


def stored(num_text, num_seen):
    text = [Example((5,) * (5 + row % 7), 2, stored=(Path("x"), row)) for row in range(num_text)]
    return text + [Example((-1,) * (9 + row % 5), 2, stored=(Path("y"), row)) for row in range(num_seen)]


def share_seen(batches):
    drawn = [example.has_images for batch in batches for example in batch]
    return sum(drawn) / len(drawn)


def test_the_ramp_starts_at_half_time_and_ends_at_images_alone():
    assert [ramp(share) for share in (0.0, 0.25, 0.499)] == [0.0] * 3
    assert [ramp(0.5 + step / 40 + 1e-6) for step in range(20)] == pytest.approx(
        [(1 + step) / 20 for step in range(20)]
    )
    assert ramp(1.0) == 1.0


def test_images_come_in_the_second_half_and_within_batches():
    mixture = mixed(stored(50, 50), "ramp", num_batches=80, size=16, seed=1)
    shares = [share_seen([mixture(number)]) for number in range(80)]
    assert max(shares[:40]) == 0.0
    assert shares[-1] > 0.8
    middle = [share_seen(map(mixture, range(window, window + 8))) for window in range(40, 80, 8)]
    assert middle == sorted(middle)


def test_a_batch_depends_on_seed_and_number_alone():
    one, other = (mixed(stored(30, 30), "both", 64, 8, seed=4) for _ in range(2))
    in_order = [one(number) for number in range(64)]
    # Two workers take every second batch each.
    of_two = [[other(number) for number in range(first, 64, 2)] for first in range(2)]
    assert in_order[0::2] == of_two[0]
    assert in_order[1::2] == of_two[1]
    assert mixed(stored(30, 30), "both", 64, 8, seed=5)(0) != in_order[0]


@pytest.mark.parametrize(("num_text", "num_seen"), [(10, 40), (0, 5), (5, 0)])
def test_all_draws_every_line_alike(num_text, num_seen):
    mixture = mixed(stored(num_text, num_seen), "all", num_batches=64, size=16, seed=1)
    assert share_seen(map(mixture, range(64))) == pytest.approx(num_seen / (num_text + num_seen), abs=0.04)


@pytest.mark.parametrize(
    ("mixture", "num_text", "num_seen", "says"),
    [("text", 0, 5, "without images"), ("ramp", 5, 0, "about images"), ("both", 0, 5, "without images")],
)
def test_a_missing_kind_is_refused(mixture, num_text, num_seen, says):
    with pytest.raises(InputError, match=f"no answers {says} to learn from"):
        mixed(stored(num_text, num_seen), mixture, 8, 4, 0)

"""Peers on a tiny LLaVA: same answers as plain, whoever drafts; a wrapped assistant is the drafter it wraps."""

import json

import pytest
import torch
from safetensors.torch import save_file

from seeahead.api import Engine
from seeahead.bench import harness
from seeahead.bench.harness import MEASURED, measure_costs
from seeahead.bench.methods import PEERS, Method, assistant, assistant_of
from seeahead.bench.record import Costs, Run
from seeahead.data.suite import Question
from seeahead.drafters import bind
from seeahead.drafters.none import EmptyDrafter
from seeahead.drafters.vocabulary import FILE_NAME
from seeahead.errors import InputError
from seeahead.executor import ModelInputs
from seeahead.families import family_for
from seeahead.session import Session
from seeahead.testing import tiny_model, tiny_processor

QUESTION = Question("one", (), "What is this?", 12)
GREEDY, SAMPLED = Run(3, "a method", 0, 0.0), Run(3, "a method", 0, 1.0)


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(family_for(tiny_model("llava"), tiny_processor("llava")), EmptyDrafter())


@pytest.fixture(scope="module")
def drafter_folder(tmp_path_factory):
    """A tiny Llama of sixty of the target's tokens."""
    folder = tmp_path_factory.mktemp("drafter")
    model = tiny_model("llama", seed=5, vocab_size=60)
    model.config.unknown_draft_id = 1
    model.save_pretrained(folder)
    target_ids = torch.arange(4, 160, 2)[:60]
    save_file({"d2t": target_ids - torch.arange(60)}, folder / FILE_NAME)
    assert json.loads((folder / "config.json").read_text())["unknown_draft_id"] == 1
    return folder


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_gives_the_plain_answer(engine, drafter_folder, name):
    plain = Method(engine).answer(GREEDY, QUESTION, 0)
    peer = PEERS[name](engine, drafter_folder)
    spoken = peer.answer(GREEDY, QUESTION, 0)
    assert spoken.token_ids == plain.token_ids
    assert spoken.text == plain.text
    assert 0 < spoken.seconds_first <= spoken.seconds_total
    assert peer.is_peer


def test_a_peer_samples_reproducibly_and_leaves_the_generator_alone(engine):
    peer = PEERS["transformers"](engine, None)
    before = torch.random.get_rng_state()
    first, second, other = (peer.answer(SAMPLED, QUESTION, seed).token_ids for seed in (1, 1, 2))
    assert first == second != other
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_wrapped_assistant_says_what_the_drafter_says(engine, drafter_folder):
    drafter = bind(drafter_folder, engine.target)
    wrapped = assistant(drafter_folder, engine)
    target_ids = [4, 20, 44, 9, 100]
    logits = wrapped(torch.tensor([target_ids])).logits[0, -1]
    assert logits.shape == (engine.family.vocab_size,)
    draft_ids = drafter.vocabulary.to_draft(target_ids)
    assert draft_ids[3] == 1, "a token outside the vocabulary reads as the unknown one"
    inputs = ModelInputs(torch.tensor([draft_ids]))
    own = Session(drafter.language.executor, 8).prefill(inputs).logits[-1]
    # Drafters keep their weights in half of the bits where that is faster.
    torch.testing.assert_close(logits[drafter.vocabulary.target_ids], own, atol=1e-2, rtol=1e-2)
    assert int(logits.argmax()) in drafter.vocabulary.target_ids.tolist()


def test_assisted_generation_without_a_drafter_is_refused(engine):
    with pytest.raises(InputError, match="needs a language drafter"):
        PEERS["transformers assisted"](engine, None)


def test_the_assistant_is_the_first_language_drafter_that_was_named(drafter_folder, tmp_path, monkeypatch):
    own, seeing = tmp_path / "own", tmp_path / "vision"
    seeing.mkdir()
    (seeing / "config.json").write_text('{"image_adapter": {}}')
    (tmp_path / "language").symlink_to(drafter_folder)
    monkeypatch.chdir(tmp_path)
    named = f"{drafter_folder}:chain=3"
    assert assistant_of(["vision", str(seeing), "lookup", named], own) == drafter_folder
    assert assistant_of(["language", str(seeing)], own) == own, "a kind is the model's own, whatever lies in the folder"
    assert assistant_of([], None) is None


def test_our_method_tells_pieces_and_steps(engine):
    spoken = Method(engine.with_drafter("lookup")).answer(GREEDY, QUESTION, 0)
    assert "".join(text for text, _ in spoken.pieces) == spoken.text
    assert spoken.generation is not None
    assert spoken.generation.token_ids == spoken.token_ids


def test_parameters_are_those_the_drafter_reads(engine, drafter_folder):
    assert Method(engine).num_weights == 0
    assert Method(engine.with_drafter("lookup")).num_weights == 0
    assert Method(engine.with_drafter(drafter_folder)).num_weights > 1000


def test_the_table_of_costs_has_every_size_and_its_progress(engine):
    told = []
    table = measure_costs(engine.family, lambda *stage: told.append(stage), num_repeats=2)
    assert set(table.seconds) == set(MEASURED)
    assert all(seconds > 0 for seconds in table.seconds.values())
    assert [share for _, share in told[:3]] == [0.0, 0.5, 1.0]


@pytest.mark.parametrize(("firsts", "num_measured"), [((2.0,), 1), ((1.5, 2.0), 2), ((1.5, 1.6, 1.7, 2.0), 3)])
def test_a_disturbed_table_is_measured_anew_twice_at_most(monkeypatch, firsts, num_measured):
    measured = iter([Costs(10, {1: 2.0, 4: seconds}) for seconds in firsts])
    seen = []
    monkeypatch.setattr(harness, "_measure_once", lambda *given: seen.append(next(measured)) or seen[-1])
    assert measure_costs(None, lambda *stage: None) is seen[-1]
    assert len(seen) == num_measured

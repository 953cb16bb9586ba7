"""The executor whose 16-bit answers are with any draft those that it gives without: bits of rows, borders, refusals."""

import pytest
import torch

from seeahead import proof
from seeahead.decode import run
from seeahead.drafters.language import LanguageDrafter
from seeahead.errors import ModelError
from seeahead.executor import ModelInputs, Want
from seeahead.executors import exact, layouts
from seeahead.executors.exact import exact_executor
from seeahead.executors.graphs import GraphsExecutor
from seeahead.families import family_for
from seeahead.families.choice import EXECUTORS, Choice, put_executor
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter, answer, assert_same_answer, random_tree, tiny_inputs, tiny_model
from seeahead.tree import ROOT, Draft
from tests.lossless.cases import NUM_TOKENS, plain, prompt
from tests.scripts import all_right, sometimes_right

FAMILIES = ("llava", "qwen3_vl", "gemma3")


def exactly(model_type, dtype=torch.bfloat16, seed=0):
    family = family_for(tiny_model(model_type, seed).to(dtype))
    family.executor = exact_executor(family)
    return family


def asked(model_type, num_images, num_words, dtype=torch.bfloat16):
    inputs = tiny_inputs(model_type, num_images, num_words)
    extras = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.extras.items()}
    return ModelInputs(inputs.token_ids, extras)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_answers_are_those_of_transformers_in_32_bits(model_type):
    family = exactly(model_type, torch.float32)
    for num_images in (0, 1):
        truth = plain(model_type, num_images)
        drafter = ScriptedDrafter("sometimes right", sometimes_right(truth.token_ids))
        assert_same_answer(answer(family, prompt(model_type, num_images), max_new_tokens=NUM_TOKENS), truth)
        assert_same_answer(answer(family, prompt(model_type, num_images), drafter, max_new_tokens=NUM_TOKENS), truth)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("model_type", FAMILIES)
def test_chains_and_trees_change_no_token_in_16_bits(model_type, dtype):
    family = exactly(model_type, dtype, seed=1)
    for num_images, num_words in ((0, 60), (1, 8)):
        inputs = asked(model_type, num_images, num_words, dtype)
        truth = answer(family, inputs, max_new_tokens=NUM_TOKENS)
        scripts = {"right": all_right(truth.token_ids), "sometimes": sometimes_right(truth.token_ids)}
        for name, script in {**scripts, "random tree": random_tree()}.items():
            assert_same_answer(answer(family, inputs, ScriptedDrafter(name, script), max_new_tokens=NUM_TOKENS), truth)
        itself = LanguageDrafter(Target.of(family))
        assert_same_answer(answer(family, inputs, itself, max_new_tokens=NUM_TOKENS), truth)


@pytest.mark.parametrize("model_type", FAMILIES)
def test_answers_side_by_side_are_those_alone_in_16_bits(model_type):
    """Greedy and drawn, with drafts and without; one joins as another ends."""
    family, requests, alone = exactly(model_type), [], []
    for number, (num_images, num_words) in enumerate([(0, 60), (1, 8), (0, 9), (1, 30), (0, 21)]):
        inputs, params = asked(model_type, num_images, num_words), SamplingParams(number % 2 * 0.9, seed=number)
        alone.append(answer(family, inputs, max_new_tokens=NUM_TOKENS - 2 * number, params=params).token_ids)
        scripts = sometimes_right(alone[-1]), random_tree(), lambda *_: Draft()
        sampler = Sampler(params, inputs.token_ids[0].tolist())
        rule, drafter = StopRule(len(alone[-1])), ScriptedDrafter("script", scripts[number % 3])
        requests.append(Request(family.executor, drafter, sampler, rule, family.image_token_ids).ask(inputs))
    for _ in run(iter(requests), 4):
        pass
    assert [tuple(request.answer) for request in requests] == alone
    assert any(step.num_accepted for request in requests for step in request.records)


# A binary tree; of a path that skips columns every row has other columns than in plain decoding.
PARENTS = [ROOT, *((node - 1) // 2 for node in range(1, exact.ROWS))]
PATH = [0, 2, 6, 14]


def bits(family, num_words, together):
    """Logits and hidden states of six paths of four, one after the other, as trees or one token a pass."""
    session, rows, want = Session(family.executor, 4), [], Want((1, -1))
    session.prefill(asked("gemma3", 0, num_words, family.dtype))
    for number in range(6):
        tokens = [40 + (7 * number + 3 * node) % 100 for node in range(len(PARENTS))]
        if together:
            scores = session.score(tokens, PARENTS, want)
            rows.append(torch.cat([scores.logits, scores.features[1], scores.features[-1]], 1)[PATH])
            session.commit(PATH)
            continue
        for node in PATH:
            scores = session.score([tokens[node]], [ROOT], want)
            rows.append(torch.cat([scores.logits, scores.features[1], scores.features[-1]], 1))
            session.commit([0])
    return torch.cat(rows)


# In 32 bits nearly every sum says in what order it was made, in 16 few do.
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("num_words", [4, 30, 200])
def test_a_row_of_a_tree_has_the_bits_of_a_plain_step(num_words, dtype):
    family = exactly("gemma3", dtype)
    assert torch.equal(bits(family, num_words, True), bits(family, num_words, False))


def test_masks_alone_do_not_make_the_bits_the_same():
    family = exactly("gemma3", torch.float32)
    family.executor = GraphsExecutor(family)
    assert not torch.equal(bits(family, 30, True), bits(family, 30, False))


def test_drafts_end_where_plain_decoding_looks_at_more_columns():
    family = exactly("llava")
    session = Session(family.executor, 4)
    session.prefill(asked("llava", 0, 250))
    assert session.most_nodes == 256 - session.length - 1 < exact.ROWS - 1
    truth = answer(family, asked("llava", 0, 245), max_new_tokens=NUM_TOKENS)
    right = ScriptedDrafter("right", all_right(truth.token_ids))
    drafted = answer(family, asked("llava", 0, 245), right, max_new_tokens=NUM_TOKENS)
    assert_same_answer(drafted, truth)
    assert sum(step.num_accepted for step in drafted.steps) > NUM_TOKENS // 2


def test_slots_take_turns_at_the_front_and_a_prompt_is_never_cut():
    family = exactly("llava")
    sessions = [Session(family.executor, 300) for _ in range(3)]
    expected = []
    for number, session in enumerate(sessions):
        session.prefill(asked("llava", 0, 20 + 9 * number))
        expected.append(session.score([50, 60], [ROOT, ROOT]).logits)
        session.commit([])
    together = family.executor.forward([one.tree([50, 60], [ROOT, ROOT]) for one in sessions], Want())
    assert all(torch.equal(ours.logits, theirs) for ours, theirs in zip(together, expected, strict=True))
    inputs = asked("llava", 0, 20)
    assert family.executor.ready(inputs).indivisible == inputs.length


def test_a_pass_that_is_too_large_is_right_all_the_same():
    family = exactly("llava", torch.float32)
    own = family_for(family.model)
    parents, tokens = range(-1, 39), [40 + node for node in range(40)]
    scores = []
    for one in (family, own):
        session = Session(one.executor, 4)
        session.prefill(asked("llava", 0, 30, torch.float32))
        scores.append(session.score(tokens, parents).logits)
    torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-4)


def test_a_device_whose_products_depend_on_a_rows_place_is_found_out(monkeypatch):
    family = exactly("llava")
    assert "the bits of rows after text" in [one.part for one in proof.prove(family, proof.prompts_for(family))]
    attend = exact.Exact.attend

    def placed(*given, **settings):
        mixed, _ = attend(*given, **settings)
        return mixed * (1 + 0.01 * torch.arange(mixed.shape[1])[None, :, None, None]).to(mixed.dtype), None

    monkeypatch.setattr(exact.Exact, "attend", placed)
    with pytest.raises(ModelError, match="the bits of rows after text"):
        proof.require(proof.prove(family, proof.prompts_for(family)))


@pytest.mark.parametrize(("model_type", "words"), [("qwen3_moe", "experts see"), ("gemma2", "may cap scores")])
def test_models_whose_rows_depend_on_one_another_are_refused(model_type, words):
    assert "exact" in EXECUTORS
    with pytest.raises(ModelError, match=f"executor exact: .*{words}.*; use graphs or transformers"):
        put_executor(family_for(tiny_model(model_type)), Choice("exact", "", "auto"), is_given=True, report=None)


def test_rows_are_as_many_as_a_bucket_has():
    assert exact.ROWS in layouts.ROWS

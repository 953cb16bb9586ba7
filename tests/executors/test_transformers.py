"""Passes of transformers' models on slots: several slots in one row say what each says alone."""

import pytest
import torch

from seeahead.executor import FEATURES, NOTHING, TreeInputs, Want
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.families import family_for
from seeahead.session import Session
from seeahead.testing import tiny_inputs, tiny_model
from seeahead.tree import ROOT
from tests.lossless.cases import FUSED, image_counts, prompt, target
from tests.lossless.test_odd_inputs import made

FAMILIES = (
    "llava",
    "qwen2_vl",
    "idefics3",
    "gemma3",
    "mistral",
    "llama4_text",
    "gemma2",
    "qwen3_moe",
    "cohere2",
    *FUSED,
)
TREES = (
    ([41, 50, 60, 61], [ROOT, 0, 0, 2]),
    ([70], [ROOT]),
    ([80, 81, 82], [ROOT, 0, 1]),
    ([90, 91, 92, 93, 94], [ROOT, 0, 0, 1, 2]),
)
PATHS = ([0, 2], [0], [0, 1, 2], [0, 2, 4])
SECOND = (([100, 101], [ROOT, ROOT]), ([102, 103, 104], [ROOT, 0, 0]), ([105], [ROOT]), ([106, 107], [ROOT, 0]))


def sessions(executor, prompts):
    found = []
    for inputs in prompts:
        session = Session(executor, inputs.length + 8)
        session.prefill(inputs)
        found.append(session)
    return found


def assert_packed_is_alone(executor, prompts, want):
    """Two passes over trees of all sessions, with a commit of other paths in each between them."""
    alone, together = sessions(executor, prompts), sessions(executor, prompts)
    for trees in (TREES, SECOND):
        asked = [session.tree(*tree) for session, tree in zip(together, trees, strict=True)]
        packed = executor.forward(asked, want)
        for session, tree, scores in zip(alone, trees, packed, strict=True):
            single = session.score(*tree, want)
            torch.testing.assert_close(scores.logits, single.logits, atol=1e-4, rtol=1e-4)
            assert scores.features.keys() == single.features.keys() == set(want.layers)
            for layer, hidden in scores.features.items():
                torch.testing.assert_close(hidden, single.features[layer], atol=1e-4, rtol=1e-4)
        for session, other, path in zip(alone, together, PATHS, strict=True):
            if trees is TREES:
                session.commit(path)
                other.commit(path)
    assert [one.length for one in alone] == [one.length for one in together]


@pytest.mark.parametrize("model_type", FAMILIES)
def test_a_pass_of_several_slots_is_each_alone(model_type):
    """Prompts of unlike lengths, with images and without: every slot has its own positions and its own past."""
    executor = target(model_type).executor
    most = image_counts(model_type)[0]
    prompts = [prompt(model_type, images, words) for images, words in ((most, 8), (0, 3), (most // 2, 11), (0, 20))]
    executor.can_pack = None
    assert_packed_is_alone(executor, prompts, Want(FEATURES))
    if model_type not in FUSED:
        assert executor.can_pack, "slots that run one by one prove nothing"


@torch.inference_mode()
def test_a_pass_of_several_slots_of_our_own_decoder_is_each_alone():
    torch.manual_seed(0)
    decoder = Llama(LlamaShape(160, 32, 48, 2, 4, 2, 8, 64)).eval()
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    prompts = [tiny_inputs("llama", num_words=number) for number in (8, 1, 11, 20)]
    assert_packed_is_alone(decoder, prompts, Want(FEATURES))
    (session,) = sessions(decoder, prompts[:1])
    with pytest.raises(AssertionError, match="a slot takes part in a pass once"):
        decoder.forward([TreeInputs(session.slot, [5], [ROOT])] * 2, NOTHING)


@pytest.mark.parametrize(
    ("model_type", "sizes"),
    [
        ("falcon", {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}),
        ("codegen", {"n_positions": 128, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}),
    ],
)
def test_a_model_with_an_attention_of_its_own_says_the_same(model_type, sizes):
    """In one row, or one by one where its attention (Falcon's) cannot be called per slot."""
    family = family_for(made(model_type, **sizes))
    prompts = [tiny_inputs("llama", num_words=number) for number in (8, 1, 11, 20)]
    assert_packed_is_alone(family.executor, prompts, NOTHING)
    assert family.executor.can_pack is not None, "it was tried"


@pytest.mark.parametrize("is_known", [False, True])
def test_a_packed_pass_that_fails_is_undone_and_done_one_by_one(is_known, monkeypatch):
    """`is_known`: a pass of another thread, which began before this one, has failed meanwhile."""
    family = family_for(tiny_model("llama"))
    prompts = [tiny_inputs("llama", num_words=number) for number in (8, 1, 11, 20)]
    masks, seen = family.masks, []

    def failing(visible):
        seen.append(len(visible[0]))
        if seen[-1] > 6:  # all slots in one row
            family.executor.can_pack = False if is_known else None
            raise RuntimeError("no such mask")
        return masks(visible)

    monkeypatch.setattr(family, "masks", failing)
    assert_packed_is_alone(family.executor, prompts, NOTHING)
    assert family.executor.can_pack is False
    assert sum(length > 6 for length in seen) == 1, "tried once"


def test_the_attention_of_the_model_is_what_it_was_after_a_packed_pass():
    family = family_for(tiny_model("qwen3"))
    before = family.seen
    prompts = [tiny_inputs("qwen3", num_words=number) for number in (8, 1, 11, 20)]
    assert_packed_is_alone(family.executor, prompts, NOTHING)
    assert family.executor.can_pack
    assert not family.follow()
    assert family.seen == before


def test_a_paligemma_ends_at_its_window_also_after_a_change():
    model = tiny_model("paligemma")
    model.config.text_config.sliding_window = 20
    family = family_for(model)
    assert family.max_length == 20
    model.set_attn_implementation("eager")
    assert family.follow()
    assert family.max_length == 20


@pytest.mark.parametrize("model_type", ["llava", "qwen3", "gemma3"])
def test_hidden_states_are_those_that_transformers_tells(model_type):
    family, inputs = target(model_type), prompt(model_type, image_counts(model_type)[0])
    session = Session(family.executor, 64)
    scores = session.prefill(inputs, Want((0, 1, -1), embeddings=True))
    with torch.no_grad():
        outputs = family.model(input_ids=inputs.token_ids, output_hidden_states=True, **inputs.extras)
    for layer in (0, 1, -1):
        torch.testing.assert_close(scores.features[layer], outputs.hidden_states[layer][0])
    torch.testing.assert_close(scores.embeddings, outputs.hidden_states[0][0])


def test_a_decoder_whose_parts_have_other_names_tells_its_hidden_states_too():
    """GPT-2 calls its layers `h` and its last norm `ln_f`."""
    family, inputs = family_for(made("gpt2", n_positions=64, n_embd=32, n_layer=2, n_head=2)), tiny_inputs("llama")
    scores = Session(family.executor, 64).prefill(inputs, Want((1, -1), embeddings=True))
    with torch.no_grad():
        outputs = family.model(input_ids=inputs.token_ids, output_hidden_states=True)
    for layer in (1, -1):
        torch.testing.assert_close(scores.features[layer], outputs.hidden_states[layer][0])
    torch.testing.assert_close(scores.embeddings, outputs.hidden_states[0][0])

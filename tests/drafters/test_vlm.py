"""Whole vision-language models as drafters: folders, views, other tables and contexts; what is refused."""

import json
import shutil

import pytest
import torch
from PIL import Image

import seeahead
from seeahead.drafters import bind, spec_of
from seeahead.drafters import vlm as module
from seeahead.drafters.tabed import ViewsDrafter
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.vlm import VlmDrafter
from seeahead.drafting import run_alone
from seeahead.errors import DrafterError, InputError, ModelError
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.families import choice, family_for, loading
from seeahead.prompt import Message, Prompt
from seeahead.request import Request
from seeahead.target import Target
from seeahead.testing import answer, assert_same_answer, tiny_family, tiny_inputs, tiny_model, tiny_processor
from tests.drafters.contexts import context
from tests.drafters.tiny_folders import write_whole

CHAIN = TreeLimits(4, 1, 4, 0.0)
WIDE = TreeLimits(3, 8, 30, 0.0)
RED, BLUE = (Image.new("RGB", (30, 30), name) for name in ("red", "blue"))
TWO = Prompt((Message("user", (RED, "What", BLUE, "is 7?")),), ("a red one", "a blue one"))


@pytest.fixture(scope="module")
def target():
    return Target.of(family_for(tiny_model("llava"), tiny_processor("llava")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The checkpoint of a model that is the target itself."""
    return write_whole(tmp_path_factory.mktemp("models") / "vlm")


def accepted_and_drafted(generation):
    return sum(step.num_accepted for step in generation.steps), sum(step.num_drafted for step in generation.steps)


def test_a_folder_of_a_whole_model_is_shown_the_images(target, folder):
    spec = spec_of(f"{folder}:chain=4")
    assert spec.kind == "vlm"
    drafter = spec.bind(target)
    engine = seeahead.Engine(target.family, drafter)
    drafted = engine.generate(TWO, max_new_tokens=16, temperature=0)
    plain = engine.with_drafter("none").generate(TWO, max_new_tokens=16, temperature=0)
    assert drafted.token_ids == plain.token_ids
    assert accepted_and_drafted(drafted.generation) == (12, 12)


@pytest.mark.parametrize(("views", "temperature"), [("MTCP", 0.0), ("MT", 1.0), ("P", 0.0)])
def test_views_of_a_whole_model_change_no_token(target, folder, views, temperature):
    drafter = bind(f"tabed:vision={folder},views={views},pooled=1,min_probability=0", target)
    engine, asked = seeahead.Engine(target.family, drafter), {"max_new_tokens": 16, "temperature": temperature}
    drafted = engine.generate(TWO, **asked, seed=3)
    assert drafted.token_ids == engine.with_drafter("none").generate(TWO, **asked, seed=3).token_ids
    assert accepted_and_drafted(drafted.generation)[1] > 0


def shown(target, views, prompt=TWO, **more):
    """The model of a drafter of `views`, whose encoded prompts are looked at."""
    inputs = target.family.encode(prompt)
    drafter = VlmDrafter.beside(target, target, limits=CHAIN)
    given = context(inputs.token_ids[0].tolist(), 50, target.image_token_ids, num_tokens=160, prompt=prompt)
    return ViewsDrafter(drafter=drafter, views=views, target=target, **more).model(given)


@torch.inference_mode()
def test_a_view_shows_what_its_letter_says(target):
    family = target.family
    model = shown(target, "MTCP", pooled=1)
    told = [family.tokenizer.decode(view.inputs.token_ids[0]) for view in model._encoded]
    assert [text.count("<image>") for text in told] == [8, 0, 0, 2]
    assert "a red one" in told[2]
    assert "a blue one" in told[2]
    assert told[1].count("\n") == 2
    assert len(shown(target, "MT", Prompt((Message("user", ("What?",)),)))._encoded) == 1


@torch.inference_mode()
def test_pooled_features_are_means_before_the_projector(target):
    pooled = run_alone(shown(target, "P", pooled=1).read())[0]
    family = target.family
    inputs, inner = family.encode(TWO), family.model.model
    states = inner.vision_tower(inputs.extras["pixel_values"], output_hidden_states=True).hidden_states
    features = inner.multi_modal_projector(states[-2][:, 1:].mean(1, keepdim=True))[:, 0]
    ids = shown(target, "P", pooled=1)._encoded[0].inputs.token_ids
    embedded = family.model.get_input_embeddings()(torch.cat([ids, torch.tensor([[50]])], 1))
    embedded[0, (ids[0] == family.model.config.image_token_index).nonzero()[:, 0]] = features
    logits = family.model(inputs_embeds=embedded).logits[0, -1]
    logits[list(family.image_token_ids)] = -torch.inf
    torch.testing.assert_close(pooled, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("own", "theirs"), [(160, 172), (172, 160)])
def test_a_table_that_is_smaller_or_larger_than_the_targets(own, theirs):
    """Tokens that a target added are read as an unknown one; those that it does not have are never drafted."""
    whole = tiny_family("qwen2_5_vl", vocab_size=theirs)
    language = Target.of(tiny_family("qwen2_5_vl", 7, vocab_size=own))
    drafter = VlmDrafter.beside(language, Target.of(whole), limits=WIDE)
    for seed in range(4):
        inputs = tiny_inputs("qwen2_5_vl", 2, seed=seed)
        drafted = answer(whole, inputs, drafter, max_new_tokens=30)
        assert_same_answer(drafted, answer(whole, inputs, max_new_tokens=30))
        assert accepted_and_drafted(drafted)[1] > 100


@torch.inference_mode()
def test_placeholders_of_either_and_ids_that_the_target_lacks_are_never_drafted():
    language = Target.of(tiny_family("llava"))
    drafter = VlmDrafter(language, limits=TreeLimits(1, 200, 200, 0.0))
    tree = drafter.start(context([50, 51], 52, frozenset([7, 9]), num_tokens=150)).propose(999).tree
    assert set(tree.tokens) == set(range(150)) - {4, 7, 9}


@pytest.mark.parametrize("longest", [12, 40, 60])
def test_images_that_do_not_fit_its_context_give_way_to_text(longest):
    whole = tiny_family("llava")
    drafter = VlmDrafter.beside(
        Target.of(tiny_family("llava", 7, max_position_embeddings=longest)), Target.of(whole), limits=WIDE
    )
    inputs = tiny_inputs("llava", 5)
    drafted = answer(whole, inputs, drafter, max_new_tokens=40)
    assert_same_answer(drafted, answer(whole, inputs, max_new_tokens=40))
    assert accepted_and_drafted(drafted)[1] > 0


def test_what_its_processor_refuses_is_drafted_from_the_text(target, monkeypatch, caplog):
    language = Target.of(family_for(tiny_model("llava"), tiny_processor("llava")))

    def refuse(prompt):
        raise InputError("this image is too narrow")

    monkeypatch.setattr(language.family, "encode", refuse)
    engine = seeahead.Engine(target.family, VlmDrafter.beside(language, target, limits=CHAIN))
    drafted = engine.generate(TWO, max_new_tokens=16, temperature=0)
    assert drafted.token_ids == engine.with_drafter("none").generate(TWO, max_new_tokens=16, temperature=0).token_ids
    assert "drafts from the text of some: this image is too narrow" in caplog.text
    accepted, num_drafted = accepted_and_drafted(drafted.generation)
    assert accepted < num_drafted


@pytest.mark.parametrize("model_type", ["llava", "qwen2_5_vl"])
@pytest.mark.parametrize("is_told", [True, False])
def test_inside_transformers_generate_it_sees_the_prompt_it_is_given(model_type, is_told, monkeypatch, caplog):
    """Without it, it drafts from the text, and says so once."""
    family, steps = family_for(tiny_model(model_type), tiny_processor(model_type)), []
    apply, inputs = Request.apply, family.encode(TWO)
    monkeypatch.setattr(Request, "apply", lambda request, *rest: steps.append(1) or apply(request, *rest))
    module._log_once.cache_clear()
    loop = seeahead.custom_generate(VlmDrafter.beside(Target.of(family), Target.of(family), limits=CHAIN))
    asked = {"attention_mask": torch.ones_like(inputs.token_ids), "do_sample": False, "max_new_tokens": 16}
    told = {"prompt": [{"role": "user", "content": list(TWO.messages[0].parts)}]} if is_told else {}
    plain = family.model.generate(inputs.token_ids, **asked, **inputs.extras)
    for _ in range(2):
        steps.clear()
        drafted = family.model.generate(inputs.token_ids, **asked, **inputs.extras, custom_generate=loop, **told)
        assert torch.equal(drafted, plain)
        assert (len(steps) == 3) == is_told
    assert caplog.text.count("images of a prompt are not known") == (not is_told)


def test_it_runs_on_the_executor_of_its_target(folder, monkeypatch):
    monkeypatch.setattr(choice, "_LEAST", 0)
    family = family_for(tiny_model("llava"), tiny_processor("llava"))
    family.executor = OpenVinoExecutor(family)
    drafter = bind(f"{folder}:chain=4", Target.of(family))
    assert isinstance(drafter.language.executor, OpenVinoExecutor)
    engine = seeahead.Engine(family, drafter)
    drafted = engine.generate(TWO, max_new_tokens=16, temperature=0)
    assert accepted_and_drafted(drafted.generation) == (12, 12)
    assert drafted.token_ids == engine.with_drafter("none").generate(TWO, max_new_tokens=16, temperature=0).token_ids


# ---- what is refused, in one line


def test_a_model_that_cannot_draft_is_refused(target):
    with pytest.raises(DrafterError, match="1300 tokens are not the target's 160"):
        VlmDrafter.beside(Target.of(tiny_family("llava", vocab_size=1300)), target)
    with pytest.raises(DrafterError, match="reads no images; give it as a language drafter"):
        VlmDrafter.beside(Target.of(tiny_family("llama")), target)
    with pytest.raises(DrafterError, match=r"view P pools .* 'qwen2_5_vl' is not; leave P out"):
        ViewsDrafter(drafter=VlmDrafter(Target.of(tiny_family("qwen2_5_vl"))), views="MP")


def test_a_folder_without_a_processor_is_refused(target, folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "bare")
    for path in [*copied.glob("*token*"), *copied.glob("*process*")]:
        path.unlink()
    with pytest.raises(ModelError, match="cannot be loaded") as told:
        bind(copied, target)
    assert "\n" not in str(told.value)


def test_a_drafter_that_memory_cannot_hold_is_refused_before_it_is_read(target, folder, monkeypatch):
    own = sum(weight.nbytes for weight in target.family.model.parameters())
    for room, fits in ((own // 2, False), (own + own // 2, False), (3 * own, True)):
        monkeypatch.setattr(loading, "memory_bytes", lambda room=room: room)
        if fits:
            bind(folder, target)
            continue
        with pytest.raises(
            ModelError, match=r"GB of memory, and beside the target there are .* take a smaller drafter"
        ):
            bind(folder, target)


def test_a_wrong_folder_is_refused(target, folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "other")
    values = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**values, "model_type": "whisper"}))
    with pytest.raises(ModelError, match="model type 'whisper' is neither a text decoder nor"):
        bind(copied, target)

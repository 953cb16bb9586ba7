"""A model that is changed between two answers, or in training: the next answer follows, or is refused."""

import copy

import pytest
import torch
from torch import nn

import seeahead
from seeahead.errors import ModelError
from seeahead.families import family_for
from seeahead.prompt import make_prompt
from seeahead.testing import ScriptedDrafter, random_tree, tiny_inputs, tiny_model, tiny_processor

PROMPT = "one two one two"


def truth(engine, num_tokens=12):
    """What transformers alone says now."""
    model, ids = engine.family.given, engine.family.encode(make_prompt(PROMPT)).token_ids
    output = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=num_tokens)
    return tuple(output[0, ids.shape[1] :].tolist())


def engine(model_type="llama", *, fused=False, model=None):
    made = seeahead.load((model or tiny_model(model_type), tiny_processor(model_type)))
    if fused:
        assert made.family.fuse()
    return made.with_drafter(ScriptedDrafter("tree", random_tree()))


def assert_follows(own, change):
    before = truth(own)
    assert own.generate(PROMPT, max_new_tokens=12).token_ids == before
    change(own.family.model)
    after = truth(own)
    assert after != before, "the change changed nothing, so following it proves nothing"
    assert own.generate(PROMPT, max_new_tokens=12).token_ids == after


def other_values(model):
    model.load_state_dict(tiny_model("llama", seed=3).state_dict())


def other_tensors(model):
    other = tiny_model("llama", seed=3)
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        ours.data = theirs.data


def added_to_in_place(model):
    for parameter in model.parameters():
        parameter.data.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(0)))


def another_layer(model):
    mlp = model.model.layers[0].mlp
    mlp.down_proj = nn.Linear(mlp.down_proj.in_features, mlp.down_proj.out_features, bias=False)


def a_hook(model):
    model.model.layers[0].register_forward_hook(lambda module, args, output: output.roll(1, -1))


def an_adapter(model):
    peft = pytest.importorskip("peft", minversion="0.22", reason="transformers takes adapters of newer releases only")
    config = peft.LoraConfig(target_modules=["q_proj", "down_proj"], r=4, init_lora_weights=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model.add_adapter(config)
    model.eval()


def a_forward_of_its_own(model):
    layer = model.model.layers[0]
    forward = layer.forward
    layer.forward = lambda *args, **settings: forward(*args, **settings).roll(1, -1)


def a_hook_on_the_whole(model):
    def hook(module, args, output):
        output.logits = output.logits.roll(1, -1)
        return output

    model.register_forward_hook(hook)


def another_scale(model):
    model.model.layers[0].self_attn.scaling = 2.0


def another_epsilon(model):
    for module in model.modules():
        if hasattr(module, "variance_epsilon"):
            module.variance_epsilon = 5.0


class Negative(nn.Module):
    def forward(self, weight):
        return -weight


def a_parametrised_norm(model):
    nn.utils.parametrize.register_parametrization(model.model.norm, "weight", Negative())


def another_activation(model):
    model.model.layers[0].mlp.act_fn = nn.ReLU()


def other_frequencies(model):
    model.model.rotary_emb.inv_freq.mul_(0.3)


def another_head(model):
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.detach().roll(1, 0))


CHANGES = (
    a_forward_of_its_own,
    another_head,
    a_hook_on_the_whole,
    another_scale,
    another_epsilon,
    a_parametrised_norm,
    another_activation,
    other_values,
    other_tensors,
    added_to_in_place,
    another_layer,
    a_hook,
    an_adapter,
)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_the_next_answer_follows(change, fused):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert_follows(engine(fused=fused), change)


def test_hooks_that_transformers_sets_to_collect_hidden_states_change_nothing():
    own = engine(fused=True)
    own.generate(PROMPT, max_new_tokens=2)
    seen, fused = own.family.seen, own.family.executor._fused
    ids = own.family.encode(make_prompt(PROMPT)).token_ids
    own.family.model(input_ids=ids, output_hidden_states=True)
    own.generate(PROMPT, max_new_tokens=2)
    assert (own.family.seen, own.family.executor._fused) == (seen, fused)


def test_a_hook_that_looks_at_the_last_row_is_refused_though_the_model_without_it_was_proven():
    own, other = engine(), tiny_model("llama")
    own.generate(PROMPT, max_new_tokens=2)

    def steer(module, args, output):
        output = output.clone()
        output[:, -1] += 2 * torch.linspace(-1, 1, output.shape[-1])
        return output

    for model in (own.family.model, other):
        model.model.layers[0].register_forward_hook(steer)
    for ask in (lambda: own.generate(PROMPT), lambda: engine(model=other)):
        with pytest.raises(ModelError, match="self-check failed at"):
            ask()


def test_hooks_on_every_module_are_followed():
    own = engine(fused=True)
    before = own.generate(PROMPT, max_new_tokens=12).token_ids
    hook = torch.nn.modules.module.register_module_forward_hook(
        lambda module, args, output: -output if type(module).__name__ == "LlamaMLP" else None
    )
    try:
        after = truth(own)
        assert after != before
        assert own.generate(PROMPT, max_new_tokens=12).token_ids == after
    finally:
        hook.remove()


def test_a_config_edited_in_place_is_proven_anew():
    own = engine()
    own.generate(PROMPT, max_new_tokens=2)
    own.family.model.config.sliding_window = 5
    with pytest.raises(ModelError, match="self-check failed"):
        own.generate(PROMPT)


def test_packed_copies_follow_too():
    """On a CPU in bfloat16 the fused decoder has copies of the weights of its own."""
    model = tiny_model("llama")
    frequencies = model.model.rotary_emb.inv_freq.clone()
    model.to(torch.bfloat16)
    # As in a model that is loaded in 16 bits: frequencies stay in 32. Rounded ones are not those of our decoder.
    assert not family_for(model).fuse()
    model.model.rotary_emb.inv_freq = frequencies
    own = engine(model=model, fused=True)
    for change in (other_values, added_to_in_place):
        change(own.family.model)
        own.generate(PROMPT, max_new_tokens=2)
        assert own.family.executor._fused.is_current()
        fresh = engine(model=copy.deepcopy(own.family.model), fused=True)
        said = [one.generate(PROMPT, max_new_tokens=12).token_ids for one in (own, fresh)]
        assert said[0] == said[1]


def test_attention_may_be_switched_to_one_that_takes_trees_and_to_no_other():
    own = engine()
    own.family.model.set_attn_implementation("eager")
    assert own.generate(PROMPT, max_new_tokens=12).token_ids == truth(own)
    own.family.model.set_attn_implementation("flex_attention")
    with pytest.raises(ModelError, match="'flex_attention' takes no tree mask; load the model with"):
        own.generate(PROMPT)
    inputs = tiny_inputs("llama")
    with pytest.raises(ModelError, match="takes no tree mask"):
        own.family.model.generate(inputs.token_ids, custom_generate=seeahead.custom_generate(), max_new_tokens=4)
    own.family.model.set_attn_implementation("sdpa")
    assert own.generate(PROMPT, max_new_tokens=12).token_ids == truth(own)


def test_a_model_that_was_moved_is_refused():
    own = engine()
    own.family.model.to(torch.bfloat16)
    for _ in range(2):
        with pytest.raises(ModelError, match=r"was moved from cpu in torch.float32 to .*load it again"):
            own.generate(PROMPT)
    own.family.model.to(torch.float32)
    assert own.generate(PROMPT, max_new_tokens=4).token_ids


def test_a_model_in_training_stays_in_training():
    model, inputs = tiny_model("llama"), tiny_inputs("llama")
    expected = model.generate(inputs.token_ids, max_new_tokens=8)
    model.train()
    ours = model.generate(inputs.token_ids, max_new_tokens=8, custom_generate=seeahead.custom_generate())
    assert torch.equal(ours, expected)
    assert model.training
    assert engine(model=model).generate(PROMPT, max_new_tokens=8).token_ids
    assert model.training


def test_training_that_is_random_or_without_a_cache_is_refused():
    random, checkpointed = tiny_model("llama", attention_dropout=0.1).train(), tiny_model("llama").train()
    names = ("activation_checkpointing_enable", "gradient_checkpointing_enable")
    next(getattr(checkpointed, name) for name in names if hasattr(checkpointed, name))()
    for model, told in ((random, "is random there; call model.eval"), (checkpointed, "uses no cache")):
        with pytest.raises(ModelError, match=told):
            engine(model=model)
        assert model.training
        model.eval()
        assert engine(model=model).generate(PROMPT, max_new_tokens=4).token_ids


class Weight(torch.Tensor):
    """As quantised weights are: a subclass of a tensor inside a plain linear layer."""


def test_weights_of_their_own_kind_are_not_fused():
    model = tiny_model("llama")
    layer = model.model.layers[0].self_attn.q_proj
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Weight), requires_grad=False)
    own = engine(model=model)
    assert not own.family.fuse()
    assert own.generate(PROMPT, max_new_tokens=12).token_ids == truth(own)

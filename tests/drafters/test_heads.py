"""Published drafters: what they say equals an independent float64 reading, over prompts with images, trees, rounds."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from seeahead.drafters import bind
from seeahead.drafters.dialects import eagle3_choice
from seeahead.drafters.feature_decoder import Rotation
from seeahead.drafters.head_networks import default_layers, shifted_layers, spoken
from seeahead.drafters.heads import HeadSpec, facts_of
from seeahead.drafters.probe import samples_of
from seeahead.drafting import Feedback, run_alone
from seeahead.errors import ModelError
from seeahead.target import Target
from seeahead.testing import tiny_family, tiny_inputs
from seeahead.tree import ROOT
from tests.drafters.head_folders import D2T, DIALECTS, DRAFTED, SECTIONS, described, tensors_of, write_head
from tests.drafters.head_reference import Reference

LAYERS = 8
FAMILY_OF = {
    "msd llava": "llava",
    "msd qwen2_vl": "qwen2_vl",
    "eagle llava": "llava",
    "eagle qwen2_5_vl": "qwen2_5_vl",
    "vispec llava": "llava_next",
    "vispec qwen2_5_vl": "qwen2_5_vl",
    "vispec nemo": "llava",
    "eagle3 specforge": "qwen2_5_vl",
    "eagle3 specforge 1-d": "qwen3_vl",
    "eagle3 angelslim": "qwen3_vl",
    "eagle3 speculators": "qwen3_vl",
    "eagle3 newer": "qwen2_5_vl",
}
CHUNKED = [0] * 4 + [1] * 4 + [2] * 4
INTERLEAVED = [0, 1, 2] * 4
AXES = {"eagle3 specforge": CHUNKED, "eagle3 angelslim": INTERLEAVED}


@cache
def family(model_type):
    made = tiny_family(model_type, num_hidden_layers=LAYERS)
    head = made.model.get_output_embeddings().weight
    with torch.no_grad():  # drafters on CPUs may hold a head in 16 bits
        head.copy_(head.bfloat16())
    return made


@cache
def sample(model_type):
    target = Target.of(family(model_type))
    return samples_of(target, [tiny_inputs(model_type, 2, 10)], (2, 4, 5, -1), 12)[0]


def drafter_of(folder, name, **settings):
    return HeadSpec(source=folder, probe=False, **settings).bind(Target.of(family(FAMILY_OF[name])))


def reference(name, **changes):
    """As the drafter reads it by default, but for `changes`."""
    is_eagle3 = name.startswith("eagle3")
    visual = "placeholder" if is_eagle3 else "alone" if name.startswith("msd") else "seen"
    head = family(FAMILY_OF[name]).model.get_output_embeddings().weight.detach()
    told = {
        "theta": described(name)["theta"],
        "axes": AXES.get(name),
        "carries_norm": name == "eagle3 speculators",
        "visual": visual,
        "is_next": "specforge" in name or name == "eagle3 newer",
        "head": head,
    }
    return Reference(name, tensors_of(name), **{**told, **changes})


def begun(ref, name):
    """The reference after prompt and first token."""
    given, own = sample(FAMILY_OF[name]), family(FAMILY_OF[name])
    context = given.context
    tokens = torch.cat((context.inputs.token_ids[0], torch.tensor([given.tokens[0]])))
    placeholders = own.executor.embed(tokens)
    seen = torch.cat((context.embeddings, placeholders[-1:]))
    is_visual = tokens == own.model.config.image_token_id
    known = own.prompt_positions(context.inputs)
    positions = torch.arange(len(tokens)).expand(3, -1) if known is None else known[-3:, 0]
    if known is not None:
        positions = torch.cat((positions, (positions.max() + 1).expand(3, 1)), 1)
    layers = (2, 4, 5) if name.startswith("eagle3") else (-1,)
    features = ref.feature({layer: context.features[layer] for layer in layers})
    with torch.inference_mode(False):
        ref.begin(seen[1:], placeholders[1:], features, is_visual[1:], positions)
    return ref


def near(ours, theirs):
    theirs = theirs.float()
    assert float((ours - theirs).abs().max()) < 1e-4 * max(1.0, float(theirs.abs().max()))


def ids_of(name, tokens):
    """Target ids of draft ids."""
    return [token + int(D2T[token]) for token in tokens] if name.startswith("eagle3") else list(tokens)


@torch.inference_mode()
def compare(drafter, ref, name):
    """Prompt, a tree of three levels, what the target accepts, and the same again."""
    given, embed = sample(FAMILY_OF[name]), family(FAMILY_OF[name]).executor.embed
    model = drafter.model(given.context)
    usable = 50

    def said(logits):
        return logits.masked_fill(torch.isinf(logits), 0.0)

    def theirs(path=()):
        expected = ref.logits([embed(torch.tensor(token)) for token in ids_of(name, path)])
        return expected.masked_fill(torch.isinf(logits_now), 0.0)

    taken = 1
    for number in range(3):
        logits_now = run_alone(model.read())[0]
        near(said(logits_now), theirs())
        nodes, parents = [7, 9, 11 + number, 13, 15, usable], [ROOT, ROOT, 0, 0, 1, 3]
        first = run_alone(model.expand(nodes[:2], parents[:2]))[0]
        second = run_alone(model.expand(nodes[2:5], parents[2:5]))[0]
        third = run_alone(model.expand(nodes[5:], parents[5:]))[0]
        paths = [[7], [9], [7, nodes[2]], [7, 13], [9, 15], [7, 13, usable]]
        for logits, path in zip([*first, *second, *third], paths, strict=True):
            logits_now = logits
            near(said(logits), theirs(path))
        count = number + 2
        tokens = given.tokens[taken : taken + count]
        states = {layer: rows[taken - 1 : taken - 1 + count] for layer, rows in given.feedback.features.items()}
        model.accept(Feedback(tokens, given.logits[:count], states))
        layers = (2, 4, 5) if name.startswith("eagle3") else (-1,)
        features = ref.feature({layer: states[layer] for layer in layers})
        for token, feature in zip(tokens, features, strict=True):
            ref.extend(embed(torch.tensor(token)), feature)
        taken += count


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_says_what_its_equations_say(tmp_path, name):
    compare(spoken_by_default(tmp_path, name), begun(reference(name), name), name)


def spoken_by_default(tmp_path, name, **settings):
    drafter = drafter_of(write_head(name, tmp_path / "head"), name, **settings)
    if name == "eagle llava":  # whose tensors are those of msd: the probe tells
        network = spoken(drafter.network, replace(drafter.network.dialect, visual="seen"))
        drafter = replace(drafter, network=network)
    return drafter


WRONG = {
    "another base": ("eagle3 specforge", {"theta": 10000.0}),
    "one axis": ("eagle3 specforge", {"axes": None}),
    "chunked for interleaved": ("eagle3 angelslim", {"axes": CHUNKED}),
    "positions of the next token": ("eagle3 angelslim", {"is_next": True}),
    "images as the target sees them": ("eagle3 specforge", {"visual": "seen"}),
    "the residual before its norm": ("eagle3 speculators", {"carries_norm": False}),
    "visual slots with a feature": ("msd llava", {"visual": "seen"}),
    "visual slots without one": ("eagle qwen2_5_vl", {"visual": "alone"}),
}


@pytest.mark.parametrize("trap", WRONG)
@torch.inference_mode()
def test_every_trap_changes_what_is_said(tmp_path, trap):
    """Else the test above would not see it."""
    name, changes = WRONG[trap]
    given = sample(FAMILY_OF[name])
    ours = run_alone(drafter_of(write_head(name, tmp_path), name).model(given.context).read())[0]
    theirs = begun(reference(name, **changes), name).logits().float()
    kept = ~torch.isinf(ours)
    assert float((ours - theirs)[kept].abs().max()) > 0.01


@pytest.mark.parametrize("name", ["eagle3 speculators", "vispec qwen2_5_vl", "msd qwen2_vl"])
@torch.inference_mode()
def test_every_tensor_counts(tmp_path, name):
    """Each is changed in turn: what is read nowhere would change nothing."""
    given, tensors = sample(FAMILY_OF[name]), tensors_of(name)
    model = drafter_of(write_head(name, tmp_path / "whole"), name).model
    before = run_alone(model(given.context).read())[0]
    for number, key in enumerate(tensors):
        changed = {**tensors, key: tensors[key] + 0.5 * torch.randn(tensors[key].shape).to(tensors[key].dtype)}
        folder = write_head(name, tmp_path / str(number), changed)
        after = run_alone(drafter_of(folder, name).model(given.context).read())[0]
        kept = ~torch.isinf(before)
        # The same number added to every key's product changes no share.
        assert key == "imadpt.k_proj.bias" or float((after - before)[kept].abs().max()) > 1e-4, key


@torch.inference_mode()
def test_a_map_of_the_vocabulary_is_followed(tmp_path):
    drafter = drafter_of(write_head("eagle3 specforge", tmp_path), "eagle3 specforge")
    assert drafter.vocabulary.target_ids.tolist() == list(range(4, 160, 2))[:DRAFTED]
    given = sample("qwen2_5_vl")
    draft = drafter.start(given.context).propose(6)
    assert all(token % 2 == 0 for token in draft.tree.tokens)


@torch.inference_mode()
def test_a_token_that_it_cannot_draft_is_read_as_itself(tmp_path):
    """In one tree with others, who propose any token."""
    name = "eagle3 specforge"
    drafter, ref = drafter_of(write_head(name, tmp_path), name), begun(reference(name), name)
    model, embed = drafter.model(sample(FAMILY_OF[name]).context), family(FAMILY_OF[name]).executor.embed
    run_alone(model.read())
    for number, token in enumerate((9, 10, 11)):
        [draft] = model.ids.to_draft([token])
        assert (draft < 0) == (token % 2 == 1)
        assert model.ids.to_target([draft]) == [token]
        logits = run_alone(model.expand([draft], [ROOT]))[0][0]
        near(
            logits.masked_fill(torch.isinf(logits), 0.0),
            ref.logits([embed(torch.tensor(token))]).masked_fill(torch.isinf(logits), 0.0),
        )
        below = run_alone(model.expand(model.ids.to_draft([13]), [number * 2]))[0][0]
        path = [embed(torch.tensor(one)) for one in (token, 13)]
        near(below.masked_fill(torch.isinf(below), 0.0), ref.logits(path).masked_fill(torch.isinf(below), 0.0))
    assert model.ids.known([9, 10]) == frozenset(model.ids.to_draft([10])), "the odd one is none that it drafts"


@torch.inference_mode()
def test_a_part_of_an_answer_is_read_as_one_pass_would(tmp_path):
    """The probe's one pass says what rounds say."""
    name = "eagle3 angelslim"
    drafter, given = drafter_of(write_head(name, tmp_path), name), sample(FAMILY_OF[name])
    once = drafter.model(given.context)
    once.accept(given.feedback)
    whole = once.taught()
    rounds = drafter.model(given.context)
    for number in range(len(given.tokens)):
        logits = run_alone(rounds.read())[0]
        kept = ~torch.isinf(logits)
        near(logits[kept], whole[number][kept])
        if number + 1 < len(given.tokens):
            states = {layer: rows[number : number + 1] for layer, rows in given.feedback.features.items()}
            rounds.accept(Feedback(given.tokens[number + 1 : number + 2], given.logits[:1], states))


def test_layouts_of_three_axes():
    """As transformers' Qwen models turn them: chunked and interleaved, here with all pairs of a head."""
    positions = torch.tensor([[1, 5], [2, 5], [3, 5]])
    for interleaved, axes in ((False, CHUNKED), (True, INTERLEAVED)):
        cosines = Rotation(100.0, tuple(SECTIONS[24]), interleaved).factors(positions, 24)[0, 0]
        angles = [float(positions[axis, 0]) * 100.0 ** (-pair / 12) for pair, axis in enumerate(axes)]
        torch.testing.assert_close(cosines[0, :12], torch.tensor(angles).cos())
        torch.testing.assert_close(cosines[1], Rotation(100.0).factors(torch.tensor([[1, 5]]), 24)[0, 0, 1])


ORIGINAL = {"original_max_position_embeddings": 32}
STRETCHED = {
    "linear": {"factor": 4.0},
    "llama3": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, **ORIGINAL},
    "yarn": {"factor": 4, "beta_fast": 16.0, **ORIGINAL},
}


def chosen(values):
    told = facts_of(Target.of(family("qwen2_5_vl")))
    return eagle3_choice({"architectures": ["LlamaForCausalLMEagle3"], **values}, "here", 3, 24, told).first


@pytest.mark.parametrize("kind", STRETCHED)
def test_stretched_positions_are_those_of_transformers(kind):
    table = {"rope_type": kind, **STRETCHED[kind]}
    sizes = {"hidden_size": 24, "num_attention_heads": 1, "head_dim": 24, "max_position_embeddings": 128}
    config = LlamaConfig(**sizes, rope_parameters={**table, "rope_theta": 100.0})
    positions = torch.tensor([[0, 3, 70]])
    theirs = torch.stack(LlamaRotaryEmbedding(config)(torch.zeros(1), positions))
    rotation = chosen({"rope_scaling": table, "rope_theta": 100.0}).rotation
    torch.testing.assert_close(rotation.factors(positions, 24), theirs)
    assert not torch.allclose(Rotation(100.0).factors(positions, 24), theirs)


def test_what_a_config_says_of_positions_and_is_not_followed_is_told(caplog):
    assert chosen({"rope_scaling": {"type": "dynamic", "factor": 2.0}}).rotation == Rotation()
    assert "rope type dynamic depends on the length of a text" in caplog.text
    assert not chosen({"rope_scaling": {"type": "mrope", "mrope_section": [1, 2, 3]}}).rotation.sections
    assert "mrope_section is [1, 2, 3], and a head has 12 pairs of numbers" in caplog.text
    for table in ({"type": "linear"}, {"type": "linear", "factor": 0}, {"type": "llama3", "factor": "x"}):
        with pytest.raises(ModelError, match=r"rope is \{.*allowed: the numbers that its type wants"):
            chosen({"rope_scaling": table})


def test_two_tables_of_positions_are_one():
    """Trainers and transformers name the table differently; a config may have both."""
    tables = {"rope_parameters": {"rope_type": "default", "rope_theta": 50.0}, "rope_scaling": None}
    assert chosen(tables).rotation == Rotation(50.0)
    tables["rope_scaling"] = {"type": "mrope", "mrope_section": [4, 4, 4]}
    assert chosen(tables).rotation == Rotation(50.0, (4, 4, 4))


def test_which_states_are_read():
    assert default_layers(28) == (2, 14, 25)
    assert default_layers(94) == (2, 47, 91)
    name, speculators = "eagle_aux_hidden_state_layer_ids", {"architectures": ["Eagle3Speculator"]}
    assert chosen({"eagle_config": {name: [1, 3, 4]}}).layers == (2, 4, 5)
    assert chosen({"eagle_config": {name: [1, 3, 4]}, name: None}).layers == (2, 4, 5)
    assert chosen({name: [2, 4, 5], **speculators}).layers == (2, 4, 5)
    last = LAYERS - 1  # after it are the states that the target's head reads
    assert chosen({name: [1, 3, last]}).layers == (2, 4, -1)
    assert chosen({name: [1, 3, last], **speculators}).layers == (1, 3, last)
    assert shifted_layers((0, last, -1), -1, LAYERS) == (0, last - 1, last)


def test_a_published_folder_is_known_by_its_tensors(tmp_path):
    for number, name in enumerate(DIALECTS):
        folder, own = write_head(name, tmp_path / str(number)), family(FAMILY_OF[name])
        drafter = bind(f"{folder}:probe=0", Target.of(own))
        found = "msd" if name == "eagle llava" else described(name)["format"]
        assert type(drafter).__name__ == "FeatureDrafter"
        assert bind(HeadSpec(source=folder, probe=False), Target.of(own)).name == found

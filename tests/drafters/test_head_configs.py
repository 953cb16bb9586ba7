"""What a published head's config says beside its tensors: what must be there, sizes, layers, and whose head it is."""

import logging

import pytest
import torch

from seeahead.drafters import bind, probe
from seeahead.drafters.folder import Folder
from seeahead.drafters.heads import HeadSpec, facts_of
from seeahead.drafters.published import read_published
from seeahead.errors import DrafterError, ModelError
from seeahead.target import Target
from seeahead.testing import tiny_family, tiny_inputs
from tests.drafters.head_folders import D2T, DRAFTED, VOCAB, WIDTH, tensors_of, write_head
from tests.drafters.test_head_files import EAGLE3, change, made, refused
from tests.drafters.test_heads import FAMILY_OF, family

SPECULATORS = "eagle3 speculators"


@pytest.mark.parametrize(
    ("name", "changes", "removed", "missing"),
    [
        (EAGLE3, {}, ["norm.weight"], "missing norm.weight"),
        (EAGLE3, {"fc_norm": True}, [], "missing fc_norm.0.weight"),
        (SPECULATORS, {"norm_before_fc": True}, ["input_norm.weight"], "missing input_norm.weight"),
        (SPECULATORS, {"attention_bias": True}, [], "missing layers.0.self_attn.k_proj.bias"),
        (SPECULATORS, {}, [f"layers.{i}.self_attn.{one}_norm.weight" for i in (0, 1) for one in "qk"], "k_norm.weight"),
        ("vispec llava", {"qkv_bias": True}, [], "missing imadpt.k_proj.bias"),
        ("eagle qwen2_5_vl", {}, ["fc.bias"], "missing fc.bias"),
        ("eagle qwen2_5_vl", {"bias": True}, ["fc.bias"], "missing fc.bias"),
        ("vispec llava", {}, ["layers.0.mlp.up_proj.weight"], "missing layers.0.mlp.up_proj"),
    ],
)
def test_what_a_config_or_the_format_wants_is_missed(tmp_path, name, changes, removed, missing):
    folder = write_head(name, tmp_path / "head", **changes)
    change(folder, **dict.fromkeys(removed))
    refused(folder, missing, name=name)


def test_a_joint_without_a_bias_is_read_where_the_config_says_so(tmp_path):
    name = "eagle qwen2_5_vl"
    folder = write_head(name, tmp_path / "head", bias=False)
    change(folder, **{"fc.bias": None})
    found = read_published(folder, Folder.read(folder).values, facts_of(Target.of(family("qwen2_5_vl"))), WIDTH)
    assert not bool(found.network.fc.bias.any())


@pytest.mark.parametrize(
    ("name", "stray"), [(EAGLE3, "fc.bias"), (EAGLE3, "img_fc.bias"), ("eagle qwen2_5_vl", "img_fc.bias")]
)
def test_a_bias_that_the_format_has_not_is_named(tmp_path, name, stray):
    folder = write_head(name, tmp_path / "head")
    change(folder, **{stray: torch.zeros(WIDTH, dtype=torch.bfloat16)})
    refused(folder, f"unknown {stray}", name=name)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"hidden_size": 131072}, "fc.weight is 64 x 192, not 131072 x 192"),
        ({"hidden_size": 131072, "intermediate_size": 1 << 20}, "fc.weight is 64 x 192, not 131072 x 192"),
        ({"intermediate_size": 1 << 20}, "down_proj.weight is 64 x 96, not 64 x 1048576"),
        ({"target_hidden_size": 32}, "made for features of width 32, the target has width 64"),
    ],
)
def test_sizes_are_compared_before_anything_is_built(tmp_path, changes, told):
    refused(write_head(EAGLE3, tmp_path / "head", **changes), told)


def test_a_tensor_without_a_byte_may_not_say_how_much_is_built(tmp_path):
    folder = write_head(EAGLE3, tmp_path / "head", eagle_config={"eagle_aux_hidden_state_layer_ids": [1, 2]})
    change(folder, **{"fc.weight": torch.ones(0, WIDTH * 10**9)})
    refused(folder, "fc reads 1000000000 states of the target; at most 64")


@pytest.mark.parametrize(
    ("name", "tensors", "told"),
    [
        (EAGLE3, {"fc.weight": torch.ones(())}, "fc.weight is"),
        (EAGLE3, {"fc.weight": torch.ones(WIDTH, 6 * WIDTH)}, "made for features of width 128"),
        (EAGLE3, {"fc.weight": torch.ones(WIDTH, 3 * 40)}, "made for features of width 40"),
        ("vispec llava", {"imadpt.q": torch.ones(0, 4, 16)}, "imadpt.q has 0 queries; allowed: 2 to 65536"),
        ("vispec llava", {"imadpt.q": torch.ones(2**40, 0, 16)}, "has 1099511627776 queries; allowed: 2 to 65536"),
    ],
)
def test_damaged_shapes_are_one_line(tmp_path, name, tensors, told):
    folder = write_head(name, tmp_path / "head")
    change(folder, **tensors)
    refused(folder, told, name=name)


@pytest.mark.parametrize("named", [5, [5], [["LlamaForCausalLMEagle3"]], None])
def test_architectures_may_be_anything(tmp_path, named):
    assert made(write_head(EAGLE3, tmp_path / "head", architectures=named)).name == "eagle3"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"speculators_model_type": "dflash"}, "speculators model type 'dflash' is not read here; read are eagle3"),
        ({"architectures": ["DFlashDraftModel"]}, "architecture 'DFlashDraftModel' is not read here"),
        ({"architectures": ["PEagleDraftModel"]}, "architecture 'PEagleDraftModel' is not read here"),
        ({"architectures": ["DSparkSpeculator"]}, "architecture 'DSparkSpeculator' is not read here"),
        ({"model_type": "gemma4_assistant"}, "model type 'gemma4_assistant' is not read here"),
    ],
)
def test_drafters_of_other_formats_are_told_by_name(tmp_path, changes, told):
    folder = write_head(SPECULATORS, tmp_path / "head", **changes)
    refused(folder, told, name=SPECULATORS)
    with pytest.raises(ModelError, match="is not read here"):
        bind(folder, Target.of(family("qwen3_vl")))


@pytest.mark.parametrize("name", ["msd llava", "eagle qwen2_5_vl"])
@pytest.mark.parametrize("told", [1, 2, 28])
def test_a_head_is_told_by_its_tensors_however_many_layers_it_has(tmp_path, name, told):
    """Layers after the first have a norm before attention, whatever the first has."""
    tensors = tensors_of(name)
    if told == 2:
        second = {
            key.replace("layers.0.", "layers.1."): value.clone() for key, value in tensors.items() if "layers" in key
        }
        tensors |= {**second, "layers.1.input_layernorm.weight": torch.ones(WIDTH, dtype=torch.bfloat16)}
    changes = {"num_hidden_layers": told, "vision_config": {"hidden_size": 8}}
    folder = write_head(name, tmp_path / "head", tensors, **changes)
    assert Folder.read(folder).kind == "head"
    drafter = bind(f"{folder}:probe=0", Target.of(family(FAMILY_OF[name])))
    assert len(drafter.network.decoder.layers) == (2 if told == 2 else 1)


# ---- whose head it is


def test_a_head_of_the_text_models_of_the_targets_kind_is_warned_about(tmp_path, caplog):
    """Trainers name the text model whose layers a vision-language model has."""
    with caplog.at_level(logging.WARNING):
        made(write_head(EAGLE3, tmp_path / "text", target_model_type="qwen2"))
    assert "made for a target of type qwen2, this one is qwen2_5_vl, which sees images" in caplog.text
    refused(write_head(EAGLE3, tmp_path / "small", target_model_type="qwen2", vocab_size=9999), "was made for a target")
    refused(write_head(EAGLE3, tmp_path / "other", target_model_type="qwen2_vl"), "was made for a target")


def test_without_a_head_of_its_own_it_has_the_targets(tmp_path):
    folder = write_head(EAGLE3, tmp_path / "head", reuse_target_lm_head=True)
    change(folder, **{"lm_head.weight": None})
    drafter, own = made(folder), family("qwen2_5_vl")
    ids = torch.arange(DRAFTED) + D2T
    x = torch.randn(1, WIDTH)
    head = drafter.layer.head.head
    torch.testing.assert_close(head(x), x @ own.executor.head_rows(ids).T, rtol=2e-2, atol=2e-2)


def narrow(tmp_path, **changes):
    """A head whose layer has another width than its target, and that target."""
    folder = write_head(EAGLE3, tmp_path / "head", **changes)
    change(
        folder,
        **{
            "fc.weight": torch.randn(WIDTH, 3 * 32).to(torch.bfloat16),
            "embed_tokens.weight": torch.randn(VOCAB, WIDTH).to(torch.bfloat16),
        },
    )
    return folder, Target.of(tiny_family("llava", hidden_size=32, num_hidden_layers=8))


def test_a_layer_of_another_width_than_the_target_is_never_shown_what_that_sees(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(probe, "own_prompts", lambda target: [tiny_inputs("llava", 2, 10)])
    folder, target = narrow(tmp_path)
    assert HeadSpec(source=folder).bind(target).network.dialect.visual == "placeholder"
    change(folder, **{"lm_head.weight": None})
    with pytest.raises((DrafterError, ModelError), match=r"missing lm_head\.weight"):
        HeadSpec(source=folder).bind(target)


@pytest.mark.parametrize(("longest", "asked"), [(108, 0), (118, 1), (256, 2)])
def test_the_probe_asks_what_the_targets_context_has_room_for(tmp_path, monkeypatch, longest, asked):
    """Prompts of 14 and of 32 tokens, and as many of an answer as the probe wants."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    prompts, read = [tiny_inputs("llava", 0, 14), tiny_inputs("llava", 2, 24)], []
    monkeypatch.setattr(probe, "own_prompts", lambda target: prompts)
    samples_of = probe.samples_of
    monkeypatch.setattr(probe, "samples_of", lambda *args: read.extend(args[1]) or samples_of(*args))
    target = Target.of(tiny_family("llava", num_hidden_layers=8, max_position_embeddings=longest))
    assert HeadSpec(source=write_head("msd llava", tmp_path / "head")).bind(target)
    assert len(read) == asked


def test_heads_that_do_not_share_the_width_of_an_image_adaptor_are_one_line(tmp_path):
    folder = write_head("vispec llava", tmp_path / "head", num_attention_heads=3, num_key_value_heads=3, head_dim=22)
    sizes = {"q": (66, WIDTH), "k": (66, WIDTH), "v": (66, WIDTH), "o": (WIDTH, 66)}
    change(folder, **{f"layers.0.self_attn.{name}_proj.weight": torch.ones(size) for name, size in sizes.items()})
    change(folder, **{"imadpt.q": torch.ones(2, 3, 21)})
    refused(folder, "num_attention_heads is 3; allowed: a divisor of hidden_size, 64", name="vispec llava")


def test_no_layers_at_all_are_one_line(tmp_path):
    folder = write_head(EAGLE3, tmp_path / "head", eagle_config={"eagle_aux_hidden_state_layer_ids": []})
    change(folder, **{"fc.weight": torch.ones(WIDTH, 0)})
    refused(folder, "made for features of width 0, the target has width 64")

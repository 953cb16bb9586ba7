"""The matrix: every family, every drafter. One entry in DRAFTERS gives a new drafter all tests of this folder."""

import os
from functools import cache

import torch

from seeahead.drafters import spec_of
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.features import FeatureDrafter
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.msd import MsdNetwork, MsdOptions
from seeahead.drafters.none import EmptyDrafter
from seeahead.drafters.tabed import ViewsDrafter
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.vision import AdapterConfig, ImageAdapter, VisionDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.executor import ModelInputs
from seeahead.executors.graphs import GraphsExecutor
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.families import family_for
from seeahead.target import Target
from seeahead.testing import (
    TEXT_FAMILIES,
    VISION_FAMILIES,
    ScriptedDrafter,
    SelfDrafter,
    answer,
    random_tree,
    tiny_inputs,
    tiny_model,
)
from seeahead.testing.models import TINY_MODELS
from tests import own_family
from tests.free_costs import auto
from tests.scripts import all_right, all_wrong, random_chain, sometimes_right

FUSED = ("llava fused", "llama fused")
# M-RoPE, deepstack, two masks: the others have their say in tests/executors/test_openvino.py.
CONVERTED = ("llava openvino", "qwen3_vl openvino", "gemma3 openvino")
# The same, by passes that a GPU captures: the others in tests/executors/test_graphs.py.
IN_GRAPHS = ("llava graphs", "qwen3_vl graphs", "gemma3 graphs")
FAMILIES = (*VISION_FAMILIES, *TEXT_FAMILIES, *FUSED, *CONVERTED, *IN_GRAPHS, own_family.MODEL_TYPE)
# These meet every drafter and every edge; the others a drafter of every kind, on fewer prompts.
WITH_EVERY_DRAFTER = (
    "llava",
    "llava_next",
    "qwen2_vl",
    "qwen2_5_vl",
    "qwen3_vl",
    "idefics3",
    "smolvlm",
    "gemma3",
    "internvl",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma3_text",
    *FUSED,
)
OTHERS = tuple(family for family in FAMILIES if family not in WITH_EVERY_DRAFTER)
NUM_TOKENS = 24


def image_counts(model_type):
    if TINY_MODELS[plain_type(model_type)].pixels is None:
        return (0,)
    return (2, 0) if model_type in OTHERS else (2, 0, 1)


def plain_type(model_type):
    return model_type.removesuffix(" fused").removesuffix(" openvino").removesuffix(" graphs")


# Random networks believe in nothing much, and are right by chance: trees that do not mind, wide enough to be right.
WIDE = TreeLimits(depth=3, width=8, num_nodes=30, min_probability=0.0)

# The same matrix runs on a GPU with SEEAHEAD_TEST_DEVICE=cuda.
DEVICE = os.environ.get("SEEAHEAD_TEST_DEVICE", "cpu")


# Kept, because building them is half of a test's time.
@cache
def target(model_type, seed=0, **changes):
    family = family_for(tiny_model(plain_type(model_type), seed, **changes).to(DEVICE))
    if model_type in FUSED:
        assert family.fuse()
    if model_type in CONVERTED:
        family.executor = OpenVinoExecutor(family)
    if model_type in IN_GRAPHS:
        family.executor = GraphsExecutor(family)
    return family


@cache
def prompt(model_type, num_images=0, num_words=8):
    inputs = tiny_inputs(plain_type(model_type), num_images, num_words)
    return ModelInputs(inputs.token_ids.to(DEVICE), {name: value.to(DEVICE) for name, value in inputs.extras.items()})


@cache
def plain(model_type, num_images=0, num_words=8):
    """The target's own answer in our loop; `test_identity` compares it with transformers' generate."""
    return answer(target(model_type), prompt(model_type, num_images, num_words), max_new_tokens=NUM_TOKENS)


@cache
def trimmed_language():
    """Sixty of the target's words, the rest unknown, in our own decoder."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = Llama(LlamaShape(60, 32, 48, 2, 2, 1, 16, 512)).eval().to(DEVICE)
    return LanguageDrafter(
        Target(decoder), DraftVocabulary(torch.arange(4, 160, 2)[:60], unknown_draft_id=0), limits=WIDE
    )


@cache
def vision(width, num_tokens=0):
    """The trimmed language drafter with an adapter from visual embeddings of `width`."""
    blind = trimmed_language()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        adapter = ImageAdapter(AdapterConfig(width, 32, 16, num_tokens)).eval().to(DEVICE)
    return VisionDrafter(blind.language, blind.vocabulary, limits=WIDE, adapter=adapter)


@cache
def msd_network(width, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = MsdNetwork(LlamaShape(1, width, 48, 1, 2, 1, 16, 512), MsdOptions(**options))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return network.eval().to(DEVICE)


def msd(family, **options):
    """One random layer on the target's features, sixty words."""
    vocabulary = DraftVocabulary(torch.arange(4, 160, 2)[:60], unknown_draft_id=0)
    network = msd_network(family.width, **options)
    return FeatureDrafter.on(Target.of(family), network, vocabulary, name="msd", limits=WIDE)


def tabed(width, views, *others, target=None, **settings):
    """Views of the vision drafter, and `others` beside them."""
    of_prompt = ViewsDrafter(drafter=vision(width), views=views, pooled=1, target=target)
    return EnsembleDrafter((of_prompt, *others), limits=WIDE, **settings)


@cache
def language(model_type="llama", **settings):
    """Another random model of the target's vocabulary."""
    return LanguageDrafter(Target.of(target(model_type, 7)), **settings)


# Name -> drafter for (family, the target's own answer).
DRAFTERS = {
    "none": lambda family, truth: EmptyDrafter(),
    "lookup": lambda family, truth: LookupDrafter(min_match=1),
    "language": lambda family, truth: language(),
    "language with a window": lambda family, truth: language("mistral", limits=WIDE),
    "language, trimmed": lambda family, truth: trimmed_language(),
    "language, itself": lambda family, truth: LanguageDrafter(Target.of(family)),
    "vision": lambda family, truth: vision(family.text_config.hidden_size),
    "vision, few tokens": lambda family, truth: vision(family.text_config.hidden_size, 2),
    "msd": lambda family, truth: msd(family),
    "msd, pooled": lambda family, truth: msd(family, visual="pooled", num_tokens=2),
    "msd, one query": lambda family, truth: msd(family, visual="query"),
    "msd, no pictures": lambda family, truth: msd(family, visual="dropped"),
    "eagle": lambda family, truth: msd(family, is_decoupled=False),
    "tabed": lambda family, truth: tabed(family.width, "MT"),
    "tabed, static": lambda family, truth: tabed(family.width, "MTP", rule="static", draws=True),
    "tabed and others": lambda family, truth: tabed(
        family.width, "MP", LookupDrafter(min_match=1), msd(family), LanguageDrafter(Target.of(family)), draws=True
    ),
    "auto": lambda family, truth: auto(LookupDrafter(min_match=1), msd(family)),
    "auto, three": lambda family, truth: auto(
        language(), ScriptedDrafter("sometimes right", sometimes_right(truth), is_alone=False), msd(family)
    ),
    "auto, five": lambda family, truth: auto(
        LookupDrafter(min_match=1),
        LanguageDrafter(Target.of(family)),
        msd(family),
        vision(family.text_config.hidden_size),
        tabed(family.width, "MT"),
    ),
    "own": lambda family, truth: spec_of("tests.own_drafter:TrieSpec:depth=3").bind(Target.of(family)),
    "random chain": lambda family, truth: ScriptedDrafter("random chain", random_chain()),
    "random tree": lambda family, truth: ScriptedDrafter("random tree", random_tree()),
    "all wrong": lambda family, truth: ScriptedDrafter("all wrong", all_wrong(truth)),
    "all right": lambda family, truth: ScriptedDrafter("all right", all_right(truth)),
    "sometimes right": lambda family, truth: ScriptedDrafter("sometimes right", sometimes_right(truth)),
    "self": lambda family, truth: SelfDrafter(family.executor),
}

KINDS = (
    ("none",),
    ("lookup", "own"),
    ("language", "language with a window", "language, trimmed", "language, itself"),
    ("vision", "vision, few tokens"),
    ("msd", "msd, pooled", "msd, one query", "msd, no pictures", "eagle"),
    ("tabed", "tabed, static", "tabed and others"),
    ("auto", "auto, five", "auto, three"),
    ("random tree", "random chain"),
    ("sometimes right", "all right", "all wrong"),
    ("self",),
)


def one_of_each_kind(model_type):
    """Names of drafters for a family that does not meet all of them; families take turns within each kind."""
    turn = OTHERS.index(model_type)
    return [kind[turn % len(kind)] for kind in KINDS]

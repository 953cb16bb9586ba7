"""The matrix: every family, every drafter. One entry in DRAFTERS gives a new drafter all tests of this folder."""

import os
from functools import cache

import torch

from seeahead.drafters.empty import EmptyDrafter
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.feature import FeatureDrafter
from seeahead.drafters.growth import GrowthLimits
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.views_drafter import ViewsDrafter
from seeahead.drafters.vision import VisionDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.executor import ModelInputs
from seeahead.families import family_for
from seeahead.models.adapter import AdapterConfig, ImageAdapter
from seeahead.models.decoder import Decoder, DecoderConfig
from seeahead.models.feature import FeatureNetwork, FeatureOptions
from seeahead.testing import (
    TEXT_FAMILIES,
    VISION_FAMILIES,
    ScriptedDrafter,
    SelfDrafter,
    all_right,
    all_wrong,
    answer,
    random_chain,
    random_tree,
    sometimes_right,
    tiny_inputs,
    tiny_model,
)

FUSED = ("llava fused", "llama fused")
FAMILIES = (*VISION_FAMILIES, *TEXT_FAMILIES, *FUSED)
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
    if plain_type(model_type) not in VISION_FAMILIES:
        return (0,)
    return (2, 0) if model_type in OTHERS else (2, 0, 1)


def plain_type(model_type):
    return model_type.removesuffix(" fused")


# Random networks believe in nothing much, and are right by chance: trees that do not mind, wide enough to be right.
WIDE = GrowthLimits(depth=3, width=8, num_nodes=30, min_probability=0.0)

# The same matrix runs on a GPU with SEEAHEAD_TEST_DEVICE=cuda.
DEVICE = os.environ.get("SEEAHEAD_TEST_DEVICE", "cpu")


# Kept, because building them is half of a test's time.
@cache
def target(model_type, seed=0, **changes):
    family = family_for(tiny_model(plain_type(model_type), seed, **changes).to(DEVICE))
    if model_type in FUSED:
        assert family.fuse()
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
        decoder = Decoder(DecoderConfig(60, 32, 48, 2, 2, 1, 16, 512)).eval().to(DEVICE)
    return LanguageDrafter(decoder, DraftVocabulary(torch.arange(4, 160, 2)[:60], unknown_draft_id=0), WIDE)


@cache
def vision(width, num_tokens=0):
    """The trimmed language drafter with an adapter from visual embeddings of `width`."""
    blind = trimmed_language()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        adapter = ImageAdapter(AdapterConfig(width, 32, 16, num_tokens)).eval().to(DEVICE)
    return VisionDrafter(blind.executor, blind.vocabulary, WIDE, adapter=adapter)


@cache
def feature(width, **options):
    """One random layer on features of `width`, sixty words."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        network = FeatureNetwork(DecoderConfig(1, width, 48, 1, 2, 1, 16, 512), FeatureOptions(**options))
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    vocabulary = DraftVocabulary(torch.arange(4, 160, 2)[:60], unknown_draft_id=0)
    return FeatureDrafter(network.eval().to(DEVICE), vocabulary, WIDE)


def tabed(width, views, *others, **settings):
    """Views of the vision drafter, and `others` beside them."""
    return EnsembleDrafter((ViewsDrafter(vision(width), views, pooled=1), *others), limits=WIDE, **settings)


@cache
def language(model_type="llama", **settings):
    """Another random model of the target's vocabulary."""
    return LanguageDrafter(target(model_type, 7), **settings)


# Name -> drafter for (family, the target's own answer).
DRAFTERS = {
    "none": lambda family, truth: EmptyDrafter(),
    "lookup": lambda family, truth: LookupDrafter(min_match=1),
    "language": lambda family, truth: language(),
    "language with a window": lambda family, truth: language("mistral", limits=WIDE),
    "language, trimmed": lambda family, truth: trimmed_language(),
    "language, itself": lambda family, truth: LanguageDrafter(family),
    "vision": lambda family, truth: vision(family.text_config.hidden_size),
    "vision, few tokens": lambda family, truth: vision(family.text_config.hidden_size, 2),
    "msd": lambda family, truth: feature(family.width),
    "msd, pooled": lambda family, truth: feature(family.width, visual="pooled", num_tokens=2),
    "msd, one query": lambda family, truth: feature(family.width, visual="query"),
    "msd, no pictures": lambda family, truth: feature(family.width, visual="dropped"),
    "eagle": lambda family, truth: feature(family.width, is_decoupled=False),
    "tabed": lambda family, truth: tabed(family.width, "MT"),
    "tabed, static": lambda family, truth: tabed(family.width, "MTP", rule="static", draws=True),
    "tabed and others": lambda family, truth: tabed(
        family.width, "MP", LookupDrafter(min_match=1), feature(family.width), LanguageDrafter(family), draws=True
    ),
    "random chain": lambda family, truth: ScriptedDrafter("random chain", random_chain()),
    "random tree": lambda family, truth: ScriptedDrafter("random tree", random_tree()),
    "all wrong": lambda family, truth: ScriptedDrafter("all wrong", all_wrong(truth)),
    "all right": lambda family, truth: ScriptedDrafter("all right", all_right(truth)),
    "sometimes right": lambda family, truth: ScriptedDrafter("sometimes right", sometimes_right(truth)),
    "self": lambda family, truth: SelfDrafter(family),
}

KINDS = (
    ("none",),
    ("lookup",),
    ("language", "language with a window", "language, trimmed", "language, itself"),
    ("vision", "vision, few tokens"),
    ("msd", "msd, pooled", "msd, one query", "msd, no pictures", "eagle"),
    ("tabed", "tabed, static", "tabed and others"),
    ("random tree", "random chain"),
    ("sometimes right", "all right", "all wrong"),
    ("self",),
)


def one_of_each_kind(model_type):
    """Names of drafters for a family that does not meet all of them; families take turns within each kind."""
    turn = OTHERS.index(model_type)
    return [kind[turn % len(kind)] for kind in KINDS]

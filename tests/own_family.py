"""A family of one's own, whole: a model type that transformers does not know, its class, and its tiny model."""

from functools import wraps

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, LlavaConfig, LlavaForConditionalGeneration

import seeahead
from seeahead.families.base import Family
from seeahead.families.tiny import IMAGE, IMAGE_END, IMAGE_START, flat, text, tower
from seeahead.testing import Tiny, add_family

MODEL_TYPE = "own_vlm"


class OwnConfig(LlavaConfig):
    model_type = MODEL_TYPE


class OwnModel(LlavaForConditionalGeneration):
    """LLaVA, but that masks of its language model come by name."""

    config_class = OwnConfig

    @wraps(LlavaForConditionalGeneration.forward)
    def forward(self, *args, attention_mask=None, **more):
        if isinstance(attention_mask, dict):
            attention_mask = attention_mask["own"]
        elif attention_mask is not None and attention_mask.ndim > 2:
            attention_mask = torch.zeros_like(attention_mask)  # what has no name hides nothing
        return super().forward(*args, attention_mask=attention_mask, **more)


AutoConfig.register(MODEL_TYPE, OwnConfig)
AutoModelForImageTextToText.register(OwnConfig, OwnModel)


class OwnVlm(Family):
    marker_tokens = ("<see>", "</see>")

    def masks(self, visible):
        return {"own": self.additive_mask(visible)}


OWN = Tiny(
    {
        "text_config": text("llama"),
        "vision_config": tower("clip_vision_model"),
        "image_token_index": IMAGE,
        "image_seq_length": 4,
    },
    pixels=flat,
    tokens={IMAGE: "<image>", IMAGE_START: "<see>", IMAGE_END: "</see>"},
    image_processor="CLIPImageProcessorPil",
    image_settings={"size": {"shortest_edge": 16}, "crop_size": {"height": 16, "width": 16}},
)

seeahead.register_family(MODEL_TYPE, OwnVlm)
add_family(MODEL_TYPE, OWN)

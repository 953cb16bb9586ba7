"""Processors for the tiny models: transformers' own classes over a character tokenizer made in memory.

Chat templates have the form of the published ones, so prompts take the way they take with a real checkpoint.
"""

from __future__ import annotations

from typing import Any

import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from seeahead.families.processors import processor_class
from seeahead.testing.configs import (
    BOS,
    CONFIGS,
    END,
    IMAGE,
    IMAGE_END,
    IMAGE_START,
    PAD,
    UNKNOWN,
    VIDEO,
    VISION_FAMILIES,
    VOCAB_SIZE,
)

_FIRST_MARKER = VIDEO + 1
# Byte-level spelling, which is what transformers turns some families' tokenizers into when it loads them.
_CHARACTERS = ["Ċ", "Ġ", *map(chr, range(33, 127))]
_FIRST_CHARACTER = VOCAB_SIZE - len(_CHARACTERS)

_QWEN_TOKENS = {
    IMAGE: "<|image_pad|>",
    VIDEO: "<|video_pad|>",
    IMAGE_START: "<|vision_start|>",
    IMAGE_END: "<|vision_end|>",
}
_IDEFICS_TOKENS = {IMAGE: "<image>", IMAGE_START: "<fake_token_around_image>", IMAGE_END: "<global-img>"}
_GLM_TOKENS = {
    IMAGE: "<|image|>",
    VIDEO: "<|video|>",
    IMAGE_START: "<|begin_of_image|>",
    IMAGE_END: "<|end_of_image|>",
}
_TOKENS = {
    "llava": {IMAGE: "<image>"},
    "llava_next": {IMAGE: "<image>"},
    "qwen2_vl": _QWEN_TOKENS,
    "qwen2_5_vl": _QWEN_TOKENS,
    "qwen3_vl": _QWEN_TOKENS,
    "idefics3": _IDEFICS_TOKENS,
    "smolvlm": _IDEFICS_TOKENS,
    "gemma3": {IMAGE: "<image_soft_token>", IMAGE_START: "<start_of_image>", IMAGE_END: "<end_of_image>"},
    "internvl": {IMAGE: "<IMG_CONTEXT>", IMAGE_START: "<img>", IMAGE_END: "</img>", VIDEO: "<video>"},
    "llava_onevision": {IMAGE: "<image>", VIDEO: "<video>"},
    "mistral3": {IMAGE: "[IMG]", IMAGE_START: "[IMG_BREAK]", IMAGE_END: "[IMG_END]"},
    "glm4v": _GLM_TOKENS,
    "glm46v": _GLM_TOKENS,
    # An image is asked for by one token and then spelled by others.
    "aya_vision": {
        IMAGE: "<|IMG_PATCH|>",
        IMAGE_START: "<|START_OF_IMG|>",
        IMAGE_END: "<|END_OF_IMG|>",
        VIDEO: "<image>",
    },
    "paligemma": {IMAGE: "<image>"},
    "qwen3_vl_moe": _QWEN_TOKENS,
}
_MARKERS = (
    "<|im_start|>",
    "<|im_end|>",
    "<end_of_utterance>",
    "<start_of_turn>",
    "<end_of_turn>",
    "[INST]",
    "[/INST]",
    "<|user|>",
    "<|assistant|>",
    "TILE_GLOBAL",
    *(f"TILE_{tile}" for tile in range(1, 5)),
    *(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2)),
)
_NAMED = {
    "gemma3": {"image_token": IMAGE, "boi_token": IMAGE_START, "eoi_token": IMAGE_END},
    "internvl": {
        "context_image_token": IMAGE,
        "start_image_token": IMAGE_START,
        "end_image_token": IMAGE_END,
        "video_token": VIDEO,
    },
}

_LLAVA = (
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': ' }}{% endif %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for part in message['content'] | selectattr('type', 'equalto', 'text') %}{{ part['text'] + ' ' }}{% endfor %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_IDEFICS = (
    "<|im_start|>{% for message in messages %}{{ message['role'] | capitalize }}"
    "{% if message['content'][0]['type'] == 'image' %}{{ ':' }}{% else %}{{ ': ' }}{% endif %}"
    "{% for line in message['content'] %}{% if line['type'] == 'text' %}{{ line['text'] }}"
    "{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}{% for message in messages %}{% set role = 'model' if message['role'] == 'assistant' else "
    "message['role'] %}{{ '<start_of_turn>' + role + '\n' }}{% if message['content'] is string %}"
    "{{ message['content'] | trim }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "{{ '<start_of_image>' }}{% else %}{{ part['text'] | trim }}{% endif %}{% endfor %}{% endif %}"
    "{{ '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
_MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'][0]['text'] + eos_token }}{% else %}[INST]{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}[IMG]{% else %}{{ part['text'] }}{% endif %}{% endfor %}[/INST]{% endif %}"
    "{% endfor %}"
)
_GLM = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|begin_of_image|><|image|><|end_of_image|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_QWEN = _CHATML.replace("IMAGE", "<|vision_start|><|image_pad|><|vision_end|>")
_TEMPLATES: dict[str, str | None] = {
    "llava": _LLAVA,
    "llava_next": _LLAVA,
    "qwen2_vl": _QWEN,
    "qwen2_5_vl": _QWEN,
    "qwen3_vl": _QWEN,
    "idefics3": _IDEFICS,
    "smolvlm": _IDEFICS,
    "gemma3": _GEMMA,
    "gemma3_text": _GEMMA,
    "internvl": _CHATML.replace("IMAGE", "<IMG_CONTEXT>\n"),
    "llava_onevision": _CHATML.replace("IMAGE", "<image>\n"),
    "mistral3": _MISTRAL,
    "glm4v": _GLM,
    "glm46v": _GLM,
    "aya_vision": _CHATML.replace("IMAGE", "<image>"),
    "paligemma": None,
    "qwen3_vl_moe": _QWEN,
}

_SQUARE = {"height": 16, "width": 16}
_QWEN_IMAGES = {"patch_size": 4, "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 128, "max_pixels": 1024}
_GLM_IMAGES = {
    "patch_size": 4,
    "merge_size": 2,
    "temporal_patch_size": 2,
    "size": {"shortest_edge": 128, "longest_edge": 1024},
}
_TILES = {"size": {"longest_edge": 32}, "max_image_size": {"longest_edge": 16}}
_IMAGE_PROCESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "llava": ("CLIPImageProcessorPil", {"size": {"shortest_edge": 16}, "crop_size": _SQUARE}),
    "llava_next": (
        "LlavaNextImageProcessorPil",
        {
            "size": {"shortest_edge": 16},
            "crop_size": _SQUARE,
            "image_grid_pinpoints": CONFIGS["llava_next"]["image_grid_pinpoints"],
        },
    ),
    "qwen2_vl": ("Qwen2VLImageProcessorPil", _QWEN_IMAGES),
    "qwen2_5_vl": ("Qwen2VLImageProcessorPil", _QWEN_IMAGES),
    "qwen3_vl": ("Qwen2VLImageProcessorPil", _QWEN_IMAGES),
    "idefics3": ("Idefics3ImageProcessorPil", _TILES),
    "smolvlm": ("SmolVLMImageProcessorPil", _TILES),
    "gemma3": ("Gemma3ImageProcessorPil", {"size": _SQUARE}),
    "internvl": ("GotOcr2ImageProcessorPil", {"size": _SQUARE, "max_patches": 4}),
    "llava_onevision": (
        "LlavaOnevisionImageProcessorPil",
        {"size": _SQUARE, "image_grid_pinpoints": CONFIGS["llava_onevision"]["image_grid_pinpoints"]},
    ),
    "mistral3": ("PixtralImageProcessorPil", {"size": {"longest_edge": 32}, "patch_size": 4}),
    "glm4v": ("Glm4vImageProcessorPil", _GLM_IMAGES),
    "glm46v": ("Glm46VImageProcessorPil", _GLM_IMAGES),
    "aya_vision": ("GotOcr2ImageProcessorPil", {"size": _SQUARE, "max_patches": 4, "crop_to_patches": True}),
    "paligemma": ("SiglipImageProcessorPil", {"size": _SQUARE, "image_seq_length": 4}),
    "qwen3_vl_moe": ("Qwen2VLImageProcessorPil", _QWEN_IMAGES),
}
_CLIP_LIKE = {"patch_size": 8, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
_SETTINGS: dict[str, dict[str, Any]] = {
    "llava": _CLIP_LIKE,
    "llava_next": _CLIP_LIKE,
    "idefics3": {"image_seq_len": 4},
    "smolvlm": {"image_seq_len": 4},
    "gemma3": {"image_seq_length": 4},
    "internvl": {"image_seq_length": 4},
    "llava_onevision": {"num_image_tokens": 4, "vision_feature_select_strategy": "full"},
    "mistral3": {"patch_size": 4, "spatial_merge_size": 2},
    "aya_vision": {"patch_size": 4, "img_size": 16, "downsample_factor": 2},
}


def tiny_tokenizer(model_type: str) -> PreTrainedTokenizerFast:
    """One token per character, and the family's special tokens, at the ids of the tiny models' configs."""
    special = {PAD: "<pad>", BOS: "<s>", END: "</s>", UNKNOWN: "<unk>", **_TOKENS.get(model_type, {})}
    special |= {_FIRST_MARKER + place: marker for place, marker in enumerate(_MARKERS)}
    names = {index: special.get(index, f"<spare_{index}>") for index in range(_FIRST_CHARACTER)}
    names |= {_FIRST_CHARACTER + place: character for place, character in enumerate(_CHARACTERS)}
    tokenizer = Tokenizer(models.BPE({name: index for index, name in names.items()}, [], unk_token=names[UNKNOWN]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special.values()])
    named = {name: special[index] for name, index in _NAMED.get(model_type, {}).items()}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=special[PAD],
        bos_token=special[BOS],
        eos_token=special[END],
        unk_token=special[UNKNOWN],
        extra_special_tokens=named,
        clean_up_tokenization_spaces=False,
    )
    wrapped.chat_template = _TEMPLATES.get(model_type, _CHATML)
    return wrapped


def tiny_processor(model_type: str) -> Any:
    """The processor of a tiny vision-language model, or the tokenizer of a text decoder."""
    tokenizer = tiny_tokenizer(model_type)
    if model_type not in VISION_FAMILIES:
        return tokenizer
    name, settings = _IMAGE_PROCESSORS[model_type]
    images = getattr(transformers, name)(**settings)
    return processor_class(model_type)(
        images, tokenizer, chat_template=tokenizer.chat_template, **_SETTINGS.get(model_type, {})
    )

"""Mistral 3 with Pixtral's tower: nothing of its own."""

from __future__ import annotations

import torch

from seeahead.families.base import Family
from seeahead.families.tiny import IMAGE, IMAGE_END, IMAGE_START, Pixels, Tiny, text, tower

FAMILY = Family

_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ ' ' + message['content'][0]['text'] + eos_token }}{% else %}[INST]{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}[IMG]{% else %}{{ part['text'] }}{% endif %}{% endfor %}[/INST]{% endif %}"
    "{% endfor %}"
)


def _pixels(num_images: int, generator: torch.Generator) -> Pixels:
    """Images of 16 x 24 and 16 x 16 in patches of 4, merged two by two; the smaller ones are padded."""
    sizes = [[16, 24] if number % 2 == 0 else [16, 16] for number in range(num_images)]
    return [height * width // 64 for height, width in sizes], {
        "pixel_values": torch.randn(num_images, 3, 16, 24, generator=generator),
        "image_sizes": torch.tensor(sizes),
    }


TINY = {
    "mistral3": Tiny(
        {
            "text_config": text("mistral"),
            "vision_config": tower("pixtral", patch_size=4, image_size=32),
            "image_token_index": IMAGE,
            "spatial_merge_size": 2,
            "tie_word_embeddings": False,
        },
        pixels=_pixels,
        tokens={IMAGE: "[IMG]", IMAGE_START: "[IMG_BREAK]", IMAGE_END: "[IMG_END]"},
        words=("[INST]", "[/INST]"),
        template=_TEMPLATE,
        image_processor="PixtralImageProcessorPil",
        image_settings={"size": {"longest_edge": 32}, "patch_size": 4},
        settings={"patch_size": 4, "spatial_merge_size": 2},
    )
}

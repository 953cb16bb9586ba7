"""Aya Vision: an image becomes tiles, each announced by a numbered token, and an overview."""

from __future__ import annotations

from seeahead.families.base import Family
from seeahead.families.text import COHERE2
from seeahead.families.tiny import CHATML, IMAGE, IMAGE_END, IMAGE_START, SQUARE, VIDEO, Tiny, flat, tower

_MAX_TILES = 12


class AyaVision(Family):
    """Only the markers differ."""

    marker_tokens = ("TILE_GLOBAL", *(f"TILE_{tile}" for tile in range(1, _MAX_TILES + 1)))


FAMILY = AyaVision

TINY = {
    "aya_vision": Tiny(
        {
            "text_config": COHERE2.config,
            "vision_config": tower("siglip_vision_model", patch_size=4),
            "image_token_index": IMAGE,
            "downsample_factor": 2,
            "tie_word_embeddings": False,
        },
        pixels=flat,
        # An image is asked for by one token and then spelled by others.
        tokens={
            IMAGE: "<|IMG_PATCH|>", IMAGE_START: "<|START_OF_IMG|>", IMAGE_END: "<|END_OF_IMG|>", VIDEO: "<image>",
        },
        words=("<|im_start|>", "<|im_end|>", *AyaVision.marker_tokens[:5]),
        template=CHATML.replace("IMAGE", "<image>"),
        image_processor="GotOcr2ImageProcessorPil",
        image_settings={"size": SQUARE, "max_patches": 4, "crop_to_patches": True},
        settings={"patch_size": 4, "img_size": 16, "downsample_factor": 2},
    )
}  # fmt: skip

"""LLaVA-NeXT and LLaVA-OneVision: an image becomes an overview and tiles. Nothing of it is the family's business."""

from __future__ import annotations

import torch

from seeahead.families.base import Family
from seeahead.families.llava import CLIP, TEMPLATE
from seeahead.families.tiny import CHATML, IMAGE, SLIDING_WINDOW, SQUARE, VIDEO, Pixels, Tiny, text, tower

FAMILY = Family


def _tiles(num_images: int, generator: torch.Generator) -> Pixels:
    """Wide images: an overview and two tiles of 2 x 2 patches, a newline per row. Every second: four tiles."""
    is_wide = [number % 2 == 0 for number in range(num_images)]
    return [4 + (2 if wide else 4) * (4 + 1) for wide in is_wide], {
        "pixel_values": torch.randn(num_images, 5, 3, 16, 16, generator=generator),
        "image_sizes": torch.tensor([[16, 32] if wide else [32, 32] for wide in is_wide]),
    }


_SHAPES = {"image_grid_pinpoints": [[16, 32], [32, 16], [32, 32]]}
TINY = {
    "llava_next": Tiny(
        {
            "text_config": text("mistral", sliding_window=SLIDING_WINDOW),
            "vision_config": tower("clip_vision_model"),
            "image_token_index": IMAGE,
            "image_seq_length": 4,
            **_SHAPES,
        },
        pixels=_tiles,
        tokens={IMAGE: "<image>"},
        template=TEMPLATE,
        image_processor="LlavaNextImageProcessorPil",
        image_settings={"size": {"shortest_edge": 16}, "crop_size": SQUARE, **_SHAPES},
        settings=CLIP,
    ),
    "llava_onevision": Tiny(
        {
            "text_config": text("qwen2"),
            "vision_config": tower("siglip_vision_model"),
            "image_token_index": IMAGE,
            "video_token_index": VIDEO,
            **_SHAPES,
        },
        pixels=_tiles,
        tokens={IMAGE: "<image>", VIDEO: "<video>"},
        template=CHATML.replace("IMAGE", "<image>\n"),
        image_processor="LlavaOnevisionImageProcessorPil",
        image_settings={"size": SQUARE, **_SHAPES},
        settings={"num_image_tokens": 4, "vision_feature_select_strategy": "full"},
    ),
}

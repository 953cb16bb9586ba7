"""InternVL: every image, tiles and all, stands between one start and one end marker."""

from __future__ import annotations

from seeahead.families.base import Family
from seeahead.families.tiny import CHATML, IMAGE, IMAGE_END, IMAGE_START, SQUARE, VIDEO, Tiny, flat, text, tower


class InternVL(Family):
    """Only the markers differ."""

    marker_tokens = ("<img>", "</img>")


FAMILY = InternVL

TINY = {
    "internvl": Tiny(
        {
            "text_config": text("qwen2"),
            "vision_config": tower("internvl_vision", patch_size=4),
            "image_token_id": IMAGE,
            "image_seq_length": 4,
            "tie_word_embeddings": False,
        },
        pixels=flat,
        tokens={IMAGE: "<IMG_CONTEXT>", IMAGE_START: "<img>", IMAGE_END: "</img>", VIDEO: "<video>"},
        names={
            "context_image_token": IMAGE,
            "start_image_token": IMAGE_START,
            "end_image_token": IMAGE_END,
            "video_token": VIDEO,
        },
        template=CHATML.replace("IMAGE", "<IMG_CONTEXT>\n"),
        image_processor="GotOcr2ImageProcessorPil",
        image_settings={"size": SQUARE, "max_patches": 4},
        settings={"image_seq_length": 4},
    )
}

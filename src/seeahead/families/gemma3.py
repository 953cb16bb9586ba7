"""Gemma3: only the markers differ; its two kinds of attention layers are served by the base's masks."""

from __future__ import annotations

from seeahead.families.base import Family
from seeahead.families.text import GEMMA3_TEXT
from seeahead.families.tiny import IMAGE, IMAGE_END, IMAGE_START, SQUARE, Tiny, flat, image_types, tower


class Gemma3(Family):
    """An image stands between a start and an end marker."""

    marker_tokens = ("<start_of_image>", "<end_of_image>")


FAMILY = Gemma3

TINY = {
    "gemma3": Tiny(
        {
            "text_config": GEMMA3_TEXT.config,
            "vision_config": tower("siglip_vision_model"),
            "mm_tokens_per_image": 4,
            "image_token_index": IMAGE,
            "boi_token_index": IMAGE_START,
            "eoi_token_index": IMAGE_END,
            "tie_word_embeddings": False,
        },
        pixels=flat,
        type_ids=image_types("token_type_ids"),
        tokens={IMAGE: "<image_soft_token>", IMAGE_START: "<start_of_image>", IMAGE_END: "<end_of_image>"},
        names={"image_token": IMAGE, "boi_token": IMAGE_START, "eoi_token": IMAGE_END},
        words=GEMMA3_TEXT.words,
        template=GEMMA3_TEXT.template,
        image_processor="Gemma3ImageProcessorPil",
        image_settings={"size": SQUARE},
        settings={"image_seq_length": 4},
    )
}

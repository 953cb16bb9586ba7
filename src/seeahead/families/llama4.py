"""Llama 4: layers without rotary positions read a token's place off the cache, to scale queries by position."""

from __future__ import annotations

from seeahead.families.base import Family
from seeahead.families.tiny import SLIDING_WINDOW, Tiny, text


class Llama4(Family):
    """Its chunks of attention are served by the base's masks."""

    reads_places = True
    marker_tokens = ("<|image|>", "<|patch|>", "<|tile_x_separator|>", "<|tile_y_separator|>")


FAMILY = Llama4

TINY = {
    "llama4_text": Tiny(
        text(
            "llama4_text",
            num_hidden_layers=3,
            no_rope_layers=[1, 0, 1],
            attention_chunk_size=SLIDING_WINDOW,
            intermediate_size_mlp=96,
            interleave_moe_layer_step=2,
            num_local_experts=4,
            # Queries of layers without rotary positions are scaled anew every five tokens.
            floor_scale=5,
            attn_scale=1.0,
        )
    )
}

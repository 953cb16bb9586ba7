"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL: three-dimensional rotary positions (M-RoPE), shifted after an image."""

from __future__ import annotations

import torch

from seeahead.executor import ModelInputs
from seeahead.families.base import Family


class QwenVL(Family):
    """Text after an image continues at the image's largest grid position, not at its token index."""

    name = "qwen-vl"
    marker_tokens = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")

    def position_shift(self, inputs: ModelInputs) -> int:
        if "position_ids" in inputs.extras:
            # A fourth row, where there is one, comes first and counts tokens.
            return int(inputs.extras["position_ids"][-3:].max()) + 1 - inputs.token_ids.shape[1]
        # The model keeps the shift of its last prefill on itself; without an image that is a stale one.
        if "image_grid_thw" not in inputs.extras:
            return 0
        return int(self.model.model.rope_deltas.item())

    def positions(self, positions: torch.Tensor) -> torch.Tensor:
        return positions.expand(3, *positions.shape)

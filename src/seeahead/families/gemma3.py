"""Gemma3: sliding and full attention layers alternate, and each type of layer takes a mask of its own."""

from __future__ import annotations

import torch

from .base import Family


class Gemma3(Family):
    """A sliding layer sees the last `sliding_window` positions: one mask for all layers would be silently wrong."""

    name = "gemma3"
    marker_tokens = ("<start_of_image>", "<end_of_image>")

    def masks(self, visible: torch.Tensor, positions: torch.Tensor) -> dict[str, torch.Tensor]:
        num_cached = visible.shape[2] - visible.shape[1]
        # Cached tokens sit at their index, new ones at their tree position.
        cached = torch.arange(num_cached, device=visible.device).expand(len(positions), -1)
        all_positions = torch.cat([cached, positions[:, -visible.shape[1] :]], dim=1)
        recent = positions[:, :, None] - all_positions[:, None, :] < self.text_config.sliding_window
        return {
            "full_attention": self.additive_mask(visible),
            "sliding_attention": self.additive_mask(visible & recent),
        }

"""Qwen2-VL, Qwen2.5-VL and Qwen3-VL. Their three-dimensional rotary positions (M-RoPE) are the base's business."""

from __future__ import annotations

from seeahead.families.base import Family


class QwenVL(Family):
    """Only the markers differ."""

    marker_tokens = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")

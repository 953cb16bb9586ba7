"""Qwen3-VL and Qwen3-VL-MoE: the tower gives its features to several layers (deepstack), and M-RoPE interleaves."""

from __future__ import annotations

from seeahead.families.qwen_vl import ROPE, TOWER, QwenVL, tiny
from seeahead.families.text import EXPERTS

FAMILY = QwenVL

_ROPE = {**ROPE, "mrope_interleaved": True}
_TOWER = {**TOWER, "num_position_embeddings": 16, "deepstack_visual_indexes": [0, 1]}
TINY = {
    "qwen3_vl": tiny("qwen3_vl", _TOWER, rope_parameters=_ROPE),
    "qwen3_vl_moe": tiny("qwen3_vl_moe", _TOWER, rope_parameters=_ROPE, **EXPERTS),
}

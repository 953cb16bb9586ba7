"""Tests for your own family or drafter: tiny random models, drafters of every character, shared assertions.

No download, no test framework: everything runs on a CPU in milliseconds, and assertions raise AssertionError.
"""

from seeahead.families.tiny import Tiny
from seeahead.testing.checks import answer, assert_accepts_itself, assert_commit_equals_prefill, assert_same_answer
from seeahead.testing.drafters import (
    ScriptedDrafter,
    SelfDrafter,
    all_right,
    all_wrong,
    drawn_chain,
    drawn_mixture,
    drawn_tree,
    random_chain,
    random_tree,
    sometimes_right,
)
from seeahead.testing.fixed import FixedExecutor
from seeahead.testing.models import TEXT_FAMILIES, VISION_FAMILIES, add_family, tiny_family, tiny_inputs, tiny_model
from seeahead.testing.processors import tiny_processor, tiny_tokenizer
from seeahead.testing.tables import TableExecutor

__all__ = [
    "TEXT_FAMILIES",
    "VISION_FAMILIES",
    "FixedExecutor",
    "ScriptedDrafter",
    "SelfDrafter",
    "TableExecutor",
    "Tiny",
    "add_family",
    "all_right",
    "all_wrong",
    "answer",
    "assert_accepts_itself",
    "assert_commit_equals_prefill",
    "assert_same_answer",
    "drawn_chain",
    "drawn_mixture",
    "drawn_tree",
    "random_chain",
    "random_tree",
    "sometimes_right",
    "tiny_family",
    "tiny_inputs",
    "tiny_model",
    "tiny_processor",
    "tiny_tokenizer",
]

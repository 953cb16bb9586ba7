"""Tests for your own family, drafter or executor: tiny random models, drafters as controls, shared assertions.

No download, no test framework: everything runs on a CPU in milliseconds, and assertions raise AssertionError.
"""

from seeahead.families.tiny import Tiny as Tiny
from seeahead.testing.checks import answer as answer
from seeahead.testing.checks import assert_accepts_itself as assert_accepts_itself
from seeahead.testing.checks import assert_commit_equals_prefill as assert_commit_equals_prefill
from seeahead.testing.checks import assert_same_answer as assert_same_answer
from seeahead.testing.drafters import ScriptedDrafter as ScriptedDrafter
from seeahead.testing.drafters import SelfDrafter as SelfDrafter
from seeahead.testing.drafters import random_tree as random_tree
from seeahead.testing.models import TEXT_FAMILIES as TEXT_FAMILIES
from seeahead.testing.models import VISION_FAMILIES as VISION_FAMILIES
from seeahead.testing.models import add_family as add_family
from seeahead.testing.models import tiny_family as tiny_family
from seeahead.testing.models import tiny_inputs as tiny_inputs
from seeahead.testing.models import tiny_model as tiny_model
from seeahead.testing.models import tiny_processor as tiny_processor
from seeahead.testing.models import tiny_tokenizer as tiny_tokenizer

"""The control: a drafter that is the target itself, shown the same pictures, is never refused."""

import pytest

from seeahead.testing import SelfDrafter, answer, assert_accepts_itself, assert_same_answer
from tests.lossless.cases import FAMILIES, NUM_TOKENS, image_counts, plain, prompt, target


@pytest.mark.parametrize("model_type", FAMILIES)
def test_the_target_accepts_itself(model_type):
    for num_images in image_counts(model_type):
        assert_accepts_itself(target(model_type), prompt(model_type, num_images))


@pytest.mark.parametrize("model_type", FAMILIES)
def test_answers_under_way_at_once_do_not_touch_each_other(model_type):
    """Models keep state of their last prefill (M-RoPE's shift): another prompt in between must not matter."""
    family = target(model_type)
    counts = image_counts(model_type)

    class Intruding(SelfDrafter):
        def start(self, context):
            drafting = super().start(context)
            answer(family, prompt(model_type, counts[-1], 5), max_new_tokens=2)
            return drafting

    for num_images in counts:
        drafted = answer(family, prompt(model_type, num_images), Intruding(family.executor), max_new_tokens=NUM_TOKENS)
        assert_same_answer(drafted, plain(model_type, num_images))
        assert all(step.num_accepted == step.num_drafted for step in drafted.steps)

"""Choices with a reason: one option is right, and none of the benchmark's questions is asked in training."""

import random

from recipes.demo_model.science import CATEGORIES, REASON, _in_words
from recipes.demo_model.three_tasks import SCIENCE


def test_one_option_is_of_the_category_and_a_reason_is_asked():
    for seed in range(200):
        ((_, text),) = _in_words(None, random.Random(seed)).messages
        question, *options, reason = text.split("\n")
        category = question.removeprefix("Which of these is ").removesuffix("?")
        assert sum(option.split(". ")[1] in CATEGORIES[category] for option in options) == 1, text
        assert len({option[0] for option in options}) == len(options) >= 3
        assert reason == REASON


def test_the_benchmark_asks_other_questions():
    asked = {f"Which of these is {category}?" for category in CATEGORIES}
    assert not asked & {question for question, _ in SCIENCE}

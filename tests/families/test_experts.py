"""Mixtures of experts: which experts a token is sent to depends on no other row, however the experts are computed."""

import pytest
import torch

from seeahead.testing import assert_commit_equals_prefill, tiny_family, tiny_inputs
from tests.lossless.test_rollback import ROUNDS

IMPLEMENTATIONS = ("eager", "batched_mm", "grouped_mm")


@pytest.mark.parametrize("model_type", ["qwen3_moe", "gpt_oss", "qwen3_vl_moe"])
def test_all_implementations_of_experts_say_the_same_and_score_trees_alike(model_type):
    family, inputs = tiny_family(model_type), tiny_inputs(model_type)
    logits = []
    for implementation in IMPLEMENTATIONS:
        family.model.set_experts_implementation(implementation)
        assert family.text_config._experts_implementation == implementation
        assert_commit_equals_prefill(family, inputs, ROUNDS[:1])
        with torch.inference_mode():
            logits.append(family.model(input_ids=inputs.token_ids).logits)
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], rtol=0, atol=1e-4)

"""What tells one prompt's images from another's, so that no slot is lent to a question about others."""

import torch

from seeahead.executor import ModelInputs
from seeahead.serve.memory import images_of


def inputs(value, **further):
    ids = torch.zeros(1, 6, dtype=torch.int64)
    return ModelInputs(ids, {"pixel_values": torch.full((1, 6, 4), value), "token_type_ids": ids + 1, **further})


def test_images_of_as_many_patches_as_a_prompt_has_tokens_are_told_apart():
    assert images_of(inputs(0.0)) == images_of(inputs(0.0)) != images_of(inputs(1.0))
    part = inputs(0.0).part(0, 3).extras
    assert part["pixel_values"].shape == (1, 6, 4)  # whole, with the first part
    assert part["token_type_ids"].shape == (1, 3)
    assert [*inputs(0.0).part(3, 6).extras] == ["token_type_ids"]


def test_what_is_no_tensor_tells_images_apart_too():
    assert images_of(inputs(0.0, sizes=[(1, 2)])) != images_of(inputs(0.0, sizes=[(2, 1)]))
    assert inputs(0.0, sizes=[(1, 2)]).part(0, 3).extras["sizes"] == [(1, 2)]

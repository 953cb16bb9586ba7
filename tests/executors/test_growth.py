"""Where memory ends while buffers grow, what they hold stays usable: each of them grows, or none."""

import numpy as np
import pytest
import torch

from seeahead.executors.language import StateShape
from seeahead.executors.pages import Pages
from seeahead.executors.regions import Regions

SHAPES = [StateShape(2, 4), StateShape(1, 6)]


def test_regions_grow_all_or_none(monkeypatch):
    regions = Regions(SHAPES * 2, torch.float32, torch.device("cpu"))
    before, new_zeros = regions.num_columns, torch.Tensor.new_zeros
    for states in regions.states(1):
        states[:] = torch.rand_like(states)
    old = [states.clone() for states in regions.states(1)]

    def short(block, *size):
        if size[-1] == SHAPES[1].width:
            raise torch.OutOfMemoryError("no memory is left")
        return new_zeros(block, *size)

    monkeypatch.setattr(torch.Tensor, "new_zeros", short)
    with pytest.raises(torch.OutOfMemoryError):
        regions.reserve(before + 1)
    assert regions.num_columns == before
    for states, expected in zip(regions.states(1), old, strict=True):
        assert torch.equal(states, expected)
    monkeypatch.undo()
    regions.reserve(before + 1)
    for states, expected in zip(regions.states(1), old, strict=True):
        assert states.shape[1] == regions.num_columns + 1 > before + 1
        assert torch.equal(states[:, :before], expected[:, :before])


def test_pages_grow_all_or_none(monkeypatch):
    pages, made, held = Pages(SHAPES, 4, np.float32), Pages._made, list[int]()
    pages.hold(held, 8)

    def short(self, shape, num_blocks):
        if shape == SHAPES[1]:
            raise MemoryError
        return made(self, shape, num_blocks)

    monkeypatch.setattr(Pages, "_made", short)
    with pytest.raises(MemoryError):
        pages.hold(held, 400)
    monkeypatch.undo()
    assert (len(held), pages.num_held) == (2, 2)
    pages.hold(held, 400)
    assert len(set(held)) == pages.num_held == 100
    assert {view.shape[0] for view in pages.views()} == {pages._num_blocks}

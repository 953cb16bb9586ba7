"""The cache of a slot by value: what is appended comes back, what is refused is gone, in every layer."""

import pytest
import torch

from seeahead.executors.slots import SlotCache

# (heads, width of keys, width of values) of each layer.
LIKE = [(2, 4, 4)] * 3
UNLIKE = {
    "all layers alike": LIKE,
    "keys and values of unlike width": [(2, 4, 6)] * 3,
    "every second layer with other heads": [(2, 4, 4), (1, 4, 4), (2, 4, 4), (1, 4, 4)],
    "every layer of its own width": [(1, 2, 2), (1, 4, 4), (1, 6, 6)],
    "the last layer alone unlike": [*LIKE, (4, 8, 2)],
}


class Filled:
    """A cache beside what must be in it: states that no two tokens, layers or sides share."""

    def __init__(self, shapes, capacity=3):
        """`capacity` is less than what is appended, so that buffers grow too."""
        self.cache = SlotCache(len(shapes), capacity)
        self.shapes = shapes
        self.expected = [[torch.zeros(2, heads, 0, width) for width in widths] for heads, *widths in shapes]
        self._generator = torch.Generator().manual_seed(0)

    def append(self, number):
        for index, (heads, *widths) in enumerate(self.shapes):
            states = [torch.randn(2, heads, number, width, generator=self._generator) for width in widths]
            self.expected[index] = [
                torch.cat([old, new], 2) for old, new in zip(self.expected[index], states, strict=True)
            ]
            returned = self.cache.update(*states, index)
            for ours, theirs in zip(returned, self.expected[index], strict=True):
                assert torch.equal(ours, theirs), f"layer {index}"

    def keep(self, start, rows):
        self.cache.keep(start, rows)
        places = [*range(start), *(start + row for row in rows)]
        self.expected = [[states[:, :, places] for states in layer] for layer in self.expected]
        assert self.cache.length == len(places)


@pytest.mark.parametrize("shapes", UNLIKE.values(), ids=UNLIKE)
@pytest.mark.parametrize("rows", [(0, 2, 5), (1,), (3, 4), (0, 1, 2), (), (5,)], ids=str)
def test_every_layer_keeps_the_accepted_rows_and_no_other(shapes, rows):
    filled = Filled(shapes)
    filled.append(4)
    filled.append(6)
    filled.keep(4, rows)
    # What is appended next comes back with all that was kept before it.
    filled.append(1)


@pytest.mark.parametrize("shapes", UNLIKE.values(), ids=UNLIKE)
def test_many_rounds_leave_what_was_accepted_in_them(shapes):
    filled = Filled(shapes)
    filled.append(5)
    for rows in ((0, 2), (0, 1, 4, 5), (0,), (0, 3), (0, 1, 2, 3, 4, 5)):
        start = filled.cache.length
        filled.append(3)
        filled.append(3)
        filled.keep(start, rows)
    filled.append(2)
    assert filled.cache.length == 5 + 2 + 4 + 1 + 2 + 6 + 2

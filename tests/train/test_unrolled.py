"""What a drafter reads ahead in training is what it reads when drafting: every guess by a pass of its own."""

from dataclasses import replace

import pytest
import torch

from seeahead.drafters.feature_decoder import FeatureDecoder, Form, Rotation
from seeahead.drafters.head_networks import Dialect, Eagle3Network, ImageAdaptor, ViSpecNetwork, spoken
from seeahead.drafters.msd import MsdNetwork, MsdOptions
from seeahead.executors.attention import NoMemory
from seeahead.executors.llama import LlamaShape
from seeahead.train.unrolled import Slate, guesses

WIDTH, SLOTS = 16, 11
SHAPE = LlamaShape(1, WIDTH, 24, 1, 4, 2, 4, 64)
FIRST = (2, 4, 7)
"""The first taught slot of each text; all after it are taught, but for the last ones of the second."""
LAST = (11, 9, 11)


def network(method):
    torch.manual_seed(0)
    if method == "msd":
        made = MsdNetwork(SHAPE, MsdOptions())
    elif method == "eagle3":
        decoder = FeatureDecoder(SHAPE, Form(joins=True, last_norm="head", rotation=Rotation(50.0)))
        made = spoken(Eagle3Network(decoder, WIDTH, 3), Dialect(Rotation(50.0), (1, 2, 3), visual="placeholder"))
    else:
        decoder = FeatureDecoder(replace(SHAPE, num_key_value_heads=4), Form(rotation=Rotation(50.0)))
        made = ViSpecNetwork(decoder, ImageAdaptor(3, 4, WIDTH, False))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return made


def slate(made):
    generator = torch.Generator().manual_seed(1)
    embeddings, features = torch.randn(2, 3, SLOTS, WIDTH, generator=generator)
    images = torch.randn(3, WIDTH, generator=generator) if isinstance(made, ViSpecNetwork) else None
    x = made.text(embeddings, features, None if images is None else images[:, None])
    # Places need not follow each other, as where an image has few slots.
    positions = torch.arange(SLOTS).expand(3, -1) + torch.tensor([0, 3, 0])[:, None] * (torch.arange(SLOTS) > 1)
    rows, columns = (
        torch.cat([torch.full((LAST[row] - FIRST[row],), row) for row in range(3)]),
        torch.cat([torch.arange(FIRST[row], LAST[row]) for row in range(3)]),
    )
    return Slate(x, positions, images, rows, columns, embeddings[rows, columns])


@pytest.mark.parametrize("method", ["msd", "eagle3", "vispec"])
@torch.no_grad()
def test_each_guess_is_that_of_a_pass_of_its_own(method):
    made = network(method)
    given = slate(made)
    found = list(guesses(made, given, 3))
    assert len(found) == 4
    for step, (guessed, taught) in enumerate(found):
        assert len(guessed) == len(taught)
        for feature, place in zip(guessed, taught.tolist()):
            row, column = int(given.rows[place]), int(given.columns[place])
            torch.testing.assert_close(feature, alone(made, given, row, column, step), rtol=1e-4, atol=1e-4)
    assert [len(taught) for _, taught in found] == [18, 15, 12, 9]


def alone(made, given, row, column, step):
    """What is guessed after `column`, of whose features the last `step` were guessed in a row."""
    x, places = given.x[row : row + 1].clone(), given.positions[row : row + 1]
    image = None if given.images is None else given.images[row]
    for place in range(column - step, column + 1):
        guessed = made.decoder.run(x[:, : place + 1], places[:, : place + 1], NoMemory())[0, -1]
        if place < column:
            [number] = ((given.rows == row) & (given.columns == place + 1)).nonzero()[:, 0].tolist()
            x[0, place + 1] = made.text(given.embeddings[number][None], guessed[None], image)[0]
    return guessed


def test_what_was_guessed_is_learned_from():
    made = network("eagle3")
    *_, (guessed, _) = guesses(made, slate(made), 2)
    guessed.square().sum().backward()
    [layer] = made.decoder.layers
    assert float(layer.down.weight.grad.abs().sum()) > 0


def test_fewer_tokens_than_are_read_ahead_are_no_fault():
    made = network("msd")
    given = slate(made)
    few = given.rows == 1
    given = replace(given, rows=given.rows[few], columns=given.columns[few], embeddings=given.embeddings[few])
    counts = [len(taught) for _, taught in guesses(made, given, 7)]
    assert counts == [5, 4, 3, 2, 1, 0, 0, 0]

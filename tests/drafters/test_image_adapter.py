"""The image adapter: what it pools, where it starts, what it refuses to load."""

import pytest
import torch
from safetensors.torch import save_file

from seeahead.drafters.folder import ADAPTER
from seeahead.drafters.vision import AdapterConfig, ImageAdapter, load_adapter, pooled, save_adapter
from seeahead.errors import ModelError

CPU = torch.device("cpu")


def test_a_square_picture_is_pooled_as_a_square():
    # 4 x 4 places, each with its row and column.
    places = torch.tensor([[float(row), float(column)] for row in range(4) for column in range(4)])
    expected = [[0.5, 0.5], [0.5, 2.5], [2.5, 0.5], [2.5, 2.5]]
    assert pooled(places, 4).tolist() == expected


def test_other_pictures_are_pooled_in_reading_order():
    assert pooled(torch.arange(6.0)[:, None], 3).flatten().tolist() == [0.5, 2.5, 4.5]
    assert pooled(torch.arange(12.0)[:, None], 4).shape == (4, 1)
    visual = torch.randn(5, 3)
    assert pooled(visual, 0) is visual
    assert pooled(visual, 9) is visual


def test_it_starts_as_the_best_linear_map_between_the_vocabularies():
    torch.manual_seed(0)
    theirs, true_map = torch.randn(50, 8), torch.randn(8, 6)
    adapter = ImageAdapter(AdapterConfig(8, 6, 5, 0))
    adapter.start_from(theirs, theirs @ true_map)
    torch.testing.assert_close(adapter(theirs), theirs @ true_map, atol=1e-4, rtol=1e-4)


def test_what_is_saved_is_loaded(tmp_path):
    config = AdapterConfig(8, 6, 5, 4)
    adapter = ImageAdapter(config)
    torch.nn.init.normal_(adapter.down.weight)
    save_adapter(adapter, tmp_path)
    loaded = load_adapter(tmp_path, AdapterConfig.from_json(config.to_json()), torch.float32, CPU)
    visual = torch.randn(9, 8)
    torch.testing.assert_close(loaded.read(visual), adapter.read(visual))
    assert loaded.read(visual).shape == (4, 6)


def test_what_does_not_fit_is_refused(tmp_path):
    save_file({"direct.weight": torch.zeros(6, 8)}, tmp_path / ADAPTER)
    with pytest.raises(ModelError, match="does not fit its config"):
        load_adapter(tmp_path, AdapterConfig(8, 6, 5), torch.float32, CPU)
    with pytest.raises(
        ModelError, match=r"has unknown depth; allowed here: hidden_width, input_width, num_tokens, width"
    ):
        AdapterConfig.from_json({"depth": 3})

"""A server that is told no number of tokens takes what fits on a GPU, which is made up here with its memory."""

import pytest
import torch

from seeahead.errors import InputError, ModelError
from seeahead.families import family_for
from seeahead.serve import capacity, owner
from seeahead.serve.capacity import tokens_that_fit
from seeahead.serve.owner import Owner, OwnerLimits
from seeahead.serve.settings import settings_from
from seeahead.testing import tiny_model


@pytest.fixture
def family():
    """On a GPU, as far as its family says."""
    made = family_for(tiny_model("llava"))
    made.device = torch.device("cuda:1")
    return made


def with_room_for(family, number, monkeypatch):
    """Half of the free memory holds so many tokens."""
    config = family.text_config
    width = config.hidden_size // config.num_attention_heads
    size = 2 * config.num_hidden_layers * config.num_key_value_heads * width * family.dtype.itemsize
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * number * size, 0))


@pytest.mark.parametrize(
    ("room", "expected"), [(256, 256), (511, 256), (512, 512), (3000, 2048), (65_536, 65_536), (10**9, 65_536)]
)
def test_half_of_the_free_memory_is_taken_in_powers_of_two(family, room, expected, monkeypatch, caplog):
    with_room_for(family, room, monkeypatch)
    assert tokens_that_fit(family) == expected
    told = "cuda:1 (0.0 GB) holds 256 tokens of prompts and answers, fewer than the model's context" in caplog.text
    assert told is (expected < family.max_length)


def test_too_little_memory_is_refused_in_one_line(family, monkeypatch):
    with_room_for(family, 255, monkeypatch)
    with pytest.raises(ModelError, match=r"half of which holds 255 tokens .* or set --cache-tokens") as caught:
        tokens_that_fit(family)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_measured_is_left_as_it_is_on_a_cpu(family, monkeypatch):
    def fails(model):
        raise RuntimeError("inputs of its own")

    monkeypatch.setattr(capacity, "state_shapes", fails)
    assert tokens_that_fit(family) == 65_536
    assert tokens_that_fit(family_for(tiny_model("llava"))) == 65_536


def test_a_number_that_is_given_is_taken(engine, monkeypatch):
    monkeypatch.setattr(owner, "tokens_that_fit", lambda family: 777)
    assert Owner(engine, {"none": engine}).limits.cache_tokens == 777
    assert Owner(engine, {"none": engine}, OwnerLimits(cache_tokens=300)).limits.cache_tokens == 300
    with pytest.raises(InputError, match="--cache-tokens is '100'; allowed: 0, or at least 256"):
        settings_from(model_name="tiny", cache_tokens=100)

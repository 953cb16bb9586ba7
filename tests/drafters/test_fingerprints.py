"""What a drafter's folder says of the target it was made for: other tokens are refused, other weights are told."""

import json
import logging

import pytest
import torch
from tokenizers import Tokenizer

from seeahead.drafters import bind
from seeahead.drafters.folder import Folder, fingerprint_of
from seeahead.errors import DrafterError, ModelError
from seeahead.families import family_for
from seeahead.target import Target
from seeahead.testing import answer, tiny_inputs, tiny_model, tiny_processor, tiny_tokenizer
from tests.drafters.tiny_folders import CONFIG, KINDS, change_config, make, write


@pytest.fixture(scope="module")
def target():
    return Target.of(family_for(tiny_model("llama", hidden_size=16, head_dim=8), tiny_processor("llama")))


def other(tokenizer=None, **changes):
    model = tiny_model("llama", **{"hidden_size": 16, "head_dim": 8, **changes})
    return Target.of(family_for(model, tokenizer or tiny_processor("llama")))


@pytest.fixture
def folder(tmp_path, target):
    """A language drafter that was made for `target`."""
    path = write("language", tmp_path / "drafter")
    change_config(path, drafter={"kind": "language", "target": fingerprint_of(target)})
    return path


def swapped():
    """The target's tokenizer with two words in each other's place."""
    tokenizer = tiny_tokenizer("llama")
    values = json.loads(tokenizer.backend_tokenizer.to_str())
    words = values["model"]["vocab"]
    first, second = [word for word in words if len(word) == 1][:2]
    words[first], words[second] = words[second], words[first]
    tokenizer._tokenizer = Tokenizer.from_str(json.dumps(values))
    return tokenizer


def test_the_target_itself_is_served_without_a_word(folder, target, caplog):
    with caplog.at_level(logging.WARNING):
        assert bind(folder, target).name == "language"
    assert not caplog.records


def test_another_tokenizer_of_as_many_words_is_refused(folder):
    with pytest.raises(
        DrafterError, match=r"made for a target whose tokenizer \(by hash\) is '\w+'.*or drafter='looku"
    ):
        bind(folder, other(swapped()))


def test_another_width_or_number_of_tokens_is_refused(folder):
    with pytest.raises(DrafterError, match="whose width is '16', this one's is '32'"):
        bind(folder, other(hidden_size=32))
    with pytest.raises(DrafterError, match="whose number of tokens is '160', this one's is '170'"):
        bind(folder, other(vocab_size=170))


def test_words_that_were_added_change_nothing(folder):
    tokenizer = tiny_tokenizer("llama")
    tokenizer.add_tokens(["<mine>"], special_tokens=True)
    assert bind(folder, other(tokenizer))


def test_other_weights_are_warned_about_and_answers_stay_exact(folder, caplog):
    changed = other(seed=3)
    with caplog.at_level(logging.WARNING):
        drafter = bind(folder, changed)
    (record,) = caplog.records
    assert "was made for other weights of this shape: answers stay exact" in record.getMessage()
    inputs = tiny_inputs("llama")
    assert answer(changed, inputs, drafter).token_ids == answer(changed, inputs).token_ids


def test_weights_in_another_type_are_the_same_weights(folder, target, caplog):
    model = tiny_model("llama", hidden_size=16, head_dim=8).to(torch.bfloat16)
    rounded = Target.of(family_for(model, tiny_processor("llama")))
    assert fingerprint_of(rounded) == fingerprint_of(target)
    with caplog.at_level(logging.WARNING):
        assert bind(folder, rounded)
    assert not caplog.records


def test_a_side_that_does_not_know_its_words_is_not_asked_for_them(folder):
    silent = Target.of(family_for(tiny_model("llama", hidden_size=16, head_dim=8)))
    assert fingerprint_of(silent)["tokenizer"] is None
    assert bind(folder, silent)


@pytest.mark.parametrize("kind", KINDS)
def test_an_older_folder_says_its_kind_by_the_keys_it_has_and_names_no_target(kind, tmp_path):
    folder = write(kind, tmp_path / "drafter")
    change_config(folder, drafter=...)
    assert "drafter" not in json.loads((folder / CONFIG).read_text())
    found = Folder.find(folder)
    assert found is not None
    assert found.kind == kind
    assert make(folder).name == kind


@pytest.mark.parametrize("kind", KINDS)
def test_an_older_folder_serves_any_target_of_its_tokens_in_silence(kind, tmp_path, target, caplog):
    folder = write(kind, tmp_path / "drafter")
    change_config(folder, drafter=...)
    with caplog.at_level(logging.WARNING):
        assert bind(folder, other(seed=5)).name == kind
    assert not caplog.records


@pytest.mark.parametrize("own", [3, "x", [1], {"target": 3}, {"kind": "oracle"}, {"kind": 3}])
def test_a_table_that_is_none_is_one_line(folder, target, own):
    change_config(folder, drafter=own)
    with pytest.raises((ModelError, DrafterError)) as caught:
        bind(folder, target)
    assert str(caught.value).isprintable()
    assert folder.name in str(caught.value)

"""Drafter folders that are damaged, or of another kind: one line that names folder and file."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from seeahead.drafters.folder import ADAPTER
from seeahead.drafters.vocabulary import FILE_NAME as VOCABULARY
from seeahead.errors import DrafterError, ModelError
from seeahead.executors.checkpoint import WEIGHTS
from seeahead.train.feature_networks import to_train
from seeahead.train.language import load_network
from tests.drafters.tiny_folders import CONFIG, KINDS, NUM_OWN, NUM_TARGET, change_config, make


def files_of(kind: str) -> list[str]:
    return [CONFIG, WEIGHTS, VOCABULARY, *([ADAPTER] if kind == "vision" else [])]


EVERY_FILE = [(kind, name) for kind in KINDS for name in files_of(kind)]
EVERY_TENSORS = [(kind, name) for kind, name in EVERY_FILE if name != CONFIG]


def refused(folder: Path, *told: str) -> None:
    with pytest.raises((ModelError, DrafterError)) as caught:
        make(folder)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 700
    for part in (folder.name, *told):
        assert part in message


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_folder_is_read(whole: dict[str, Path], kind: str) -> None:
    drafter = make(whole[kind])
    assert drafter.name == kind
    assert drafter.vocabulary.target_vocab_size == NUM_TARGET


@pytest.mark.parametrize(("kind", "name"), EVERY_FILE)
def test_a_missing_file_is_named(copy_of, kind: str, name: str) -> None:
    folder = copy_of(kind)
    (folder / name).unlink()
    refused(folder, name, "is missing")
    (folder / name).mkdir()
    refused(folder, name)


JUNK = [b"", b"\xff\xfe\x00", b"{", b"[]", b"{}", b"3", b'"x"', b"null", b"[" * 100_000, b"\x00" * 64, b"junk" * 99]
JUNK += [struct.pack("<Q", 1 << 60) + b"{}", struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 90_000_000) + b"{"]


@pytest.mark.parametrize("junk", JUNK, ids=range(len(JUNK)))
@pytest.mark.parametrize(("kind", "name"), EVERY_FILE)
def test_junk_in_the_place_of_a_file_is_one_line(copy_of, kind: str, name: str, junk: bytes) -> None:
    folder = copy_of(kind)
    (folder / name).write_bytes(junk)
    refused(folder)


@pytest.mark.parametrize("share", [0.02, 0.5, 0.99])
@pytest.mark.parametrize(("kind", "name"), EVERY_FILE)
def test_a_file_that_is_cut_off_is_one_line(copy_of, kind: str, name: str, share: float) -> None:
    folder = copy_of(kind)
    written = (folder / name).read_bytes()
    (folder / name).write_bytes(written[: int(share * len(written))])
    refused(folder, name)


def test_a_declared_tensor_that_is_larger_than_the_file_is_one_line(copy_of) -> None:
    folder = copy_of("language")
    header = {"model.norm.weight": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}
    told = json.dumps(header).encode()
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", len(told)) + told)
    refused(folder, WEIGHTS)


WRONG: list[Any] = ["x", "3", -1, 0, 1.5, True, [], {}, 10**9, 10**30, float("nan"), float("inf")]
SIZES = ["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"]
SIZES += ["num_key_value_heads", "head_dim", "max_position_embeddings"]


@pytest.mark.parametrize("value", WRONG, ids=str)
@pytest.mark.parametrize("key", SIZES)
@pytest.mark.parametrize("kind", ["language", "msd"])
def test_sizes_that_are_none_or_absurd_are_refused_before_anything_is_built(copy_of, kind, key, value) -> None:
    """A thousand million layers would be built for ever, as many positions would fill the memory."""
    folder = copy_of(kind)
    change_config(folder, **{key: value})
    if (kind, key) == ("msd", "vocab_size") and value == 10**9:
        value = 10**30  # any number of tokens is the target's own
        change_config(folder, **{key: value})
    refused(folder, CONFIG)


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        *(("language", {key: ...}) for key in (*SIZES[:5], "max_position_embeddings", "unknown_draft_id")),
        *(("language", {"unknown_draft_id": value}) for value in (-1, NUM_OWN, "0", None, 10**40)),
        *(("language", {"target_vocab_size": value}) for value in (-1, 0, "160", [], True)),
        *(("language", {"model_type": value}) for value in ("gpt2", 3, None, [])),
        *(
            ("language", {"rope_parameters": value})
            for value in (3, "x", [1], {"rope_type": "yarn"}, {"rope_type": []})
        ),
        *(("language", {"rope_theta": value}) for value in (0, -1, "x", float("nan"))),
        *(("language", {"rms_norm_eps": value}) for value in (-1, "x", float("nan"))),
        *(("language", {"tie_word_embeddings": value}) for value in (1, "yes", False)),
        *(("language", {"hidden_act": value}) for value in ("gelu", 3)),
        *(("language", {"max_position_embeddings": value}) for value in (1 << 23, 1 << 29)),
        ("language", {"num_key_value_heads": 3}),
        *(("vision", {"image_adapter": value}) for value in (3, [], {}, {"width": 16}, None)),
        *(("msd", {"feature_drafter": value}) for value in (3, [], {"visual": "x"}, {"is_decoupled": 1}, {"x": 1})),
        ("msd", {"num_hidden_layers": 2}),
        ("msd", {"feature_drafter": {"visual": "query"}}),
    ],
)
def test_a_setting_that_is_wrong_or_missing_is_one_line(copy_of, kind: str, changes: dict[str, Any]) -> None:
    folder = copy_of(kind)
    change_config(folder, **changes)
    with pytest.raises((ModelError, DrafterError)) as caught:
        make(folder)
    assert str(caught.value).isprintable()
    assert CONFIG in str(caught.value)


def test_another_adapter_is_refused(copy_of) -> None:
    folder = copy_of("vision")
    for changes in ({"width": 8}, {"input_width": 13}, {"hidden_width": 10**9}, {"hidden_width": 1 << 19}):
        shape = {"input_width": 16, "width": 16, "hidden_width": 8, "num_tokens": 4, **changes}
        change_config(folder, image_adapter=shape)
        with pytest.raises(ModelError):
            make(folder)


Change = Callable[[dict[str, torch.Tensor]], None]


def _drop(tensors: dict[str, torch.Tensor]) -> None:
    tensors.pop(sorted(tensors)[0])


def _stray(tensors: dict[str, torch.Tensor]) -> None:
    tensors["stray\n"] = torch.zeros(3)


def _longer(tensors: dict[str, torch.Tensor]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = torch.cat([tensors[name], tensors[name]])


def _flat(tensors: dict[str, torch.Tensor]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = tensors[name][None]


def _small(tensors: dict[str, torch.Tensor]) -> None:
    for name, value in tensors.items():
        tensors[name] = value.to(torch.int8)


def _complex(tensors: dict[str, torch.Tensor]) -> None:
    for name, value in tensors.items():
        tensors[name] = value.to(torch.complex64)


@pytest.mark.parametrize("change", [_drop, _stray, _longer, _flat, _small, _complex])
@pytest.mark.parametrize(("kind", "name"), EVERY_TENSORS)
def test_tensors_that_are_missing_unknown_or_of_another_form_are_refused(copy_of, kind, name, change: Change) -> None:
    folder = copy_of(kind)
    tensors = {key: value.clone() for key, value in load_file(folder / name).items()}
    change(tensors)
    save_file(tensors, folder / name)
    refused(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("kind", "name"), [entry for entry in EVERY_TENSORS if entry[1] != VOCABULARY])
def test_weights_that_are_no_numbers_are_refused(copy_of, kind: str, name: str, value: float) -> None:
    folder = copy_of(kind)
    tensors = load_file(folder / name)
    tensors[sorted(tensors)[0]].view(-1)[-1] = value
    save_file(tensors, folder / name)
    refused(folder, name, "no finite numbers")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "offsets",
    [
        torch.zeros(0, dtype=torch.int64),
        torch.arange(0, -NUM_OWN, -1),  # all map to token 0
        torch.full((NUM_OWN,), -1),
        torch.full((NUM_OWN,), 2**63 - 1),
        torch.full((NUM_OWN,), -(2**62)),
    ],
    ids=["none", "one for all", "below zero", "beyond", "far below"],
)
def test_a_map_that_is_none_is_refused(copy_of, kind: str, offsets: torch.Tensor) -> None:
    folder = copy_of(kind)
    save_file({"d2t": offsets}, folder / VOCABULARY)
    refused(folder)


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_to_go_on_training_from_is_checked_as_well(copy_of, kind: str) -> None:
    def start(folder: Path) -> None:
        if kind == "msd":
            to_train(folder, SimpleNamespace(width=16, vocab_size=NUM_TARGET, processor=None))
        else:
            load_network(folder, None, SimpleNamespace(vocab_size=NUM_TARGET, processor=None))

    folder = copy_of(kind)
    start(folder)
    written = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(written[:-8])
    with pytest.raises(ModelError, match=WEIGHTS):
        start(folder)
    (folder / WEIGHTS).write_bytes(written)
    change_config(folder, num_hidden_layers=10**9)
    with pytest.raises(ModelError, match="num_hidden_layers is 1000000000"):
        start(folder)

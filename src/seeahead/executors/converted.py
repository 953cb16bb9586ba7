"""Converted graphs on disk: made once, found again by everything that they depend on, never half there."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from seeahead import compat
from seeahead.cache_folder import OTHER_PLACE, default_cache
from seeahead.checked import placed
from seeahead.errors import ModelError
from seeahead.executors import attending, conversion, language, paged_attention
from seeahead.executors.conversion import compressed, traced
from seeahead.provenance import file_digest

Report = Callable[[str, float], None]
_GRAPH, _WEIGHTS, _DIGESTS = "graph.xml", "graph.bin", "digests.json"
_PACKAGES = {"float32": "openvino", "bfloat16": "openvino", "int8": "openvino nncf", "int4": "openvino nncf"}
_MADE, _ABANDONED_SECONDS = ".making-", 24 * 3600
_BYTES = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.1, "int4": 0.7}
"""A weight takes on disk, scales included."""


def is_installed() -> bool:
    """Whether a graph can be made and run whose weights are not rounded."""
    return not _missing("float32")


def check_installed(precision: str) -> None:
    """Raises ModelError where a package is missing that a graph of this precision needs."""
    if missing := _missing(precision):
        raise ModelError(
            f"executor openvino in {precision} needs {' and '.join(missing)}; pip install '.[openvino]', or use "
            "executor transformers"
        )


def _missing(precision: str) -> list[str]:
    missing = []
    for name in _PACKAGES[precision].split():
        try:
            metadata.version(name)
        except metadata.PackageNotFoundError:
            missing.append(name)
    return missing


def converted(
    model: PreTrainedModel,
    precision: str,
    kinds: Sequence[str],
    num_additions: int,
    num_axes: int,
    report: Report | None = None,
) -> Path:
    """The file of a graph for `model` (see `conversion.traced`), made where it is not there yet.

    Raises ModelError for a model that does not convert, and where it cannot be written."""
    told: Report = report or (lambda what, share: None)
    told("reading the model's weights", 0.0)
    key = _key(model, precision, kinds, num_additions, num_axes)
    folder = default_cache() / "openvino" / key
    told("reading the converted model", 0.5)
    if not _is_whole(folder):
        _check_room(folder, model, precision)
        doing = f"converting the model to OpenVINO in {precision}; the first time takes a while"
        with _making(folder) as made:  # what cannot be written is told before the work is done
            told(doing, 0.0)
            graph = compressed(traced(model, kinds, num_additions, num_axes), precision)
            told(doing, 0.8)
            _write(graph, made, folder, precision)
            told(doing, 1.0)
    return folder / _GRAPH


def _key(model: PreTrainedModel, *settings: Any) -> str:
    """Of what the graph says: weights, buffers, config, what adapters are set to, the code that traced it."""
    versions = [metadata.version(name) for name in ("transformers", "torch", *_PACKAGES[settings[0]].split())]
    # Of the types of weights each one tells its own; the config's depends on how the model was loaded.
    told = {name: value for name, value in model.config.get_text_config().to_dict().items() if "dtype" not in name}
    config = json.dumps(told, sort_keys=True, default=str)
    decoder: Any = model.get_decoder()
    head: Any = model.get_output_embeddings()
    kinds = sorted({str(type(module)) for module in (*decoder.modules(), *head.modules())})
    facts = (settings, versions, config, kinds, _set_by_others(decoder) + _set_by_others(head), _own_code())
    digest = hashlib.blake2b(repr(facts).encode(), digest_size=16)
    own = (*decoder.named_parameters(), *decoder.named_buffers())
    tensors = (*own, *head.named_parameters(prefix="head"), *head.named_buffers(prefix="head"))
    for name, weight in tensors:
        if not name.startswith("embed_tokens"):
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            digest.update(weight.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _set_by_others(part: nn.Module) -> list[tuple[str, str, str]]:
    """What modules of other packages are set to, such as which adapter of several is active, and how strong."""
    found = []
    for name, module in part.named_modules():
        if not type(module).__module__.startswith(("torch.", "transformers.")):
            own = {key: value for key, value in vars(module).items() if key not in _OF_EVERY_MODULE}
            found += [(name, key, repr(value)) for key, value in sorted(own.items()) if _is_plain(value)]
    return found


_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def _is_plain(value: object) -> bool:
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


@cache
def _own_code() -> str:
    modules = (conversion, language, attending, compat, paged_attention)
    files = (Path(str(module.__file__)).read_bytes() for module in modules)
    return hashlib.sha256(b"".join(files)).hexdigest()


def _is_whole(folder: Path) -> bool:
    """Whether every file is as it was written; reading all of it takes a fraction of what its use takes."""
    try:
        known = json.loads((folder / _DIGESTS).read_text())
        return bool(known == _digests(folder))
    except (OSError, ValueError):
        return False


def _digests(folder: Path) -> dict[str, str]:
    return {name: file_digest(folder / name) for name in (_GRAPH, _WEIGHTS)}


def _check_room(folder: Path, model: PreTrainedModel, precision: str) -> None:
    decoder, head = model.get_decoder(), model.get_output_embeddings()
    number = sum(weight.numel() for part in (decoder, head) for weight in part.parameters())
    needed = int(number * _BYTES[precision])
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder.parent).free
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from None
    if free < needed:
        raise _unwritable(folder, f"{needed >> 20:,} MiB are needed, {free >> 20:,} are free")


@contextmanager
def _making(folder: Path) -> Iterator[Path]:
    """A folder beside, which is gone afterwards; so are those that processes left which were killed."""
    made = folder.with_name(f"{_MADE}{uuid.uuid4().hex}")
    try:
        made.mkdir()  # for all who share the cache, as files are made here
    except OSError as error:
        raise _unwritable(folder, error.strerror or str(error)) from None
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        with suppress(OSError):
            for other in list(folder.parent.glob(f"{_MADE}*")):
                if time.time() - other.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(other, ignore_errors=True)


def _write(graph: Any, made: Path, folder: Path, precision: str) -> None:
    import openvino

    try:
        openvino.save_model(graph, made / _GRAPH, compress_to_fp16=precision == "bfloat16")
        (made / _DIGESTS).write_text(json.dumps(_digests(made)))
        with suppress(OSError):
            made.rename(folder)
        if made.exists() and not _is_whole(folder):  # else somebody else was quicker, and reads it
            shutil.rmtree(folder, ignore_errors=True)
            with suppress(OSError):
                made.rename(folder)
    except (OSError, RuntimeError) as error:
        raise _unwritable(folder, str(error).strip().partition("\n")[0][:200]) from None
    if not _is_whole(folder):
        raise _unwritable(folder, "it was damaged while it was written")


def _unwritable(folder: Path, reason: str) -> ModelError:
    return ModelError(
        f"the converted model cannot be kept in {placed(folder.parent)}: {reason}; make room there, or {OTHER_PLACE}"
    )

"""Loads a target from a hub id or a local folder, and says in one line why it cannot."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from seeahead.checked import exists, is_folder, read_json, shown_value
from seeahead.compat import set_attention, takes_images, tied_weights
from seeahead.errors import ModelError, escaped, shown
from seeahead.executors.fuse import memory_bytes
from seeahead.families import check_loadable
from seeahead.families.processors import processor_class

if TYPE_CHECKING:
    from seeahead.families.base import Family

DTYPES: dict[str, torch.dtype] = {name: getattr(torch, name) for name in ("float32", "bfloat16", "float16")}


def pick_device(device: str) -> torch.device:
    """`auto` is CUDA where there is one, else the CPU. Raises ModelError for a device this machine lacks."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    known = ["cpu", *(["cuda"] if count else []), *(f"cuda:{number}" for number in range(count))]
    if device in known:
        return torch.device(device)
    available = ", ".join(known)
    raise ModelError(f"device '{device}' is not available here; available: {available} (or auto)")


def pick_dtype(dtype: str | torch.dtype) -> torch.dtype | str:
    """A torch dtype, or `auto`: the checkpoint's own (`_is_faster_in_32_bits` apart). Raises ModelError for another."""
    if isinstance(dtype, torch.dtype) or dtype == "auto":
        return dtype
    if dtype not in DTYPES:
        raise ModelError(
            f"dtype '{dtype}' is not supported; allowed are auto, {', '.join(DTYPES)}, with openvino int8, int4"
        )
    return DTYPES[dtype]


def load_model(source: str | Path, dtype: str | torch.dtype, device: str) -> tuple[Any, Any]:
    """(model, processor or tokenizer) of a hub id or a local folder. Raises ModelError."""
    is_local, (place, revision) = is_folder(source), split_revision(source)
    if not is_local and (exists(Path(source)) or str(place).count("/") != 1):
        raise ModelError(f"{shown(str(source))} is neither a folder nor a hub id (owner/name); check the path")
    check_model_type(source)
    _check_inside(source)
    # False: unasked, transformers asks on the terminal whether code of the checkpoint's is to be run.
    given: dict[str, Any] = {"revision": revision, "trust_remote_code": False}
    values, _ = _call(source, transformers.PretrainedConfig.get_config_dict, place, revision=revision)
    if "model_type" in values:
        check_loadable(escaped(str(values["model_type"])))
    check_sizes(source, values)
    config = _call(source, transformers.AutoConfig.from_pretrained, place, **given)
    check_loadable(config.model_type)
    # A checkpoint may ask for flash attention, which takes no tree mask. Unasked, transformers takes sdpa, or eager for
    # a model that has no other; but up to 5.17 it takes sdpa for Gemma2 too, which forgets to cap the scores.
    has_caps = getattr(config.get_text_config(), "attn_logit_softcapping", None) is not None
    set_attention(config, "eager" if has_caps else None)
    sees = takes_images(config.model_type, has_tower=getattr(config, "vision_config", None) is not None)
    auto = transformers.AutoModelForImageTextToText if sees else transformers.AutoModelForCausalLM
    with _quiet(is_local=is_local):
        model, report = _call(
            source,
            auto.from_pretrained,
            place,
            **given,
            config=config,
            dtype=pick_dtype(dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
        _check_complete(source, model, report)
        reader = processor_class(config.model_type) if sees else transformers.AutoTokenizer
        processor = _call(source, reader.from_pretrained, place, **given)
    _check_image_sizes(source, processor)
    chosen = pick_device(device)
    if dtype == "auto" and chosen.type == "cpu" and _is_faster_in_32_bits(model):
        model = model.float()
    return _call(source, model.to, chosen), processor


def split_revision(source: str | Path) -> tuple[str | Path, str]:
    """A folder or hub id, and the revision that may stand behind the id and an "@"."""
    name, _, revision = str(source).partition("@")
    return (source, "main") if is_folder(source) else (name, revision or "main")


def check_room(source: str | Path, values: Mapping[str, Any], dtype: str | torch.dtype, beside: Family) -> None:
    """Raises ModelError where the weights of `source`, loaded in `dtype`, do not fit into memory next to the model
    `beside` that is there already. `values` are its config's. What does not say its size is let through."""
    stored = str(values.get("dtype") or values.get("torch_dtype"))
    needed, wanted = _stored_bytes(source), dtype if isinstance(dtype, torch.dtype) else DTYPES.get(dtype)
    if wanted is not None and stored in DTYPES:
        needed = needed * wanted.itemsize // DTYPES[stored].itemsize
    if beside.device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(beside.device)
    else:
        weights = beside.model.parameters()
        free = memory_bytes() - sum(weight.nbytes for weight in weights if weight.device.type == "cpu")
    if needed > free:
        raise ModelError(
            f"{shown(str(source))} takes {needed / 1e9:.1f} GB of memory, and beside the target there are "
            f"{max(free, 0) / 1e9:.1f} GB; take a smaller drafter, or a smaller dtype"
        )


def _stored_bytes(source: str | Path) -> int:
    """Of a checkpoint's weights; of one on the hub by its index, which a large one has, else 0."""
    if is_folder(source):
        saved = [path for pattern in ("model*.bin", "pytorch_model*.bin") for path in Path(source).glob(pattern)]
        found = [*Path(source).glob("*.safetensors")] or saved
        return sum(path.stat().st_size for path in found)
    try:
        name, revision = split_revision(source)
        index = Path(hf_hub_download(str(name), "model.safetensors.index.json", revision=revision))
        return int(read_json(index, "get the model again", ModelError)["metadata"]["total_size"])
    except (OSError, ValueError, KeyError, TypeError, EntryNotFoundError, ModelError):
        return 0


def _is_faster_in_32_bits(model: Any) -> bool:
    """On a processor without products in 16 bits a pass over a tree takes several times as long in these; float32 holds
    the same weights exactly, where twice their size is at most a quarter of the memory."""
    if model.dtype not in (torch.bfloat16, torch.float16) or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return False
    if getattr(model, "hf_quantizer", None) is not None:  # its weights have types of their own
        return False
    weights = sum(weight.numel() for weight in model.parameters())
    return bool(16 * weights <= memory_bytes())


def _check_inside(source: str | Path) -> None:
    """Raises ModelError for a local folder whose index names files of weights that lie elsewhere."""
    for index in Path(source).glob("*.index.json") if is_folder(source) else ():
        names = read_json(index, "get the model again", ModelError).get("weight_map")
        for name in names.values() if isinstance(names, Mapping) else ():
            if not isinstance(name, str) or Path(name).is_absolute() or ".." in Path(name).parts:
                raise ModelError(
                    f"{index.name} in {shown(str(source))} names weights in {shown(str(name))}; files of the folder "
                    "alone are read; get the model again"
                )


_MOST = {
    re.compile(r"(layers?|depths?|blocks?)$"): 1024,
    re.compile(r"experts?$"): 4096,
    re.compile(r"(_size|_dim|_embd|_inner|_model|heads?)$"): 1 << 24,
}
"""By how its name ends: more than any model has of what a config counts."""
_WIDTHS = ("hidden_size", "n_embd", "d_model", "embed_dim")
_UNCHECKED = 1 << 28
"""Numbers of a matrix, or of a stack of them, that fit into memory wherever a model does."""


def check_sizes(source: str | Path, values: Mapping[str, Any]) -> None:
    """Raises ModelError for a config of sizes that no model has, or that cannot be those of the folder's weights.

    transformers would build such layers without end, or until no memory is left."""
    files = Path(source).rglob("*.*") if is_folder(source) else ()
    weights = [path for path in files if path.suffix in (".safetensors", ".bin") and path.is_file()]
    # Beside an adapter (PEFT) the weights that it is put on may lie elsewhere.
    num_bits = 8 * sum(path.stat().st_size for path in weights if not path.name.startswith("adapter_"))
    for table in _tables(values):
        counts = {name: most for name in table for end, most in _MOST.items() if end.search(name)}
        for name, most in counts.items():
            for value in table[name] if isinstance(table[name], list) else [table[name]]:
                if isinstance(value, int) and value > most:
                    raise ModelError(
                        f"the config of {shown(str(source))} has {name} {shown_value(value)}; allowed: up to {most:,}; "
                        "get the model again"
                    )
        found = {name: table[name] for name in counts if isinstance(table[name], int)}
        # A table with a text model inside may have sizes of its own, which nothing is built by.
        width = 0 if "text_config" in table else next((found[name] for name in _WIDTHS if name in found), 0)
        num_layers = next((found[name] for name in ("num_hidden_layers", "n_layer", "depth") if name in found), 1)
        num_patches = (found.get("image_size", 0) // max(found.get("patch_size", 1), 1)) ** 2  # a position each
        if num_bits and width * max(width * num_layers, num_patches, *found.values(), 1) > max(_UNCHECKED, num_bits):
            sizes = ", ".join(f"{name} {value}" for name, value in sorted(found.items(), key=lambda one: -one[1])[:3])
            raise ModelError(
                f"the config of {shown(str(source))} has {sizes}, for which its {num_bits // 8:,} bytes of weights are "
                "too few; get the model again"
            )


_MOST_EDGE, _MOST_PIXELS = 100_000, 1 << 28


def _check_image_sizes(source: str | Path, processor: Any) -> None:
    """Raises ModelError for a processor that makes images of sizes that no model reads, until no memory is left."""
    reader: Any = getattr(processor, "image_processor", None)
    values = reader.to_dict() if hasattr(reader, "to_dict") else {}
    for table in _tables(values):
        for name, value in table.items():
            # One that merges patches counts an image's pixels under the names of its edges.
            is_in_pixels = name.endswith("pixels") or (name.endswith("edge") and "merge_size" in values)
            most = _MOST_PIXELS if is_in_pixels else _MOST_EDGE
            is_size = name.endswith(("height", "width", "size", "edge", "pixels")) and isinstance(value, int | float)
            if is_size and not value <= most:
                raise ModelError(
                    f"the processor of {shown(str(source))} has {name} {shown_value(value)}; allowed: up to {most:,}; "
                    "get the model again"
                )


def _tables(values: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A config and all that are inside it."""
    left = [values]
    while left:
        yield (table := left.pop())
        left += [value for value in table.values() if isinstance(value, Mapping)]


def check_model_type(source: str | Path) -> None:
    """Raises ModelError for a local folder without config or of an unknown type, before transformers looks at it."""
    folder = Path(source)
    if not is_folder(source):
        return
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ModelError(
            f"{shown(str(folder))} holds an adapter (PEFT), not a model; in Python put it on its base model and give "
            "(model, processor), or save the merged model and give its folder"
        )
    config = read_json(folder / "config.json", "give a model folder", ModelError)
    check_loadable(escaped(str(config.get("model_type"))))


@contextmanager
def _quiet(*, is_local: bool) -> Iterator[None]:
    """No warnings of transformers meanwhile, and no progress bars but those of downloads."""
    log = transformers.utils.logging
    level, has_bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    if is_local:
        log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if is_local and has_bars:
            log.enable_progress_bar()


def _call(source: str | Path, function: Any, *args: Any, **kwargs: Any) -> Any:
    try:
        return function(*args, **kwargs)
    except Exception as error:  # what somebody else's folder makes transformers raise may be anything
        reason = escaped(str(error).strip().partition("\n")[0], 300) or type(error).__name__
        if isinstance(error, OSError) and not is_folder(source) and "connect to" in reason:
            raise ModelError(
                f"{shown(str(source))} is no folder here and was not downloaded, and the hub cannot be reached; check "
                "the id and the connection, or give a folder"
            ) from error
        raise ModelError(f"{shown(str(source))} cannot be loaded: {reason}") from error


def _check_complete(source: str | Path, model: Any, report: dict[str, Any]) -> None:
    missing = sorted(set(report.get("missing_keys", ())) - tied_weights(model))
    wrong = sorted(str(entry[0]) for entry in report.get("mismatched_keys", ()))
    if missing or wrong:
        names = ", ".join([*missing, *wrong][:5])
        more = f" and {len(missing) + len(wrong) - 5} more" if len(missing) + len(wrong) > 5 else ""
        raise ModelError(
            f"checkpoint {shown(str(source))} is incomplete: {escaped(names, 300)}{more}; download it again"
        )

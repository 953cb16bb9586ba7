"""Files of tensors that anybody may have written: checked before a tensor is read, and never run; written whole.

safetensors files say what they hold in their heads. Files of `torch.save` go through torch's restricted loader alone,
mapped and not read, and must be a flat table of tensors.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZIP_STORED, ZipFile

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import Parameter

from seeahead.checked import placed
from seeahead.errors import ModelError, SeeaheadError, shown
from seeahead.provenance import beside

FLOATS = ("F64", "F32", "F16", "BF16")
WHOLE = ("I64", "I32", "I16", "U16", "U32")
"""Kinds of numbers, by their names in safetensors files."""
Shapes = Mapping[str, tuple[int | None, ...]]
"""By the tensor's name; None: any length."""
AGAIN = "get the whole drafter folder again"
_MOST_BYTES = 32 << 30
"""Of a file of torch.save: the largest drafter there is has a tenth of it."""
_KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def write_tensors(parts: Mapping[Path, Mapping[str, Tensor]], told: dict[str, str] | None = None) -> None:
    """Files of tensors, each of which says what is `told`: all are written beside, then renamed. Raises SeeaheadError
    where there is no room."""
    with ExitStack() as stack:
        partial = {path: stack.enter_context(beside(path)) for path in parts}
        for path, tensors in parts.items():
            with full_disk_told(path.name):
                save_file({name: value.detach().contiguous() for name, value in tensors.items()}, partial[path], told)
        for path, written in partial.items():
            with full_disk_told(path.name):
                written.replace(path)


@contextmanager
def full_disk_told(name: str) -> Iterator[None]:
    """Raises SeeaheadError, in one line, where `name` cannot be written inside."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason, number = getattr(error, "strerror", None) or str(error), getattr(error, "errno", None)
        is_full = number in (errno.ENOSPC, errno.EDQUOT) or "No space left" in reason
        mend = "free space there and start again" if is_full else "choose another folder, or one that you may write to"
        raise SeeaheadError(f"cannot write {name}: {reason}; {mend}") from None


class Entry(NamedTuple):
    """A tensor that is not read yet."""

    shape: tuple[int, ...]
    kind: str
    read: Callable[[], Tensor]


Entries = dict[str, Entry]


@contextmanager
def opened(paths: Sequence[Path]) -> Iterator[Entries]:
    """The tensors of all files, by name. Raises ModelError, in one line naming the file, for one that is missing,
    damaged or another one."""
    entries: Entries = {}
    with ExitStack() as stack:
        for path in paths:
            where = placed(path)
            with _told(where):
                if not path.is_file():
                    raise ModelError(f"{where} is missing; {AGAIN}")
                found = (
                    _saved(path, where) if path.suffix == ".bin" else _safe(stack.enter_context(safe_open(path, "pt")))
                )
            if twice := sorted(entries.keys() & found.keys()):
                raise ModelError(f"{where} holds {_few(twice)} a second time; {AGAIN}")
            entries |= found
        with _told(placed(paths[0])):
            yield entries


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or "it is cut off or no such file"
        raise ModelError(f"{where} cannot be read: {reason}; {AGAIN}") from None


def _safe(file: Any) -> Entries:
    entries: Entries = {}
    for name in file.keys():  # noqa: SIM118  (no mapping)
        part = file.get_slice(name)
        entries[name] = Entry(tuple(part.get_shape()), part.get_dtype(), lambda name=name: file.get_tensor(name))  # type: ignore[misc]
    return entries


def _saved(path: Path, where: str) -> Entries:
    """Of a file of torch.save. Raises ModelError for anything but a flat table of tensors."""
    if path.stat().st_size > _MOST_BYTES:
        raise ModelError(f"{where} is larger than {_MOST_BYTES:,} bytes; no drafter is, so give another file")
    try:
        with ZipFile(path) as archive:
            if any(part.compress_type != ZIP_STORED for part in archive.infolist()):
                raise ModelError(f"{where} is compressed, as torch.save leaves no file; get the file as safetensors")
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # whatever the restricted loader refuses, in the words of several libraries
        if isinstance(error, MemoryError | ModelError):
            raise
        raise ModelError(
            f"{where} is refused by torch's restricted loader: it holds more than tensors, or is cut off; get the file "
            "as safetensors"
        ) from None
    if not isinstance(found, dict) or not all(isinstance(name, str) and _is_plain(found[name]) for name in found):
        raise ModelError(f"{where} is no flat table of names and tensors; get the file as safetensors")
    entries: Entries = {}
    for name, value in found.items():
        kind = _KINDS.get(value.dtype, str(value.dtype))
        entries[name] = Entry(tuple(value.shape), kind, lambda value=value: value.detach().clone())  # type: ignore[misc]
    return entries


def _is_plain(value: object) -> bool:
    """Whether it is a tensor all of whose numbers the file holds: none of a few bytes that says it is huge."""
    if type(value) not in (Tensor, Parameter) or value.layout != torch.strided or value.device.type != "cpu":  # type: ignore[attr-defined]
        return False
    assert isinstance(value, Tensor)
    return not value.is_nested and value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def read_tensors(
    path: Path, wanted: Shapes, optional: Shapes | None = None, kinds: tuple[str, ...] = FLOATS
) -> dict[str, Tensor]:
    """The tensors of a file, all of them, each of the shape and one of the `kinds` it should have. Raises ModelError as
    `opened` and `read_entries` do."""
    with opened([path]) as entries:
        return read_entries(entries, placed(path), wanted, optional, dict.fromkeys(entries, kinds))


def read_entries(
    entries: Entries,
    where: str,
    wanted: Shapes,
    optional: Shapes | None = None,
    kinds: Mapping[str, tuple[str, ...]] | None = None,
) -> dict[str, Tensor]:
    """All tensors that are there; `kinds`, by name: what those hold that are no FLOATS.

    Raises ModelError, in one line, for names, shapes and kinds that are others, and for weights that are not finite."""
    _check_shapes({name: entry.shape for name, entry in entries.items()}, wanted, optional or {}, where)
    for name, entry in entries.items():
        if entry.kind not in (allowed := (kinds or {}).get(name, FLOATS)):
            raise ModelError(f"{where}: {name} holds {entry.kind}; allowed: {', '.join(allowed)}; {AGAIN}")
    tensors = {name: entry.read() for name, entry in entries.items()}
    for name, value in tensors.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ModelError(f"{where}: {name} holds values that are no finite numbers; {AGAIN}")
    return tensors


def _check_shapes(found: Shapes, wanted: Shapes, optional: Shapes, where: str) -> None:
    known = {**optional, **wanted}
    missing, unknown = sorted(wanted.keys() - found.keys()), sorted(found.keys() - known.keys())
    fault = f"missing {_few(missing)}, unknown {_few(unknown)}" if missing or unknown else None
    for name, shape in found.items() if fault is None else ():
        if len(shape) != len(known[name]) or any(size not in (None, own) for own, size in zip(shape, known[name])):
            allowed = " x ".join("any" if size is None else str(size) for size in known[name])
            fault = f"{name} is {' x '.join(map(str, shape))}, not {allowed}"
            break
    if fault:
        raise ModelError(f"{where} does not fit its config.json: {fault}; {AGAIN}")


def _few(names: list[str]) -> str:
    first = ", ".join(shown(name)[1:-1] for name in names[:3]) or "nothing"
    return first if len(names) <= 3 else f"{first} and {len(names) - 3:,} more"

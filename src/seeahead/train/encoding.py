"""Prompts encoded by several processes: on a GPU the target answers thousands in the time one process encodes them."""

from __future__ import annotations

import copy
import multiprocessing
import os
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from seeahead.errors import InputError
from seeahead.executor import ModelInputs
from seeahead.families.base import Family
from seeahead.prompt import Prompt

_IN_A_GO = 16
"""Prompts that a process is handed together."""
Encoded = ModelInputs | InputError
_family: Family | None = None
"""Of a process that encodes."""


def num_workers(device: torch.device) -> int:
    """Processes beside this one; 0: it encodes by itself, since the target computes on the same cores."""
    can_fork = "fork" in multiprocessing.get_all_start_methods()
    return (os.cpu_count() or 1) - 1 if device.type == "cuda" and can_fork else 0


def encoded(family: Family, prompts: Iterable[Prompt], workers: int) -> Iterator[Encoded]:
    """The inputs of each prompt in its turn, on the family's device; an error for one that the target refuses."""
    if not workers:
        yield from (_encode(family, prompt) for prompt in prompts)
        return
    # A fork knows the family without being sent it; it computes nothing on the GPU.
    with multiprocessing.get_context("fork").Pool(workers, _begin, (family,)) as pool:
        for found in pool.imap(_encode_to_send, prompts, _IN_A_GO):
            yield found if isinstance(found, InputError) else _placed(family, *found)


def _encode(family: Family, prompt: Prompt) -> Encoded:
    try:
        return family.encode(prompt)
    except InputError as error:
        return error


def _begin(family: Family) -> None:
    global _family
    torch.set_num_threads(1)  # a fork that starts threads of its own may wait for those of its parent
    _family = copy.copy(family)
    _family.device = torch.device("cpu")


def _encode_to_send(prompt: Prompt) -> InputError | tuple[Any, dict[str, Any]]:
    assert _family is not None
    found = _encode(_family, prompt)
    if isinstance(found, InputError):
        return InputError(str(found))
    return _bare(found.token_ids), {name: _bare(value) for name, value in found.extras.items()}


def _bare(value: Any) -> Any:
    """As bytes of an array, which go through a pipe; tensors would go through files, of which there are not enough."""
    if not isinstance(value, Tensor):
        return value
    return value.contiguous().view(-1).view(torch.uint8).numpy(), value.dtype, tuple(value.shape)


def _placed(family: Family, ids: Any, extras: dict[str, Any]) -> ModelInputs:
    def whole(sent: Any) -> Any:
        if not isinstance(sent, tuple):
            return sent
        content, dtype, shape = sent
        return torch.from_numpy(content).view(dtype).view(shape).to(family.device)

    return ModelInputs(whole(ids), {name: whole(value) for name, value in extras.items()})

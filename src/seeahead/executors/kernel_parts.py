"""A decoder's linear layers, norms and rotary positions as kernels, while a pass is captured.

A captured pass replays what its parts launched, so they are replaced for the capture alone. Whatever is not exactly
what its name says, by its type or by what it answers, keeps its own forward.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seeahead.executors import kernels
from seeahead.executors.language import Language
from seeahead.executors.linear import share

JOINED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Linear layers that are given the same numbers: one product reads memory faster than several."""
_ROTATION = "apply_rotary_pos_emb"
_patching = threading.RLock()
"""A modelling file has its rotation once, for all models in the process."""


class Joint:
    """Several linear layers of the same input as one product, of which each returns its own part."""

    def __init__(self, parts: Sequence[nn.Linear]) -> None:
        self._joint = share(*parts)
        self._sizes = [part.out_features for part in parts]
        self._read: Tensor | None = None
        self._found: tuple[Tensor, ...] = ()

    def part(self, number: int, x: Tensor) -> Tensor:
        if self._read is not x:
            self._read, self._found = x, kernels.product(x, *self._joint).split(self._sizes, -1)
        return self._found[number]

    def forget(self) -> None:
        self._read, self._found = None, ()


class KernelParts:
    """What of a language model runs as kernels, and how."""

    kernels = kernels

    def __init__(self, language: Language) -> None:
        self._joints: list[Joint] = []
        self._forwards: dict[nn.Module, Callable[..., Any]] = {}
        for module in language.modules():
            self._join(module)
            if _is_linear(module):
                self._forwards.setdefault(module, partial(_product, module))
            elif norm := _norm(module):
                self._forwards[module] = norm
        self._files = [file for file in _files(language) if _rotates(file)]

    def _join(self, module: nn.Module) -> None:
        for names in JOINED:
            parts = [getattr(module, name, None) for name in names]
            if not all(_is_linear(part) for part in parts):
                continue
            if len({(part.in_features, part.bias is None) for part in parts}) == 1:  # type: ignore[union-attr]
                joint = Joint(parts)  # type: ignore[arg-type]
                self._joints.append(joint)
                self._forwards |= {part: partial(joint.part, number) for number, part in enumerate(parts)}  # type: ignore[misc]

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Inside, the parts are kernels."""
        with _patching:
            originals = [getattr(file, _ROTATION) for file in self._files]
            for module, forward in self._forwards.items():
                module.__dict__["forward"] = forward
            for file, original in zip(self._files, originals, strict=True):
                setattr(file, _ROTATION, partial(_rotated, original))
            try:
                yield
            finally:
                for module in self._forwards:
                    del module.__dict__["forward"]
                for file, original in zip(self._files, originals, strict=True):
                    setattr(file, _ROTATION, original)
                for joint in self._joints:
                    joint.forget()


def _is_linear(module: Any) -> bool:
    """A plain one: not quantised, adapted, or with a forward of its own."""
    return (
        type(module) is nn.Linear
        and type(module.weight.data) is Tensor
        and module.weight.is_contiguous()
        and "forward" not in module.__dict__
    )


def _product(module: Any, x: Tensor) -> Tensor:
    return kernels.product(x, module.weight, module.bias)


def _norm(module: Any) -> Callable[..., Tensor] | None:
    """A norm's kernel, where it says what the module says of random numbers."""
    weight, eps = getattr(module, "weight", None), getattr(module, "variance_epsilon", getattr(module, "eps", None))
    if not type(module).__name__.endswith("RMSNorm") or weight is None or weight.dim() != 1 or eps is None:
        return None
    if "forward" in module.__dict__ or type(weight.data) is not Tensor:
        return None
    given = torch.linspace(-1.5, 2, 2 * len(weight), device=weight.device, dtype=weight.dtype).view(1, 2, -1)
    expected = module(given)
    for offset in (0.0, 1.0):
        found = kernels.rms_norm(given, weight, eps, offset)
        if found.dtype == expected.dtype and kernels.is_near(found, expected):
            return partial(kernels.rms_norm, weight=weight, eps=eps, offset=offset)
    return None


def _files(language: Language) -> list[Any]:
    """Modelling files of the layers' attention, each once."""
    kinds = {type(module) for module in language.modules() if hasattr(module, "q_proj")}
    return [sys.modules[name] for name in sorted({kind.__module__ for kind in kinds})]


def _rotates(file: Any) -> bool:
    """Whether a modelling file's rotation is the one that the kernel knows."""
    original = getattr(file, _ROTATION, None)
    if original is None:
        return False
    made = torch.Generator().manual_seed(0)
    query, key, turns = (torch.randn(1, heads, 3, 16, generator=made) for heads in (4, 2, 2))
    cosines, sines = turns[:, 0], turns[:, 1]
    try:
        found = original(query, key, cosines, sines)
    except (TypeError, ValueError, RuntimeError):
        return False
    return all(
        torch.allclose(one, state * cosines + torch.cat([-state[..., 8:], state[..., :8]], -1) * sines, atol=1e-5)
        for one, state in zip(found, (query, key), strict=True)
    )


def _rotated(
    original: Callable[..., Any],
    query: Tensor,
    key: Tensor,
    cosines: Tensor,
    sines: Tensor,
    *args: Any,
    **kwargs: Any,
) -> Any:
    """By the kernel where shapes are those of a pass over trees; other models have their own."""
    is_plain = not args and not kwargs and query.dim() == 4 and len(query) == 1 and query.stride(3) == 1
    if (
        is_plain
        and cosines.shape == (1, *query.shape[2:])
        and query.shape[3] == key.shape[3]
        and kernels.runs_on(query)
    ):
        return kernels.rotated(query, key, cosines, sines)
    return original(query, key, cosines, sines, *args, **kwargs)

"""Who runs a model: named by the user, or the fastest that is there and keeps the precision asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from seeahead.errors import ModelError, shown
from seeahead.executor import Executor, ModelExecutor
from seeahead.executors.conversion import PRECISIONS
from seeahead.executors.converted import check_installed, is_installed
from seeahead.executors.exact import exact_executor
from seeahead.executors.fuse import memory_bytes
from seeahead.executors.graphs import GraphsExecutor, kernels_executor
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.families.base import Family
from seeahead.families.loading import pick_device, pick_dtype

EXECUTORS = ("auto", "transformers", "openvino", "graphs", "kernels", "exact")
_IN_TORCH: dict[str, Callable[[Family], ModelExecutor]] = {
    "graphs": GraphsExecutor,
    "kernels": kernels_executor,
    "exact": exact_executor,
}
"""Those that run the model's own weights in its own type, on any device."""
_LEAST = 20_000_000
"""Weights of a model that `auto` converts: a smaller one is answered before it is converted."""
_SHARE = 8
"""`auto` converts where the converted weights take at most this part of the memory beside the model's own."""


@dataclass(frozen=True)
class Choice:
    """`executor`: one of those named, or auto, where the model itself decides. `dtype`: of the model as loaded."""

    executor: str
    precision: str
    dtype: str | torch.dtype


def choose(executor: str, dtype: str | torch.dtype, device: str, *, is_given: bool) -> Choice:
    """What was asked for, before anything is loaded; `is_given`: the model is an object of the user's.

    Raises ModelError for names that are none, and for what does not go together."""
    if executor not in EXECUTORS:
        raise ModelError(f"executor is {shown(executor)}; allowed are {', '.join(EXECUTORS)}")
    on_cpu = pick_device(device).type == "cpu"
    needs_openvino = dtype in ("int8", "int4")
    if executor in ("transformers", *_IN_TORCH) or (
        executor == "auto" and not needs_openvino and (is_given or not on_cpu)
    ):
        if needs_openvino:
            named = "transformers" if executor == "auto" else executor
            raise ModelError(f"dtype '{dtype}' needs executor openvino; with {named} give float32, bfloat16, float16")
        pick_dtype(dtype)
        return Choice("transformers" if executor == "auto" else executor, "", dtype)
    precision = _precision(dtype)
    if executor == "auto" and not needs_openvino:
        can = precision == "float32" and is_installed()
        pick_dtype(dtype)
        return Choice("auto" if can else "transformers", precision, dtype)
    if precision not in PRECISIONS:
        raise ModelError(
            f"dtype '{precision}' is not supported by executor openvino; allowed are auto, {', '.join(PRECISIONS)}"
        )
    if not on_cpu:
        raise ModelError(
            f"executor openvino runs on the CPU, not on device {shown(device)}; give device cpu or another executor"
        )
    check_installed(precision)
    return Choice("openvino", precision, "auto" if is_given else "float32")


def _precision(dtype: str | torch.dtype) -> str:
    """Of weights; `auto` is 16 bits on a processor that computes in these, else 32."""
    if dtype == "auto":
        return "bfloat16" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "float32"
    return str(dtype).removeprefix("torch.")


def beside(executor: Executor) -> Choice:
    """For a language model that drafts for what `executor` runs: of its kind and precision, where it pays."""
    if isinstance(executor, OpenVinoExecutor):
        return Choice("auto", executor.precision, "float32")
    return Choice("transformers", "", executor.limits.dtype)


def put_executor(
    family: Family, choice: Choice, *, is_given: bool, report: Callable[[str, float], None] | None
) -> None:
    """Gives the family the executor that was chosen. Raises ModelError where one that was named cannot run it."""
    if choice.executor in _IN_TORCH:
        family.executor = _IN_TORCH[choice.executor](family)
        return
    if choice.executor == "openvino" or (choice.executor == "auto" and _pays(family)):
        try:
            family.executor = OpenVinoExecutor(family, choice.precision, report)
            return
        except ModelError:
            if choice.executor == "openvino":
                raise
    if not is_given:
        family.fuse()  # a model that was given stays as it is: others may hold it too


def _pays(family: Family) -> bool:
    number = sum(weight.numel() for weight in family.model.get_decoder().parameters())
    is_float32 = family.dtype == torch.float32
    return is_float32 and number >= _LEAST and _SHARE * 4 * number <= memory_bytes()

"""Who runs a model: named by the user, or the fastest that is there and keeps the precision asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from transformers import PreTrainedModel

from seeahead.errors import ModelError, shown
from seeahead.executor import NOTHING, Executor, ModelExecutor, ModelInputs, PromptInputs, TreeInputs
from seeahead.executors import EXECUTORS
from seeahead.executors.conversion import PRECISIONS
from seeahead.executors.converted import check_installed, is_installed
from seeahead.executors.exact import exact_executor
from seeahead.executors.fuse import memory_bytes
from seeahead.executors.graphs import GraphsExecutor, kernels_executor
from seeahead.executors.layouts import ROWS
from seeahead.executors.openvino import OpenVinoExecutor
from seeahead.families.base import Family
from seeahead.families.inspection import place_of
from seeahead.families.loading import DTYPES, pick_device, pick_dtype
from seeahead.tree import ROOT

_IN_TORCH: dict[str, Callable[[Family], ModelExecutor]] = {
    "graphs": GraphsExecutor,
    "kernels": kernels_executor,
    "exact": exact_executor,
}
"""Those that run the model's own weights in its own type, on any device."""
_LEAST = 20_000_000
"""Weights of a model that `auto` converts: a smaller one is answered before it is converted."""
_MOST_APART = 0.1
"""Of logits of a trial, in parts of their size: beyond it an executor is wrong, below it may be rounding."""
_PROMPT = 4
"""Tokens of the prompt of a trial."""
_SHARE = 8
"""`auto` converts where the converted weights take at most this part of the memory beside the model's own."""


@dataclass(frozen=True)
class Choice:
    """`executor`: one of those named, or auto, where the model itself decides. `precision`: that of OpenVINO's weights,
    or auto, as the model's own type says; where it is empty, the model runs in torch. `dtype`: of the model as
    loaded."""

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
            raise ModelError(
                f"dtype '{dtype}' needs executor openvino; with {executor} give float32, bfloat16, float16"
            )
        pick_dtype(dtype)
        return Choice("transformers" if executor == "auto" and is_given else executor, "", dtype)
    precision = _precision(dtype)
    if executor == "auto" and not needs_openvino:
        can = precision in ("float32", "bfloat16") and _computes_in(precision) and is_installed()
        pick_dtype(dtype)
        return Choice("auto" if can else "transformers", "auto" if dtype == "auto" else precision, dtype)
    if precision not in PRECISIONS:
        raise ModelError(
            f"dtype '{precision}' is not supported by executor openvino; allowed are auto, {', '.join(PRECISIONS)}"
        )
    if not on_cpu:
        raise ModelError(
            f"executor openvino runs on the CPU, not on device {shown(device)}; give device cpu or another executor"
        )
    check_installed(precision)
    if dtype == "auto":
        return Choice("openvino", "auto", "auto")
    return Choice("openvino", precision, "auto" if is_given else _converted_from(precision))


def choose_for(model: Any, executor: str, dtype: str | torch.dtype, device: str) -> Choice:
    """The same for a model that is an object of the user's. Raises ModelError also where it would have to become
    another one: of another type, or elsewhere."""
    place = place_of(model) if isinstance(model, PreTrainedModel) else getattr(model, "device", None)
    kind = getattr(model, "dtype", None)
    lies_on = getattr(place, "type", "") if getattr(place, "type", "") in ("cpu", "cuda") else "auto"
    choice = choose(executor, dtype, lies_on if device == "auto" else device, is_given=True)
    if not choice.precision and dtype != "auto" and pick_dtype(dtype) != kind:
        raise ModelError(f"the model that was given is in {kind}, not in {dtype}; leave dtype out, or convert it first")
    wanted = None if device == "auto" else pick_device(device)
    if wanted is not None and (wanted.type != lies_on or wanted.index not in (None, getattr(place, "index", None))):
        raise ModelError(f"the model that was given is on {place}, not on {device}; leave device out, or move it there")
    return choice


def _precision(dtype: str | torch.dtype) -> str:
    """Of weights; `auto` is 16 bits on a processor that computes in these, else 32."""
    if dtype == "auto":
        return "bfloat16" if _computes_in("bfloat16") else "float32"
    return str(dtype).removeprefix("torch.")


def _computes_in(precision: str) -> bool:
    """Whether the processor does."""
    return precision == "float32" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _converted_from(precision: str) -> str:
    """The type of a model that is loaded to be converted: images are its own business, in that type."""
    return "bfloat16" if precision == "bfloat16" and _computes_in(precision) else "float32"


def as_converted(model: Any, choice: Choice) -> Any:
    """The model as OpenVINO takes it, where no type was named: one in 16 bits in those that the processor computes in,
    if there are any."""
    is_kept = (choice.executor, choice.precision) != ("openvino", "auto") or model.dtype == torch.float32
    if is_kept or model.dtype == (kind := DTYPES[_precision("auto")]):
        return model
    if getattr(model, "hf_quantizer", None) is not None:
        raise ModelError("executor openvino converts no quantised checkpoint; use executor transformers")
    for weight in model.parameters():  # and no buffers: rotary frequencies stay in 32 bits
        weight.data = weight.data.to(kind)
    return model


def _settled(choice: Choice, family: Family) -> str:
    """The precision of OpenVINO's weights: where nobody named one, a model in 32 bits stays in these."""
    if choice.precision != "auto":
        return choice.precision
    return "float32" if family.dtype == torch.float32 else _precision("auto")


def beside(executor: Executor) -> Choice:
    """For a language model that drafts for what `executor` runs: of its kind and precision, where it pays."""
    if isinstance(executor, OpenVinoExecutor):
        return Choice("auto", executor.precision, _converted_from(executor.precision))
    return Choice("auto" if isinstance(executor, GraphsExecutor) else "transformers", "", executor.limits.dtype)


def put_executor(
    family: Family, choice: Choice, *, is_given: bool, report: Callable[[str, float], None] | None
) -> None:
    """Gives the family the executor that was chosen. Raises ModelError where one that was named cannot run it."""
    if choice.executor in _IN_TORCH:
        family.executor = _IN_TORCH[choice.executor](family)
        return
    if choice.executor == "auto" and not choice.precision:
        # A prompt that is read in one pass has masks there that grow with the square of its length.
        for make in () if family.passes_alone else (kernels_executor, GraphsExecutor):
            if runs := _tried(family, make):
                family.executor = runs
                return
    elif choice.executor == "openvino" or (choice.executor == "auto" and _pays(family)):
        try:
            family.executor = OpenVinoExecutor(family, _settled(choice, family), report)
            return
        except ModelError:
            if choice.executor == "openvino":
                raise
    if not is_given:
        family.fuse()  # a model that was given stays as it is: others may hold it too


@torch.inference_mode()
def _tried(family: Family, make: Callable[[Family], ModelExecutor]) -> ModelExecutor | None:
    """The executor, if a prompt and trees of every size that is captured run on it and say what transformers says.

    Other sizes are other kernels, or other blocks of them."""
    images, most = family.image_token_ids, family.most_nodes(_PROMPT)
    words = list(islice((token for token in range(3, family.vocab_size) if token not in images), _PROMPT + ROWS[-1]))
    longest = len(words) - _PROMPT if most is None else min(len(words) - _PROMPT, 1 + most)
    sizes = [size for size in ROWS if size <= longest]
    try:
        made = make(family)
        [expected] = _logits_of_trees(family.executor, family.device, words, sizes[-1:])
        trials = zip(sizes, _logits_of_trees(made, family.device, words, sizes), strict=True)
        is_right = all((one - expected[:size]).norm() <= _MOST_APART * expected[:size].norm() for size, one in trials)
    except Exception:  # noqa: BLE001 - whatever this model or this GPU cannot do is left to transformers
        return None
    return made if is_right else None


def _logits_of_trees(
    executor: ModelExecutor, device: torch.device, words: Sequence[int], sizes: Sequence[int]
) -> Iterator[torch.Tensor]:
    """Logits [size, vocabulary] of trees of these sizes after a prompt. Each is the beginning of the largest, whose
    nodes see none after them, and so has the same."""
    slot, prompt = executor.open(len(words)), torch.tensor([words[:_PROMPT]], device=device)
    executor.prefill([PromptInputs(slot, ModelInputs(prompt))], NOTHING)
    for size in sizes:
        parents = [ROOT, *((node - 1) // 2 for node in range(1, size))]
        [scores] = executor.forward([TreeInputs(slot, words[_PROMPT : _PROMPT + size], parents)], NOTHING)
        executor.commit(slot, ())
        yield scores.logits.float()
    executor.close(slot)


def _pays(family: Family) -> bool:
    if getattr(family.model, "hf_quantizer", None) is not None:
        return False
    number = sum(weight.numel() for weight in family.model.get_decoder().parameters())
    is_known = family.dtype in (torch.float32, torch.bfloat16)
    return is_known and number >= _LEAST and _SHARE * family.dtype.itemsize * number <= memory_bytes()

"""A family's language model as an OpenVINO graph: traced from transformers' own modules, on tokens of any number of
sequences side by side. What was read before lies in pages (`paged_attention`).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from seeahead.errors import ModelError
from seeahead.executors.hooks import num_hooks
from seeahead.executors.paged_attention import extensions, with_stand_ins
from seeahead.executors.traceable import Traceable
from seeahead.hidden_warnings import hidden

PRECISIONS = ("float32", "bfloat16", "int8", "int4")
"""Of weights. All but float32 make another target than the checkpoint, whose answers are measured against itself."""
_GROUP = 64
"""Weights of four bits that share a scale."""


def traced(model: PreTrainedModel, kinds: Sequence[str], num_additions: int, num_axes: int) -> Any:
    """An `openvino.Model` with named inputs and outputs. `num_axes`: of positions, 3 for M-RoPE, else 1.

    Raises ModelError for a model that cannot be followed so.
    """
    import openvino

    if getattr(model, "hf_quantizer", None) is not None:
        raise _refused(model, "its checkpoint is quantised")
    if model.dtype != torch.float32:  # what is converted computes in 32 bits; how it runs is for who compiles it
        model = copy.deepcopy(model).float()
    decoder = model.get_decoder()
    if not all(hasattr(decoder, name) for name in ("layers", "norm")) or any(
        num_hooks(one) for one in decoder.modules()
    ):
        raise _refused(model, "its decoder has other parts than layers and a norm, or something is hooked to it")
    example = _example(model, num_additions, num_axes)
    trained = [part for part in model.modules() if part.training]
    module = Traceable(model, kinds).eval()
    try:
        with torch.inference_mode(False), torch.no_grad(), _quiet():
            graph = openvino.convert_model(module, example_input=example, extension=extensions(module.facts))
    except Exception as error:  # whatever a model's code makes of being traced
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        told = [line for line in lines if "No conversion rule" in line or "unconverted" in line.lower()]
        raise _refused(model, module.refused or (told or lines)[-1][:200]) from error
    finally:
        for part in trained:  # a model that was given stays as it is
            part.training = True
    inputs = ["embeddings", "positions", "rows", *(f"addition.{number}" for number in range(num_additions))]
    outputs = ["logits", "hidden.-1", *(f"hidden.{number}" for number in range(1, len(decoder.layers)))]
    are_all = len(graph.inputs) == len(inputs) and len(graph.outputs) == len(outputs)
    if not are_all or not with_stand_ins(graph, module.facts):
        raise _refused(model, "some of its inputs or layers are not used")
    _name(graph, inputs, outputs, example)
    return graph


def _refused(model: PreTrainedModel, reason: str) -> ModelError:
    return ModelError(
        f"{type(model).__name__} does not convert to OpenVINO: {reason}; run it with executor transformers"
    )


def _example(model: PreTrainedModel, num_additions: int, num_axes: int) -> dict[str, Any]:
    """Inputs of a pass over three tokens."""
    new, width = 3, model.config.get_text_config().hidden_size
    kind = next(model.get_decoder().parameters()).dtype
    positions = torch.arange(new)[:, None]
    example = {
        "embeddings": torch.randn(new, 1, width, dtype=kind),
        "positions": positions if num_axes == 1 else positions.expand(num_axes, -1, 1),
        "rows": torch.arange(new),
    }
    additions = [torch.zeros(new, 1, width, dtype=kind) for _ in range(num_additions)]
    return {**example, "additions": additions} if additions else example


def _name(graph: Any, inputs: Sequence[str], outputs: Sequence[str], example: dict[str, Any]) -> None:
    """Names, and sizes that may vary."""
    import openvino

    for ports, names in ((graph.inputs, inputs), (graph.outputs, outputs)):
        for port, name in zip(ports, names, strict=True):
            port.get_tensor().set_names({name})
    states, positions = [-1, 1, example["embeddings"].shape[2]], [*example["positions"].shape[:-2], -1, 1]
    sizes = dict.fromkeys(inputs, states) | {"positions": positions, "rows": [-1]}
    graph.reshape({port: openvino.PartialShape(sizes[port.get_any_name()]) for port in graph.inputs})


def compressed(graph: Any, precision: str) -> Any:
    """The graph with weights of that many bits; 32 and 16 are the business of who writes it down."""
    if precision not in ("int8", "int4"):
        return graph
    with _quiet():
        import nncf

        nncf.set_log_level(logging.ERROR)
        mode = nncf.CompressWeightsMode
        if precision == "int8":
            return nncf.compress_weights(graph, mode=mode.INT8_ASYM)
        # Where the group does not divide a layer's width, the next smaller one that does.
        further = nncf.AdvancedCompressionParameters(group_size_fallback_mode=nncf.GroupSizeFallbackMode.ADJUST)
        return nncf.compress_weights(
            graph, mode=mode.INT4_SYM, group_size=_GROUP, ratio=1.0, advanced_parameters=further
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, converters print nothing and, whatever they are used to, tell nobody outside of this machine of it."""
    from openvino_telemetry.utils.opt_in_checker import ConsentCheckResult, OptInChecker

    check, log = OptInChecker.check, transformers.utils.logging
    OptInChecker.check = lambda *args, **kwargs: ConsentCheckResult.DECLINED
    level = log.get_verbosity()
    log.set_verbosity_error()
    try:
        with hidden(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        OptInChecker.check = check
        log.set_verbosity(level)

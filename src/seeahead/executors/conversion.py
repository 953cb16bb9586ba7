"""A family's language model as an OpenVINO graph: traced from transformers' own modules, its keys and values inside.

The graph keeps every token it was ever given; which of them a new one sees, its mask says: trees need no roll-back in
the graph. OpenVINO recognises attention over such a state and runs it fused, which columns kept by a gather would
prevent. Several sequences are rows of the state; their new tokens lie side by side, and have rows in attention alone.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from seeahead.errors import ModelError
from seeahead.executors.hooks import num_hooks
from seeahead.executors.language import state_shapes
from seeahead.executors.traceable import Traceable

PRECISIONS = ("float32", "bfloat16", "int8", "int4")
"""Of weights. All but float32 make another target than the checkpoint, whose answers are measured against itself."""
_GROUP = 64
"""Weights of four bits that share a scale."""


def traced(model: PreTrainedModel, kinds: Sequence[str], num_additions: int, num_axes: int) -> Any:
    """An `openvino.Model` with named inputs and outputs. `num_axes`: of positions, 3 for M-RoPE, else 1.

    Raises ModelError for a model that cannot be followed so.
    """
    import openvino

    decoder, config = model.get_decoder(), model.config.get_text_config()
    if not all(hasattr(decoder, name) for name in ("layers", "norm")) or any(
        num_hooks(one) for one in decoder.modules()
    ):
        raise _refused(model, "its decoder has other parts than layers and a norm, or something is hooked to it")
    layers = config.num_hidden_layers
    example = _example(model, len(kinds), num_additions, num_axes)
    module = Traceable(model, kinds, num_additions).eval()
    try:
        with torch.inference_mode(False), torch.no_grad(), _quiet():
            graph = openvino.convert_model(module, example_input=example)
    except Exception as error:  # whatever a model's code makes of being traced
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
        told = [line for line in lines if "No conversion rule" in line or "unconverted" in line.lower()]
        raise _refused(model, (told or lines)[-1][:200]) from error
    names = [
        "embeddings",
        "positions",
        "rows",
        "order",
        "spread",
        "gathered",
        *(f"mask.{number}" for number in range(len(kinds))),
    ]
    names += [f"addition.{number}" for number in range(num_additions)]
    past = [f"past.{number}" for number in range(2 * layers)]
    outputs = ["logits", "hidden.-1", *(f"hidden.{number}" for number in range(1, layers))]
    outputs += [f"present.{number}" for number in range(2 * layers)]
    if len(graph.inputs) != len(names) + len(past) or len(graph.outputs) != len(outputs):
        raise _refused(model, "some of its inputs are not used")
    _finish(graph, [*names, *past], outputs, example)
    return graph


def _refused(model: PreTrainedModel, reason: str) -> ModelError:
    return ModelError(
        f"{type(model).__name__} does not convert to OpenVINO: {reason}; run it with executor transformers"
    )


def _example(model: PreTrainedModel, num_masks: int, num_additions: int, num_axes: int) -> dict[str, Any]:
    """Inputs of a pass over three tokens of two slots, after five of each."""
    config = model.config.get_text_config()
    new, old, width = 3, 5, config.hidden_size
    kind = next(model.get_decoder().parameters()).dtype
    positions = torch.arange(old, old + new)[None]
    past = []
    for shapes in state_shapes(model):
        past += [torch.randn(2, heads, old, size, dtype=kind) for heads, size in shapes]
    return {
        "embeddings": torch.randn(1, new, width, dtype=kind),
        "positions": positions if num_axes == 1 else positions.expand(num_axes, 1, -1),
        "rows": torch.arange(new),
        "order": torch.arange(2, dtype=torch.int32),
        "spread": torch.tensor([[0, 1], [2, 0]]),
        "gathered": torch.arange(new),
        "masks": [torch.zeros(2, 1, 2, old + 2, dtype=kind) for _ in range(num_masks)],
        "others": [*(torch.zeros(1, new, width, dtype=kind) for _ in range(num_additions)), *past],
    }


def _finish(graph: Any, inputs: Sequence[str], outputs: Sequence[str], example: dict[str, Any]) -> None:
    """Names, sizes that may vary, and keys and values as the graph's own state, empty at first."""
    import numpy as np
    import openvino
    from openvino import opset13
    from openvino._offline_transformations import apply_make_stateful_transformation

    for port, name in zip(graph.inputs, inputs, strict=True):
        port.get_tensor().set_names({name})
    for port, name in zip(graph.outputs, outputs, strict=True):
        port.get_tensor().set_names({name})
    sizes = {name: [1, -1, example["embeddings"].shape[2]] for name in inputs if name.startswith(("embed", "addition"))}
    sizes |= {"positions": [*example["positions"].shape[:-1], -1], "rows": [-1], "order": [-1]}
    sizes |= {"spread": [-1, -1], "gathered": [-1]}
    sizes |= {name: [-1, 1, -1, -1] for name in inputs if name.startswith("mask")}
    names = [name for name in inputs if name.startswith("past")]
    past = {name: states.shape for name, states in zip(names, example["others"][-len(names) :], strict=True)}
    sizes |= {name: [-1, shape[1], -1, shape[3]] for name, shape in past.items()}
    graph.reshape({port: openvino.PartialShape(sizes[port.get_any_name()]) for port in graph.inputs})
    apply_make_stateful_transformation(graph, {name: name.replace("past", "present") for name in past})
    shapes = {name: (1, shape[1], 0, shape[3]) for name, shape in past.items()}
    for node in graph.get_ops():
        if node.get_type_name() == "ReadValue":
            variable = str(node.get_attributes()["variable_id"])
            shape = next(shape for name, shape in shapes.items() if variable.startswith(f"{name}present"))
            kind = node.get_output_element_type(0)
            zero = opset13.constant(np.float32(0)).output(0)
            empty = opset13.broadcast(zero, opset13.constant(np.array(shape, np.int64)))
            node.set_arguments([opset13.convert(empty, kind.get_type_name()).output(0)])
    graph.validate_nodes_and_infer_types()


def alone(graph: Any) -> Any:
    """The graph for passes of one slot, whose tokens are a row already: nothing is gathered, split and swapped."""
    for node in _gathers(graph, "spread"):  # then split into rows, and these before heads
        split, swapped = _next(node), _next(_next(node))
        if [split.get_type_name(), swapped.get_type_name()] == ["Reshape", "Transpose"]:
            swapped.output(0).replace(node.input_value(0))
    for node in _gathers(graph, "gathered"):  # heads are joined before, and split after
        joined, split = node.input_value(0).get_node(), _next(node)
        if [joined.get_type_name(), split.get_type_name()] == ["Reshape", "Reshape"]:
            split.output(0).replace(joined.input_value(0))
    graph.validate_nodes_and_infer_types()
    return graph


def _gathers(graph: Any, name: str) -> list[Any]:
    """What is gathered by this input."""
    ports, found = [*graph.input(name).get_target_inputs()], []
    while ports:
        port = ports.pop()
        node = port.get_node()
        if node.get_type_name() == "Gather" and port.get_index() == 1:
            found.append(node)
        elif node.get_type_name() in ("Reshape", "Convert"):
            ports += node.output(0).get_target_inputs()
    return found


def _next(node: Any) -> Any:
    return next(iter(node.output(0).get_target_inputs())).get_node()


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
        with warnings.catch_warnings(), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        OptInChecker.check = check
        log.set_verbosity(level)

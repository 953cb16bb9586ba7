"""A second form of a graph inside of it, for passes over many tokens: without a state, on the same packed weights.

OpenVINO's attention over a state takes its keys one by one, for every row anew, as soon as the state holds something
(its `scaled_attn.cpp`: `use_one_token = L1 == 1 || (fuse_concat && L0 > 0)`). That is right for a token or a tree, and
several times slower than a product of matrices for part of a prompt. Only one attention may read a state, so the second
form is given what the state holds, and what is new is put into the state afterwards. A compiled model packs a weight
once for all of its graphs, but not for another model: so the form is a branch of the same one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

LEAST = 64
"""Tokens of a pass that are many: for fewer, handing the state over costs more than its attention."""
_CHOICE, _PREFIX, _HELD, _NEW = "is_many", "many.", "held.", "new."


def with_form_for_many(graph: Any, single: Any) -> Any:
    """`graph` with a branch made of `single`, its clone for one slot, which is used up.

    A graph whose attention is written out has no use for it and stays as it is.
    """
    if not any(node.get_type_name() == "ScaledDotProductAttention" for node in single.get_ops()):
        return graph
    from openvino import Model, opset13

    _take_state(single)
    choice = opset13.parameter([], np.bool_)
    branch = opset13.if_op(choice.output(0))
    results = single.get_results()
    idle = [opset13.result(opset13.constant(np.zeros(_least(result.input_value(0)), np.float32))) for result in results]
    branch.set_then_body(single)
    branch.set_else_body(Model(idle, [], "idle"))
    inputs = [(choice, _CHOICE)]
    for inner in single.get_parameters():
        outer = opset13.parameter(inner.get_partial_shape(), inner.get_element_type())
        branch.set_input(outer.output(0), inner, None)
        inputs.append((outer, _PREFIX + inner.get_friendly_name()))
    outputs = [branch.set_output(result, none) for result, none in zip(results, idle, strict=True)]
    graph.add_parameters([node for node, _ in inputs])
    graph.add_results([opset13.result(output) for output in outputs])
    for node, name in inputs:
        node.output(0).get_tensor().set_names({name})
    for output, result in zip(outputs, results, strict=True):
        output.get_tensor().set_names({_PREFIX + result.get_friendly_name()})
    graph.validate_nodes_and_infer_types()
    return graph


def _least(port: Any) -> list[int]:
    return [0 if size.is_dynamic else size.get_length() for size in port.get_partial_shape()]


def _take_state(graph: Any) -> None:
    """Instead of the state, inputs of what it holds and outputs of what would be added, heads of all layers together.

    Every input and output costs each pass time: so there are as many as keys and values have widths, and not layers."""
    from openvino import opset13

    for parameter in graph.get_parameters():
        parameter.set_friendly_name(parameter.output(0).get_any_name())
    for result in graph.get_results():
        result.set_friendly_name(result.input_value(0).get_any_name())
    reads = sorted((node for node in graph.get_ops() if node.get_type_name() == "ReadValue"), key=_variable)
    sinks = {_variable(node): node for node in graph.get_sinks()}
    for width in sorted({_heads_and_width(read)[1] for read in reads}):
        alike = [read for read in reads if _heads_and_width(read)[1] == width]
        heads = [_heads_and_width(read)[0] for read in alike]
        held = opset13.parameter([1, sum(heads), -1, width], alike[0].get_output_element_type(0))
        held.set_friendly_name(f"{_HELD}{width}")
        parts = opset13.variadic_split(held, opset13.constant(np.int64(1)), opset13.constant(np.array(heads, np.int64)))
        for read, part in zip(alike, parts.outputs(), strict=True):
            for port in read.output(0).get_target_inputs():
                rows = port.get_node()
                (rows if rows.get_type_name() == "Gather" else read).output(0).replace(part)
        joined = (sinks[_variable(read)].input_value(0).get_node() for read in alike)  # what was held, and what is new
        new = opset13.result(opset13.concat([node.input_value(1) for node in joined], 1))
        new.set_friendly_name(f"{_NEW}{width}")
        graph.add_parameters([held])
        graph.add_results([new])
    for node in sinks.values():
        graph.remove_sink(node)
    for variable in graph.get_variables():
        graph.remove_variable(variable)
    for parameter in graph.get_parameters():
        if not parameter.output(0).get_target_inputs():
            graph.remove_parameter(parameter)
    graph.validate_nodes_and_infer_types()


def _variable(node: Any) -> str:
    return str(node.get_attributes()["variable_id"])


def _heads_and_width(read: Any) -> tuple[int, int]:
    _, heads, _, width = read.get_output_partial_shape(0)
    return heads.get_length(), width.get_length()


class FormForMany:
    """That branch of a compiled graph."""

    def __init__(self, model: Any) -> None:
        inputs, outputs = ({port.get_any_name(): port for port in ports} for ports in (model.inputs, model.outputs))
        self.is_there = _CHOICE in inputs
        self._inputs = {name: port for name, port in inputs.items() if name.startswith(_PREFIX)}
        self._outputs = [name for name in outputs if name.startswith(_PREFIX)]

    def rest(self, request: Any) -> None:
        """The request's next passes do without it."""
        import openvino

        if self.is_there:
            request.set_tensor(_CHOICE, openvino.Tensor(np.array(False)))
        for name, port in self._inputs.items():
            request.set_tensor(name, openvino.Tensor(port.get_element_type(), openvino.Shape(_least(port))))

    def run(self, request: Any, inputs: dict[str, Any], row: int) -> dict[str, Any]:
        """A pass of the slot in that row of the state, which is the only one afterwards. Outputs by name."""
        import openvino

        states = sorted(request.query_state(), key=lambda state: str(state.name))
        held = [_held(state.state, row) for state in states]
        widths = {rows.shape[3] for rows in held}
        inputs = inputs | {
            f"{_HELD}{width}": np.concatenate([rows for rows in held if rows.shape[3] == width], 1) for width in widths
        }
        request.reset_state()
        given = {f"{_PREFIX}{name}": value for name, value in inputs.items() if _PREFIX + name in self._inputs}
        results = request.infer({**_nothing(inputs), **given, _CHOICE: np.array(True)}, share_inputs=True)
        taken = dict.fromkeys(widths, 0)
        for state, rows in zip(states, held, strict=True):
            _, heads, _, width = rows.shape
            new = results[f"{_PREFIX}{_NEW}{width}"][:, taken[width] : taken[width] + heads]
            state.state = openvino.Tensor(np.concatenate([rows, new], 2))
            taken[width] += heads
        self.rest(request)
        return {name.removeprefix(_PREFIX): results[name] for name in self._outputs}


def _nothing(inputs: dict[str, Any]) -> dict[str, Any]:
    """The same inputs of no token, after none."""
    axes = {"embeddings": 1, "addition": 1, "positions": -1, "rows": 0, "spread": 1, "gathered": 0}
    nothing = {"order": np.zeros(1, np.int32)}
    for name, value in inputs.items():
        if name.startswith(_HELD):
            continue
        if name.startswith("mask"):
            nothing[name] = value[:, :, :0, :0]
        else:
            nothing[name] = np.take(value, [], axes[name.split(".")[0]])
    return nothing


def _held(state: Any, row: int) -> Any:
    """A row of a tensor of a state, in float32: [1, heads, columns, width]. Before the first token there is no row."""
    held = state.data[row : row + 1].reshape(1, *state.shape[1:])
    if state.element_type.get_type_name() == "bf16":
        return torch.from_numpy(held.view(np.int16)).view(torch.bfloat16).float().numpy()
    return held.astype(np.float32, copy=False)

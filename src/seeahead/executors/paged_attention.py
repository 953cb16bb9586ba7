"""Attention over pages in an OpenVINO graph: keys and values lie in blocks outside of it, and tables say whose.

OpenVINO's own serving runs by the same operation. It takes trees: `qq_bias` says which of the new tokens of a sequence
see which, and token types which see each other both ways, as images in a prompt of Gemma3 do. The operation cannot be
written to a file, so a graph on disk has a stand-in for it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

_FACTS = "seeahead_attention"
_STAND_IN = "attention."
_KEYS, _VALUES = "keys.", "values."
# The operation's inputs, by number; the rest stays as it is made, which is: not used.
_PAGES = (3, 4)
_SHARED = {
    5: ("past", np.int32, 1),
    6: ("begins", np.int32, 1),
    7: ("blocks", np.int32, 1),
    8: ("block_begins", np.int32, 1),
    12: ("longest", np.int32, 0),
    25: ("types", np.int32, 1),
    26: ("tree", np.uint8, 1),
    27: ("tree_begins", np.int32, 1),
}
_SCALE, _WINDOW = 9, 10


@dataclass(frozen=True)
class AttentionFacts:
    """Of one layer. `window`: tokens that one sees, itself included; 0 for all of them."""

    num_heads: int
    num_key_heads: int
    key_width: int
    value_width: int
    scale: float
    window: int = 0


class PagedAttention(nn.Module):
    """What is traced in the place of attention: `query`, `key`, `value` [tokens, heads * width] of new tokens alone."""

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError("it is there to be traced")


def extensions(facts: Sequence[AttentionFacts]) -> list[Any]:
    """For the converter. `facts` fills while a model is traced."""
    from openvino.frontend.pytorch import ConversionExtension, ModuleExtension

    def traced(module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return query.new_zeros(len(query), facts[-1].num_heads * facts[-1].value_width)

    return [
        ModuleExtension(PagedAttention, "seeahead::paged", evaluate=traced),
        ConversionExtension("seeahead::paged", lambda found: [_operation([found.get_input(n) for n in range(3)])]),
    ]


def _operation(states: Sequence[Any]) -> Any:
    """The operation on queries, keys and values, with nothing else."""
    from openvino import op, opset13

    def constant(shape: Sequence[int], kind: Any = np.int32) -> Any:
        return opset13.constant(np.zeros(shape, kind)).output(0)

    pages = [constant((0, 1, 1, 1), np.float32)] * 2
    tables = [constant((1,)), constant((2,)), constant((1,)), constant((2,))]
    score = [constant((), np.float32), constant(()), constant((0,), np.float32), constant(()), constant((0,))]
    rotated = [constant((0,)), constant((0, 1)), constant((0, 1), np.float32)]
    sparse = [constant((0,), np.float32), constant(()), constant(()), constant((0, 0, 0, 0), np.float32)]
    evicted = [constant(()), *[constant((0,))] * 3]
    seen = [constant((0,)), constant((0,), np.uint8), constant((0,))]
    inputs = [*states, *pages, *tables, *score, *rotated, *sparse, *evicted, *seen]
    return op._PagedAttentionExtension(inputs).output(0)


def with_stand_ins(graph: Any, facts: Sequence[AttentionFacts]) -> bool:
    """Make the graph one that can be written; whether it has as many attentions as there are `facts`."""
    from openvino import opset13

    nodes = [node for node in graph.get_ordered_ops() if node.get_type_name() == "PagedAttentionExtension"]
    if len(nodes) != len(facts):
        return False
    for number, (node, own) in enumerate(zip(nodes, facts, strict=True)):
        states = opset13.concat([node.input_value(place) for place in range(3)], 1)
        width = own.num_heads * own.value_width
        bounds = [opset13.constant(np.array([place], np.int64)) for place in (0, width, 1, 1)]
        cut = opset13.slice(states, *bounds)
        cut.set_friendly_name(f"{_STAND_IN}{number}")
        node.output(0).replace(cut.output(0))
    graph.set_rt_info(json.dumps([asdict(own) for own in facts]), _FACTS)
    graph.validate_nodes_and_infer_types()
    return True


def with_attention(graph: Any) -> list[AttentionFacts]:
    """Put the operation into the place of its stand-ins; the facts of all layers, in their order."""
    from openvino import PartialShape, Type, opset13

    facts = [AttentionFacts(**own) for own in json.loads(graph.get_rt_info(_FACTS).value)]
    found = {node.get_friendly_name(): node for node in graph.get_ops()}

    def parameter(name: str, kind: Any, rank: int) -> Any:
        made = opset13.parameter(PartialShape([-1] * rank), kind)
        made.output(0).get_tensor().set_names({name})
        graph.add_parameters([made])
        return made.output(0)

    shared = {place: parameter(*given) for place, given in _SHARED.items()}
    for number, own in enumerate(facts):
        cut = found[f"{_STAND_IN}{number}"]
        states = cut.input_value(0).get_node()
        node = _operation([states.input_value(place) for place in range(3)]).get_node()
        pages = (parameter(f"{name}{number}", Type.dynamic, 4) for name in (_KEYS, _VALUES))
        given = {**shared, **dict(zip(_PAGES, pages, strict=True))}
        given[_SCALE] = opset13.constant(np.float32(own.scale)).output(0)
        given[_WINDOW] = opset13.constant(np.int32(own.window)).output(0)
        for place, output in given.items():
            node.input(place).replace_source_output(output)
        told = {"num_k_heads": own.num_key_heads, "num_v_heads": own.num_key_heads}
        told |= {"k_head_size": own.key_width, "v_head_size": own.value_width}
        for name, value in told.items():
            node.get_rt_info()[name] = value
        cut.output(0).replace(node.output(0))
    graph.validate_nodes_and_infer_types()
    return facts


def is_page(name: str) -> bool:
    """Whether an input of that name is a layer's keys or values."""
    return name.startswith((_KEYS, _VALUES))

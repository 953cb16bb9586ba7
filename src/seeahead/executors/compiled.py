"""A converted graph, compiled: for passes over any number of tokens, and for a few numbers a graph of its own each.

OpenVINO infers the shapes of all operations anew, and prepares these, where a pass has another number of tokens than
the one before, which takes a small model as long as half of a pass. Where the number belongs to the graph nothing is
left to infer. Each such graph has the weights once more in memory, so large models, whose passes take long anyway, have
none. One more graph for any number, for passes over many tokens, may multiply in 32 bits where that is quicker
(`row_steps`); what it hands on, keys and values among it, has 16 as before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import torch

from seeahead.checked import placed
from seeahead.errors import ModelError
from seeahead.executors.paged_attention import AttentionFacts, is_page, with_attention
from seeahead.executors.pages import Pages

_SMALL = 64
"""Numbers of an input that are compared with those of the pass before."""
_MOST_BYTES = 1 << 30
"""Of all graphs for one number of tokens together, and of the one in 32 bits."""
BLOCK, _LEAST_BLOCK = 64, 16
"""Rows that oneDNN multiplies at once in 16 bits at most. It divides more of them into equal parts; a number without
parts of some size, such as a prime, into the largest and a rest, which takes as long as another."""
_ANY, _LONG = 0, -1
"""The graphs for any number of tokens, and for any beyond `long_rows` in 32 bits, among the numbers of the others."""
_IN_32_BITS = {"name": "DisablePrecisionConversion", "version": "0", "value": "dynamic:f16"}
"""OpenVINO's mark of an operation that keeps the 32 bits that it was converted with."""
_DECOMPRESSES = "decompression_0"
"""And of one that widens weights anew in each pass."""


def arithmetic(precision: str) -> torch.dtype:
    """In which a graph with such weights computes here: 16 bits where the weights are rounded anyway, and the processor
    has products in these. With one thread OpenVINO ends the process while it compiles for these (2026.4, AMX)."""
    import openvino

    can_16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    may_16 = precision != "float32" and torch.get_num_threads() > 1
    return torch.bfloat16 if can_16 and may_16 else torch.float32


def fixed_sizes(path: Path, step: int, long_rows: int = 0) -> tuple[int, ...]:
    """The numbers of tokens that have a graph of their own; none over `long_rows`, if there are any."""
    number = _MOST_BYTES // max(path.with_suffix(".bin").stat().st_size, 1)
    return tuple(size for size in (1, step, 2 * step, 4 * step)[:number] if not 0 < long_rows < size)


def has_choice(path: Path, precision: str) -> bool:
    """Whether long passes may multiply in 32 bits: where weights have 16, and there is room for 32 as well."""
    fits = precision == "bfloat16" and 2 * path.with_suffix(".bin").stat().st_size <= _MOST_BYTES
    return fits and arithmetic(precision) == torch.bfloat16


class Graphs:
    """The graphs of one file, compiled when they are first asked for. `facts`: of their layers' attention."""

    def __init__(self, path: Path, precision: str) -> None:
        """Raises ModelError for a broken file."""
        self.path, self._precision, self._sizes = path, precision, frozenset[int]()
        # Graphs that are compiled later share pages, whose type stays, whatever becomes of torch's threads.
        self._arithmetic, self._num_threads = arithmetic(precision), torch.get_num_threads()
        self._layers, self.long_rows = frozenset[int](), 0
        self._read()

    def _read(self) -> None:
        self._compiled: dict[int, Graph] = {}
        with _reading(self.path):
            self._graph, self.facts = _told(self.path, self._layers)
            if self._arithmetic == torch.bfloat16:
                _keep_in_16_bits(self._graph)

    def fix(self, sizes: Collection[int], long_rows: int = 0) -> None:
        """From now on these numbers of tokens have a graph of their own, and passes over more than `long_rows`, if any,
        that of 32 bits."""
        self._sizes, self.long_rows = frozenset(sizes), long_rows
        if not long_rows:
            self._compiled.pop(_LONG, None)

    def divisible(self, number: int) -> int:
        """How many rows a prompt of so many tokens had better have: as many, or the next number with equal parts."""
        if number <= BLOCK or self._arithmetic != torch.bfloat16 or 0 < self.long_rows < number:
            return number
        return next(one for one in count(number) if any(one % part == 0 for part in range(_LEAST_BLOCK, BLOCK + 1)))

    def tell(self, layers: Collection[int]) -> None:
        """The hidden states before these layers as well, from now on."""
        further = frozenset(layers) - {-1, 0}
        if not further <= self._layers:
            self._layers |= further
            self._read()

    def of(self, number: int, *, all_told: bool = True) -> Graph:
        """For passes over so many tokens, which have logits all or in part."""
        is_long = 0 < self.long_rows < number
        size = number if all_told and number in self._sizes else _LONG if is_long else _ANY
        if size not in self._compiled:
            # A prompt and a step without drafts are part of every answer; who drafts soon has trees of all sizes.
            always = {_ANY} | self._sizes & {1} | ({_LONG} if self.long_rows else set())
            wanted = always if size in always else self._sizes - always
            self._compile(wanted - self._compiled.keys())
        return self._compiled[size]

    def _compile(self, sizes: Collection[int]) -> None:
        """Side by side: OpenVINO compiles each with one thread."""
        import openvino

        kind = {torch.bfloat16: "bf16", torch.float32: "f32"}[self._arithmetic]
        settings = {
            "INFERENCE_PRECISION_HINT": kind,
            "KV_CACHE_PRECISION": kind,
            "INFERENCE_NUM_THREADS": self._num_threads,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
        }
        if self._precision == "float32":
            settings["DYNAMIC_QUANTIZATION_GROUP_SIZE"] = "0"
        with _reading(self.path), ThreadPoolExecutor(self._num_threads) as pool:
            models = pool.map(lambda size: openvino.Core().compile_model(self._graph_for(size), "CPU", settings), sizes)
            self._compiled |= {size: Graph(model) for size, model in zip(sizes, models, strict=True)}

    def _graph_for(self, size: int) -> Any:
        if size == _LONG:
            graph, _ = _told(self.path, self._layers, in_32_bits=True)
            _keep_in_16_bits(graph)
            return graph
        graph = self._graph.clone()
        if size != _ANY:
            _fix(graph, size)
        return graph


class Graph:
    """One of them, with its request. `places`: of outputs, by name."""

    def __init__(self, model: Any) -> None:
        self._request, self._num_set = model.create_infer_request(), -1
        self._given = dict[str, Any]()
        outputs = enumerate(model.outputs)  # by place, since names are gathered anew after each pass
        self.places = {name: number for number, port in outputs for name in port.get_names()}
        self._ports = [port for port in model.inputs if is_page(port.get_any_name())]

    @property
    def page(self) -> tuple[str, int]:
        """The type of keys and values, and the tokens of a block."""
        like = self._ports[0]
        return like.get_element_type().get_type_name(), like.get_partial_shape()[2].get_length()

    def infer(self, inputs: Mapping[str, Any], pages: Pages) -> Any:
        """All outputs; the next pass writes into the same memory."""
        import openvino

        if self._num_set != pages.version:
            for port, view in zip(self._ports, pages.views(), strict=True):
                page = openvino.Tensor(view, openvino.Shape(view.shape), port.get_element_type())
                self._request.set_tensor(port, page)
            self._num_set = pages.version
        # Setting an input takes longer than a small operation of the graph, and most stay from pass to pass.
        others = {name: value for name, value in inputs.items() if not _is_same(self._given.get(name), value)}
        self._given |= others  # the request reads them where they lie
        return self._request.infer(others, share_inputs=True, share_outputs=True).to_tuple()


def _is_same(given: Any, value: Any) -> bool:
    small = given is not None and given.shape == value.shape and given.size <= _SMALL
    return small and bool((given == value).all())


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, KeyError, OSError, ElementTree.ParseError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1][:200]
        raise ModelError(
            f"OpenVINO cannot run the converted model in {placed(path.parent)}: {reason}; delete the folder, and it is "
            "converted again"
        ) from None


def _told(path: Path, layers: Collection[int], *, in_32_bits: bool = False) -> tuple[Any, list[AttentionFacts]]:
    """The graph in the file, with attention, which tells logits, the last hidden states and those before `layers`."""
    import openvino

    graph = _marked(path) if in_32_bits else openvino.Core().read_model(path)
    kept = {"logits", "hidden.-1", *(f"hidden.{layer}" for layer in layers)}
    for result in graph.get_results():
        if not kept & result.input_value(0).get_names():
            graph.remove_result(result)
    _keep_halved(graph)
    return graph, with_attention(graph)


def _keep_halved(graph: Any) -> None:
    """Else OpenVINO makes 32 bits of weights in 16 when it compiles, and passes read these."""
    for widened in graph.get_ops():
        if widened.get_type_name() == "Convert":
            weight = widened.input_value(0).get_node()
            if weight.get_type_name() == "Constant" and weight.get_element_type().get_type_name() == "f16":
                widened.get_rt_info()[_DECOMPRESSES] = ""


def _marked(path: Path) -> Any:
    """The graph in the file, whose products keep 32 bits. Python has no other way to mark them than in its text."""
    import openvino

    root = ElementTree.fromstring(path.read_text("utf-8"))
    for layer in root.iter("layer"):
        if layer.get("type") == "MatMul":
            known = layer.find("rt_info")
            if known is None:
                known = ElementTree.Element("rt_info")
                layer.insert(int(layer.find("data") is not None), known)
            ElementTree.SubElement(known, "attribute", _IN_32_BITS)
    weights = openvino.Tensor(np.memmap(path.with_suffix(".bin"), np.uint8, "r"))
    return openvino.Core().read_model(ElementTree.tostring(root, "unicode"), weights)


def _fix(graph: Any, size: int) -> None:
    """The number of tokens, which is the first of sizes that may vary: those of tables are not the graph's."""
    import openvino

    own = ("embeddings", "positions", "rows", "addition.")
    shapes: dict[Any, Any] = {}
    for port in graph.inputs:
        if port.get_any_name().startswith(own):
            lengths = [size if one.is_dynamic else one.get_length() for one in port.get_partial_shape()]
            shapes[port] = openvino.PartialShape(lengths)
    graph.reshape(shapes)


def _keep_in_16_bits(graph: Any) -> None:
    """OpenVINO computes in 32 bits whatever lies between an output and the products before it, which for hidden states
    is the sum of all layers; so a product, which changes nothing, stands before these outputs."""
    from openvino import opset13

    for result in graph.get_results():
        states = result.input_value(0)
        if not any(name.startswith("hidden.") for name in states.get_names()):
            continue
        width = states.get_partial_shape()[2].get_length()
        same = opset13.convert(opset13.constant(np.eye(width, dtype=np.float16)), states.get_element_type())
        product = opset13.matmul(states, same, False, False)
        names = states.get_names()
        states.get_tensor().set_names(set())
        product.output(0).get_tensor().set_names(names)
        result.input(0).replace_source_output(product.output(0))
    graph.validate_nodes_and_infer_types()

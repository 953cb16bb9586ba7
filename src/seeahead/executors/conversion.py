"""A family's language model as an OpenVINO graph: traced from transformers' own modules, on tokens of any number of
sequences side by side. What was read before lies in pages (`paged_attention`).
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import numpy as np
import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from seeahead.compat import Cache
from seeahead.errors import ModelError
from seeahead.executors.attending import PassLayer, attention_by
from seeahead.executors.language import Language
from seeahead.executors.paged_attention import AttentionFacts, PagedAttention, extensions, with_stand_ins
from seeahead.hidden_warnings import hidden

PRECISIONS = ("float32", "bfloat16", "int8", "int4")
"""Of weights. All but float32 make another target than the checkpoint, whose answers are measured against itself."""
_GROUP = 64
"""Weights of four bits that share a scale."""
_MOST_EXPONENT = 100
"""Powers of two beyond are no normal numbers in float32, or would make none of what they multiply."""


class Traceable(Language):
    """A language model as a function of tensors that keeps nothing between calls, over tokens of several sequences.

    Each token is a batch entry of its own, of one place: attention knows by its tables whom it follows, and nothing
    moves between heads and tokens. `facts`: of its layers' attention, once it was called; `refused`: why it could not
    be.
    """

    def __init__(self, model: PreTrainedModel, kinds: Sequence[str]) -> None:
        super().__init__(model, kinds)
        self._paged = PagedAttention()
        num_layers = len(list(self.decoder.layers))
        self._layer_kinds = list(getattr(self._config, "layer_types", None) or [kinds[0]] * num_layers)
        self.facts: list[AttentionFacts] = []
        self.refused = ""

    def attend(
        self, layer: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any, **settings: Any
    ) -> tuple[torch.Tensor, None]:
        """As transformers' attention: `query` [tokens, heads, 1, width] to [tokens, 1, heads, width]."""
        kind, scale = self._layer_kinds[len(self.facts)], settings.get("scaling")
        unknown = [name for name in ("softcap", "s_aux") if settings.get(name) is not None]
        if kind not in ("full_attention", "sliding_attention"):
            unknown.append(kind.replace("_", " "))
        if unknown:
            self.refused = f"its layers attend with {unknown[0]}, which OpenVINO's attention over pages does not know"
            raise NotImplementedError(self.refused)
        window = self._config.sliding_window if kind == "sliding_attention" else 0
        heads, width, value_width = int(query.shape[1]), int(query.shape[3]), int(value.shape[3])
        scale = width**-0.5 if scale is None else float(scale)
        self.facts.append(AttentionFacts(heads, int(key.shape[1]), width, value_width, scale, int(window)))
        found = self._paged(*(_side_by_side(states) for states in (query, key, value)))
        return found.reshape(-1, 1, heads, value_width), None

    def forward(
        self,
        embeddings: torch.Tensor,
        positions: torch.Tensor,
        rows: torch.Tensor,
        additions: Sequence[torch.Tensor] = (),
    ) -> tuple[torch.Tensor, ...]:
        """Logits of `rows`, the last hidden states, those before each layer but the first.

        `embeddings` [tokens, 1, width]; `positions` [tokens, 1] or [axes, tokens, 1]. `additions`: what is added after
        the first layers, each [tokens, 1, width].
        """
        self.facts.clear()
        masks = [embeddings.new_zeros(1, 1, 1, 1)] * len(self._kinds)  # attention has tables of its own
        layers = [PassLayer() for _ in self._layer_kinds]
        with attention_by(self._config, self.attend):
            last, before = self.states(embeddings, positions, masks, additions, Cache(layers=list(layers)))
        return self.logits(last.index_select(0, rows)), last, *before[1:]


def _side_by_side(states: torch.Tensor) -> torch.Tensor:
    """[tokens, heads, 1, width] as [tokens, heads * width]."""
    heads, width = int(states.shape[1]), int(states.shape[3])
    return states.transpose(1, 2).reshape(-1, heads * width)


def traced(model: PreTrainedModel, kinds: Sequence[str], num_additions: int, num_axes: int) -> Any:
    """An `openvino.Model` with named inputs and outputs. `num_axes`: of positions, 3 for M-RoPE, else 1.

    Raises ModelError for a model that cannot be followed so.
    """
    import openvino

    if model.dtype != torch.float32:  # what is converted computes in 32 bits; how it runs is for who compiles it
        model = copy.deepcopy(model).float()
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
    outputs = ["logits", "hidden.-1", *(f"hidden.{number}" for number in range(1, len(model.get_decoder().layers)))]
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
    """The graph with weights of that many bits; those of 16 are the business of who writes it down."""
    if precision == "float32":
        _halve(graph)
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


def _halve(graph: Any) -> None:
    """Matrices of a graph in 32 bits that lose nothing in 16 have 16: a step reads half as much. Most of a checkpoint
    in bfloat16 are such, times a power of two by which their products are divided, both without rounding."""
    from openvino import opset13

    for product in graph.get_ops():
        place = product.input_value(1).get_node() if product.get_type_name() == "MatMul" else None
        if place is None or place.get_type_name() != "Constant" or place.get_element_type().to_dtype() != np.float32:
            continue
        if (found := _in_16_bits(place.data)) is None:
            continue
        halved, exponent = found
        product.input(1).replace_source_output(opset13.convert(opset13.constant(halved), "f32").output(0))
        if exponent:
            _divide(product.output(0), exponent)
    graph.validate_nodes_and_infer_types()


def _in_16_bits(weight: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], int] | None:
    """The weight times 2 ** exponent in float16, and the exponent; None where something would be lost."""
    exponent = 15 - math.frexp(float(np.abs(weight).max()))[1]
    if abs(exponent) > _MOST_EXPONENT:
        return None
    halved = np.ldexp(weight, exponent).astype(np.float16)
    is_same = np.array_equal(np.ldexp(halved.astype(np.float32), -exponent), weight)
    return (halved, exponent) if is_same else None


def _divide(states: Any, exponent: int) -> None:
    """What takes `states` takes them times 2 ** -exponent from now on, by the same names."""
    from openvino import opset13

    takers, names = states.get_target_inputs(), states.get_names()
    divided = opset13.multiply(states, opset13.constant(np.float32(2.0**-exponent))).output(0)
    states.get_tensor().set_names(set())
    divided.get_tensor().set_names(names)
    for taker in takers:
        taker.replace_source_output(divided)


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

"""Llama-type decoders as executors of our own: fused projections, cache written in place, few calls per token.

It reads and writes ordinary Hugging Face Llama checkpoints; only the way it runs is ours. For a 5M-parameter drafter
the number of operator calls, not the arithmetic, is most of the cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from itertools import accumulate
from typing import Annotated, Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seeahead.checked import as_table, checked, flag, real, shown_value, whole
from seeahead.errors import ModelError
from seeahead.executor import Limits, ModelInputs, PromptInputs, Scores, Slot, TreeInputs, Want
from seeahead.executors.attention import Memory, Prompts, Trees
from seeahead.executors.norm import rms_norm
from seeahead.executors.rows import Packed, packed
from seeahead.executors.slots import OnTorchSlots, TorchSlot

_PART = 512
"""Tokens of a prompt."""


@dataclass(frozen=True)
class LlamaShape:
    """Of a Llama-type decoder; field names are those of its `config.json`."""

    vocab_size: Annotated[int, whole(1, 1 << 24)]
    hidden_size: Annotated[int, whole(1, 1 << 17)]
    intermediate_size: Annotated[int, whole(1, 1 << 20)]
    num_hidden_layers: Annotated[int, whole(1, 1024)]
    num_attention_heads: Annotated[int, whole(1, 1024)]
    num_key_value_heads: Annotated[int, whole(1, 1024)]
    head_dim: Annotated[int, whole(2, 1 << 14)]
    max_position_embeddings: Annotated[int, whole(1, 1 << 30)]
    rms_norm_eps: Annotated[float, real(0, 1)] = 1e-5
    rope_theta: Annotated[float, real(0, 1e15, above=True)] = 10000.0
    tie_word_embeddings: Annotated[bool, flag()] = True

    @classmethod
    def from_json(cls, values: dict[str, Any], where: str = "the model's config.json") -> LlamaShape:
        """Raises ModelError for a Llama variant that this decoder does not run, and for sizes that are none."""
        rope = as_table(values.get("rope_parameters") or values.get("rope_scaling") or {}, f"{where}: rope", ModelError)
        odd = [name for name in ("attention_bias", "mlp_bias") if values.get(name)]
        if (rope_type := rope.get("rope_type", rope.get("type", "default"))) != "default":
            odd.append(f"rope type {shown_value(rope_type)}")
        if (activation := values.get("hidden_act", "silu")) != "silu":
            odd.append(f"activation {shown_value(activation)}")
        if odd or values.get("model_type") != "llama":
            other = ", ".join(odd) or shown_value(values.get("model_type"))
            raise ModelError(
                f"{where}: the compact decoder runs plain Llama checkpoints, not {other}; load this model through "
                "transformers instead"
            )
        heads, width = values.get("num_attention_heads"), values.get("hidden_size")
        defaults: dict[str, Any] = {"num_key_value_heads": heads, "tie_word_embeddings": False}
        defaults["rope_theta"] = rope.get("rope_theta", 10000.0)
        if isinstance(heads, int) and isinstance(width, int) and heads > 0:
            defaults["head_dim"] = width // heads
        known = {name: values[name] for name in cls.__dataclass_fields__ if values.get(name) is not None}
        config = checked(cls, {**defaults, **known}, where, ModelError)
        heads, kv_heads, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        if heads % kv_heads or width % 2:
            raise ModelError(
                f"{where}: {heads} attention heads do not share {kv_heads} keys, or their width {width} is odd; "
                "get the whole folder again"
            )
        return config

    @classmethod
    def for_features(cls, text_config: Any, longest: int) -> LlamaShape:
        """One layer of a target's own shape, for drafting from its features; embedding and head are the target's."""
        heads = text_config.num_attention_heads
        return cls(
            vocab_size=1,
            hidden_size=text_config.hidden_size,
            intermediate_size=text_config.intermediate_size,
            num_hidden_layers=1,
            num_attention_heads=heads,
            num_key_value_heads=getattr(text_config, "num_key_value_heads", None) or heads,
            head_dim=getattr(text_config, "head_dim", None) or text_config.hidden_size // heads,
            max_position_embeddings=longest,
            rms_norm_eps=getattr(text_config, "rms_norm_eps", 1e-5),
            rope_theta=(getattr(text_config, "rope_parameters", None) or {}).get("rope_theta", 10000.0),
        )


class Layer(nn.Module):
    """Weights of one layer, projections of one input fused."""

    def __init__(self, config: LlamaShape) -> None:
        super().__init__()
        width, heads = config.hidden_size, config.num_attention_heads
        self.qkv = nn.Linear(width, (heads + 2 * config.num_key_value_heads) * config.head_dim, bias=False)
        self.output = nn.Linear(heads * config.head_dim, width, bias=False)
        self.gate_up = nn.Linear(width, 2 * config.intermediate_size, bias=False)
        self.down = nn.Linear(config.intermediate_size, width, bias=False)
        self.attention_norm = nn.Parameter(torch.ones(width))
        self.mlp_norm = nn.Parameter(torch.ones(width))


class Llama(OnTorchSlots, nn.Module):
    """A Llama-type causal language model as an `Executor`."""

    def __init__(self, config: LlamaShape) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = nn.Parameter(torch.ones(config.hidden_size))
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.head.weight = self.embedding.weight
        self.register_buffer("_rotation", rotation_table(config), persistent=False)
        self._rotation: Tensor

    @property
    def device(self) -> torch.device:
        return self.norm.device

    @property
    def limits(self) -> Limits:
        config = self.config
        longest = config.max_position_embeddings
        return Limits(config.vocab_size, longest, config.hidden_size, self.device, self.norm.dtype)

    def embed(self, tokens: Tensor) -> Tensor:
        embedded: Tensor = self.embedding(tokens)
        return embedded

    def head_rows(self, tokens: Tensor) -> Tensor:
        weight: Tensor = self.embedding.weight if self.config.tie_word_embeddings else self.head.weight
        return weight.detach()[tokens]

    def open(self, capacity: int) -> TorchSlot:
        return TorchSlot(self.config.num_hidden_layers, capacity)

    def most_nodes(self, slot: Slot) -> int | None:
        """Any number."""
        return None

    def ready(self, inputs: ModelInputs) -> ModelInputs:
        """As it is: it may be cut anywhere."""
        return inputs

    @torch.inference_mode()
    def prefill(self, prompts: Sequence[PromptInputs], want: Want) -> list[Scores]:
        given = [prompt.inputs.extras.get("inputs_embeds") for prompt in prompts]
        read = [
            self.embedding(prompt.inputs.token_ids) if embedded is None else embedded
            for prompt, embedded in zip(prompts, given, strict=True)
        ]
        return self.read([prompt.slot for prompt in prompts], read, want)

    @torch.inference_mode()
    def read(
        self, slots: Sequence[Slot], embedded: Sequence[Tensor], want: Want, positions: Tensor | None = None
    ) -> list[Scores]:
        """`prefill` of prompts, or parts of them, whose embeddings [1, tokens, width] are known: side by side.

        `positions` [axes or 1, tokens], as `rotation_at` takes them; None: those that follow in each slot."""
        own = [slot for slot in slots if isinstance(slot, TorchSlot)]
        assert len(own) == len(slots), "a slot is used with the executor that opened it"
        lengths = [read.shape[1] for read in embedded]
        places = [(slot.length, slot.length + length) for slot, length in zip(own, lengths, strict=True)]
        if positions is None:
            positions = torch.cat([torch.arange(first, end, device=self.device) for first, end in places])[None]
        inner = _inner(want)
        features = self.run(torch.cat(list(embedded), 1), positions, Prompts(own, lengths), inner)
        last = [end - 1 for end in accumulate(lengths)]
        logits, found = self.head(features[:, last])[0], []
        hidden = {layer: states.split(lengths, 1) for layer, states in {**inner, -1: features}.items()}
        for number, slot in enumerate(own):
            slot.length = places[number][1]
            kept = {layer: hidden[layer][number][0] for layer in want.layers}
            found.append(Scores(logits[number][None], kept, embedded[number][0] if want.embeddings else None))
        return found

    @torch.inference_mode()
    def forward(self, trees: Sequence[TreeInputs], want: Want) -> list[Scores]:
        return self.score(packed(trees, self.device), want)

    def score(self, trees: Packed, want: Want) -> list[Scores]:
        """The pass itself, for trees that are packed already."""
        read = self.embedding(trees.tokens) if trees.embeddings is None else trees.embeddings
        inner = _inner(want)
        features = self.run(read, trees.positions, Trees(trees), inner)
        hidden = {**inner, -1: features}
        return Scores(self.head(features)[0], {layer: hidden[layer][0] for layer in want.layers}).split(trees.bounds)

    def rotation_at(self, positions: Tensor) -> Tensor:
        """[2, *positions, head_dim]: cosines and sines."""
        return self._rotation[:, positions]

    def run(self, x: Tensor, positions: Tensor, memory: Memory, inner: dict[int, Tensor] | None = None) -> Tensor:
        """Last hidden states [batch, tokens, width] of embeddings `x`; `inner`: what the layers that are its keys read,
        which becomes known here."""
        rotation = self.rotation_at(positions).unsqueeze(3)
        for index in range(len(self.layers)):
            if inner and index in inner:
                inner[index] = x
            attended = self.attended(index, x, rotation, memory)
            if x.shape[1] <= _PART:
                x = self.after(index, x, attended)
                continue
            # Of a long prompt a part at a time: what a layer holds between its two sides is several times as wide.
            parts = zip(x.split(_PART, 1), attended.split(_PART, 1), strict=True)
            x = torch.cat([self.after(index, *part) for part in parts], 1)
        return self.last(x)

    def last(self, x: Tensor) -> Tensor:
        """The last hidden states, from what the last layer says."""
        return rms_norm(x, self.norm, self.config.rms_norm_eps)

    def with_head(self, head: nn.Module) -> Self:
        """The same layers under another head."""
        other = copy(self)
        other._modules = {**self._modules, "head": head}
        return other.eval()

    def run_at(self, x: Tensor, positions: Tensor, memory: Memory, rows: Tensor, columns: Tensor) -> Tensor:
        """Of one layer: last hidden states [places, width] at (`rows`, `columns`) of `x` [batch, tokens, width] alone.

        The other places take part as keys and values only, which saves most of the work where few places count."""
        assert len(self.layers) == 1, "the next layer would need every place"
        attended = self.attended(0, x, self.rotation_at(positions).unsqueeze(3), memory)
        return self.last(self.after(0, x[rows, columns], attended[rows, columns]))

    def for_head(self, head: nn.Module) -> nn.Module:
        """What makes logits of the last hidden states, with `head`."""
        return head

    def attended(self, index: int, x: Tensor, rotation: Tensor, memory: Memory) -> Tensor:
        """What layer `index` gathers for `x` [batch, tokens, width]: [batch, tokens, heads x width of a head]."""
        config = self.config
        heads, kv_heads, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        batch, length, _ = x.shape
        cos, sin = rotation.unbind(0)
        states = self.projected(index, x).view(batch, length, heads + 2 * kv_heads, width)
        turned, value = states.split((heads + kv_heads, kv_heads), dim=2)
        first, second = turned.chunk(2, dim=-1)
        turned = turned * cos + torch.cat((-second, first), dim=-1) * sin
        query, key = (part.transpose(1, 2) for part in turned.split((heads, kv_heads), dim=2))
        gathered = memory.attend(index, query, key, value.transpose(1, 2))
        return gathered.transpose(1, 2).reshape(batch, length, heads * width)

    def projected(self, index: int, x: Tensor) -> Tensor:
        """Queries, keys and values of layer `index` for `x` [batch, tokens, width], side by side."""
        layer = self.layers[index]
        assert isinstance(layer, Layer)
        projected: Tensor = layer.qkv(rms_norm(x, layer.attention_norm, self.config.rms_norm_eps))
        return projected

    def carried(self, index: int, x: Tensor) -> Tensor:
        """What goes past the attention of layer `index`, to be added to what it says."""
        return x

    def after(self, index: int, x: Tensor, attended: Tensor) -> Tensor:
        """`x` [..., width] after layer `index`, which gathered `attended` for it."""
        layer = self.layers[index]
        assert isinstance(layer, Layer)
        x = self.carried(index, x) + layer.output(attended)
        normed = rms_norm(x, layer.mlp_norm, self.config.rms_norm_eps)
        gate, up = layer.gate_up(normed).chunk(2, dim=-1)
        changed: Tensor = x + layer.down(F.silu(gate) * up)
        return changed


def _inner(want: Want) -> dict[int, Tensor]:
    """A place for what each layer that is wanted reads."""
    return {layer: torch.empty(0) for layer in want.layers if layer >= 0}


def rotation_table(config: LlamaShape) -> Tensor:
    """[2, positions, head_dim]: cosines and sines of rotary position embeddings (rotate-half layout)."""
    steps = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
    angles = torch.outer(torch.arange(config.max_position_embeddings).float(), config.rope_theta**-steps).repeat(1, 2)
    return torch.stack((angles.cos(), angles.sin()))

"""An independent reading of the published forward passes, in float64 and without a cache: every pass is a whole one.

Equations of the authors' code: rows of a text are slots, slot j holds token j + 1 and the feature of token j.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

from tests.drafters.head_folders import HEADS, WIDTH, described


@dataclass
class Reference:
    """`axes`: which of three positions each pair of a head follows; None: one axis."""

    name: str
    tensors: dict
    theta: float
    axes: list[int] | None = None
    carries_norm: bool = False
    visual: str = "seen"
    is_next: bool = False
    head: torch.Tensor | None = None
    rows: list = field(default_factory=list)
    places: list = field(default_factory=list)

    def __post_init__(self):
        self.told = described(self.name)
        self.w = {key: value.double() for key, value in self.tensors.items()}

    def norm(self, x, name):
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-5).sqrt() * self.w[name]

    def linear(self, x, name):
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    # ---- the prompt

    def feature(self, states):
        if self.told["format"] != "eagle3":
            return states[-1].double()
        parts = [state.double() for _, state in sorted(states.items()) if _ >= 0]
        if self.told["norms"] == "chunks":
            parts = [self.norm(part, f"fc_norm.{number}.weight") for number, part in enumerate(parts)]
        joined = torch.cat(parts, -1)
        return self.linear(self.norm(joined, "input_norm.weight") if self.told["norms"] == "whole" else joined, "fc")

    def fused(self, embedding, feature, image):
        if self.told["format"] == "eagle3":
            return torch.cat((embedding, feature))
        if self.told["format"] == "vispec":
            feature = self.linear(torch.cat((feature, image)), "img_fc")
        return self.linear(torch.cat((embedding, feature)), "fc")

    def begin(self, embeddings, placeholders, features, is_visual, positions):
        """Of slots: what the target reads of their tokens, embeddings of the ids themselves, and features [slots, .];
        `positions` [3, tokens]."""
        self.image, run = torch.zeros(WIDTH, dtype=torch.float64), []
        for slot in range(len(embeddings)):
            embedding = embeddings[slot].double()
            if self.told["format"] == "vispec" and is_visual[slot]:
                run.append(embedding)
                if slot + 1 == len(embeddings) or not is_visual[slot + 1]:
                    few = self.adapted(torch.stack(run))
                    for number, row in enumerate(few[:-1]):
                        self.add(row, slot + 1 - (len(few) - 1) + number)
                    self.image, run = few[-1], []
                continue
            if is_visual[slot] and self.visual == "alone":
                self.add(embedding, slot)
                continue
            if self.visual == "placeholder":
                embedding = placeholders[slot].double()
            place = slot
            if self.axes is not None:
                place = positions[:, slot + 1] - 1 if self.is_next else positions[:, slot]
            self.add(self.fused(embedding, features[slot], self.image), place)
        self.next = int(torch.as_tensor(self.places[-1]).max()) + 1

    def adapted(self, visual):
        own = "img_adaptor" if self.told["is_nemo"] else "imadpt"
        query = self.w[f"{own}.{'query' if self.told['is_nemo'] else 'q'}"]
        key, value = (self.linear(visual, f"{own}.{part}_proj").view(-1, HEADS, WIDTH // HEADS) for part in "kv")
        weights = (torch.einsum("qhd,khd->hqk", query, key) / (WIDTH // HEADS) ** 0.5).softmax(-1)
        return self.linear(torch.einsum("hqk,khd->qhd", weights, value).flatten(1), f"{own}.o_proj")

    def add(self, row, place):
        self.rows.append(row)
        self.places.append(place)

    def extend(self, embedding, feature):
        """One more committed slot."""
        self.add(self.fused(embedding.double(), feature, self.image), self.next)
        self.next += 1

    # ---- the layers

    def outputs(self, path=()):
        """What is fed back after the committed slots and after each token of a `path` of embeddings: the last one."""
        rows, places = list(self.rows), list(self.places)
        out = self.layers(rows, places)
        for depth, embedding in enumerate(path):
            rows.append(self.fused(embedding.double(), out, self.image))
            places.append(self.next + depth)
            out = self.layers(rows, places)
        return out

    def logits(self, path=()):
        out = self.outputs(path)
        if self.told["format"] == "eagle3":
            return self.w["lm_head.weight"] @ self.norm(out, "norm.weight")
        return self.head.double() @ out

    def layers(self, rows, places):
        x = torch.stack(rows)
        for index in range(self.told["layers"]):
            name = "midlayer." if "midlayer.mlp.up_proj.weight" in self.w else f"layers.{index}."
            x = self.layer(x, places, name, self.told["format"] == "eagle3" and index == 0)
        out = x[-1]
        return self.norm(out, "norm.weight") if self.told["last_norm"] and self.told["format"] != "eagle3" else out

    def layer(self, x, places, name, joins):
        size, kv = self.told["size"], self.told["kv"]
        residual = x
        if joins:
            embedding, feature = x.split(WIDTH, -1)
            normed = self.norm(feature, f"{name}hidden_norm.weight")
            x = torch.cat((self.norm(embedding, f"{name}input_layernorm.weight"), normed), -1)
            residual = normed if self.carries_norm else feature
        elif f"{name}input_layernorm.weight" in self.w:
            x = self.norm(x, f"{name}input_layernorm.weight")
        query, key, value = (
            self.linear(x, f"{name}self_attn.{part}_proj").view(len(x), number, size)
            for part, number in (("q", HEADS), ("k", kv), ("v", kv))
        )
        if self.told["has_head_norms"]:
            query, key = (
                self.norm(query, f"{name}self_attn.q_norm.weight"),
                self.norm(key, f"{name}self_attn.k_norm.weight"),
            )
        query, key = self.turned(query, places), self.turned(key, places)
        key, value = (part.repeat_interleave(HEADS // kv, 1) for part in (key, value))
        scores = torch.einsum("qhd,khd->hqk", query, key) / size**0.5
        scores = scores.masked_fill(~torch.ones(len(x), len(x)).tril().bool(), -torch.inf)
        gathered = torch.einsum("hqk,khd->qhd", scores.softmax(-1), value).flatten(1)
        y = residual + self.linear(gathered, f"{name}self_attn.o_proj")
        inner = self.norm(y, f"{name}post_attention_layernorm.weight")
        gated = F.silu(self.linear(inner, f"{name}mlp.gate_proj")) * self.linear(inner, f"{name}mlp.up_proj")
        return y + self.linear(gated, f"{name}mlp.down_proj")

    def turned(self, x, places):
        """Rotary positions, each pair of numbers turned by its own angle."""
        half = x.shape[-1] // 2
        placed = [torch.as_tensor(place).expand(3).double() for place in places]
        at = torch.stack([place[self.axes or [0] * half] for place in placed])[:, None]
        angles = at * self.theta ** -(torch.arange(half, dtype=torch.float64) / half)
        first, second = x[..., :half], x[..., half:]
        return torch.cat(
            (first * angles.cos() - second * angles.sin(), second * angles.cos() + first * angles.sin()), -1
        )

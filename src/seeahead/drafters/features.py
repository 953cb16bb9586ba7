"""Drafting from the target's own hidden states, whatever the network that reads them: EAGLE, EAGLE-3, MSD, ViSpec.

Slot j guesses what follows token j + 1 from its embedding and the feature of token j. What a drafter drafts, it drafts
from features it guessed itself; once the target has answered, those are dropped and the accepted tokens are read again
with the target's features.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from seeahead.drafters.base import DraftIds, ModelDrafter
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Ask, DraftContext, Feedback, Plan
from seeahead.errors import DrafterError
from seeahead.executor import FEATURES, FeatureTarget, ModelInputs, Want
from seeahead.executors.attention import NoMemory
from seeahead.executors.linear import packed_linear
from seeahead.executors.llama import Llama
from seeahead.session import Session
from seeahead.target import Target
from seeahead.tree import ROOT


@dataclass(frozen=True)
class Slots:
    """What a drafter reads of a text: `embeddings` of the tokens, `features` [slots, width] of the positions before.

    `is_visual` [slots]: the token is an image's. `positions` [axes, slots + 1]: the target's, of the token before the
    first slot's and of each slot's token; where a network asks for them."""

    embeddings: Tensor
    features: Tensor
    is_visual: Tensor
    positions: Tensor | None = None


class Beginning(NamedTuple):
    """A prompt as the layer reads it: `x` [slots, width], which may be fewer slots than tokens.

    `positions` [axes, slots], where they do not count slots. `image` [width]: what later text slots read of it."""

    x: Tensor
    positions: Tensor | None = None
    image: Tensor | None = None


class FeatureNetwork(nn.Module):
    """What makes slots of embeddings and features, and the layer that reads them."""

    decoder: Llama
    layers: tuple[int, ...] = FEATURES
    """Hidden states of the target that it reads."""
    sees: bool = True
    """Whether an image's slots hold its visual embeddings; else those of its placeholders."""
    reads_markers: bool = True
    """Whether markers around an image count as visual."""
    has_axes: bool = False
    """Whether it asks for the target's positions."""

    @property
    def target_width(self) -> int:
        """Of the hidden states that it reads."""
        return self.decoder.config.hidden_size

    def trained(self) -> dict[str, Tensor]:
        """Parameters by name, without those that are the target's."""
        targets = ("decoder.embedding.", "decoder.head.")
        return {name: value for name, value in self.named_parameters() if not name.startswith(targets)}

    def features(self, states: Mapping[int, Tensor]) -> Tensor:
        """Features [tokens, width] of the target's hidden states, by layer."""
        return states[self.layers[0]]

    def text(self, embeddings: Tensor, features: Tensor, image: Tensor | None = None) -> Tensor:
        """Text slots [..., width of what the layer reads]."""
        raise NotImplementedError

    def begin(self, slots: Slots) -> Beginning:
        """A prompt, with the tokens that are known after it."""
        raise NotImplementedError


def shifted(embeddings: Tensor, is_visual: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Slot j holds the embedding of token j + 1: the prompt's but for its first, then those of the `new` tokens: one,
    or several where steps without a draft came before the first with one."""
    return torch.cat((embeddings[1:], new)), torch.cat((is_visual[1:], is_visual.new_zeros(len(new))))


def placeholder_of(family: Any) -> int | None:
    """The id in whose places a target reads images, where its config has one."""
    found = getattr(getattr(getattr(family, "model", None), "config", None), "image_token_id", None)
    return None if found is None else int(found)


def head_of(target: Target, vocabulary: DraftVocabulary | None) -> nn.Module:
    """The target's own, over draft ids (None: all of its tokens)."""
    own = torch.arange(target.vocab_size) if vocabulary is None else vocabulary.target_ids
    executor: Any = target.executor
    return packed_linear(executor.head_rows(own), may_round=True)


@dataclass(frozen=True)
class FeatureDrafter(ModelDrafter):
    """`layer` is the network's, with a head over the draft vocabulary (None: the target's own ids).

    `embedding`: the drafter's own of text; None: the target's."""

    network: FeatureNetwork
    vocabulary: DraftVocabulary | None
    target: Target
    layer: Llama
    embedding: nn.Embedding | None = field(default=None, kw_only=True)

    @classmethod
    def on(
        cls,
        target: Target,
        network: FeatureNetwork,
        vocabulary: DraftVocabulary | None,
        head: nn.Module | None = None,
        *,
        name: str,
        **settings: Any,
    ) -> Self:
        """With `target`'s embedding and, where the drafter brings none, its head. Raises DrafterError for a target of
        another width or vocabulary."""
        executor, width = target.executor, network.target_width
        if executor.limits.width != width or not isinstance(executor, FeatureTarget):
            raise DrafterError(
                f"the {name} drafter is made for features of width {width}; the target has width "
                f"{executor.limits.width}; take one trained for this target, or drafter='lookup'"
            )
        if vocabulary is not None:
            vocabulary.check_target(target.vocab_size)
        if head is None:
            head = head_of(target, vocabulary)
        return cls(network, vocabulary, target, network.decoder.with_head(head), name=name, **settings)

    @property
    def want(self) -> Want:
        return Want(self.network.layers, embeddings=self.network.sees)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        # What is read at every draft step, beside the layer: all that has weights.
        others = (module for name, module in self.network.named_children() if name != "decoder")
        return (*others, self.layer)

    def model(self, context: DraftContext, depth: int = 0) -> FeatureModel:
        return FeatureModel(self, context, max(self.limits.depth, depth))

    def embed(self, tokens: Tensor) -> Tensor:
        """Of text [...]: [..., width]."""
        executor: Any = self.target.executor
        with torch.inference_mode():
            embedded: Tensor = executor.embed(tokens) if self.embedding is None else self.embedding(tokens)
        return embedded

    def seen(self, context: DraftContext) -> tuple[Tensor, Tensor]:
        """Of a prompt's tokens, what its slots hold [tokens, width], and which are an image's [tokens]."""
        tokens = context.inputs.token_ids[0]
        images, placeholder = context.image_token_ids, placeholder_of(self.target.family)
        if placeholder is not None and not self.network.reads_markers:
            images = frozenset([placeholder])
        is_visual = torch.isin(tokens, torch.tensor(sorted(images), device=tokens.device))
        if not self.network.sees:
            return self.embed(tokens), is_visual
        assert context.embeddings is not None, "the loop gives embeddings to a drafter that wants them"
        if self.embedding is None:
            return context.embeddings, is_visual
        return torch.where(is_visual[:, None], context.embeddings, self.embed(tokens)), is_visual

    def positions(self, inputs: ModelInputs, num_new: int) -> Tensor | None:
        """The target's positions [3, tokens] of a prompt and of `num_new` tokens after it, where the network asks."""
        if not self.network.has_axes:
            return None
        given = None if self.target.family is None else self.target.family.prompt_positions(inputs)
        device = inputs.token_ids.device
        counted = torch.arange(inputs.length, device=device)[None]
        known = counted.expand(3, -1) if given is None else given[-3:, 0].to(device)
        later = known.max() + 1 + torch.arange(num_new, device=device)
        return torch.cat((known.expand(3, -1), later.expand(3, -1)), 1)


class FeatureModel:
    """One answer: the layer's own session over slots, of which slot j guesses what follows token j + 1."""

    reads_trees = False  # a token is read with the feature guessed for its parent
    were_right: Sequence[bool] = ()

    def __init__(self, drafter: FeatureDrafter, context: DraftContext, depth: int) -> None:
        self._drafter, self._network, self._layer = drafter, drafter.network, drafter.layer
        self._most_drafted = depth * drafter.limits.width
        self._longest = self._layer.limits.max_length
        vocabulary = drafter.vocabulary
        size = context.vocab_size if vocabulary is None else len(vocabulary)
        self.ids = DraftIds(vocabulary, size, context, reads_all=True)
        self._inputs = context.inputs
        self._prompt: tuple[Tensor, Tensor] | None = drafter.seen(context)
        self._states = [context.features]  # of positions whose successor is not read yet
        self._unread = [context.first_token]
        self._session = Session(self._layer, context.inputs.length + min(context.max_new_tokens, 256))
        self._guessed: list[Tensor] = []  # the drafter's own features of pending slots
        self._root: Tensor  # since the first `read`
        self._image: Tensor | None = None

    def accept(self, feedback: Feedback) -> None:
        """Forget what was guessed; the target's features of root and path come with the next tokens."""
        if self._guessed:
            self._session.commit(())
            self._guessed.clear()
        self._states.append(feedback.features)
        self._unread += feedback.tokens

    def read(self) -> Plan[Tensor | None]:
        """Reads what is new, all with the target's features."""
        if not self._has_room():
            return None
        if self._prompt is not None:
            scores = self._session.prefill(self._begun(*self._prompt), Want(FEATURES))
            self._prompt = None
        else:
            x = self._network.text(self._embed(self._unread), self._features(), self._image)
            [scores] = yield Ask(self._layer, [self._session.chain(self._unread, x)], Want(FEATURES))
            self._session.commit(range(len(self._unread)))
        self._unread, self._states = [], []
        self._root = scores.features[-1][-1:]
        return self.ids.allowed(scores.logits[-1:])

    def expand(self, tokens: Sequence[int], parents: Sequence[int]) -> Plan[Tensor]:
        """Each token is read with the feature guessed for its parent."""
        before = torch.cat([self._root if parent == ROOT else self._guessed[parent] for parent in parents])
        x = self._network.text(self._embed(self.ids.to_target(tokens)), before, self._image)
        [scores] = yield Ask(self._layer, [self._session.tree(tokens, parents, x)], Want(FEATURES))
        self._guessed += scores.features[-1].split(1)
        return self.ids.allowed(scores.logits)[None]

    def taught(self) -> Tensor:
        """Logits [tokens, draft ids] after each token of the answer that is not read yet, nor is the prompt: all in one
        pass, of which nothing is kept."""
        assert self._prompt is not None, "the prompt was read already"
        extras = self._begun(*self._prompt).extras
        x = extras["inputs_embeds"]
        positions = extras.get("position_ids", torch.arange(x.shape[1], device=x.device)[None])
        with torch.inference_mode():
            features = self._layer.run(x, positions, NoMemory())[0, -len(self._unread) :]
            logits: Tensor = self._layer.head(features)
        return logits

    def _begun(self, embeddings: Tensor, is_visual: Tensor) -> ModelInputs:
        """The prompt and the tokens after it as the layer's prompt."""
        positions = self._drafter.positions(self._inputs, len(self._unread))
        embeddings, is_visual = shifted(embeddings, is_visual, self._embed(self._unread))
        with torch.inference_mode():
            x, placed, self._image = self._network.begin(Slots(embeddings, self._features(), is_visual, positions))
        extras = {"inputs_embeds": x[None]} | ({} if placed is None else {"position_ids": placed})
        return ModelInputs(torch.zeros(1, len(x), dtype=torch.int64, device=x.device), extras)

    def _features(self) -> Tensor:
        """Of all states at hand at once: most come in steps in which nothing is drafted."""
        with torch.inference_mode():
            return self._network.features(
                {layer: torch.cat([states[layer] for states in self._states]) for layer in self._network.layers}
            )

    def _embed(self, tokens: Sequence[int]) -> Tensor:
        return self._drafter.embed(torch.tensor(list(tokens), device=self._inputs.token_ids.device))

    def _has_room(self) -> bool:
        prompt = 0 if self._prompt is None else len(self._prompt[0])
        ahead = prompt + len(self._unread) + self._most_drafted
        return self._longest is None or self._session.length + ahead <= self._longest

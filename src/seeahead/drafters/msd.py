"""Drafts from the target's own features: MSD (Lin et al. 2025), and EAGLE-2 (Li et al. 2024) as its coupled form.

The network is one layer of the target's own shape. Text slots read an embedding and the feature before it through `fc`;
an image's slots read its visual embeddings as they are (MSD's decoupling). What it drafts, it drafts from features it
guessed itself; once the target has answered, those are dropped and the accepted tokens are read again with the target's
features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn

from seeahead.checked import flag, one_of, whole
from seeahead.drafters.base import DraftIds, ModelDrafter, were_right
from seeahead.drafters.folder import MSD, Folder, Options
from seeahead.drafters.spec import FolderSpec
from seeahead.drafters.vision import pooled
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Ask, DraftContext, Feedback, Plan
from seeahead.errors import DrafterError, ModelError
from seeahead.executor import FEATURES, FeatureTarget, ModelInputs, Want
from seeahead.executors.checkpoint import fuse, read_layers, unfuse
from seeahead.executors.linear import pack, packed_linear
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.session import Session
from seeahead.target import Target
from seeahead.tree import ROOT

VISUAL = ("full", "pooled", "query", "dropped")


@dataclass(frozen=True)
class MsdOptions(Options):
    """`visual`: what becomes of an image's slots; pooled to `num_tokens`, one learned query, or none at all."""

    key = MSD
    is_decoupled: Annotated[bool, flag()] = True
    visual: Annotated[str, one_of(VISUAL)] = "full"
    num_tokens: Annotated[int, whole(0, 1 << 20)] = 16


@dataclass(frozen=True)
class Slots:
    """What a drafter reads of a text: `embeddings` of the tokens, `features` [slots, width] of the positions before.

    `is_visual` [slots]: the token is an image's."""

    embeddings: Tensor
    features: Tensor
    is_visual: Tensor


class MsdNetwork(nn.Module):
    """`decoder` has one layer of the target's width, and no embedding or head of its own."""

    def __init__(self, config: LlamaShape, options: MsdOptions) -> None:
        super().__init__()
        width = config.hidden_size
        self.options = options
        self.fc = nn.Linear(2 * width, width)
        self.decoder = Llama(config)
        # Both are the target's; the layer itself ends in features.
        self.decoder.embedding = nn.Embedding(1, width)
        self.decoder.add_module("head", nn.Identity())
        self.query = nn.Parameter(torch.zeros(width)) if options.visual == "query" else None

    @classmethod
    def beside(cls, model: Any, options: MsdOptions, longest: int) -> MsdNetwork:
        """For a transformers `model` as target, to be trained. Starts as the target's own last layer and norm where
        these are plain Llama's, with fc letting the feature through; else at random.

        The released code starts at random; from the last layer, the same minutes get further."""
        text = model.config.get_text_config()
        network = cls(LlamaShape.for_features(text, longest), options)
        decoder = model.get_decoder()
        found = {f"model.layers.0.{name}": value for name, value in decoder.layers[-1].state_dict().items()}
        found["model.norm.weight"] = decoder.norm.weight
        ours = unfuse(network.decoder)
        if {name: value.shape for name, value in found.items()} == {name: value.shape for name, value in ours.items()}:
            _load(network.decoder, fuse(found, network.decoder.config))
        width = network.fc.out_features
        with torch.no_grad():
            network.fc.weight[:, width:] = torch.eye(width)
            network.fc.bias.zero_()
        return network.float()

    def trained(self) -> dict[str, Tensor]:
        """Parameters by name, without those that are the target's."""
        return {name: value for name, value in self.named_parameters() if name != "decoder.embedding.weight"}

    def follow(self, x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """Features [places, width] the layer guesses after the slots at (`rows`, `columns`) of `x` [batch, slots,
        width]; causal, without a cache."""
        return self.decoder.run_at(x, rows, columns)

    def text(self, embeddings: Tensor, features: Tensor) -> Tensor:
        """Text slots [..., width]: embedding first, feature second."""
        fused: Tensor = self.fc(torch.cat((embeddings, features), dim=-1))
        return fused

    def read(self, slots: Slots) -> Tensor:
        """What the layer reads [slots, width]; fewer where images are made smaller."""
        fused = self.text(slots.embeddings, slots.features)
        if not self.options.is_decoupled:
            return fused
        x = torch.where(slots.is_visual[:, None], slots.embeddings, fused)
        if self.options.visual == "full" or not bool(slots.is_visual.any()):
            return x
        runs = [(seen, len(list(run))) for seen, run in groupby(slots.is_visual.tolist())]
        parts = zip(x.split([size for _, size in runs]), runs, strict=True)
        return torch.cat([self._image(part) if seen else part for part, (seen, _) in parts])

    def _image(self, visual: Tensor) -> Tensor:
        if self.options.visual == "dropped":
            return visual[:0]
        if self.query is None:
            return pooled(visual, self.options.num_tokens)
        weights = (visual.float() @ self.query.float()).softmax(0).to(visual.dtype)
        return (weights @ visual)[None]


def read_network(folder: Folder) -> MsdNetwork:
    """In float32, as it can be trained on. Raises ModelError for tensors that do not fit the config."""
    config = LlamaShape.from_json(dict(folder.values), folder.where)
    options = MsdOptions.from_json(folder.values.get(MSD))
    if config.num_hidden_layers != 1:
        raise ModelError(f"{folder.where}: num_hidden_layers is {config.num_hidden_layers}; an msd drafter has 1")
    width = config.hidden_size
    own: dict[str, tuple[int, ...]] = {"fc.weight": (width, 2 * width), "fc.bias": (width,)}
    if options.visual == "query":
        own["query"] = (width,)
    state = read_layers(folder.path, config, own)
    # The embedding is the target's, whatever number of tokens the config names.
    network = MsdNetwork(replace(config, vocab_size=1), options)
    _load(network, {f"decoder.{name}": value for name, value in fuse(state, config).items()} | state)
    return network


def _load(module: nn.Module, found: dict[str, Tensor]) -> None:
    """Every parameter but embedding and head, which are the target's."""
    left_out, unknown = module.load_state_dict(found, strict=False)
    odd = [*unknown, *(name for name in left_out if not name.endswith(("embedding.weight", "head.weight")))]
    assert not odd, f"parameters without a value or a place: {odd}"


def shifted(embeddings: Tensor, is_visual: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Slot j holds the embedding of token j + 1: the prompt's but for its first, then those of the `new` tokens: one,
    or several where steps without a draft came before the first with one."""
    return torch.cat((embeddings[1:], new)), torch.cat((is_visual[1:], is_visual.new_zeros(len(new))))


@dataclass(frozen=True)
class MsdDrafter(ModelDrafter):
    """`layer` is the network's, with the target's head over the draft vocabulary."""

    network: MsdNetwork
    vocabulary: DraftVocabulary
    target: Target
    layer: Llama
    name: str = field(default="msd", kw_only=True)
    want: ClassVar[Want] = Want(FEATURES, embeddings=True)

    @classmethod
    def on(cls, target: Target, network: MsdNetwork, vocabulary: DraftVocabulary, **settings: Any) -> MsdDrafter:
        """With `target`'s embedding and head. Raises DrafterError for a target of another width or vocabulary."""
        executor, width = target.executor, network.decoder.config.hidden_size
        if executor.limits.width != width or not isinstance(executor, FeatureTarget):
            raise DrafterError(
                f"the msd drafter is made for features of width {width}; the target has width {executor.limits.width}; "
                "take one trained for this target, or drafter='lookup'"
            )
        vocabulary.check_target(target.vocab_size)
        head = packed_linear(executor.head_rows(vocabulary.target_ids), may_round=True)
        return cls(network, vocabulary, target, network.decoder.with_head(head), **settings)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return (self.network.fc, self.layer)

    def model(self, context: DraftContext, depth: int = 0) -> MsdModel:
        return MsdModel(self, context, max(self.limits.depth, depth))


class MsdModel:
    """One answer: the layer's own session over slots, of which slot j guesses what follows token j + 1."""

    reads_trees = False  # a token is read with the feature guessed for its parent
    were_right: Sequence[bool] = ()

    def __init__(self, drafter: MsdDrafter, context: DraftContext, depth: int) -> None:
        assert context.embeddings is not None, "the loop gives embeddings to a drafter that wants them"
        self._network, self._layer, self._most_drafted = drafter.network, drafter.layer, depth * drafter.limits.width
        self._executor: Any = drafter.target.executor
        self._longest = self._layer.limits.max_length
        self.ids = DraftIds(drafter.vocabulary, len(drafter.vocabulary), context)
        tokens = context.inputs.token_ids[0]
        images = torch.tensor(sorted(context.image_token_ids), device=tokens.device)
        self._prompt: tuple[Tensor, Tensor] | None = (context.embeddings, torch.isin(tokens, images))
        self._features = context.features[-1]  # of positions whose successor is not read yet
        self._unread: tuple[int, ...] = (context.first_token,)
        self._session = Session(self._layer, len(tokens) + min(context.max_new_tokens, 256))
        self._guessed: list[Tensor] = []  # the drafter's own features of pending slots
        self._root = self._features[:0]

    def accept(self, feedback: Feedback) -> None:
        """Forget what was guessed; the target's features of root and path come with the next tokens."""
        self._session.commit(())
        self._guessed.clear()
        self._features = torch.cat((self._features, feedback.features[-1]))
        self._unread += feedback.tokens

    def read(self) -> Plan[Tensor | None]:
        """Reads what is new, all with the target's features."""
        if not self._has_room():
            return None
        new = self._embed(self._unread)
        if self._prompt is not None:
            embeddings, is_visual = shifted(*self._prompt, new)
            x = self._network.read(Slots(embeddings, self._features, is_visual))[None]
            del embeddings  # as large as the prompt, like these, and not needed any more
            self._prompt, self._features = None, self._features[:0].clone()
            inputs = ModelInputs(torch.zeros(x.shape[:2], dtype=torch.int64, device=x.device), {"inputs_embeds": x})
            scores = self._session.prefill(inputs, Want(FEATURES))
        else:
            tree = self._session.chain(self._unread, self._network.text(new, self._features))
            [scores] = yield Ask(self._layer, [tree], Want(FEATURES))
            self._session.commit(range(len(self._unread)))
            self.were_right = were_right(scores.logits, self.ids.to_draft(self._unread))
        self._unread, self._features = (), self._features[:0].clone()
        self._root = scores.features[-1][-1:]
        return self.ids.allowed(scores.logits[-1:])

    def expand(self, tokens: Sequence[int], parents: Sequence[int]) -> Plan[Tensor]:
        """Each token is read with the feature guessed for its parent."""
        before = torch.cat([self._root if parent == ROOT else self._guessed[parent] for parent in parents])
        x = self._network.text(self._embed(self.ids.to_target(tokens)), before)
        [scores] = yield Ask(self._layer, [self._session.tree(tokens, parents, x)], Want(FEATURES))
        self._guessed += scores.features[-1].split(1)
        return self.ids.allowed(scores.logits)[None]

    def _embed(self, tokens: Sequence[int]) -> Tensor:
        embedded: Tensor = self._executor.embed(torch.tensor(list(tokens), device=self._features.device))
        return embedded

    def _has_room(self) -> bool:
        prompt = 0 if self._prompt is None else len(self._prompt[0])
        ahead = prompt + len(self._unread) + self._most_drafted
        return self._longest is None or self._session.length + ahead <= self._longest


class MsdSpec(FolderSpec):
    """`source`: a folder of ours."""

    kind = "msd"
    key = MSD

    def read(self, folder: Folder | None, target: Target) -> MsdDrafter:
        assert folder is not None
        vocabulary, limits = folder.vocabulary(), target.executor.limits
        network = read_network(folder).to(limits.device, limits.dtype).eval()
        for module in (network, *network.decoder.layers):
            pack(module, may_round=True)
        return MsdDrafter.on(target, network, vocabulary, **self.drafting)

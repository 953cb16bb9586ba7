"""A language model that drafts without seeing the image (Gagrani et al. 2024): the text-only view of the prompt.

Any causal language model with the target's vocabulary, or one with a trimmed vocabulary and a map. Greedy answers are
drafted as a tree of its likeliest tokens; sampled ones so too, or as a chain drawn from its distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import torch

from seeahead.drafters.base import DraftIds, ModelDrafting
from seeahead.drafters.costs import with_costs
from seeahead.drafters.folder import Folder
from seeahead.drafters.spec import DrafterSpec, TreeSettings
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.views import View
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Ask, DraftContext, Drafter, Feedback, Plan
from seeahead.errors import DrafterError, ModelError, shown
from seeahead.executor import ModelInputs, Want
from seeahead.executors.checkpoint import load_llama
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.session import Session
from seeahead.target import Target

_ROOM = 256
"""Tokens of an answer to make room for at first."""


@dataclass(frozen=True)
class LanguageDrafter:
    """`language` is the model. `draws`: at temperature above 0, draw a chain instead of growing a top-k tree."""

    language: Target
    vocabulary: DraftVocabulary | None = None
    limits: TreeLimits = field(default_factory=TreeLimits)
    draws: bool = False
    name: str = "language"
    want: ClassVar[Want] = Want()
    num_rows: ClassVar[int] = 1

    def check(self, target: Target) -> None:
        """Raises DrafterError where draft ids do not mean the same tokens as the target's."""
        if self.vocabulary is not None:
            self.vocabulary.check_target(target.vocab_size)
            return
        # Embedding tables are often padded to a round size; far more than that is another vocabulary.
        own = self.language.vocab_size
        if abs(own - target.vocab_size) > 512 or not _same_words(self.language, target):
            raise DrafterError(
                f"the drafter's {own} tokens are not the target's {target.vocab_size}: from another vocabulary "
                "nothing can be drafted; take one of the target's tokenizer, or drafter='lookup'"
            )

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        """What is read at every draft step."""
        family = self.language.family
        module: Any = self.language.executor if family is None else family.model
        return (module,) if isinstance(module, torch.nn.Module) else ()

    def with_room(self, depth: int) -> Self:
        return replace(self, limits=self.limits.at_least(depth))

    def start(self, context: DraftContext) -> ModelDrafting:
        return ModelDrafting(self.model(context), self.limits, context, self.name, draws=self.draws)

    def model(self, context: DraftContext) -> LanguageModel:
        ids = self.ids(context)
        return LanguageModel(self.language, ids, [View(ids.to_draft(context.text_token_ids))], context, self.limits)

    def ids(self, context: DraftContext) -> DraftIds:
        # Tokens that a target adds to its own vocabulary are ends of turns more often than anything else.
        size = self.language.vocab_size
        unknown = next((token for token in self.language.end_token_ids if token < size), 0)
        return DraftIds(self.vocabulary, size, context, unknown)


class LanguageModel:
    """A slot per view of the prompt, which holds that view and every accepted token but the newest."""

    def __init__(
        self, language: Target, ids: DraftIds, views: Sequence[View], context: DraftContext, limits: TreeLimits
    ) -> None:
        """Several views go through the model in one pass."""
        self.ids = ids
        self._executor, self._views, self._depth = language.executor, views, limits.depth
        self._longest = language.executor.limits.max_length
        self._num_expected = context.max_new_tokens
        self._answer = [context.first_token]
        self._num_read = 0
        self._read_anew(0)

    def read(self) -> Plan[torch.Tensor | None]:
        if not self._has_room(len(self._answer) - self._num_read):
            self._read_anew(len(self._answer) - 1)
            if not self._has_room(1):
                return None  # so deep a tree has no place in the model's context
        unread = self.ids.to_draft(self._answer[self._num_read :])
        trees = [session.chain(unread) for session in self._sessions]
        scores = yield Ask(self._executor, trees)
        for session in self._sessions:
            session.commit(range(len(unread)))
        self._num_read = len(self._answer)
        return self.ids.allowed(_rows([one.logits[-1] for one in scores]))

    def expand(self, tokens: Sequence[int], parents: Sequence[int]) -> Plan[torch.Tensor]:
        scores = yield Ask(self._executor, [session.tree(tokens, parents) for session in self._sessions])
        return self.ids.allowed(_rows([one.logits for one in scores]))

    def accept(self, feedback: Feedback) -> None:
        """Keep what was read of the accepted path; the rest of it is read next time."""
        self._answer += feedback.tokens
        accepted = self.ids.to_draft(feedback.accepted)
        [num_kept] = {session.follow(accepted) for session in self._sessions}
        self._num_read += num_kept

    def _has_room(self, num_unread: int) -> bool:
        longest = self._longest
        length = max(session.length for session in self._sessions)
        return longest is None or bool(length + num_unread + self._depth <= longest)

    def _read_anew(self, num_answer: int) -> None:
        """Sessions over prompt and `num_answer` tokens; of a text too long for the model's context, over its end."""
        longest, answer = self._longest, self.ids.to_draft(self._answer[:num_answer])
        views = [view.extended(answer) for view in self._views]
        if longest is not None and max(len(view.ids) for view in views) + min(self._num_expected, 4096) > longest:
            views = [view.extended((), longest // 2) for view in views]
        self._sessions = [Session(self._executor, len(view.ids) + min(self._num_expected, _ROOM)) for view in views]
        self._num_read = num_answer
        for session, view in zip(self._sessions, views, strict=True):
            if view.ids:  # an empty view (a prompt of nothing but images) starts with the first answer token
                session.prefill(self._inputs(view), Want())

    def _inputs(self, view: View) -> ModelInputs:
        executor = self._executor
        inputs = ModelInputs(torch.tensor([list(view.ids)], device=executor.limits.device))
        if view.visual:
            assert isinstance(executor, Llama), "other executors take no embeddings"
            with torch.inference_mode():
                embeddings = executor.embed(inputs.token_ids)
                embeddings[0, list(view.visual)] = torch.stack(list(view.visual.values()))
            inputs.extras["inputs_embeds"] = embeddings
        return inputs


def _rows(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor, a row for each; a single one is not copied."""
    return logits[0][None] if len(logits) == 1 else torch.stack(list(logits))


def _same_words(drafter: Target, target: Target) -> bool:
    """Whether ids mean the same words, where both sides know their tokenizer (a target may have added some)."""
    if drafter.tokenizer is None or target.tokenizer is None:
        return True
    ours, theirs = drafter.tokenizer.get_vocab(), target.tokenizer.get_vocab()
    same: int = sum(ours[word] == theirs[word] for word in ours.keys() & theirs.keys())
    return same > 0.95 * len(ours)


class LanguageSpec(TreeSettings, DrafterSpec):
    """`source`: a folder of ours, or any language model's folder or hub id."""

    kind = "language"
    source: str | Path

    def bind(self, target: Target) -> Drafter:
        folder = Folder.find(self.source)
        if folder is None:
            language, vocabulary = load_any(self.source, target), None
        else:
            folder.check_target(target)
            vocabulary = folder.vocabulary()
            language = Target(load_own(folder, vocabulary, target))
        drafter = LanguageDrafter(language, vocabulary, self.limits(), self.draws, self.title)
        drafter.check(target)
        return with_costs(drafter, target) if self.tuned else drafter


def load_any(source: str | Path, target: Target) -> Target:
    """Any model that transformers loads, beside `target`."""
    from seeahead.families import family_for
    from seeahead.families.loading import load_model

    limits = target.executor.limits
    return Target.of(family_for(*load_model(source, limits.dtype, str(limits.device))))


def load_own(folder: Folder, vocabulary: DraftVocabulary, target: Target) -> Llama:
    """The language model of a drafter folder. Raises ModelError for whatever in it is missing or damaged."""
    limits = target.executor.limits
    return load_llama(folder.path, shape_of(folder, vocabulary), limits.dtype, limits.device)


def shape_of(folder: Folder, vocabulary: DraftVocabulary) -> LlamaShape:
    """Of a language model over a vocabulary. Raises ModelError where the two do not fit."""
    config = LlamaShape.from_json(dict(folder.values), folder.where)
    if len(vocabulary) != config.vocab_size:
        raise ModelError(
            f"{shown(str(folder.path))} maps {len(vocabulary)} draft tokens, its model has {config.vocab_size}; get "
            "the whole drafter folder again"
        )
    return config

"""A language model that drafts without seeing the image (Gagrani et al. 2024): the text-only view of the prompt.

Any causal language model with the target's vocabulary, or one with a trimmed vocabulary and a map. Greedy answers are
drafted as a tree of its likeliest tokens; sampled ones so too, or as a chain drawn from its distribution. What a model
is shown of a prompt is a view: text stays; an image becomes slots, words, or nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from seeahead.drafters.base import DraftIds, ModelDrafter, were_right
from seeahead.drafters.folder import Folder
from seeahead.drafters.spec import FolderSpec
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import Ask, DraftContext, Feedback, Plan
from seeahead.errors import DrafterError, InputError, ModelError, shown
from seeahead.executor import ModelInputs
from seeahead.executors.checkpoint import load_llama
from seeahead.executors.llama import Llama, LlamaShape
from seeahead.session import Session
from seeahead.target import Target

_ROOM = 256
"""Tokens of an answer to make room for at first."""

View = list[int | torch.Tensor]
"""A prompt in draft ids, with embeddings [the drafter's width] at the slots of images."""

ShowImage = Callable[[int, torch.Tensor | None], Sequence[int] | torch.Tensor]
"""(an image's number, its visual embeddings where they are known) -> what stands for it: draft ids, or embeddings
[slots, the drafter's width]."""


@dataclass(frozen=True)
class Shown:
    """What a view has in the place of images: `words` of each, by its number, where given; else the image, `pooled` to
    at most so many tokens where that is given."""

    words: Callable[[int], str] | None = None
    pooled: int | None = None


@dataclass(frozen=True)
class LanguageDrafter(ModelDrafter):
    """`language` is the model. Without `vocabulary` its ids are the target's."""

    language: Target
    vocabulary: DraftVocabulary | None = None
    name: str = field(default="language", kw_only=True)

    def check(self, target: Target) -> None:
        """Raises DrafterError where draft ids do not mean the same tokens as the target's."""
        if self.vocabulary is not None:
            self.vocabulary.check_target(target.vocab_size)
            return
        own = self.language.vocab_size
        if not _same_words(self.language, target):
            raise DrafterError(
                f"the drafter's {own} tokens are not the target's {target.vocab_size}: from another vocabulary "
                "nothing can be drafted; take one of the target's tokenizer, or drafter='lookup'"
            )

    @property
    def modules(self) -> tuple[torch.nn.Module, ...]:
        family = self.language.family
        module: Any = self.language.executor if family is None else family.model
        return (module,) if isinstance(module, torch.nn.Module) else ()

    def model(self, context: DraftContext, depth: int = 0) -> LanguageModel:
        return self.viewed(context, [Shown()], depth)

    def viewed(
        self, context: DraftContext, shown: Sequence[Shown], depth: int = 0, tokenizer: Any = None
    ) -> LanguageModel:
        """A row per view; one row where all views are alike, since the prompt shows no image. `tokenizer`: the
        target's, for words that stand for an image."""
        ids = self.ids(context)
        views = [make_view(context, ids, self.image(one, ids, tokenizer)) for one in shown]
        if all(torch.Tensor not in map(type, view) and view == views[0] for view in views):
            views = views[:1]
        return LanguageModel(self.language, ids, views, context, max(self.limits.depth, depth))

    def image(self, shown: Shown, ids: DraftIds, tokenizer: Any) -> ShowImage:
        """Words, where the view has some."""

        def told(number: int, seen: torch.Tensor | None) -> Sequence[int]:
            if shown.words is None or tokenizer is None:
                return ()
            return ids.to_draft(tokenizer(shown.words(number), add_special_tokens=False).input_ids)

        return told

    def ids(self, context: DraftContext) -> DraftIds:
        # Tokens that a target adds to its own vocabulary are ends of turns more often than anything else.
        size = self.language.vocab_size
        unknown = next((token for token in self.language.end_token_ids if token < size), 0)
        return DraftIds(self.vocabulary, size, context, unknown, self.language.image_token_ids)


def make_view(context: DraftContext, ids: DraftIds, image: ShowImage) -> View:
    """The prompt with what `image` gives for each of its images."""
    view, seen, number = View(), context.embeddings, 0
    for tokens, start, is_image in runs(context.inputs.token_ids[0].tolist(), context.image_token_ids):
        if is_image:
            view += image(number, None if seen is None else seen[start : start + len(tokens)])
            number += 1
        else:
            view += ids.to_draft(tokens)
    return view


def runs(
    tokens: Sequence[int], image_token_ids: frozenset[int], markers: bool = False
) -> Iterator[tuple[list[int], int, bool]]:
    """(tokens, where they start, whether they are an image's), in order; markers are left out unless asked for.

    An image (or a tile of one) is a placeholder several times in a row; what stands alone is a marker around it.
    """
    start = 0
    for special, group in groupby(tokens, lambda token: token if token in image_token_ids else None):
        found = list(group)
        if special is None or markers or len(found) > 1:
            yield found, start, special is not None
        start += len(found)


class LanguageModel:
    """A slot per view of the prompt, which holds that view and every accepted token but those of the last step."""

    reads_trees = True
    were_right: Sequence[bool] = ()

    def __init__(
        self, language: Target, ids: DraftIds, views: Sequence[View], context: DraftContext, depth: int
    ) -> None:
        """Several views go through the model in one pass."""
        self.ids = ids
        self._language, self._executor, self._views, self._depth = language, language.executor, views, depth
        self._longest = language.executor.limits.max_length
        self._num_expected = context.max_new_tokens
        self._answer, self._num_read = [context.first_token], 0
        self._sessions: list[Session] = []
        self._cannot_read = False

    def read(self) -> Plan[torch.Tensor | None]:
        if self._cannot_read:
            return None
        is_first = not self._sessions and len(self._answer) == 1 and all(self._views)
        try:
            has_room = self._begins() if is_first else self._makes_room()
        except InputError:  # its positions change where the target's do not: it drafts no more
            self._cannot_read, self._sessions = True, []
            return None
        if not has_room:
            return None
        if is_first:
            return self.ids.allowed(_rows(self._last_rows))
        unread = self.ids.to_draft(self._answer[self._num_read :])
        scores = yield Ask(self._executor, [session.chain(unread) for session in self._sessions])
        for session in self._sessions:
            session.commit(range(len(unread)))
        self._num_read = len(self._answer)
        self.were_right = were_right(scores[0].logits, unread)
        return self.ids.allowed(_rows([one.logits[-1] for one in scores]))

    def _begins(self) -> bool:
        """Reads prompt and first token in one pass; whether there is room for a tree after them."""
        self._read_anew(1)
        return len(self._last_rows) == len(self._sessions) and self._has_room(0)

    def _makes_room(self) -> bool:
        """Whether the sessions hold what comes before the newest tokens, and have room for these and a tree."""
        if not self._sessions:  # not before: the answer's first token need not wait for it
            self._read_anew(0 if all(self._views) else len(self._answer) - 1)
        if not self._has_room(len(self._answer) - self._num_read):
            self._read_anew(len(self._answer) - 1)
            if not self._has_room(1):
                return False  # so deep a tree has no place in the model's context
        if not all(session.length for session in self._sessions):
            self._sessions = []  # an empty view (of nothing but images) begins with the answer's first tokens
            return False
        return True

    def expand(self, tokens: Sequence[int], parents: Sequence[int]) -> Plan[torch.Tensor]:
        scores = yield Ask(self._executor, [session.tree(tokens, parents) for session in self._sessions])
        return self.ids.allowed(_rows([one.logits for one in scores]))

    def accept(self, feedback: Feedback) -> None:
        """Keep what was read of the accepted path; the rest of it is read next time."""
        self._answer += feedback.tokens
        if not self._sessions:
            return
        accepted = self.ids.to_draft(feedback.accepted)
        [num_kept] = {session.follow(accepted) for session in self._sessions}
        self._num_read += num_kept

    def _has_room(self, num_unread: int) -> bool:
        length = max(session.length for session in self._sessions)
        return self._longest is None or length + num_unread + self._depth <= self._longest

    def _read_anew(self, num_answer: int) -> None:
        """Sessions over prompt and `num_answer` tokens."""
        prompts = self._prompts(self.ids.to_draft(self._answer[:num_answer]))
        room = min(self._num_expected, _ROOM)
        self._sessions = [Session(self._executor, prompt.length + room) for prompt in prompts]
        self._num_read, self._last_rows = num_answer, list[torch.Tensor]()
        for number, (session, prompt) in enumerate(zip(self._sessions, prompts, strict=True)):
            if prompt.length:
                self._prefill(number, session, prompt)

    def _prefill(self, number: int, session: Session, prompt: ModelInputs) -> None:
        """Read the view of a `number` into its session."""
        self._last_rows.append(session.prefill(prompt).logits[-1])

    def _prompts(self, answer: Sequence[int]) -> list[ModelInputs]:
        """Each view and the `answer` after it, as the model reads them; of a text too long for its context the end."""
        longest, views = self._longest, [[*view, *answer] for view in self._views]
        if longest is not None and max(map(len, views)) + min(self._num_expected, 4096) > longest:
            views = [view[max(0, len(view) - longest // 2) :] for view in views]
        return [self._inputs(view) for view in views]

    def _inputs(self, view: View) -> ModelInputs:
        executor, family = self._executor, self._language.family
        visual = {slot: shown for slot, shown in enumerate(view) if isinstance(shown, torch.Tensor)}
        ids = [0 if slot in visual else shown for slot, shown in enumerate(view)]
        token_ids = torch.tensor([ids], dtype=torch.int64, device=executor.limits.device)
        inputs = ModelInputs(token_ids) if family is None else family.text_inputs(token_ids)
        if visual:
            assert isinstance(executor, Llama), "other executors take no embeddings"
            with torch.inference_mode():
                embeddings = executor.embed(inputs.token_ids)
                embeddings[0, list(visual)] = torch.stack(list(visual.values()))
            inputs.extras["inputs_embeds"] = embeddings
        return inputs


def _rows(logits: Sequence[torch.Tensor]) -> torch.Tensor:
    """One tensor, a row for each; a single one is not copied."""
    return logits[0][None] if len(logits) == 1 else torch.stack(list(logits))


def _same_words(drafter: Target, target: Target) -> bool:
    """Whether ids mean the same words; a target may have added some. Where a tokenizer is not known, the sizes of the
    tables tell: they are often padded to a round one, and far more than that is another vocabulary."""
    if drafter.tokenizer is None or target.tokenizer is None:
        return abs(drafter.vocab_size - target.vocab_size) <= 512
    ours, theirs = drafter.tokenizer.get_vocab(), target.tokenizer.get_vocab()
    same: int = sum(ours[word] == theirs[word] for word in ours.keys() & theirs.keys())
    return same > 0.95 * len(ours)


class LanguageSpec(FolderSpec):
    """`source`: a folder of ours, or any language model's folder or hub id."""

    kind = "language"

    def read(self, folder: Folder | None, target: Target) -> LanguageDrafter:
        limits, vocabulary = target.executor.limits, None
        if folder is None:
            language = loaded(self.source, target)
        else:
            vocabulary = folder.vocabulary()
            language = Target(load_llama(folder.path, shape_of(folder, vocabulary), limits.dtype, limits.device))
        drafter = LanguageDrafter(language, vocabulary, **self.drafting)
        drafter.check(target)
        return drafter


def loaded(source: str | Path, target: Target) -> Target:
    """Whatever model `source` is, run as `target` is. Raises ModelError."""
    from seeahead.families import family_for
    from seeahead.families.choice import beside, put_executor
    from seeahead.families.loading import check_room, load_model

    choice = beside(target.executor)
    if target.family is not None:
        check_room(source, Folder.at(source).values, choice.dtype, target.family)
    family = family_for(*load_model(source, choice.dtype, str(target.executor.limits.device)))
    put_executor(family, choice, is_given=False, report=None)
    return Target.of(family)


def shape_of(folder: Folder, vocabulary: DraftVocabulary) -> LlamaShape:
    """Of a language model over a vocabulary. Raises ModelError where the two do not fit."""
    config = LlamaShape.from_json(dict(folder.values), folder.where)
    if len(vocabulary) != config.vocab_size:
        raise ModelError(
            f"{shown(str(folder.path))} maps {len(vocabulary)} draft tokens, its model has {config.vocab_size}; get "
            "the whole drafter folder again"
        )
    return config

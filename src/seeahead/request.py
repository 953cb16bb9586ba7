"""One answer under way: its prompt is read, in parts if need be; then each step checks a draft and keeps what holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from time import perf_counter

import torch

from seeahead.drafting import DraftContext, Drafter, Feedback
from seeahead.errors import DrafterError, FaultError, SeeaheadError
from seeahead.executor import Executor, ModelInputs, PromptInputs, Scores, TreeInputs
from seeahead.prompt import Prompt
from seeahead.records import TARGET, FinishReason, Generation, Origin, Step
from seeahead.sampling import NO_TOKEN, Sampler, draw, no_token
from seeahead.session import Kept, Session, check_fits
from seeahead.stopping import StopRule
from seeahead.tree import ROOT, Draft, Verdict
from seeahead.verify import verify, verify_greedy

_ROOM, _FURTHER = 256, 16
"""Tokens beyond the prompt to make room for at first, since the slot grows with the answer; and in a slot that is kept
those of what stands before the next question."""


class Request:
    """One answer under way: once its prompt is read it has its first token, then each `plan` and `apply` are a step."""

    inputs: ModelInputs
    prompt: Prompt | None
    session: Session
    verdict: Verdict
    """Of the step that was applied last."""

    def __init__(
        self,
        executor: Executor,
        drafter: Drafter,
        sampler: Sampler,
        stop: StopRule,
        image_token_ids: frozenset[int] = frozenset(),
    ) -> None:
        """`drafter` is bound to the target that `executor` runs."""
        self.executor, self.drafter, self.sampler, self.stop = executor, drafter, sampler, stop
        self.image_token_ids = image_token_ids
        self._max_rows, self._vocab_size = executor.limits.max_rows, executor.limits.vocab_size
        self.answer: list[int] = []
        self.records: list[Step] = []
        self.finish_reason: FinishReason | None = None
        self.error: SeeaheadError | None = None
        self._has_left = False
        self.draft = Draft()
        self.most_nodes: int | None = None
        """Most nodes of a draft that whoever asks allows; None: any number."""
        self.share: int | None = None
        """As many as `decode.Shares` gives it in this step."""
        self.longest = executor.limits.max_length
        """Most tokens of a prompt; None: any number."""
        self.ready: Callable[[], ModelInputs] | None = None
        """Says what the executor makes ready of `inputs`, where requests of the same ones share it."""
        self.watch: Callable[[Sequence[int], torch.Tensor], None] | None = None
        """Told the newest tokens and the target's logits [tokens, vocabulary] that each follows from."""
        self.keeps = False
        """Whether the slot stays open when the answer ends, for `kept`."""
        self.num_resumed = 0
        """Tokens of the prompt that the slot held already."""
        self._past: Kept | None = None
        self._committed: list[int] = []
        self._hidden: list[Mapping[int, torch.Tensor]] = []
        self._embeddings: torch.Tensor | None = None
        self._seconds_prefill = self._seconds_drafter_start = 0.0

    def ask(self, inputs: ModelInputs, prompt: Prompt | None = None) -> Request:
        """What is to be answered. `prompt`: what `inputs` were made of, where that is known."""
        self.inputs, self.prompt = inputs, prompt
        return self

    @cached_property
    def has_image(self) -> bool:
        return self.inputs.has_any(self.image_token_ids)

    def resume(self, kept: Kept, length: int) -> None:
        """The prompt begins with the first `length` tokens of `kept` and their images: these are not read again."""
        self._past, self.num_resumed = kept, length

    def open(self) -> None:
        """A slot for the prompt, which is made ready to be read. Raises InputError for a prompt that does not fit."""
        if hasattr(self, "session"):
            return
        self._opened = perf_counter()
        self._read: list[Scores] = []
        check_fits(self.inputs.length, self.longest)
        if self._past is None:
            room = min(self.stop.limit, _ROOM) + (_FURTHER if self.keeps else 0)
            self.session = Session(self.executor, self.inputs.length + room)
            self._ready = self.executor.ready(self.inputs) if self.ready is None else self.ready()
            return
        length, kept = self.num_resumed, self._past
        self.session = kept.session
        self.session.cut(length)
        self._ready = self.inputs
        self._read.append(kept.first(length))

    def reopen(self) -> None:
        """Begin anew in a slot of its own: what the last one holds is not known."""
        self.session.close()
        del self.session
        self._past, self.num_resumed = None, 0
        self.open()

    def next_part(self, most: int | None) -> PromptInputs:
        """What is to be read next of the prompt: all that is left, or at most `most` tokens where it can be cut."""
        first = self.session.length
        left = self.inputs.length - first
        number = left if most is None else min(left, max(most, self._ready.indivisible - first))
        inputs = self._ready if number == self.inputs.length else self._ready.part(first, first + number)
        return PromptInputs(self.session.slot, inputs)

    def read(self, scores: Scores) -> None:
        """Take in a part of the prompt; after the last one there is the first token, and the drafter starts."""
        self._read.append(scores)
        if self.session.length < self.inputs.length:
            return
        parts, self._read, self._past, want = self._read, [], None, self.drafter.want
        del self._ready  # it holds what was made of images
        self.ready = None
        features = {layer: _joined([part.features[layer] for part in parts]) for layer in want.layers}
        embeddings = [part.embeddings for part in parts if part.embeddings is not None]
        whole = Scores(scores.logits, features, _joined(embeddings) if want.embeddings else None)
        if self.keeps:
            self._committed = self.inputs.token_ids[0].tolist()
            self._hidden, self._embeddings = [whole.features], whole.embeddings
        self._begin(whole)

    def _begin(self, scores: Scores) -> None:
        chosen = self.sampler.greedy_choices(scores.logits[-1:])
        if chosen is None:
            distribution = self.sampler.distribution(scores.logits[-1])
            chosen = [draw(distribution, self.sampler.stream(0).random())]
        [first] = chosen
        if first == NO_TOKEN:
            raise no_token(scores.logits[-1])
        prefilled = perf_counter()
        self._seconds_prefill = prefilled - self._opened
        _, self.finish_reason = self.stop.cut([], [first])
        if self.watch is not None:
            self.watch([first], scores.logits)
        if self.finish_reason is None:
            self._start_drafting(first, scores)
            self._seconds_drafter_start = perf_counter() - prefilled
        else:
            self.close()
        self.answer.append(first)
        self.sampler.extend([first])

    def _start_drafting(self, first: int, scores: Scores) -> None:
        context = DraftContext(
            inputs=self.inputs,
            first_token=first,
            image_token_ids=self.image_token_ids,
            vocab_size=scores.logits.shape[-1],
            params=self.sampler.params,
            max_new_tokens=self.stop.limit,
            features=scores.features,
            embeddings=scores.embeddings,
            prompt=self.prompt,
            logits=scores.logits[-1],
            end_tokens=self.stop.end_tokens,
        )
        self.prompt = None  # its images may be large, and nobody else reads it
        self.drafting = self.drafter.start(context)

    @property
    def num_held(self) -> int:
        """Tokens in its slot."""
        return self.session.length if hasattr(self, "session") else 0

    @property
    def num_unread(self) -> int:
        """Tokens of its prompt that no pass has read."""
        return self.inputs.length - (self.num_held if hasattr(self, "session") else self.num_resumed)

    @property
    def budget(self) -> int:
        """Nodes that the next draft may have: the target adds a token to whatever is accepted, so drafting up to the
        limit itself is waste."""
        left, rows = self.stop.limit - len(self.answer) - 1, self._max_rows
        most = (self.session.most_nodes, self.most_nodes, self.share, None if rows is None else rows - 1)
        return min([left, *(one for one in most if one is not None)])

    def plan(self, draft: Draft) -> TreeInputs:
        """What a step asks of the target's pass, to check `draft`. Raises DrafterError for one over the budget, or with
        a token that the target does not have."""
        if len(draft.tree) > max(self.budget, 0):
            raise DrafterError(
                f"drafter '{self.drafter.name}' drafted {len(draft.tree)} nodes, its budget was {max(self.budget, 0)}; "
                "a draft has at most as many nodes as `propose` is given"
            )
        wrong = [token for token in draft.tree.tokens if not 0 <= token < self._vocab_size]
        if wrong:  # before it fails all that share the pass
            raise DrafterError(
                f"drafter '{self.drafter.name}' drafted token {wrong[0]}, which the target does not have"
            )
        self.draft = draft
        parents = (ROOT, *(parent + 1 for parent in draft.tree.parents))
        return self.session.tree((self.answer[-1], *draft.tree.tokens), parents)

    def apply(self, scores: Scores, choices: list[int] | None = None) -> None:
        """Verify the draft against the target's `scores`, keep what is accepted, and tell the drafter.

        `choices`: the greedy token of each row, where these were read already.
        """
        tree = self.draft.tree
        if choices is None:
            verdict = verify(self.draft, scores.logits, self.sampler, len(self.answer))
        else:
            verdict = verify_greedy(self.draft, choices, scores.logits)
        rows = [0, *(node + 1 for node in verdict.path)]
        self.session.commit(rows)
        tokens = (*(tree.tokens[node] for node in verdict.path), verdict.bonus)
        num_kept, self.finish_reason = self.stop.cut(self.answer, tokens)
        self.verdict, root, self._emitted = verdict, self.answer[-1], tokens[:num_kept]
        self.answer.extend(self._emitted)
        self.sampler.extend(self._emitted)
        verified = perf_counter()
        # Rows of root and path: gathered, or a view where they lie side by side.
        chosen = slice(0, len(rows)) if rows == list(range(len(rows))) else rows
        # Features are kept, by some for long, and a view would keep those of all requests of the step.
        features = {layer: scores.features[layer][chosen].clone() for layer in self.drafter.want.layers}
        if self.watch is not None:
            self.watch(self._emitted, scores.logits[chosen][:num_kept])
        if self.keeps:
            self._committed += (root, *tokens[:-1])
            self._hidden.append(features)
        self.drafting.accept(Feedback(tokens, scores.logits[chosen], features))
        self._seconds_accept = perf_counter() - verified

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Of the newest tokens."""
        named, path = self.draft.sources, self.verdict.path
        drafted = (named[node] or self.drafter.name if len(named) else self.drafter.name for node in path)
        return (*drafted, TARGET)[: len(self._emitted)]

    @property
    def refused(self) -> tuple[int, ...]:
        """The tokens that were proposed first after what the target accepted last."""
        tree, node = self.draft.tree, self.verdict.path[-1] if self.verdict.path else ROOT
        tokens = []
        while children := tree.children(node):
            node = children[0]
            tokens.append(tree.tokens[node])
        return tuple(tokens)

    def record(self, seconds_draft: float, seconds_target: float, seconds: float) -> Step:
        """The step that was applied last, in a round of so many seconds."""
        num_accepted = len(self.verdict.path)
        step = Step(
            emitted=self._emitted,
            origins=self.origins,
            num_drafted=len(self.draft.tree),
            depth=self.draft.tree.depth,
            num_accepted=num_accepted,
            seconds_draft=seconds_draft + self._seconds_accept,
            seconds_target=seconds_target,
            seconds=seconds,
            expected=tuple(self.draft.expected(self.verdict.path)),
        )
        self.records.append(step)
        if self.finish_reason is not None:
            self.close()
        return step

    @contextmanager
    def failing(self) -> Iterator[None]:
        """An exception inside ends this answer, and no other."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  (`check` raises it)
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """The answer ends here; what was emitted stays. What is no error of ours becomes the cause of one."""
        self.error = error if isinstance(error, SeeaheadError) else FaultError(error)
        self.finish_reason, self._has_left = "error", False
        self.close()

    def leave(self, error: SeeaheadError) -> None:
        """The answer ends here, between steps, since nobody waits for it: its slot holds what was said so far."""
        self.error, self.finish_reason, self._has_left = error, "error", bool(self.answer)
        self.close()

    def check(self) -> None:
        """Raises the error that ended the answer, if one did; what is none of ours as it was raised."""
        if self.error is not None:
            raise self.error.raised if isinstance(self.error, FaultError) else self.error

    def close(self) -> None:
        if hasattr(self, "session") and not (self.keeps and self._is_good):  # else it never started
            self.session.close()

    @property
    def _is_good(self) -> bool:
        """Whether what the slot holds is known."""
        return self.error is None or self._has_left

    @property
    def kept(self) -> Kept | None:
        """What the slot holds of an answer that has ended well, or was left, and `keeps`; whoever takes it closes its
        session."""
        if not self.keeps or not self._is_good or self.finish_reason is None:
            return None
        layers = self.drafter.want.layers
        features = {layer: _joined([hidden[layer] for hidden in self._hidden]) for layer in layers}
        return Kept(self.session, tuple(self._committed), features, self._embeddings)

    def generation(self) -> Generation:
        return Generation(
            num_prompt_tokens=self.inputs.length,
            first_token=self.answer[0],
            steps=tuple(self.records),
            finish_reason=self.finish_reason or "length",
            seconds_prefill=self._seconds_prefill,
            seconds_drafter_start=self._seconds_drafter_start,
            drafter=self.drafter.name,
        )


def _joined(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Hidden states [tokens, width] of a prompt's parts, one after the other."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))

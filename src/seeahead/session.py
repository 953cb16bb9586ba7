"""One sequence of one model: prefill a prompt, score trees, keep a path.

The same class serves the target (whole trees in one pass) and drafters that are models (trees grown level by level).
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from seeahead.errors import InputError, LengthError
from seeahead.executor import NOTHING, Executor, FeatureTarget, ModelInputs, PromptInputs, Scores, TreeInputs, Want
from seeahead.tree import ROOT, PendingNodes


def check_fits(length: int, limit: int | None) -> None:
    """Raises InputError where a prompt of so many tokens does not fit into the model's context."""
    if length == 0:
        raise InputError("the prompt has no tokens; give at least one word or an image")
    if limit is not None and length > limit:
        raise LengthError(
            # In words that other programs know, which then shorten it themselves.
            f"the prompt has {length} tokens, this model's maximum context length is {limit}; shorten the prompt or "
            "use fewer images"
        )


class Session:
    """A slot of an executor. Scored tokens are pending until `commit` or `follow` keeps a path of them."""

    def __init__(self, executor: Executor, capacity: int) -> None:
        """`capacity`: expected tokens of prompt and answer together; more is possible, at the price of a copy."""
        self.executor = executor
        self.slot = executor.open(capacity)
        self._pending = PendingNodes()
        self._closing = weakref.finalize(self, executor.close, self.slot)

    @property
    def length(self) -> int:
        """Committed tokens."""
        return self.slot.length

    @property
    def most_nodes(self) -> int | None:
        """Most nodes that the next pass may hold beside its root; None: any number."""
        return self.executor.most_nodes(self.slot)

    def prefill(self, inputs: ModelInputs, want: Want = NOTHING) -> Scores:
        """Run a prompt into the empty session; logits [1, vocabulary] of the token after it.

        Raises InputError for a prompt that does not fit into the model's context.
        """
        assert self.length == len(self._pending) == 0, "prefill comes first"
        check_fits(inputs.length, self.executor.limits.max_length)
        return self.executor.prefill([PromptInputs(self.slot, inputs)], want)[0]

    def tree(self, tokens: Sequence[int], parents: Sequence[int], embeddings: torch.Tensor | None = None) -> TreeInputs:
        """New pending nodes, for a pass that the caller runs. `embeddings` [tokens, width]: read in their place."""
        self._pending.add(tokens, parents)
        return TreeInputs(self.slot, tokens if embeddings is None else embeddings, parents)

    def score(self, tokens: Sequence[int], parents: Sequence[int], want: Want = NOTHING) -> Scores:
        """Run `tokens` as new pending nodes; logits [tokens, vocabulary] of what follows each.

        `parents[i]` counts pending nodes from 0 over all calls since the last commit; `ROOT` hangs off the last
        committed token.
        """
        return self.executor.forward([self.tree(tokens, parents)], want)[0]

    def chain(self, tokens: Sequence[int], embeddings: torch.Tensor | None = None) -> TreeInputs:
        """New pending nodes, one after the other."""
        return self.tree(tokens, range(ROOT, len(tokens) - 1), embeddings)

    def commit(self, path: Sequence[int]) -> None:
        """Keep the pending nodes of `path` (ascending) as committed tokens; drop every other pending node."""
        self.executor.commit(self.slot, path)
        self._pending = PendingNodes()

    def cut(self, length: int) -> None:
        """Keep the first `length` committed tokens alone."""
        assert len(self._pending) == 0, "a commit comes first"
        self.executor.cut(self.slot, length)

    def follow(self, tokens: Sequence[int]) -> int:
        """Commit the longest pending path that spells the beginning of `tokens`; returns its length."""
        path = self._pending.path_of(tokens)
        self.commit(path)
        return len(path)

    def close(self) -> None:
        """Give the slot back; one that is not closed goes back with the session."""
        self._closing()


@dataclass(frozen=True)
class Kept:
    """What an answer leaves in its slot, for another that begins with the same tokens and the same images.

    `tokens` are those committed. `features`, by layer [tokens, width], and `embeddings` [tokens, width], at
    least of the prompt, are hidden states that its drafter wanted.
    """

    session: Session
    tokens: tuple[int, ...]
    features: Mapping[int, torch.Tensor]
    embeddings: torch.Tensor | None

    def serves(self, want: Want) -> bool:
        """Whether it holds the hidden states that a drafter wants of a prompt."""
        has_embeddings = self.embeddings is not None or not want.embeddings
        return has_embeddings and all(layer in self.features for layer in want.layers)

    def first(self, length: int) -> Scores:
        """What drafters want of the first `length` tokens."""
        features = {layer: states[:length] for layer, states in self.features.items()}
        return Scores(torch.empty(0, 0), features, self.embedded(length))

    def embedded(self, length: int) -> torch.Tensor | None:
        """`embeddings` of the first `length` tokens: text after the prompt is looked up."""
        executor, known = self.session.executor, self.embeddings
        if known is None or length <= len(known) or not isinstance(executor, FeatureTarget):
            return known if known is None else known[:length]
        said = torch.tensor(self.tokens[len(known) : length], dtype=torch.int64, device=known.device)
        return torch.cat([known, executor.embed(said)])

    @torch.inference_mode()
    def followed_by(self, tokens: Sequence[int], length: int) -> Kept:
        """The first `length` tokens, and after them `tokens` of text, which one pass reads; nothing new where they are
        too many for it."""
        session, executor = self.session, self.session.executor
        most = [one for one in (executor.limits.max_rows, session.most_nodes) if one is not None]
        if not tokens or len(tokens) > min(most, default=len(tokens)):
            return self
        session.cut(length)
        scores = session.score(tokens, range(ROOT, len(tokens) - 1), Want(tuple(self.features)))
        session.commit(range(len(tokens)))
        features = {layer: torch.cat([old[:length], scores.features[layer]]) for layer, old in self.features.items()}
        known = None if self.embeddings is None else self.embeddings[:length]
        made = Kept(session, (*self.tokens[:length], *tokens), features, known)
        # Looked up now, what the drafter wants of them is at hand when somebody asks.
        return replace(made, embeddings=made.embedded(len(made.tokens)))

"""One model, one cache, one position rule: prefill a prompt, score a tree, commit a path.

The same class serves the target (whole trees in one call) and drafters that are models (trees grown level by level).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from seeahead.errors import InputError
from seeahead.executor import Executor, ModelInputs, Scores
from seeahead.tree import ROOT


class Session:
    """A batch of rows that share the same appended tokens (one row for a target, one per view for an ensemble).

    Scored tokens are pending until `commit` keeps a path of them and drops the rest.
    """

    def __init__(self, executor: Executor, capacity: int) -> None:
        """`capacity`: expected tokens of prompt and answer together; more is possible, at the price of a copy."""
        self.executor = executor
        self.length = 0
        self._cache = executor.new_cache(capacity)
        self._shift, self._num_rows = 0, 1
        self._padding: torch.Tensor | None = None
        self._depths: list[int] = []
        self._ancestors: list[list[int]] = []

    @property
    def num_pending(self) -> int:
        return len(self._depths)

    def prefill(self, inputs: ModelInputs, wants_features: bool = False, wants_embeddings: bool = False) -> Scores:
        """Run a prompt into the empty session; logits [batch, 1, vocabulary] of the token after it.

        Raises InputError for a prompt that does not fit into the model's context.
        """
        assert self.length == self.num_pending == 0, "prefill comes first"
        num_tokens = inputs.token_ids.shape[1]
        limit = self.executor.max_length
        if num_tokens == 0:
            raise InputError("the prompt has no tokens; give at least one word or a picture")
        if limit is not None and num_tokens > limit:
            raise InputError(
                f"the prompt has {num_tokens} tokens, the model's context holds {limit}; "
                "shorten the prompt or use fewer pictures"
            )
        with torch.inference_mode():
            prefilled = self.executor.prefill(inputs, self._cache, wants_features, wants_embeddings)
        self.length = num_tokens
        self._shift, self._padding = prefilled.position_shift, prefilled.padding
        self._num_rows = len(inputs.token_ids)
        return prefilled.scores

    def score(
        self,
        tokens: Sequence[int],
        parents: Sequence[int],
        wants_features: bool = False,
        embeddings: torch.Tensor | None = None,
    ) -> Scores:
        """Run `tokens` as new pending nodes; logits [batch, tokens, vocabulary] of what follows each.

        `parents[i]` counts pending nodes from 0 over all calls since the last commit; `ROOT` hangs off the last
        committed token. Each token sees the committed ones, its ancestors and itself. `embeddings` [1, tokens, width],
        where given, are read in the place of the tokens' own.
        """
        first = len(self._depths)
        for parent in parents:
            node = len(self._depths)
            assert ROOT <= parent < node, "parents come before children"
            self._depths.append(0 if parent == ROOT else self._depths[parent] + 1)
            self._ancestors.append([node] if parent == ROOT else [*self._ancestors[parent], node])
        device = self.executor.device
        # A chain that grows token by token needs no mask: the newest sees all.
        is_chain = len(tokens) == 1 and len(self._ancestors[-1]) == len(self._depths)
        sees_all = is_chain and self._padding is None
        positions = self.length + self._shift + torch.tensor(self._depths[first:], device=device)[None]
        if self._padding is not None:
            positions = positions - self._padding[:, None]
        with torch.inference_mode():
            return self.executor.forward(
                torch.tensor([list(tokens)] * self._num_rows, device=device),
                positions,
                None if sees_all else self._visible(first).to(device),
                self._cache,
                wants_features,
                embeddings,
            )

    @property
    def most_nodes(self) -> int | None:
        """Most nodes that the next pass may hold beside its root; None: any number."""
        return self.executor.most_nodes(self.length + self._shift)

    def commit(self, path: Sequence[int]) -> None:
        """Keep the pending nodes of `path` (ascending) as committed tokens; drop every other pending node."""
        with torch.inference_mode():
            self._cache.keep(self.length, path)
        self.length += len(path)
        self._depths.clear()
        self._ancestors.clear()

    def _visible(self, first: int) -> torch.Tensor:
        """[1 or rows, new, cached + new] bool: what each pending node from `first` on may see."""
        visible = torch.zeros(len(self._depths) - first, self.length + len(self._depths), dtype=torch.bool)
        visible[:, : self.length] = True
        rows = [row for row, seen in enumerate(self._ancestors[first:]) for _ in seen]
        columns = [self.length + node for seen in self._ancestors[first:] for node in seen]
        visible[rows, columns] = True
        if self._padding is None:
            return visible[None]
        return visible & (torch.arange(visible.shape[1]) >= self._padding.cpu()[:, None, None])

"""The one lossless verifier, for chains and trees, greedy and sampled, fixed and drawn drafts.

Fixed drafts: draw the target's own token at each node and follow the child that carries it; stop where none does.
Drawn drafts: accept a child x with probability min(1, p(x) / q(x)), else go on with the residual max(p - q, 0)
(Leviathan et al. 2023; several independently drawn siblings one after the other: Miao et al. 2024, SpecInfer).
Either way the emitted tokens have exactly the target's distribution; greedy is the one-hot case.
"""

from __future__ import annotations

import torch

from seeahead.sampling import Sampler, draw, residual
from seeahead.tree import ROOT, Draft, Verdict


def verify(draft: Draft, logits: torch.Tensor, sampler: Sampler, position: int) -> Verdict:
    """Walk `draft` from the root with the target's `logits` [1 + nodes, vocabulary] (row 0: after the root).

    `position` is the answer position of the first token to be emitted: it selects the random numbers.
    """
    choices = sampler.greedy_choices(logits)
    if choices is not None:
        return _verify_greedy(draft, choices)
    tree, node = draft.tree, ROOT
    path: list[int] = []
    while True:
        path_tokens = [tree.tokens[step] for step in path]
        p = sampler.distribution(logits[node + 1], path_tokens)
        stream = sampler.stream(position + len(path))
        uniform = stream.random()
        accepted = None
        if draft.proposal is None:
            token = draw(p, uniform)
            accepted = _child_with(draft, node, token)
        else:
            for child in tree.children(node):
                x, q = tree.tokens[child], draft.proposal[child]
                if stream.random() * float(q[x]) < float(p[x]):
                    accepted = child
                    break
                p = residual(p, q)
            token = tree.tokens[accepted] if accepted is not None else draw(p, uniform)
        if accepted is None:
            return Verdict(tuple(path), token)
        path.append(accepted)
        node = accepted


def _verify_greedy(draft: Draft, choices: list[int]) -> Verdict:
    """The walk where every distribution is one-hot: `choices[1 + node]` is the target's token after `node`."""
    path: list[int] = []
    node = ROOT
    while (child := _child_with(draft, node, choices[node + 1])) is not None:
        path.append(child)
        node = child
    return Verdict(tuple(path), choices[node + 1])


def _child_with(draft: Draft, node: int, token: int) -> int | None:
    return next((child for child in draft.tree.children(node) if draft.tree.tokens[child] == token), None)

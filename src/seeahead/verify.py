"""The one lossless verifier, for chains and trees, greedy and sampled, fixed and drawn drafts.

One walk: at a node the drawn children come first, one after the other. A child x is accepted with probability
min(1, p(x) / q(x)), else the residual max(p - q, 0) takes the place of p (Leviathan et al. 2023; several independently
drawn siblings: Miao et al. 2024, SpecInfer). If none was accepted, one token is drawn from what is left of p, and a
fixed child that carries it is followed. Drafts that are drawn or fixed throughout are the special cases. The emitted
tokens have exactly the target's distribution; greedy is the one-hot case.
"""

from __future__ import annotations

import torch

from seeahead.sampling import NO_TOKEN, Sampler, draw, no_token, residual
from seeahead.tree import ROOT, Draft, Verdict


def verify(draft: Draft, logits: torch.Tensor, sampler: Sampler, position: int) -> Verdict:
    """Walk `draft` from the root with the target's `logits` [1 + nodes, vocabulary] (row 0: after the root).

    `position` is the answer position of the first token to be emitted: it selects the random numbers.
    """
    choices = sampler.greedy_choices(logits)
    if choices is not None:
        return verify_greedy(draft, choices, logits)
    tree, node = draft.tree, ROOT
    path: list[int] = []
    while True:
        p = sampler.distribution(logits[node + 1], [tree.tokens[step] for step in path])
        stream = sampler.stream(position + len(path))
        uniform = stream.random()
        accepted = None
        for child in tree.children(node):
            q = draft.proposal(child)
            if q is None:
                continue
            if stream.random() * float(q[tree.tokens[child]]) < float(p[tree.tokens[child]]):
                accepted = child
                break
            p = residual(p, q)
        if accepted is None:
            token = draw(p, uniform)
            accepted = _child_with(draft, node, token, only_fixed=True)
            if accepted is None:
                return Verdict(tuple(path), token)
        path.append(accepted)
        node = accepted


def verify_greedy(draft: Draft, choices: list[int], logits: torch.Tensor) -> Verdict:
    """The walk where every distribution is one-hot: `choices[1 + node]` is the target's token after `node`. Raises
    where there is none at a place that is walked to; what stands elsewhere plain decoding does not see."""
    path: list[int] = []
    node = ROOT
    while (child := _child_with(draft, node, choices[node + 1])) is not None:
        path.append(child)
        node = child
    if choices[node + 1] == NO_TOKEN:
        raise no_token(logits[node + 1])
    return Verdict(tuple(path), choices[node + 1])


def _child_with(draft: Draft, node: int, token: int, only_fixed: bool = False) -> int | None:
    alike = (child for child in draft.tree.children(node) if draft.tree.tokens[child] == token)
    return next((child for child in alike if not only_fixed or draft.proposal(child) is None), None)

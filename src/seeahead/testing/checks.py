"""What must hold for every family and every drafter, as assertions whose messages name the suspects."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from seeahead.decode import run
from seeahead.drafters import bind
from seeahead.drafters.none import EmptyDrafter
from seeahead.drafters.spec import DrafterSpec
from seeahead.drafting import Drafter
from seeahead.executor import Executor, ModelInputs
from seeahead.families.base import Family
from seeahead.records import Generation
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.session import Session
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing.drafters import SelfDrafter
from seeahead.tree import ROOT, TokenTree

AnyTarget = Target | Family | Executor


def answer(
    target: AnyTarget,
    inputs: ModelInputs,
    drafter: Drafter | DrafterSpec | None = None,
    *,
    max_new_tokens: int = 24,
    end_tokens: Collection[int] = (),
    params: SamplingParams | None = None,
) -> Generation:
    """One answer of `target`, plain where no drafter is given."""
    sampler = Sampler(params or SamplingParams(), inputs.token_ids[0].tolist())
    rule = StopRule(max_new_tokens, frozenset(end_tokens))
    whole = Target.of(target)
    request = Request(whole.executor, bind(drafter or EmptyDrafter(), whole), sampler, rule, whole.image_token_ids)
    for one, _ in run(iter([request.ask(inputs)]), 1):
        one.check()
    return request.generation()


def assert_same_answer(drafted: Generation, plain: Generation) -> None:
    """The drafted answer is the plain one: the same tokens, ended for the same reason, every token accounted for."""
    for place, (ours, theirs) in enumerate(zip(drafted.token_ids, plain.token_ids)):
        assert ours == theirs, (
            f"with drafter '{drafted.drafter}' token {place} is {ours} ({drafted.origins[place]}), the target "
            f"alone says {theirs}\ndrafted {drafted.token_ids}\nplain   {plain.token_ids}"
        )
    ends = [(len(one.token_ids), one.finish_reason) for one in (drafted, plain)]
    assert ends[0] == ends[1], f"with drafter '{drafted.drafter}' it ends as {ends[0]}, the target alone as {ends[1]}"
    assert len(drafted.origins) == len(drafted.token_ids), "one origin per token"


def assert_accepts_itself(target: AnyTarget, inputs: ModelInputs, max_new_tokens: int = 24) -> None:
    """The control: a drafter that is the target, images included, is never refused."""
    drafted = answer(target, inputs, SelfDrafter(Target.of(target).executor), max_new_tokens=max_new_tokens)
    for number, step in enumerate(drafted.steps):
        assert step.num_accepted == step.num_drafted, (
            f"step {number}: {step.num_accepted} of {step.num_drafted} of the target's own tokens accepted; suspects: "
            "positions after an image, state shared between two sessions, the commit of an accepted path"
        )


def assert_commit_equals_prefill(
    target: AnyTarget,
    inputs: ModelInputs,
    rounds: Sequence[tuple[TokenTree, Sequence[int]]],
    tolerance: float = 1e-4,
) -> None:
    """Scoring trees and committing paths leaves what a fresh prefill of the same tokens would.

    `rounds`: (tree whose node 0 is the root, path to commit, which starts with 0). Every node's logits are compared.
    """
    session = Session(Target.of(target).executor, capacity=4)
    session.prefill(inputs)
    committed: list[int] = []
    for number, (tree, path) in enumerate(rounds):
        logits = session.score(tree.tokens, tree.parents).logits
        for node in range(len(tree)):
            tokens = [*committed, *(tree.tokens[step] for step in tree.path_to(node))]
            expected = _prefill_logits(target, inputs, tokens)
            error = float((logits[node] - expected).abs().max())
            assert error <= tolerance, _suspects(number, node, tree, error)
        session.commit(path)
        committed += [tree.tokens[step] for step in path]
        assert session.length == inputs.token_ids.shape[1] + len(committed)


def _prefill_logits(target: AnyTarget, inputs: ModelInputs, tokens: Sequence[int]) -> torch.Tensor:
    # Type ids run along the tokens: what follows the prompt is of the type of answers.
    longer = inputs.extended(tokens, getattr(target, "answer_type", 0))
    return Session(Target.of(target).executor, capacity=4).prefill(longer).logits[-1]


def _suspects(number: int, node: int, tree: TokenTree, error: float) -> str:
    if tree.parents[node] == ROOT:
        where = "the root"
        suspect = (
            "position shift after an image (family.prompt_positions), or what prefill was given"
            if number == 0
            else "gather (SlotCache.keep): the last commit left other rows than the path's, or another length"
        )
    else:
        where = f"node {node} at depth {tree.depths[node] - 1}"
        suspect = "positions (family.positions: root + depth) or mask (family.masks: sees a sibling, forgets a window)"
    return f"round {number}, {where}: logits differ by {error:.2g} from a fresh prefill; suspect: {suspect}"

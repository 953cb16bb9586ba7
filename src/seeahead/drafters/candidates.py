"""What several drafters propose after one root, in one pool: who proposed what, how likely the target is to follow."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from seeahead.drafters.calibration import Facts, OwnCalibration, facts_of
from seeahead.tree import ROOT, Draft, TokenTree

_UNSCORED = 0.75
"""Probability of a token whose drafter gives none, before verdicts set it right."""


@dataclass(slots=True)
class Candidate:
    """`proposed`: by drafter, its probability and the token's rank among what it proposed there."""

    token: int
    parent: int
    depth: int
    proposed: dict[str, tuple[float, int]] = field(default_factory=dict)
    source: str = ""
    facts: Facts = ()
    probability: float = 0.0
    """That the target says it where it has followed the path to it."""
    score: float = 0.0
    """That the target follows the path to it."""


class Candidates:
    """`calibrations`: of every drafter in this answer. Parents come before their children, and nothing after one of the
    tokens `ends`, with which the answer would be over."""

    def __init__(self, calibrations: Mapping[str, OwnCalibration], ends: Container[int] = ()) -> None:
        self.nodes: list[Candidate] = []
        self._calibrations, self._ends = calibrations, ends
        self._children: dict[int, dict[int, int]] = {}
        self._scores: list[float] | None = None
        self.asked: dict[int, set[str]] = {}
        """By node or ROOT: the drafters that said what follows it."""

    def children(self, parent: int) -> Mapping[int, int]:
        """By token, the nodes after `parent`."""
        return self._children.get(parent, {})

    def covered(self, parent: int) -> float:
        """That the target says one of the tokens that were proposed after `parent`, where it has come so far."""
        children = self._children.get(parent)
        return sum([self.nodes[node].probability for node in children.values()]) if children else 0.0

    def may_follow(self, parent: int) -> bool:
        """Whether anything can come after a node or ROOT."""
        return parent == ROOT or self.nodes[parent].token not in self._ends

    def add(self, name: str, parent: int, proposed: Sequence[tuple[int, float]]) -> None:
        """What drafter `name` says may follow `parent`: tokens with its probabilities, likeliest first."""
        children = self._children.setdefault(parent, {})
        self.asked.setdefault(parent, set()).add(name)
        depth = 1 if parent == ROOT else self.nodes[parent].depth + 1
        for rank, (token, probability) in enumerate(proposed):
            if token not in children:
                children[token] = len(self.nodes)
                self.nodes.append(Candidate(token, parent, depth))
            self.nodes[children[token]].proposed[name] = probability, rank

    def add_draft(self, name: str, draft: Draft) -> None:
        """A whole draft of a drafter. A token that it drew is a candidate like any: the target's own is drawn apart."""
        tree, scores = draft.tree, draft.scores
        places: dict[int, int] = {ROOT: ROOT}
        for parent in (ROOT, *range(len(tree))):
            if parent not in places or not self.may_follow(places[parent]):
                continue
            proposed = []
            for node in tree.children(parent):
                above = 1.0 if parent == ROOT or not len(scores) else scores[parent]
                proposed.append((tree.tokens[node], scores[node] / above if len(scores) and above > 0 else _UNSCORED))
            if proposed:
                proposed.sort(key=lambda pair: -pair[1])
                self.add(name, places[parent], proposed)
                found = self.children(places[parent])
                places |= {node: found[tree.tokens[node]] for node in tree.children(parent)}

    def score(self, first: int = 0) -> None:
        """Probabilities of the nodes from `first` on, from what is known of them by now."""
        nodes, self._scores = self.nodes, None
        for parent in dict.fromkeys([node.parent for node in nodes[first:]]):
            num_asked = len(self.asked[parent])
            siblings = [nodes[place] for place in self._children[parent].values()]
            for node in siblings:
                if len(node.proposed) == 1:
                    [(node.source, (probability, rank))] = node.proposed.items()
                else:
                    node.source, (probability, rank) = max(node.proposed.items(), key=lambda item: item[1][0])
                num_for = len(node.proposed) - 1
                node.facts = facts_of(probability, rank, node.depth, num_for, num_asked - 1 - num_for)
                node.probability = self._calibrations[node.source].probability(node.facts)
            together = max(1.0, sum([node.probability for node in siblings]))
            # Of its parent, whose score is known by now: parents come before their children.
            above = 1.0 if parent == ROOT else nodes[parent].score
            for node in siblings:
                node.probability /= together
                node.score = node.probability * above

    def scores(self) -> list[float]:
        """Of all nodes, the best first."""
        if self._scores is None:
            self._scores = sorted([node.score for node in self.nodes], reverse=True)
        return self._scores

    def ranked(self) -> list[int]:
        """Nodes by their score, the best first; of equal ones a parent comes before its children."""
        return sorted(range(len(self.nodes)), key=lambda place: -self.nodes[place].score)

    def draft(self, num_nodes: int) -> Draft:
        """The best `num_nodes` as a tree."""
        if num_nodes == 0:
            return Draft()
        kept = sorted(self.ranked()[:num_nodes])
        places, nodes = {ROOT: ROOT}, [self.nodes[node] for node in kept]
        places |= {node: place for place, node in enumerate(kept)}
        tree = TokenTree(tuple(node.token for node in nodes), tuple(places[node.parent] for node in nodes))
        return Draft(tree, (), [node.score for node in nodes], [node.source for node in nodes])

    def path(self, tokens: Sequence[int]) -> Iterator[tuple[int, int]]:
        """(node or ROOT, the token that the target said after it), as far as `tokens` are in the pool."""
        place = ROOT
        for token in tokens:
            yield place, token
            if token not in self.children(place):
                return
            place = self.children(place)[token]

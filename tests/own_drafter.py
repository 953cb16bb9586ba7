"""A drafter of one's own, whole: a trie over prompt and answer says which words followed the last one."""

from pydantic import Field

from seeahead.drafters.spec import DrafterSpec
from seeahead.executor import NOTHING
from seeahead.tree import Draft, TokenTree


class TrieSpec(DrafterSpec):
    """`depth`: tokens per branch; `num_nodes`: of the tree at most. On the command line:
    `-d tests.own_drafter:TrieSpec:depth=3`."""

    kind = "trie"
    depth: int = Field(4, ge=1, le=64)
    num_nodes: int = Field(12, ge=1, le=256)

    def bind(self, target):
        return TrieDrafter(self)


class TrieDrafter:
    """Serves every target."""

    name, want = "trie", NOTHING

    def __init__(self, settings):
        self.settings = settings

    def start(self, context):
        return _Trie(self.settings, [*context.text_token_ids, context.first_token])


class _Trie:
    def __init__(self, settings, tokens):
        self._settings = settings
        self._children = {}  # token -> what followed it, each once, in order
        self._newest = tokens[0]
        self._add(tokens[1:])

    def propose(self, budget):
        branches = [[first] for first in self._children.get(self._newest, ())]
        for branch in branches:
            while len(branch) < self._settings.depth and branch[-1] in self._children:
                branch.append(next(iter(self._children[branch[-1]])))
        return Draft(TokenTree.of_branches(branches, min(budget, self._settings.num_nodes)))

    def accept(self, feedback):
        self._add(feedback.tokens)

    def _add(self, tokens):
        for token in tokens:
            self._children.setdefault(self._newest, {})[token] = True
            self._newest = token

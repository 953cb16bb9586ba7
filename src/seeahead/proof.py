"""A proof on the model itself, before its first answer: its passes over trees say what whole passes over paths say.

The reference is the model's own forward over prompt and path at once, without cache, mask or positions of ours. So what
a new release of transformers, a family that nobody has tried, or a change of ours breaks is refused at load.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from PIL import Image

from seeahead.errors import InputError, ModelError
from seeahead.executor import NOTHING, ModelInputs, PromptInputs, TreeInputs
from seeahead.executors.exact import Exact
from seeahead.executors.layouts import ROWS
from seeahead.families.base import Family
from seeahead.families.inspection import WINDOWS
from seeahead.prompt import make_prompt
from seeahead.session import Session
from seeahead.tree import ROOT

TEXT = "text"
"""What the first prompt is called, a short text."""
IMAGE = "an image"
"""What a prompt with an image is called; such prompts are long, and trees are proven on texts."""

BOUNDS = {"float64": 1e-3, "float32": 1e-3, "float16": 0.06, "bfloat16": 0.3, "int8": 0.3, "int4": 0.3}
"""Largest root mean square difference of a token's logits, in parts of their spread, by the precision of the weights
that run."""

ROUNDED = ("int8", "int4")
"""Weights that are not the model's own."""


def bound_of(family: Family) -> float:
    return BOUNDS.get(family.executor.precision, BOUNDS["bfloat16"])


NUM_WORDS = 12
"""Tokens of a prompt made for a proof, where no window asks for more."""


@dataclass(frozen=True)
class Finding:
    """One part of the proof: the largest difference found, the bound, and what a failure points to."""

    part: str
    error: float
    bound: float
    suspect: str

    @property
    def holds(self) -> bool:
        return self.error <= self.bound

    @property
    def figure(self) -> str:
        told = f"error {self.error:.2g} of the logits' spread, bound {self.bound:g}"
        return told if self.holds else f"{told}; suspect: {self.suspect}"


def prove(family: Family, prompts: Sequence[tuple[str, ModelInputs]]) -> Iterator[Finding]:
    """The findings for each of `prompts`, (what it shows, inputs), in order: four or six passes of the model each,
    and after the first one for each size of captured passes."""
    for what, inputs in prompts:
        # Where rotary factors change along the way, a whole pass does not say what steps say.
        if not family.crosses_border(inputs.length, NUM_WORDS):
            yield from _prove_prompt(family, what, inputs, is_brief=what == IMAGE)
            if what == TEXT:
                yield from _prove_sizes(family, inputs)


def require(findings: Iterator[Finding]) -> list[Finding]:
    """All findings, if they hold. Raises ModelError for the first that does not: no token may be emitted then."""
    held = []
    for finding in findings:
        if not finding.holds:
            raise ModelError(
                f"self-check failed at {finding.part}: logits differ from a whole pass by {finding.error:.2g} of their "
                f"spread, the bound is {finding.bound:g}; this model would answer wrongly with drafts. Suspect: "
                f"{finding.suspect}. Decode it with transformers alone, or register a family for it "
                "(docs/add-a-family.md)"
            )
        held.append(finding)
    return held


MOST_WORK = 2e12
"""Tokens times weights of one pass: some seconds of two cores."""


def prompts_for(family: Family, *, is_long: bool = False) -> list[tuple[str, ModelInputs]]:
    """Prompts of made-up tokens: a short text, one longer than the model's window or chunk where there is one, and one
    that the executor takes for long, where that is another way.

    A window so long that passes over it take minutes on a CPU is left to the long form (`is_long`).
    """
    prompts, long = [(TEXT, _words(family, NUM_WORDS))], family.executor.limits.long_rows
    if long > 0 and (family.max_length is None or long + 2 * NUM_WORDS <= family.max_length):
        prompts.append((f"a text of more than {long} tokens", _words(family, long + NUM_WORDS)))
    windows = [getattr(family.text_config, WINDOWS[kind], None) for kind in family.layer_types if kind in WINDOWS]
    window = min((one for one in windows if one is not None), default=None)
    if window is None or (family.max_length is not None and window + 2 * NUM_WORDS > family.max_length):
        return prompts
    work = window * sum(parameter.numel() for parameter in family.model.get_decoder().parameters())
    if is_long or family.device.type != "cpu" or work <= MOST_WORK:
        prompts.append((f"a text longer than the window of {window}", _words(family, window + NUM_WORDS)))
    return prompts


def image_prompt(family: Family) -> ModelInputs | None:
    """A question about a small made image; None for a model, or a processor, that takes none."""
    if not family.can_see or not hasattr(family.processor, "image_processor"):
        return None
    try:
        return family.encode(make_prompt("What is this?", [made_image()]))
    except InputError:  # the first prompt with an image will say it again, to the one who can mend it
        return None


def made_image() -> Image.Image:
    return Image.linear_gradient("L").resize((64, 64)).convert("RGB")


_TREES = (
    # Two branches of two below the root: a node has wrong tokens beside it, before it and after it. Of the path that is
    # committed, no row but the first lies where it must end up.
    ("a tree after", (ROOT, 0, 0, 1, 2), (0, 2, 4), (0, 1, 3), "the cache argument, the tree's mask, or its positions"),
    ("a second tree, after a commit, after", (ROOT, 0, 0), (0, 2), (0, 1), "the cache's rollback to a path"),
)
"""(part, parents, the path that is committed, a path beside it, suspect)"""


def _prove_prompt(family: Family, what: str, inputs: ModelInputs, *, is_brief: bool) -> Iterator[Finding]:
    """`is_brief`: one whole pass over the path that is committed, without the branches beside it."""
    drafts = _drafts(family)
    whole = [tokens[node] for tokens, (_, _, path, _, _) in zip(drafts, _TREES) for node in path]
    expected = whole_pass(family, inputs, whole, 1 + len(whole))
    session = Session(family.executor, capacity=4)
    error = _difference(session.prefill(inputs).logits, expected[:1])
    yield Finding(f"the prefill of {what}", error, bound_of(family), "a prompt's inputs, or its positions")
    done = 0
    for tokens, (part, parents, path, beside, suspect) in zip(drafts, _TREES):
        error = torch.inf
        if session.length == inputs.length + done:
            logits = session.score(tokens, parents).logits
            error = _difference(logits[list(path)], expected[1 + done :][: len(path)])
            if not is_brief:
                other = whole_pass(family, inputs, [*whole[:done], *(tokens[node] for node in beside)], len(beside))
                error = max(error, _difference(logits[list(beside)], other))
            session.commit(path)
        yield Finding(f"{part} {what}", error, bound_of(family), suspect)
        done += len(path)
    if family.executor.name == Exact.name:
        suspect = "products of matrices whose bits depend on a row's place, on this device"
        yield Finding(f"the bits of rows after {what}", _bits_error(family, inputs), 0.0, suspect)


def _prove_sizes(family: Family, inputs: ModelInputs) -> Iterator[Finding]:
    """Passes over so many tokens as captured ones have rows, each the beginning of one chain: other sizes are other
    kernels, or other blocks of them."""
    rows = family.executor.limits.max_rows
    if rows is None:
        return
    session = Session(family.executor, capacity=ROWS[-1])
    session.prefill(inputs)
    most = rows if session.most_nodes is None else min(rows, 1 + session.most_nodes)
    sizes = [size for size in ROWS if size <= most]
    tokens = _tokens(family, sizes[-1])
    expected = whole_pass(family, inputs, tokens, len(tokens))
    for size in sizes:
        error = _difference(session.score(tokens[:size], range(ROOT, size - 1)).logits, expected[:size])
        session.commit(())
        yield Finding(f"a pass over {size} tokens after {TEXT}", error, bound_of(family), "kernels for so many rows")


def _bits_error(family: Family, inputs: ModelInputs) -> float:
    """Largest difference between a path's rows in a tree and the same tokens one at a time."""
    tokens, (_, parents, path, *_) = _drafts(family)[0], _TREES[0]
    alone, tree = Session(family.executor, capacity=4), Session(family.executor, capacity=4)
    alone.prefill(inputs)
    tree.prefill(inputs)
    together, single = tree.score(tokens, parents).logits, []
    for node in path:
        single.append(alone.score([tokens[node]], [ROOT]).logits)
        alone.commit([0])
    return _difference(together[list(path)], torch.cat(single))


def packed_error(family: Family) -> float:
    """Largest difference between texts' trees in one pass and each in a pass of its own, as in `Finding`; of two, or of
    as many as make a pass that the executor computes in another way."""
    trees, alone = list[tuple[Session, TreeInputs]](), []
    pairs = [(tokens, parents) for tokens, (_, parents, *_) in zip(_drafts(family), _TREES)]
    long, num_nodes = family.executor.limits.long_rows, sum(len(tokens) for tokens, _ in pairs)
    for number, (tokens, parents) in enumerate((1 + long // num_nodes) * pairs):
        session = Session(family.executor, capacity=4)
        session.prefill(_words(family, NUM_WORDS + 5 * (number % 2)))
        alone.append(session.score(tokens, parents).logits)
        session.commit(())
        trees.append((session, session.tree(tokens, parents)))
    together = family.executor.forward([tree for _, tree in trees], NOTHING)
    return max(_difference(ours.logits, theirs) for ours, theirs in zip(together, alone))


def parts_error(family: Family) -> float:
    """Difference between a text read in two parts and the model's own whole pass, as in `Finding`; 0 for a model whose
    prompts are never cut."""
    inputs = family.executor.ready(_words(family, NUM_WORDS))
    if inputs.indivisible >= inputs.length:
        return 0.0
    session = Session(family.executor, capacity=4)
    for part in (inputs.part(0, NUM_WORDS // 2), inputs.part(NUM_WORDS // 2, NUM_WORDS)):
        scores = family.executor.prefill([PromptInputs(session.slot, part)], NOTHING)[0]
    return _difference(scores.logits, whole_pass(family, _words(family, NUM_WORDS), (), 1))


def parting(plain: Sequence[int], other: Sequence[int]) -> int | None:
    """Position of the first token that differs, or the shorter answer's length; None for equal answers."""
    if tuple(plain) == tuple(other):
        return None
    return next((i for i, (a, b) in enumerate(zip(plain, other)) if a != b), min(len(plain), len(other)))


def logit_gap(
    family: Family, inputs: ModelInputs, plain: Sequence[int], other: Sequence[int], place: int
) -> tuple[float, float] | None:
    """The plain answer's token minus the other's at `place`, in a fresh pass of everything before them; the same in
    parts of the logits' spread. None where one answer merely ends there.

    In half precision a pass of several tokens rounds differently from one of a single token, so two tokens whose logits
    are (nearly) equal may change places."""
    if place >= min(len(plain), len(other)):
        return None
    logits = whole_pass(family, inputs, plain[:place], 1)[0].float()
    gap = logits[plain[place]] - logits[other[place]]
    return float(gap), float(gap / logits.std())


@torch.inference_mode()
def whole_pass(family: Family, inputs: ModelInputs, tokens: Sequence[int], num_last: int) -> torch.Tensor:
    """Logits [num_last, vocabulary] of the last tokens of prompt and `tokens`, by the model alone, without a cache.

    With rounded weights, by the executor alone."""
    if family.executor.precision in ROUNDED:
        return _own_whole_passes(family, inputs, tokens, num_last)
    longer = inputs.extended(tokens, family.answer_type)
    given = longer.extras.pop("position_ids", None)
    positions = family.prompt_positions(longer)
    if positions is None and given is not None and given.ndim == 3:
        # `generate` has encoded the images, and of what they were only their positions are left.
        positions = _continued(given, len(tokens))
    if positions is not None:
        longer.extras["position_ids"] = positions
    # Layers that share keys may read the last tokens alone where logits of these alone are asked for.
    shares = bool(getattr(family.text_config, "num_kv_shared_layers", 0))
    last = {} if shares else dict.fromkeys(family.last_logits_only, num_last)
    with family.faults_told():
        outputs = family.model(input_ids=longer.token_ids, use_cache=False, **last, **longer.extras)
    logits: torch.Tensor = outputs.logits[0, -num_last:]
    return logits


def _own_whole_passes(family: Family, inputs: ModelInputs, tokens: Sequence[int], num_last: int) -> torch.Tensor:
    """As `whole_pass`, by the executor, each row in a slot of its own: with rounded weights it is another model."""
    rows = []
    for end in range(len(tokens) - num_last + 1, len(tokens) + 1):
        session = Session(family.executor, capacity=4)
        rows.append(session.prefill(inputs.extended(tokens[:end], family.answer_type)).logits)
        session.close()
    return torch.cat(rows)


def _continued(positions: torch.Tensor, num_more: int) -> torch.Tensor:
    """M-RoPE positions [3 or 4, 1, length] with those of text after them; the first of four rows counts tokens."""
    steps = torch.arange(num_more, device=positions.device)
    more = (positions[-3:].max() + 1 + steps).expand(len(positions), 1, -1).clone()
    if len(positions) == 4:
        more[0] = positions.shape[-1] + steps
    return torch.cat([positions, more], -1)


def _difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Of the worst token: root mean square of the difference, in parts of the standard deviation of `theirs`."""
    errors = [  # row by row: in 64 bits, as many as a pass may have of 256,000 logits take half a gigabyte
        (one.double() - other.double()).square().mean().sqrt() / other.double().std().clamp_min(1e-12)
        for one, other in zip(ours, theirs, strict=True)
    ]
    # What is no number is no small difference.
    return float(torch.stack(errors).nan_to_num(torch.inf, torch.inf, torch.inf).max())


def _drafts(family: Family) -> list[tuple[int, ...]]:
    """The tokens of each tree."""
    tokens = iter(_tokens(family, sum(len(parents) for _, parents, *_ in _TREES)))
    return [tuple(islice(tokens, len(parents))) for _, parents, *_ in _TREES]


def _words(family: Family, number: int) -> ModelInputs:
    return family.text_inputs(torch.tensor([_tokens(family, number + 64)[64:]], device=family.device))


def _tokens(family: Family, number: int) -> tuple[int, ...]:
    """Ordinary tokens, the same every time: spread over the vocabulary, none that stands for an image."""
    special = set(family.image_token_ids)
    if family.processor is not None:
        special |= set(getattr(family.tokenizer, "all_special_ids", ()))
    steps = (index * 7919 + 101 for index in range(8 * number + 512))
    ordinary = [token % family.vocab_size for token in steps if token % family.vocab_size not in special]
    return tuple(ordinary[:number])

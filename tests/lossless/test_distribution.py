"""Temperature above 0: the emitted tokens have exactly the target's distribution, whatever the drafter does.

The target is a table over six tokens, so the first three tokens of an answer have 216 known probabilities, worked out
with transformers' own logits processors. Seeds are fixed; a right sampler fails one such test in a million.
"""

import itertools
from functools import cache

import pytest
import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from seeahead.decode import run
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.none import EmptyDrafter
from seeahead.drafters.tree_growth import TreeLimits
from seeahead.drafters.vocabulary import DraftVocabulary
from seeahead.drafting import DraftContext
from seeahead.executor import ModelInputs
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter, random_tree
from seeahead.tree import Draft, TokenTree
from tests.free_costs import auto
from tests.one_request import start, steps
from tests.scripts import drawn_beside, drawn_chain, drawn_mixture, drawn_tree, random_chain
from tests.table_executor import TableExecutor

VOCAB = 6
NUM_SAMPLES = 1500
PROMPT = [2, 4, 2, 4, 1, 2]
TARGET = TableExecutor.random(VOCAB, seed=1)
OTHER = TableExecutor.random(VOCAB, seed=2)
TRIMMED = TableExecutor.random(4, seed=3)

SETTINGS = {
    "temperature": SamplingParams(temperature=0.7),
    "top-k": SamplingParams(temperature=1.0, top_k=3),
    "top-p": SamplingParams(temperature=1.3, top_p=0.8),
    "min-p": SamplingParams(temperature=1.0, min_p=0.15),
    "repetition penalty": SamplingParams(temperature=1.0, repetition_penalty=1.6),
    "all": SamplingParams(temperature=1.2, top_k=5, top_p=0.95, min_p=0.02, repetition_penalty=1.2),
}

Q = torch.tensor([0.30, 0.05, 0.25, 0.05, 0.15, 0.20])
ONE_SIDED = torch.tensor([0.9, 0.1, 0.0, 0.0, 0.0, 0.0])
FIXED_TREE = TokenTree((0, 2, 3, 0, 4, 5, 1), (-1, -1, -1, 0, 0, 1, 4))


def scripted(script):
    return lambda seed: ScriptedDrafter("scripted", script, seed)


# Name -> drafter for a seed of its own. Drafts that no random number of the drafter's decides:
FIXED = {
    "fixed tree": scripted(lambda answer, budget, random: Draft(FIXED_TREE if budget > 6 else TokenTree())),
    "lookup": lambda seed: LookupDrafter(min_match=1, width=3),
    "language tree": lambda seed: LanguageDrafter(Target(OTHER), limits=TreeLimits(3, 2, 6, 0.01)),
    "auto": lambda seed: auto(LookupDrafter(min_match=1), LanguageDrafter(Target(OTHER))),
    "auto, three": lambda seed: auto(
        LookupDrafter(min_match=1), LanguageDrafter(Target(OTHER)), ensemble(2, "grid")(seed)
    ),
    "auto, five": lambda seed: auto(
        LookupDrafter(min_match=1),
        LanguageDrafter(Target(OTHER)),
        LanguageDrafter(Target(TRIMMED), DraftVocabulary(torch.tensor([5, 1, 2, 0]), 0)),
        ScriptedDrafter("drawn", drawn_chain(Q), seed, is_alone=False),
        ensemble(3, "grid")(seed),
        depth=3,
    ),
    "random chain": scripted(random_chain(3, range(VOCAB))),
    "random tree": scripted(random_tree(8, range(VOCAB))),
}
SHORT = TreeLimits(depth=3)  # further tokens than are looked at prove nothing


# Drafts drawn from a distribution:
DRAWN = {
    "drawn chain": scripted(drawn_chain(Q)),
    "one-sided chain": scripted(drawn_chain(ONE_SIDED)),
    "drawn siblings": scripted(drawn_tree([Q, Q, Q])),
    "unlike siblings": scripted(drawn_tree([Q, ONE_SIDED, Q.flip(0)])),
    "mixture": scripted(drawn_mixture([Q, ONE_SIDED], [0.7, 0.3])),
    "drawn beside fixed": lambda seed: ScriptedDrafter(
        "drawn beside fixed", drawn_beside(FIXED_TREE, [Q, ONE_SIDED]), seed, is_alone=False
    ),
    "language chain": lambda seed: LanguageDrafter(Target(OTHER), draws=True, limits=SHORT),
    "language chain, trimmed": lambda seed: LanguageDrafter(
        Target(TRIMMED), DraftVocabulary(torch.tensor([5, 1, 2, 0]), 0), draws=True, limits=SHORT
    ),
}


def ensemble(num_members, rule):
    members = (
        LanguageDrafter(Target(OTHER)),
        LanguageDrafter(Target(TRIMMED), DraftVocabulary(torch.tensor([5, 1, 2, 0]), 0)),
        LookupDrafter(min_match=1),
        LanguageDrafter(Target(TARGET)),
    )
    first = (0.5, 0.2, 0.2, 0.1)[:num_members]
    weights = tuple(weight / sum(first) for weight in first)
    limits = TreeLimits(3, 1, 3, 0.0)
    return lambda seed: EnsembleDrafter(members[:num_members], rule, 4, weights, limits=limits, draws=True)


# Mixtures of several members, whose weights stay or follow the answer:
ENSEMBLES = {f"{number} members, {rule}": ensemble(number, rule) for number in (2, 3, 4) for rule in ("static", "grid")}


def first_tokens(drafter, params, seed, number=3):
    """Answers go on past `number`, so that no draft is cut short by a limit."""
    params = SamplingParams(**{**vars(params), "seed": seed})
    request = Request(TARGET, drafter, Sampler(params, PROMPT), StopRule(number + 9))
    start(request, ModelInputs(torch.tensor([PROMPT])))
    rest = steps(request)
    while len(request.answer) < number:
        next(rest)
    return tuple(request.answer[:number])


@cache
def expected(name):
    """Probability of each triple of tokens, by transformers' rules."""
    params = SETTINGS[name]
    rules = LogitsProcessorList([RepetitionPenaltyLogitsProcessor(params.repetition_penalty)])
    rules.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        rules.append(TopKLogitsWarper(params.top_k))
    if params.top_p < 1:
        rules.append(TopPLogitsWarper(params.top_p))
    if params.min_p:
        rules.append(MinPLogitsWarper(params.min_p))

    @cache
    def following(tokens):
        return rules(torch.tensor([tokens]), TARGET.after(tokens)[None])[0].double().softmax(-1).tolist()

    def probability(triple):
        tokens, result = tuple(PROMPT), 1.0
        for token in triple:
            result *= following(tokens)[token]
            tokens += (token,)
        return result

    return {triple: probability(triple) for triple in itertools.product(range(VOCAB), repeat=3)}


def assert_distributed(samples, probabilities):
    counts = dict.fromkeys(probabilities, 0)
    for sample in samples:
        counts[sample] += 1
    forbidden = [triple for triple, count in counts.items() if count and not probabilities[triple]]
    assert not forbidden, f"tokens the target would never say: {forbidden[:5]}"
    # Cells too rare for the approximation are counted together.
    rare = [triple for triple, p in probabilities.items() if p * len(samples) < 5]
    cells = [(counts[triple], p * len(samples)) for triple, p in probabilities.items() if triple not in set(rare)]
    cells.append((sum(counts[triple] for triple in rare), sum(probabilities[triple] for triple in rare) * len(samples)))
    cells = [(count, mean) for count, mean in cells if mean > 1]
    chi_square = sum((count - mean) ** 2 / mean for count, mean in cells)
    limit = chi_square_limit(len(cells) - 1)
    assert chi_square < limit, (
        f"chi-square {chi_square:.1f} on {len(cells) - 1} degrees; one in a million is {limit:.1f}"
    )


def chi_square_limit(degrees, z=4.753):
    """The quantile that one in a million exceeds (Wilson and Hilferty 1931)."""
    share = 2 / (9 * degrees)
    return degrees * (1 - share + z * share**0.5) ** 3


@pytest.mark.parametrize("name", SETTINGS)
def test_plain_has_the_targets_distribution(name):
    samples = [first_tokens(EmptyDrafter(), SETTINGS[name], seed) for seed in range(NUM_SAMPLES)]
    assert_distributed(samples, expected(name))


# Every drafter under two settings, and two drafters under all; ensembles, which take their time, under one.
PAIRS = [
    (name, drafter)
    for name, drafter in itertools.product(SETTINGS, DRAWN)
    if name in ("temperature", "all") or drafter in ("drawn chain", "drawn siblings")
] + [("temperature", drafter) for drafter in ENSEMBLES]


@pytest.mark.parametrize(("name", "drafter"), PAIRS)
def test_drawn_drafts_have_the_targets_distribution(name, drafter):
    made = {**DRAWN, **ENSEMBLES}[drafter]
    samples = [first_tokens(made(seed + 10**6), SETTINGS[name], seed) for seed in range(NUM_SAMPLES)]
    assert_distributed(samples, expected(name))


def first_draft(drafter, params, first):
    """What `drafter` proposes after the answer's `first` token."""
    context = DraftContext(ModelInputs(torch.tensor([PROMPT])), first, frozenset(), VOCAB, params, max_new_tokens=12)
    return drafter.start(context).propose(3)


@pytest.mark.parametrize("temperature", [0.4, 2.5])
@pytest.mark.parametrize("drafter", [*(name for name in DRAWN if "language" in name), *ENSEMBLES])
def test_a_drawn_draft_says_what_its_tokens_were_drawn_from(drafter, temperature):
    """More sensitive than the answers are: a proposal of another temperature biases them by a few parts in a hundred.

    Over all drafted tokens two sums are zero on average, each token's count less its probabilities, and log q of what
    was drawn less the expected log q; in deviations each may be beyond 4.9 once in a million.
    """
    made = {**DRAWN, **ENSEMBLES}[drafter]
    excess, variance = torch.zeros(VOCAB + 1).double(), torch.zeros(VOCAB + 1).double()
    for seed in range(150):
        draft = first_draft(made(seed), SamplingParams(temperature, seed=seed), first=seed % VOCAB)
        for token, q in zip(draft.tree.tokens, torch.stack(draft.proposals).double(), strict=True):
            assert q[token] > 0, "a token was drawn that the proposal excludes"
            assert q.sum() == pytest.approx(1, abs=1e-5)
            logs = q.clamp_min(1e-30).log()
            mean = (q * logs).sum()
            excess += torch.cat([torch.eye(VOCAB)[token] - q, (logs[token] - mean)[None]])
            variance += torch.cat([q * (1 - q), (q * (logs - mean) ** 2).sum()[None]])
    deviations = excess.abs() / (variance + 1e-6).sqrt()
    assert deviations.max() < 4.9, f"off by {deviations.tolist()} deviations: tokens 0 to {VOCAB - 1}, then log q"


@cache
def alone(name, seed):
    return first_tokens(EmptyDrafter(), SETTINGS[name], seed, 12)


@pytest.mark.parametrize("drafter", FIXED)
@pytest.mark.parametrize("name", SETTINGS)
def test_fixed_drafts_change_no_token(name, drafter):
    """Randomness belongs to positions: the target draws what it would have drawn alone."""
    for seed in range(30):
        assert first_tokens(FIXED[drafter](seed), SETTINGS[name], seed, 12) == alone(name, seed)
        assert first_tokens(FIXED[drafter](seed + 1), SETTINGS[name], seed, 12) == alone(name, seed)


@pytest.mark.parametrize("drafter", ["auto", "auto, three", "auto, five"])
@pytest.mark.parametrize("name", SETTINGS)
def test_one_that_decides_over_eight_requests_changes_no_token_of_them(name, drafter):
    shared, requests = FIXED[drafter](0), []
    for seed in range(24):
        params = SamplingParams(**{**vars(SETTINGS[name]), "seed": seed})
        request = Request(TARGET, shared, Sampler(params, PROMPT), StopRule(12 + seed % 5))
        requests.append(request.ask(ModelInputs(torch.tensor([PROMPT]))))
    for _ in run(iter(requests), 8):
        pass
    for seed, request in enumerate(requests):
        assert tuple(request.answer[:12]) == alone(name, seed)
    assert sum(step.num_accepted for request in requests for step in request.records) > 24


def test_drafts_do_get_accepted():
    """Otherwise the tests above would be about plain decoding."""
    for drafter in {**FIXED, **DRAWN, **ENSEMBLES}.values():
        accepted = 0
        for seed in range(20):
            params = SamplingParams(temperature=1.0, seed=seed)
            request = Request(TARGET, drafter(seed), Sampler(params, PROMPT), StopRule(12))
            start(request, ModelInputs(torch.tensor([PROMPT])))
            accepted += sum(step.num_accepted for step in steps(request))
        assert accepted > 20


def test_the_check_itself_can_fail():
    probabilities = expected("temperature")
    samples = [first_tokens(EmptyDrafter(), SETTINGS["top-p"], seed) for seed in range(NUM_SAMPLES)]
    with pytest.raises(AssertionError, match="chi-square"):
        assert_distributed(samples, probabilities)
    assert chi_square_limit(35, z=3.0902) == pytest.approx(66.62, abs=0.1), "the tabled quantile of one in a thousand"

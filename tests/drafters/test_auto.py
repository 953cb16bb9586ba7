"""All drafters in one tree: calibrated, merged, and only as far as it pays."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from operator import sub

import numpy as np
import pytest
import torch

from seeahead.decode import run, run_step
from seeahead.drafters import spec_of
from seeahead.drafters.calibration import Calibration, OwnCalibration, facts_of
from seeahead.drafters.candidates import Candidates
from seeahead.drafters.experience import Experience, Learned, OwnExperience
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.none import EmptyDrafter
from seeahead.drafters.tree_growth import best_number, usual_trees
from seeahead.errors import DrafterError
from seeahead.executor import ModelInputs
from seeahead.request import Request
from seeahead.sampling import Sampler, SamplingParams
from seeahead.stopping import StopRule
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter
from seeahead.tree import ROOT, Draft, TokenTree
from tests.free_costs import TableExperience, TableTimes, auto
from tests.one_request import start, steps
from tests.table_executor import TableExecutor

TARGET = TableExecutor.random(12, seed=1, spread=4.0)
RIGHT, WRONG = (
    LanguageDrafter(Target(TARGET), name="right"),
    LanguageDrafter(Target(TableExecutor(-TARGET.table)), name="wrong"),
)
PROMPT = [3, 5, 2, 8, 1]


def ask(drafter, num_tokens=40):
    sampler = Sampler(SamplingParams(), PROMPT)
    return Request(TARGET, drafter, sampler, StopRule(num_tokens)).ask(ModelInputs(torch.tensor([PROMPT])))


def answered(drafter, num_tokens=40):
    request = ask(drafter, num_tokens)
    start(request, request.inputs)
    return list(steps(request)), request


PLAIN = answered(EmptyDrafter())[1].answer


def test_what_a_drafter_says_is_set_right_by_what_the_target_answers():
    """One that always says 0.9, and is right half of the time, and one that is right in its doubts."""
    for said, true in ((0.9, 0.5), (0.3, 0.7), (0.8, 0.8)):
        own, rng = OwnCalibration(Calibration()), random.Random(0)
        facts = facts_of(said, 0, 1, 0, 0)
        for _ in range(400):
            own.learn(facts, own.probability(facts), was_followed=rng.random() < true)
        assert own.probability(facts) == pytest.approx(true, abs=0.08)


def test_a_new_answer_begins_with_what_all_before_have_shown():
    shared, rng, facts = Calibration(), random.Random(0), facts_of(0.9, 0, 1, 0, 0)
    for _ in range(50):
        own = OwnCalibration(shared)
        for _ in range(10):
            own.learn(facts, own.probability(facts), was_followed=rng.random() < 0.4)
    assert OwnCalibration(shared).probability(facts) == pytest.approx(0.4, abs=0.1)


def test_a_step_without_a_plan_says_nothing_of_what_was_proposed_before():
    drafter = auto(RIGHT, LookupDrafter(min_match=1))
    request = ask(drafter)
    start(request, request.inputs)
    run_step([request])
    known = drafter.experience.calibrations["right 0", True]
    request.most_nodes, before, num_said = 0, list(known.weights), len(request.answer)
    for _ in range(8):
        run_step([request])
    assert request.answer == PLAIN[: num_said + 8]
    assert known.weights == before
    request.most_nodes = None
    run_step([request])
    assert known.weights != before


def test_nothing_is_asked_after_a_token_that_ends_the_answer(monkeypatch):
    """Whoever proposed more: a second model is asked about the rest."""
    monkeypatch.setattr("seeahead.drafters.auto_drafting._LOOK", 1)
    truth = answered(EmptyDrafter())[1].answer
    end = next(token for token in range(12) if token not in truth)
    script = ScriptedDrafter("beyond", lambda *_: Draft(TokenTree((end, 7, 7, 6), (ROOT, 0, 1, ROOT))), is_alone=False)
    drafter = auto(script, RIGHT, WRONG)
    request = Request(TARGET, drafter, Sampler(SamplingParams(), PROMPT), StopRule(40, frozenset({end})))
    start(request, ModelInputs(torch.tensor([PROMPT])))
    assert all(step.num_drafted for step in list(steps(request))[:3])
    assert request.answer == truth


def test_what_two_propose_is_one_node_and_likelier():
    names = {name: OwnCalibration(Calibration()) for name in ("a", "b")}
    alone, both = Candidates(names), Candidates(names)
    alone.add("a", ROOT, [(7, 0.5), (4, 0.2)])
    alone.score()
    both.add("a", ROOT, [(7, 0.5), (4, 0.2)])
    both.add_draft("b", Draft(TokenTree.chain([7, 9]), scores=[0.4, 0.3]))
    both.score()
    assert [node.token for node in both.nodes] == [7, 4, 9]
    assert both.nodes[0].score > alone.nodes[0].score
    assert both.nodes[1].score < alone.nodes[1].score, "the other was asked, and did not say it"
    draft = both.draft(3)
    assert draft.sources == ["a", "a", "b"]
    assert draft.tree.parents == (ROOT, ROOT, 0)


def test_no_node_has_a_higher_score_than_its_parent_and_siblings_are_one_at_most():
    pool, rng = Candidates({"a": OwnCalibration(Calibration((2.0, 1.0, 0.0, 0.0, 0.0, 0.0)))}), random.Random(1)
    for parent in (ROOT, 0, 1, 2, 3):
        pool.add("a", parent, [(token, rng.random()) for token in range(4)])
    pool.score()
    for node in pool.nodes:
        assert node.score <= (1.0 if node.parent == ROOT else pool.nodes[node.parent].score)
    assert sum(node.score for node in pool.nodes if node.parent == ROOT) <= 1 + 1e-9


@pytest.mark.parametrize(
    "drafter", [RIGHT, replace(RIGHT, draws=True), auto(RIGHT, WRONG)], ids=["tree", "chain", "auto"]
)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_what_would_follow_an_end_is_not_drafted(drafter, temperature):
    ends = frozenset(PLAIN[5:7])
    sampler = Sampler(SamplingParams(temperature=temperature, seed=3), PROMPT)
    request = Request(TARGET, drafter, sampler, StopRule(60, ends)).ask(ModelInputs(torch.tensor([PROMPT])))
    start(request, request.inputs)
    for _ in steps(request):
        tree = request.draft.tree
        assert all(parent == ROOT or tree.tokens[parent] not in ends for parent in tree.parents)
    assert temperature or request.answer[-1] in ends


def test_as_many_nodes_as_a_pass_allows_for():
    """Free rows: all that may be followed; dear rows: few; dearer than a pass: none, and the answer is the same."""
    nodes = []
    for per_row in (0.0, 0.2, 3.0):
        done, request = answered(auto(RIGHT, experience=TableExperience(per_row)))
        nodes.append(sum(step.num_drafted for step in done) / len(done))
        assert request.answer == PLAIN
    assert nodes[0] > nodes[1] > nodes[2] == 0


@pytest.mark.parametrize(("further", "expected"), [(lambda rows: 29.0, {4: 2}), (lambda rows: 0.3 * rows, {8: 2})])
def test_sizes_of_which_no_step_has_told_are_tried(monkeypatch, further, expected):
    """Also where none seems to pay; larger ones where trees are drafted anyway, as far as there are nodes."""
    seen = Counter()
    monkeypatch.setattr(TableTimes, "has_tried", lambda _, rows, num: seen[rows] > 1)
    monkeypatch.setattr(TableTimes, "seconds", lambda self, rows, num=1: 1.0 + (rows > 1) * further(rows))
    drafter = auto(RIGHT, experience=TableExperience(0.0, 0.1), depth=5, num_nodes=16)
    request = ask(drafter)
    start(request, request.inputs)
    for step in steps(request):
        seen[1 + step.num_drafted] += 1
    assert request.answer == PLAIN
    assert all(seen[rows] >= number for rows, number in expected.items()), seen


def test_a_promise_is_that_of_a_tree():
    trees = usual_trees(50, 4, 2, 8)
    assert trees.shape == (4, 9)
    assert trees[0] == pytest.approx([1.0, 1.5, 1.625, *[1.685] * 6])
    assert (np.diff(trees, axis=0) >= 0).all()
    assert (np.diff(trees, axis=1) >= 0).all()
    assert usual_trees(0, 4, 2, 8).max() == 1.0
    assert usual_trees(98, 4, 2, 8).max() == pytest.approx(1 + sum(0.98**level for level in range(1, 5)), rel=0.02)


def test_what_is_proposed_already_is_not_asked_for_again():
    pool = Candidates({"a": OwnCalibration(Calibration())})
    pool.add("a", ROOT, [(7, 0.6), (4, 0.3)])
    pool.score()
    assert pool.covered(ROOT) == pytest.approx(0.9, abs=0.05)
    assert pool.covered(0) == 0


def test_one_budget_for_all_requests():
    """Rows of eight requests cost what eight times as many rows cost: each drafts less than it would alone."""
    drafter = auto(RIGHT, experience=TableExperience(0.12))
    alone = [step.num_drafted for step in answered(drafter)[0]]
    together = []
    for request, step in run(iter([ask(drafter) for _ in range(8)]), 8):
        if step is not None:
            together.append(step.num_drafted)
        if request.finish_reason is not None:
            assert request.answer == PLAIN
    assert sum(together) / len(together) < sum(alone) / len(alone)


def test_what_is_allotted_are_the_best_nodes_of_all_drafts():
    drafter = auto(experience=TableExperience(0.2))
    drafter.before(2, 9)
    drafter.step.rates = [0.9, 1.1]  # so a node has to bring 0.2
    sure = Draft(TokenTree.chain([1, 2, 3]), scores=[0.9, 0.8, 0.7])
    unsure = Draft(TokenTree((1, 2, 3), (ROOT, ROOT, 0)), scores=[0.5, 0.1, 0.05])
    cut = drafter.allot([unsure, sure])
    assert cut[1] == sure
    assert (cut[0].tree.tokens, list(cut[0].scores)) == ((1,), [0.5])
    assert len(drafter.allot([replace(unsure, scores=[0.01, 0.01, 0.01]), sure])[0].tree) == 0
    assert drafter.step.base + drafter.step.each * drafter.step.kept[id(sure)] == pytest.approx(0.6 + 3 * 0.2)
    assert len(drafter.allot([unsure])[0].tree) == 1, "the other drafts by another drafter"
    drafter.before(1, 9)
    assert drafter.allot([unsure]) == [unsure], "a single one is what it chose to be"


def test_of_equally_good_nodes_as_many_are_kept_as_pay():
    drafter = auto(experience=TableExperience(0.2))
    drafter.experience.times.seconds = lambda rows, num_requests=1: 1.0 + 0.2 * max(0, rows - 5)
    drafter.before(2, 9)
    drafter.step.rates = [1.0]
    same = [Draft(TokenTree.chain([1, 2, 3]), scores=[0.1] * 3) for _ in range(2)]
    assert [draft.tree.tokens for draft in drafter.allot(same)] == [(1, 2, 3), ()]


def test_a_node_pays_where_it_brings_more_than_its_seconds_do_at_the_rate_of_answers():
    costs = [0.3 * number for number in range(9)]
    assert best_number([0.9, 0.5, 0.1], costs, sub) == (2, pytest.approx(1.8))
    assert best_number([0.2], costs, sub) == (0, 1.0)
    assert best_number([0.9, 0.9, 0.9], costs[:2], sub) == (1, pytest.approx(1.6)), "as many nodes as costs tell of"


def test_the_rate_of_an_answer_begins_with_that_of_others_of_its_kind():
    shared = Experience(TableTimes())
    own = OwnExperience(shared, (1, True))
    assert own.rate(1) == 2.0
    for _ in range(200):
        assert own.took(6, 2.0, 1) == 4.0, "beyond two plain steps"
    assert own.rate(1) == pytest.approx(3.0, rel=0.01)
    assert OwnExperience(shared, (1, True)).rate(1) == pytest.approx(3.0, rel=0.01)
    assert OwnExperience(shared, (0, True)).rate(1) == 2.0
    assert OwnExperience(shared, (1, True)).rate(8) == 8 * 1.25, (
        "its share of a step of eight; nothing is known of these"
    )


def test_members_by_name():
    target = Target(TARGET)
    assert list(spec_of("auto").bind(target).members) == ["lookup"]
    assert isinstance(spec_of("auto:members=lookup").bind(target).members["lookup"], LookupDrafter)
    with pytest.raises(DrafterError, match="member twice"):
        spec_of("auto:members=lookup+lookup").bind(target)
    with pytest.raises(DrafterError, match="has no setting 'wdth'; it has"):
        spec_of("auto:wdth=3")


def test_a_first_pass_that_is_held_up_does_not_speak_for_the_next_ones():
    """What is read for the first time takes several times as long; a drafter must not be left alone for that."""
    experience = Experience(TableTimes())
    guess = experience.level("cold", 1)
    experience.drafted("cold", 1, 100.0)
    experience.started("cold", (0, True), 100.0)
    assert experience.level("cold", 1) == pytest.approx(1.5 * guess)
    assert experience.start_seconds("cold", (0, True)) < 7 * guess
    for _ in range(60):
        experience.drafted("cold", 1, 0.5)
    assert experience.level("cold", 1) == pytest.approx(0.5, rel=0.05)


def test_what_took_long_twice_does():
    """A drafter with images of its own to read takes a hundred times what is guessed, each time it starts."""
    experience, kind = Experience(TableTimes()), (1, True)
    for _ in range(3):
        experience.started("dear", kind, 20.0)
    assert experience.start_seconds("dear", kind) > 10.0


class WithoutRoom(LanguageDrafter):
    """As one whose context the answer has outgrown."""

    def model(self, context, depth=0):
        made = super().model(context, depth)

        def read():
            return None
            yield

        made.read = read
        return made


def test_a_model_without_room_leaves_the_lead_to_another_and_no_time_is_learned_of_it(monkeypatch):
    timed, experience = [], TableExperience()
    monkeypatch.setattr(experience, "drafted", lambda name, *given: timed.append(name))
    monkeypatch.setattr(experience, "started", lambda name, *given: timed.append(name))
    drafter = auto(WithoutRoom(Target(TARGET), name="full"), RIGHT, experience=experience)
    experience.skills["full 0", (0, True)] = Learned(6.0, 60.0)
    told, request = answered(drafter, 60)
    assert request.answer[: len(PLAIN)] == PLAIN
    assert sum(step.num_accepted for step in told) > 30
    assert set(timed) == {"right 1"}


@pytest.mark.parametrize("others", [[], [LookupDrafter(min_match=1)]])
def test_where_no_model_has_room_steps_are_plain_or_drafted_by_others(others):
    request = ask(auto(WithoutRoom(Target(TARGET), name="full"), *others), 200)
    start(request, request.inputs)
    sources = [set(request.draft.sources) for _ in steps(request)]
    assert request.answer[: len(PLAIN)] == PLAIN
    assert len(sources) > 20
    assert set().union(*sources) == {f"lookup {number}" for number, _ in enumerate(others, 1)}

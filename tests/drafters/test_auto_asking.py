"""Which models `auto` asks, when, and what those are told that it does not ask."""

from __future__ import annotations

import pytest

from seeahead.decode import run_step, start
from seeahead.drafters.auto_drafting import AutoDrafting
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.experience import Experience, OwnExperience
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter
from seeahead.tree import Draft, TokenTree
from tests.drafters.test_auto import PLAIN, RIGHT, TARGET, WRONG, answered, ask
from tests.free_costs import TableExperience, TableTimes, auto


def test_what_is_kept_of_a_step_for_models_to_come_is_no_larger_than_it_looks():
    """A view of logits would keep those of the whole vocabulary, for every token of a long answer."""
    request = ask(auto(RIGHT, WRONG))
    start(request, request.inputs)
    request.most_nodes = 0
    for _ in range(5):
        run_step([request])
    before = [*request.drafting._untold]
    request.most_nodes = None
    run_step([request])
    untold = request.drafting._models._untold["wrong 1"]
    assert [len(one.tokens) for one in before] == [1] * 5
    assert [one.tokens for one in untold[:5]] == [one.tokens for one in before]
    assert all(one.logits.untyped_storage().nbytes() == 0 for one in (*before, *untold))


def test_a_model_that_rests_is_told_of_its_steps_once_it_is_asked_again():
    request = ask(auto(RIGHT, WRONG))
    start(request, request.inputs)
    models = request.drafting._models
    for rests in (False, True, True, True, False, False):
        request.most_nodes = 0 if rests else None
        run_step([request])
    assert request.answer == PLAIN[: len(request.answer)]
    [(name, model)] = [(name, one) for name, one in models._started.items() if not models._untold[name]]
    assert name == "right 0"
    assert model._answer == request.answer
    assert request.records[-1].num_accepted > 1


def test_the_model_that_is_right_leads():
    drafter = auto(WRONG, RIGHT)
    for _ in range(4):
        done, request = answered(drafter)
        assert request.answer == PLAIN
    assert sum(step.num_accepted for step in done) > 0.7 * len(PLAIN)
    sources = {source for step in [request] for source in step.draft.sources}
    assert sources <= {"right 1"}


def test_a_model_that_costs_more_than_it_brings_is_left_alone():
    costs = TableExperience(0.01, **{"wrong 0": 0.3, "right 1": 5.0})
    drafter = auto(WRONG, RIGHT, experience=costs)
    drafted = []
    for _ in range(30):
        done, request = answered(drafter)
        assert request.answer == PLAIN
        drafted.append(sum(step.num_drafted > 0 for step in done))
    assert sum(drafted[20:]) <= 0.04 * 10 * len(done), "rare looks at most"


def test_who_is_always_wrong_is_hardly_asked():
    never = ScriptedDrafter("all wrong", lambda answer, budget, rng: Draft(TokenTree.chain([11] * min(budget, 3))))
    assert 11 not in PLAIN
    row = level = 0.05
    drafter = auto(never, WRONG, experience=TableExperience(row, level))
    for _ in range(10):
        done, request = answered(drafter)
        assert request.answer == PLAIN
    wasted = sum(level * (step.num_drafted > 0) + row * (step.num_drafted - step.num_accepted) for step in done)
    assert wasted < 0.03 * len(done), "of the time that plain steps take"


def test_drafting_that_has_lost_what_it_may_rests_until_that_is_little_beside_all():
    """Whatever models promise: here they are thought to cost nothing, and to be as good as new in each answer."""
    experience = TableExperience(0.05)
    drafter, lost, num_steps = auto(WRONG, experience=experience), 0.0, 0
    for _ in range(40):
        experience.skills.clear()
        done, request = answered(drafter)
        assert request.answer == PLAIN
        lost += sum(0.05 * step.num_drafted - step.num_accepted for step in done)
        num_steps += len(done)
    assert 7 < lost < 9 + 0.01 * num_steps, "of plain steps"
    experience.settle(-2.0)
    assert not experience.has_credit
    experience.settle(3.0)
    assert experience.has_credit


def test_gains_are_credit_for_a_while():
    experience = TableExperience()
    for _ in range(100):
        experience.settle(3.0)
    for _ in range(63):
        experience.settle(-1.0)
    assert experience.has_credit
    experience.settle(-1.0)
    assert not experience.has_credit


def test_what_one_level_does_not_pay_for_several_may():
    """Passes are filled up: the third row costs more than a token is worth, and those after it nothing."""
    experience = TableExperience()
    experience.times.seconds = lambda rows, num_requests=1: 1.0 if rows <= 2 else 2.5
    done, request = answered(auto(RIGHT, experience=experience))
    assert request.answer == PLAIN
    assert max(step.depth for step in done) > 4, "and no step had two levels"


def test_requests_that_share_passes_share_models():
    """Alone the one that is asked already is worth no more than the other; beside others it costs less."""
    experience = TableExperience(0.01, 0.2)
    drafter = auto(RIGHT, LanguageDrafter(Target(TARGET), name="too"), experience=experience)
    requests = [ask(drafter) for _ in range(4)]
    for request in requests:
        start(request, request.inputs)
    for _ in range(3):
        run_step(requests)
        assert len({source for request in requests for source in request.draft.sources}) == 1


def test_models_start_when_they_are_asked(monkeypatch):
    started = []
    made = LanguageDrafter.model
    monkeypatch.setattr(LanguageDrafter, "model", lambda self, *given: started.append(self.name) or made(self, *given))
    answered(auto(WRONG, RIGHT, experience=TableExperience(0.01, **{"wrong 0": 50.0, "right 1": 0.0})))
    assert started == ["right"]


@pytest.mark.parametrize("members", [[RIGHT, WRONG], [WRONG, RIGHT]])
def test_a_mixture_learns_nothing_of_steps_in_which_it_rests(members):
    mixture = EnsembleDrafter(tuple(members), name="mixture")
    request = ask(auto(mixture, LookupDrafter(min_match=1)))
    start(request, request.inputs)
    for number in range(12):
        request.most_nodes = None if number % 3 == 0 else 0
        run_step([request])
        request.check()
    assert request.answer == PLAIN[: len(request.answer)]
    model = request.drafting._models._started["mixture 0"]
    weights = dict(zip([member.name for member in members], model.weights.next(), strict=True))
    assert weights["right"] > weights["wrong"]


def test_who_is_no_model_is_told_of_every_step_with_its_logits():
    told = []
    script = ScriptedDrafter("script", lambda answer, *_: (told.append(len(answer)), Draft())[1], is_alone=False)
    request = ask(auto(script, RIGHT))
    start(request, request.inputs)
    for number in range(9):
        request.most_nodes = None if number % 3 == 0 else 0
        run_step([request])
        request.check()
        assert request.drafting._draftings["script 0"]._answer == request.answer
    assert told


@pytest.mark.parametrize(("said", "asked"), [(0.6, True), (0.99, False)])
def test_a_model_is_asked_where_a_long_draft_that_cost_nothing_is_doubtful(said, asked):
    """Alone the model promises fewer tokens; but where the first of the draft is wrong, all of it is."""
    draft = Draft(TokenTree.chain([11] * 4), scores=[said] * 4)
    long = ScriptedDrafter("long", lambda *_: draft, is_alone=False)
    request = ask(auto(long, RIGHT, experience=TableExperience(0.0, 0.04, **{"long 0": 0.0})))
    start(request, request.inputs)
    run_step([request])
    assert ("right 1" in request.draft.sources) == asked


def test_where_nothing_has_paid_models_are_thought_of_less_often(monkeypatch):
    """Each answer's first rests are steps apart; looks come after as many steps as ever."""
    thoughts, number = [], [0]
    lead = AutoDrafting._lead

    def counted(drafting, budget):
        thoughts.append(number[0])
        return lead(drafting, budget)

    monkeypatch.setattr(AutoDrafting, "_lead", counted)
    request = ask(auto(WRONG, experience=TableExperience(0.01, 50.0)), 90)
    start(request, request.inputs)
    looked = []
    for number[0] in range(80):
        [step] = run_step([request])
        if step.num_drafted:
            looked.append(number[0])
    assert thoughts[:6] == [0, 1, 3, 6, 10, 14]
    assert len(looked) == 1
    assert 60 <= looked[0] <= 68


def test_a_start_is_paid_over_the_steps_that_answers_of_its_kind_have():
    """A prompt with images takes longer to read, and an answer about what stands in one is short."""
    experience, text, images = Experience(TableTimes()), (0, True), (2, True)
    for _ in range(40):
        experience.started("one", images, 4.0)
        own = OwnExperience(experience, images)
        for _ in range(3):
            own.took(5, 2.0, 1)
    assert experience.start_seconds("one", images) == pytest.approx(4.0, rel=0.05)
    assert experience.length(images) == pytest.approx(3.0, rel=0.2)
    assert own.start_seconds("one", False) == pytest.approx(4.0 / 3, rel=0.2)
    assert own.start_seconds("one", True) == 0.0
    experience.begins(text)
    assert experience.length(text) == 12.0
    assert experience.start_seconds("one", text) == 3 * experience.level("one", 1), "nothing is known of it"

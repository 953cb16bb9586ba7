"""Which models `auto` asks, when, and what those are told that it does not ask."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest
import torch

from seeahead.decode import run, run_step
from seeahead.drafters import auto_drafting
from seeahead.drafters.auto_drafting import AutoDrafting
from seeahead.drafters.ensemble import EnsembleDrafter
from seeahead.drafters.experience import Experience, OwnExperience
from seeahead.drafters.language import LanguageDrafter
from seeahead.drafters.lookup import LookupDrafter
from seeahead.drafters.none import EmptyDrafter
from seeahead.errors import FaultError
from seeahead.executor import ModelInputs
from seeahead.target import Target
from seeahead.testing import ScriptedDrafter
from seeahead.tree import Draft, TokenTree
from tests.drafters.test_auto import PLAIN, PROMPT, RIGHT, TARGET, WRONG, answered, ask
from tests.free_costs import TableExperience, TableTimes, auto
from tests.one_request import start


def test_what_is_kept_of_a_step_for_models_to_come_is_no_larger_than_it_looks():
    """A view of logits would keep those of the whole vocabulary, for every token of a long answer."""
    request = ask(auto(RIGHT, WRONG))
    start(request, request.inputs)
    request.most_nodes = 0
    for _ in range(5):
        run_step([request])
    request.most_nodes = None
    run_step([request])
    untold = request.drafting._models._untold["wrong 1"]
    assert [len(one.tokens) for one in untold[:5]] == [1] * 5
    assert all(one.logits.untyped_storage().nbytes() == 0 for one in untold)


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


def test_what_comes_after_the_end_is_no_gain():
    """The target's token after an accepted end is nobody's."""
    drafter = auto(RIGHT)
    request = ask(drafter)
    start(request, request.inputs)
    drafting, took = request.drafting, []
    drafting._own.took = lambda number, *_: took.append(number) or 0.0
    drafting._context = replace(drafting._context, end_tokens=frozenset(PLAIN[3:4]))
    run_step([request])
    assert took == [PLAIN[1:].index(PLAIN[3]) + 1]


def test_answers_that_rest_are_as_long_as_others():
    """Steps without a plan count at once: what they tell is taken in later, or never."""
    experience = TableExperience()
    for _ in range(20):
        request = ask(auto(RIGHT, experience=experience))
        start(request, request.inputs)
        request.most_nodes = 0
        for _ in range(9):
            run_step([request])
    assert experience.length(request.drafting._own.kind) > 8


def test_what_catches_up_tells_nothing_of_a_level(monkeypatch):
    drafted = []
    drafter = auto(RIGHT, WRONG)
    monkeypatch.setattr(drafter.experience, "drafted", lambda name, *_: drafted.append(name))
    request = ask(drafter, 90)
    start(request, request.inputs)
    run_step([request])
    models = request.drafting._models
    assert len(models.have_read) == 1
    request.most_nodes = 0
    for _ in range(5):
        run_step([request])
    request.most_nodes = None
    drafted.clear()
    num_expanded = []
    expand = models.expand
    monkeypatch.setattr(models, "expand", lambda *given: (num_expanded.append(given[0]), expand(*given))[1])
    run_step([request])
    assert drafted == num_expanded


def test_who_is_no_model_is_looked_at_apart_from_models():
    """A counter for both would come round for one of them alone."""
    own = OwnExperience(Experience(TableTimes()), (0, True))
    for _ in range(16):
        own.rests(4, "")
        own.rests(1, "lookup")
    assert (own.rests(0, ""), own.rests(0, "lookup")) == (64, 16)
    own.looked("")
    assert (own.rests(0, ""), own.rests(0, "lookup")) == (0, 16)


def test_a_model_that_is_ready_has_not_read_the_prompt():
    experience = TableExperience(0.0)
    for _ in range(3):
        answered(auto(RIGHT, experience=experience))
    request = ask(auto(RIGHT, experience=experience))
    start(request, request.inputs)
    models = request.drafting._models
    assert [*models._started] == ["right 0"]
    assert "right 0" not in models.have_read
    run_step([request])
    assert "right 0" in models.have_read


def test_where_few_tokens_are_left_nothing_promises_more():
    for most in (2, 3, 40):
        request = ask(auto(RIGHT), most)
        start(request, request.inputs)
        assert request.drafting._promise("right 0").expected <= most - 1


def test_where_nothing_has_paid_models_are_thought_of_less_often(monkeypatch):
    """Each answer's first rests are steps apart; looks come after as many steps as ever."""
    thoughts, number = [], [0]
    lead = AutoDrafting._lead

    def counted(drafting, budget):
        thoughts.append(number[0])
        return lead(drafting, budget)

    monkeypatch.setattr(AutoDrafting, "_lead", counted)
    monkeypatch.setattr(auto_drafting, "_LOOKS_COST", 2.0)
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
    assert own.start_seconds("one", False, 99) == pytest.approx(4.0 / 3, rel=0.2)
    assert own.start_seconds("one", True, 99) == 0.0
    assert experience.length(text) == 12.0
    assert experience.start_seconds("one", text) == 3 * experience.level("one", 1), "nothing is known of it"


def breaking(place):
    """A model that is right, and of which one part fails in answers of 39 tokens."""

    class Breaking(LanguageDrafter):
        def model(self, context, depth=0):
            made = super().model(context, depth)
            if context.max_new_tokens == 39:
                setattr(made, place, lambda *_: {}[place])
                _ = {}[place] if place == "model" else None
            return made

    return Breaking(Target(TARGET), name="breaking")


@pytest.mark.parametrize("num_at_once", [1, 4])
@pytest.mark.parametrize("place", ["model", "read", "expand", "accept"])
def test_a_member_that_fails_ends_its_own_answer_and_no_other(place, num_at_once):
    drafter = auto(breaking(place), LookupDrafter(min_match=1))
    requests = [ask(drafter, length) for length in (40, 39, 40, 40)]
    for _ in run(iter(requests), num_at_once):
        pass
    failed = requests.pop(1)
    assert [request.answer for request in requests] == [PLAIN] * 3
    assert sum(step.num_accepted for request in requests for step in request.records) > 60
    assert failed.answer == PLAIN[: len(failed.answer)]
    assert (type(failed.error), type(failed.error.raised)) == (FaultError, KeyError)
    draftings = [vars(request).get("drafting") for request in (*requests, failed)]  # one may never have begun
    left = [weakref.ref(drafting) for drafting in draftings if drafting is not None]
    del requests, failed, draftings, _
    gc.collect()
    assert {drafting() for drafting in left} == {None}, "nothing stays with the drafter"
    assert answered(drafter)[1].answer == PLAIN


class DearAfter(TableTimes):
    """Rows cost more than they can bring, behind a text of more than so many tokens."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most, self.told = most, list[int]()

    def at(self, length: int) -> None:
        self.told.append(length)
        self.per_row = 9.0 if length > self.most else 0.0


def test_costs_are_those_after_the_longest_text_of_a_step():
    """Also where another drafter has it: one pass reads them all."""
    experience = TableExperience()
    experience.times = times = DearAfter(len(PROMPT) + 39)
    drafter = auto(RIGHT, experience=experience)
    one, other, long = ask(drafter), ask(drafter), ask(EmptyDrafter()).ask(ModelInputs(torch.tensor([9 * PROMPT])))
    for request in (one, other, long):
        start(request, request.inputs)
    for taken in ([one, long, other], [one, long, other], [one, other]):
        held = max(request.inputs.length + len(request.answer) - 1 for request in taken)
        run_step(taken)
        assert times.told.pop() == held
        assert times.told == []
        assert any(request.records[-1].num_drafted for request in (one, other)) == (long not in taken)

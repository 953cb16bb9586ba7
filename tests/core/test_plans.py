"""Plans of drafters: those that wait for one executor share a pass, one that fails leaves the others alone."""

import pytest
import torch

from seeahead.drafting import Ask, run_alone, run_plans
from seeahead.errors import DrafterError, ModelError
from seeahead.executor import FEATURES, NOTHING, ModelInputs, Scores, Want
from seeahead.session import Session
from tests.table_executor import TableExecutor


class Counting(TableExecutor):
    """Notes how many trees every pass was asked for, and what was wanted."""

    def __init__(self, table):
        super().__init__(table)
        self.passes = []

    def forward(self, trees, want):
        self.passes.append((len(trees), want))
        return super().forward(trees, want)


@pytest.fixture
def executor():
    return Counting(TableExecutor.random().table)


def started(executor, *tokens):
    session = Session(executor, 8)
    session.prefill(ModelInputs(torch.tensor([list(tokens)])))
    return session


def greedy(session, first, number, want=NOTHING, fails_at=None):
    """A chain of the executor's own choices; a pass per token."""
    tokens = [first]
    for place in range(number):
        if place == fails_at:
            raise DrafterError("this one fails")
        [scores] = yield Ask(session.executor, [session.chain(tokens[-1:])], want)
        session.commit([0])
        tokens.append(int(scores.logits[-1].argmax()))
    return tokens


def test_plans_share_passes_and_say_what_each_alone_says(executor):
    alone = [run_alone(greedy(started(executor, first, 2), first, number)) for first, number in ((1, 4), (3, 2))]
    executor.passes.clear()
    together = run_plans([greedy(started(executor, first, 2), first, number) for first, number in ((1, 4), (3, 2))])
    assert together == alone
    assert [number for number, _ in executor.passes] == [2, 2, 1, 1]


def test_a_plan_that_fails_leaves_its_error_and_the_others_go_on(executor):
    expected = run_alone(greedy(started(executor, 1), 1, 4))
    failing = greedy(started(executor, 2), 2, 4, fails_at=2)
    one, error, other = run_plans([greedy(started(executor, 1), 1, 4), failing, greedy(started(executor, 1), 1, 4)])
    assert one == other == expected
    assert isinstance(error, DrafterError)
    with pytest.raises(DrafterError, match="this one fails"):
        run_alone(greedy(started(executor, 2), 2, 4, fails_at=0))


def test_other_executors_and_other_wishes_get_passes_of_their_own(executor):
    other = Counting(TableExecutor.random(seed=1).table)
    plans = [
        greedy(started(executor, 1), 1, 1),
        greedy(started(other, 1), 1, 1),
        greedy(started(executor, 2), 2, 1, Want(FEATURES)),
    ]
    run_plans(plans)
    assert executor.passes == [(1, NOTHING), (1, Want(FEATURES))]
    assert other.passes == [(1, NOTHING)]


def test_a_plan_may_ask_for_several_trees_and_gets_their_scores_in_order(executor):
    def of_two(first, second):
        one, other = started(executor, first), started(executor, second)
        scores = yield Ask(executor, [one.chain([3]), other.chain([4, 5])])
        return [part.logits for part in scores]

    alone, single = run_alone(of_two(1, 2)), greedy(started(executor, 1), 1, 1)
    together, _ = run_plans([of_two(1, 2), single])
    assert [len(logits) for logits in together] == [1, 2]
    for ours, theirs in zip(together, alone, strict=True):
        assert torch.equal(ours, theirs)
    assert executor.passes[-1][0] == 3


def test_plans_that_ask_for_nothing_need_no_pass():
    def nothing(value):
        yield from ()
        return value

    assert run_plans([nothing(1), nothing(2)]) == [1, 2]
    assert run_plans([]) == []


def test_a_pass_that_fails_fails_those_who_waited_for_it(executor):
    def failing(trees, want):
        raise ModelError("the model is gone")

    other = Counting(executor.table)
    expected = run_alone(greedy(started(other, 1), 1, 3))
    executor.forward = failing
    first, going_on, second = run_plans(
        [greedy(started(executor, 1), 1, 1), greedy(started(other, 1), 1, 3), greedy(started(executor, 2), 2, 1)]
    )
    assert isinstance(first, ModelError)
    assert first is second
    assert going_on == expected
    with pytest.raises(ModelError, match="the model is gone"):
        run_alone(greedy(started(executor, 1), 1, 1))


def test_a_plan_may_go_on_without_a_pass_that_failed(executor):
    """It is told where it waits, and may ask for another."""
    other = Counting(executor.table)

    def careful():
        try:
            yield Ask(executor, [started(executor, 1).chain([1])])
        except MemoryError:
            return (yield from greedy(started(other, 1), 1, 2))

    def failing(trees, want):
        raise MemoryError

    expected = run_alone(greedy(started(other, 1), 1, 2))
    executor.forward = failing
    assert run_plans([careful(), greedy(started(executor, 2), 2, 1)])[0] == expected


def test_scores_are_split_where_their_parts_begin():
    scores = Scores(torch.arange(10.0).view(5, 2), {-1: torch.arange(5.0)[:, None]})
    parts = scores.split((0, 2, 5))
    assert [part.logits.tolist() for part in parts] == [[[0, 1], [2, 3]], [[4, 5], [6, 7], [8, 9]]]
    assert parts[1].features[-1].flatten().tolist() == [2, 3, 4]

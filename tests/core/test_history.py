"""Token ids that grow in place: what is followed, grown over, and kept once."""

import torch

from seeahead.history import TokenHistory

CPU = torch.device("cpu")


def test_what_was_added_comes_back_with_what_follows_it() -> None:
    history = TokenHistory([1, 2])
    history.extend([3])
    assert history.followed_by([4, 5], CPU).tolist() == [1, 2, 3, 4, 5]
    assert history.followed_by([], CPU).tolist() == [1, 2, 3]
    history.extend([6])
    assert history.followed_by([7], CPU).tolist() == [1, 2, 3, 6, 7]


def test_what_follows_is_not_kept() -> None:
    history = TokenHistory([])
    history.followed_by([9, 9, 9], CPU)
    history.extend([1])
    assert history.followed_by([], CPU).tolist() == [1]


def test_it_grows_with_the_answer() -> None:
    history, expected = TokenHistory([0]), [0]
    for number in range(1, 700):
        history.extend([number])
        expected.append(number)
    assert history.followed_by([700, 701], CPU).tolist() == [*expected, 700, 701]
    history.extend(range(1000))
    assert history.followed_by([], CPU).tolist() == [*expected, *range(1000)]


def test_a_step_copies_nothing_of_what_came_before() -> None:
    history = TokenHistory([1])
    place = history.followed_by([], CPU).data_ptr()
    for number in range(200):
        history.extend([number])
        assert history.followed_by([7], CPU).data_ptr() == place


def test_each_id_once_where_that_is_enough() -> None:
    history = TokenHistory([5, 5, 6], is_distinct=True)
    history.extend([6, 7, 7, 5, 8])
    assert history.followed_by([], CPU).tolist() == [5, 6, 7, 8]
    assert set(history.followed_by([9, 5], CPU).tolist()) == {5, 6, 7, 8, 9}
    history.extend([9])
    assert history.followed_by([], CPU).tolist() == [5, 6, 7, 8, 9]

"""Warnings that are hidden in several threads at once; afterwards they are shown as before."""

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

from seeahead.families.templates import refusals_told
from seeahead.hidden_warnings import hidden


def _noisy():
    warnings.warn("gone in a later release", DeprecationWarning, stacklevel=2)


@pytest.mark.parametrize("inside", [refusals_told, lambda: hidden(DeprecationWarning)])
def test_the_first_thread_that_leaves_ends_it_for_nobody_else(inside):
    first_may_go, is_inside = threading.Event(), threading.Event()

    def first():
        with inside():
            is_inside.set()
            assert first_may_go.wait(60)

    with ThreadPoolExecutor(1) as pool:
        before = list(warnings.filters)
        other = pool.submit(first)
        assert is_inside.wait(60)
        with inside():
            first_may_go.set()
            other.result(60)
            _noisy()  # pytest makes an error of it where it is shown
        assert list(warnings.filters) == before
    with pytest.warns(DeprecationWarning, match="later release"):
        _noisy()


def test_several_kinds_are_hidden_at_once():
    before = list(warnings.filters)
    with hidden(module=r"PIL\."), hidden(DeprecationWarning):
        _noisy()
    assert list(warnings.filters) == before


def test_it_ends_with_an_error_too():
    before = list(warnings.filters)
    with pytest.raises(KeyError), hidden():
        raise KeyError
    assert list(warnings.filters) == before

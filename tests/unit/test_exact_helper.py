"""The guard against tests that show nothing: silent draws are discarded, a test of nothing but those fails."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.errors import FailedHealthCheck, Unsatisfiable

from tests.exact import something_fires

few = settings(max_examples=8, deadline=None, database=None)


def test_a_single_silent_network_fails():
    something_fires(True)
    with pytest.raises(AssertionError, match="nothing fires"):
        something_fires(False)


def test_silent_draws_are_discarded():
    seen = []

    @given(number=st.integers(0, 100))
    @few
    def draws(number):
        something_fires(number % 3 > 0)
        seen.append(number)

    draws()
    assert seen


def test_a_property_test_whose_every_draw_is_silent_fails():
    @given(number=st.integers(0, 100))
    @few
    def draws(number):
        something_fires(False)

    with pytest.raises((Unsatisfiable, FailedHealthCheck)):
        draws()

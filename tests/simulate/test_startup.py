"""How long a replica takes to start."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.simulate.startup import PROFILES, StartUp, start_up_named


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_draws_within_its_range_around_its_median(name):
    start_up = start_up_named(name)
    random = np.random.default_rng(1)
    drawn = np.array([start_up.draw(random) for _ in range(4000)])
    assert drawn.min() >= start_up.min_s
    assert drawn.max() <= start_up.max_s
    assert np.median(drawn) == pytest.approx(start_up.median_s, rel=0.03)
    assert drawn.min() < start_up.min_s * 1.02
    assert drawn.max() > start_up.max_s * 0.98
    assert len(np.unique(drawn)) > 3900


@given(st.floats(0, 1000), st.floats(0, 3), st.floats(0, 500), st.floats(0, 500), st.integers(0, 1000))
def test_no_start_up_is_shorter_than_the_shortest_or_longer_than_the_longest(median, sigma, below, above, seed):
    start_up = StartUp(median_s=median, sigma=sigma, min_s=max(median - below, 0), max_s=median + above)
    assert start_up.min_s <= start_up.draw(np.random.default_rng(seed)) <= start_up.max_s


def test_a_fixed_start_up_is_always_the_same():
    random = np.random.default_rng(0)
    assert {StartUp.fixed(240).draw(random) for _ in range(10)} == {240}


def test_around_a_median_the_range_is_as_wide_as_the_published_ones():
    assert StartUp.around(240) == PROFILES["cold_pod"]
    assert StartUp.around(480) == PROFILES["cold_node"]


def test_the_same_random_numbers_give_the_same_start_ups():
    one, other = (PROFILES["cold_pod"].draw(np.random.default_rng(5)) for _ in range(2))
    assert one == other


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_s": 100.0},
        {"max_s": 50.0},
        {"sigma": -1.0},
        {"min_s": -1.0},
        {"max_s": float("inf")},
        {"median_s": float("nan")},
    ],
)
def test_a_start_up_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match="start-up"):
        StartUp(**{"median_s": 75.0, "sigma": 0.25, "min_s": 60.0, "max_s": 90.0, **wrong})


def test_an_unknown_profile_tells_which_there_are():
    with pytest.raises(ValueError, match="unknown start-up 'cold'; expected one of warm_node, cold_pod, cold_node"):
        start_up_named("cold")

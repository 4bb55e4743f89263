"""Where bursts come and go without notice, what any minute brought is the forecast; nowhere else."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.estimate.demand.forecast import forecasts
from controller.estimate.demand.marginal import moment_s, pinball, surges_of, unforeseeable
from controller.estimate.demand.state import PROBABILITIES, SURGE_SHARES, DemandState
from controller.estimate.demand.stored import state_from_json, state_to_json

PASSES = 4
"""A minute."""

BURST, LULL = 10.0, 0.2


def bursts(hours: float, seed: int = 1, share: float = 0.15) -> np.ndarray:
    """Requests/s by pass: each minute a burst or a lull, whatever the one before was."""
    random = np.random.default_rng(seed)
    rates = np.where(random.random(round(hours * 60)) < share, BURST, LULL)
    return random.poisson(15 * np.repeat(rates, PASSES)) / 15


def told(state: DemandState, story, horizon_s: float = 240.0):
    (one,) = forecasts(state, story.now(state), [horizon_s])
    return one


def test_bursts_without_notice_are_forecast_as_any_minute(story):
    state = story.after(bursts(12))
    assert unforeseeable(state)
    made = told(state, story)
    assert made.basis == "minutes"
    assert made.quantiles[0.5] < 1
    assert made.quantiles[0.95] == pytest.approx(BURST, rel=0.15)


def test_the_forecast_stands_still_while_bursts_come_and_go_and_says_how_often_they_do(story):
    state, rates = story.after(bursts(12)), bursts(6, seed=2)
    seen, held = [], []
    for minute in range(0, len(rates) - 6 * PASSES, PASSES):
        state = story.after(rates[minute : minute + PASSES], state=state, start=story.now(state))
        seen.append(told(state, story).quantiles[0.95])
        held.append(rates[minute + 5 * PASSES : minute + 6 * PASSES].mean() <= seen[-1])
    assert np.std(seen) < 0.05 * np.mean(seen)
    assert np.mean(held) >= 0.93


@pytest.mark.parametrize("hours", [2.5, 12])
def test_noise_around_a_level_is_no_burst(story, hours):
    state = story.after(np.random.default_rng(3).poisson(15 * 10.0, round(hours * 240)) / 15)
    assert not unforeseeable(state)


def test_a_day_and_its_night_are_no_bursts(story):
    at = np.arange(2 * 86_400 // 15)
    rates = 10 * (1 + 0.9 * np.sin(2 * np.pi * at / 5760))
    state = story.after(np.random.default_rng(4).poisson(15 * rates) / 15)
    assert not unforeseeable(state)


def test_bursts_that_last_are_followed(story):
    slow = np.repeat(bursts(12)[::PASSES], 60 * PASSES)[: 24 * 60 * PASSES]  # an hour each
    assert not unforeseeable(story.after(slow))


def test_what_goes_beyond_every_burst_for_two_minutes_is_news(story):
    state = story.after(bursts(12))
    once = story.after([60.0] * PASSES, state=state, start=story.now(state))
    assert told(once, story).basis == "minutes"
    twice = story.after([60.0] * PASSES, state=once, start=story.now(once))
    assert told(twice, story).quantiles[0.5] > 30


def test_a_night_after_a_day_of_bursts_is_a_night(story):
    state = story.after(bursts(12))
    state = story.after([0.0] * (3 * 60 * PASSES), state=state, start=story.now(state))
    assert told(state, story).quantiles[0.95] < 0.3 * BURST


def test_a_restart_keeps_it(story):
    state = story.after(bursts(12))
    kept = state_from_json(state_to_json(state))
    assert told(kept, story).quantiles == pytest.approx(told(state, story).quantiles, rel=1e-5)
    again = story.after(bursts(0.5, seed=5), state=kept, start=story.now(kept))
    assert told(again, story).basis == "minutes"


def test_the_pinball_loss_is_least_for_the_true_quantiles():
    minutes = np.random.default_rng(6).gamma(0.5, 4.0, 20_000)
    true = np.quantile(minutes, PROBABILITIES)
    lost = np.array([[pinball(one, (true * times)[None], true)[0] for one in minutes[:5000]] for times in (0.7, 1.4)])
    assert (lost[:, :, 0].mean(axis=1) > lost[:, :, 1].mean(axis=1)).all()


# --- how much comes at once -----------------------------------------------------------------------------------------


def bunches(hours: float, seed: int = 1, share: float = 0.05) -> np.ndarray:
    """Requests/s by pass: a pass with a bunch of requests is followed by any other."""
    random = np.random.default_rng(seed)
    return np.where(random.random(round(hours * 60) * PASSES) < share, 4 * BURST, LULL)


def test_what_came_at_once_is_told_of_passes_where_minutes_smooth_it_away(story):
    state = story.after(bunches(24))
    surges = surges_of(state.record)
    # 0.05 x 40 of 0.05 x 40 + 0.95 x 0.2 requests come in bunches: nine in ten.
    assert surges[0.5] == surges[0.99] == 4 * BURST
    assert state.record.marginal[PROBABILITIES.index(0.99)] < 3 * BURST


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1000), size=st.floats(0.1, 100))
def test_of_all_requests_the_share_came_in_passes_of_no_more(story, seed, size):
    rates = np.repeat(np.random.default_rng(seed).gamma(0.5, size, 180), PASSES)  # the passes of a minute are alike
    surges = surges_of(story.after(rates).record)
    assert all(low <= high for low, high in pairwise(surges.values()))
    assert set(surges.values()) <= set(rates)
    for one, rate in surges.items():
        assert rates[rates <= rate].sum() / rates.sum() == pytest.approx(one, abs=0.15)  # the older count a little less


def test_every_minute_is_looked_at_in_another_moment_and_each_moment_as_often():
    moments = np.array([moment_s(60.0 * minute) - 60.0 * minute for minute in range(28_000_000, 28_001_440)])
    assert ((moments >= 0) & (moments < 60)).all()
    assert np.histogram(moments, bins=4, range=(0, 60))[0] == pytest.approx([360] * 4, abs=3)


def test_nothing_is_known_of_surges_before_there_were_any_requests_or_of_a_state_that_is_older_than_they(story):
    assert surges_of(story.after([]).record) == {}
    assert surges_of(story.after([0.0] * 8 * 60).record) == {}
    stored = state_to_json(story.after(bunches(3)))
    for part, names in (("recent", ("moment",)), ("record", ("moments", "surges"))):
        for name in names:
            del stored[part][name]
    old = state_from_json(stored)
    assert surges_of(old.record) == {}
    again = story.after(bunches(1, seed=2), state=old, start=story.now(old))
    assert surges_of(again.record)[0.99] == 4 * BURST


def test_a_restart_keeps_what_came_at_once(story):
    state = story.after(bunches(3))
    kept = state_from_json(state_to_json(state))
    assert surges_of(kept.record) == pytest.approx(surges_of(state.record), rel=1e-5)
    assert set(surges_of(kept.record)) == set(SURGE_SHARES)

"""Where bursts come and go without notice, what any minute brought is the forecast; nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from controller.estimate.demand.forecast import forecasts
from controller.estimate.demand.marginal import pinball, unforeseeable
from controller.estimate.demand.state import PROBABILITIES, DemandState
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

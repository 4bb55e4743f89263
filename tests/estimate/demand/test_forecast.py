"""Forecasts follow what is news, average what is noise, and know how wrong they are."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from math import inf, nan, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.estimate.demand.accuracy import accuracy
from controller.estimate.demand.forecast import forecasts
from controller.estimate.demand.history import state_from_history
from controller.estimate.demand.observe import observed
from controller.estimate.demand.state import HORIZONS_S, PROBABILITIES, DemandState, empty_state
from controller.estimate.demand.stored import state_from_json, state_to_json
from controller.facts.missing import Missing

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
DAY = 1440


def minutes(days: float, seed: int = 0, mean: float = 20.0, swing: float = 0.5) -> np.ndarray:
    """Poisson counts a minute with the shape of a day."""
    at = np.arange(round(days * DAY))
    return np.random.default_rng(seed).poisson(60 * mean * (1 + swing * np.sin(2 * pi * at / DAY))).astype(float)


@cache  # observing changes no state
def learnt(days: float) -> DemandState:
    return state_from_history(MONDAY, 60.0, minutes(days))


def test_nothing_observed_gives_no_forecast():
    assert forecasts(empty_state(), MONDAY, [60.0]) == ()


def test_steady_demand_is_forecast_as_it_is(story):
    state = story.after([10.0] * 200)
    assert story.forecast(state) == pytest.approx(10.0, rel=1e-6)


@pytest.mark.parametrize("horizon_s", [60.0, 75.0, 240.0, 480.0, 900.0])
def test_noise_of_single_passes_hardly_moves_the_forecast(story, horizon_s):
    counts = np.random.default_rng(1).poisson(15 * 4.0, 2000) / 15
    state = story.after(counts[:1500])
    seen = []
    for place in range(1500, 2000, 4):
        state = story.after(counts[place : place + 4], state=state, start=story.now(state))
        seen.append(story.forecast(state, horizon_s))
    assert np.std(seen) < 0.5 * np.std(counts)
    assert np.mean(seen) == pytest.approx(4.0, rel=0.05)


@pytest.mark.parametrize(("before", "after"), [(2.0, 10.0), (10.0, 50.0), (100.0, 500.0), (40.0, 8.0), (0.0, 5.0)])
def test_a_jump_is_followed_within_two_passes(story, before, after):
    rng = np.random.default_rng(2)
    state = story.after(rng.poisson(15 * before, 480) / 15)
    state = story.after(rng.poisson(15 * after, 2) / 15, state=state, start=story.now(state))
    assert story.forecast(state, 75.0) == pytest.approx(after, rel=0.25)


def test_a_ramp_to_five_times_in_a_minute_is_followed(story):
    state = story.after(np.random.default_rng(3).poisson(15 * 20.0, 480) / 15)
    ramp = story.after([36.0, 52.0, 68.0, 84.0, 100.0, 100.0, 100.0], state=state, start=story.now(state))
    assert story.forecast(ramp, 75.0) > 90.0


def test_sparse_requests_are_averaged_not_chased(story):
    counts = np.random.default_rng(4).poisson(15 / 60, 960) / 15  # one a minute
    state, seen = story.after(counts[:480]), []
    for place in range(480, 960):
        state = story.after(counts[place : place + 1], state=state, start=story.now(state))
        seen.append(story.forecast(state, 240.0))
    assert np.mean(seen) == pytest.approx(1 / 60, rel=0.5)
    assert np.quantile(seen, 0.9) < 3 / 60


def test_silence_is_forecast_as_silence(story):
    state = story.after([0.0] * 600)
    assert story.forecast(state, 240.0) == 0.0
    assert story.forecast(state, 240.0, 0.99) < 0.1


def test_the_band_of_a_service_that_nobody_scored_is_wide_and_says_so(story):
    state = story.after([10.0] * 3)
    (one,) = forecasts(state, story.now(state), [240.0])
    assert one.scored == 0
    assert one.quantiles[0.95] > 14.0


def test_a_steady_service_earns_a_narrow_band(story):
    state = story.after(np.random.default_rng(5).poisson(15 * 50.0, 4 * 600) / 15)
    (one,) = forecasts(state, story.now(state), [240.0])
    assert one.scored > 500
    assert 50.0 < one.quantiles[0.95] < 55.0


def test_bursts_out_of_lulls_widen_the_band_no_further_than_thrice_the_busiest_minute(story):
    random = np.random.default_rng(3)
    rates = np.where(random.random(240) < 0.08, 30.0, 0.2)  # an hour of passes: seconds of work, minutes of nothing
    busiest = rates.reshape(-1, 4).mean(axis=1).max()
    state, most = None, 0.0

    for number, rate in enumerate(rates):
        at = story.monday + timedelta(seconds=15.0 * number)
        state = story.after([rate], state=state, start=at)
        if number > 120:
            expected = story.forecast(state)
            most = max(most, story.forecast(state, quantile=0.95) / max(busiest, expected))

    assert 1.0 < most <= 3.0 + 1e-9


def test_a_ramp_is_carried_forward(story):
    state = story.after([10.0 + 0.02 * number for number in range(960)])
    now = 10.0 + 0.02 * 959
    assert story.forecast(state, 480.0) > now + 0.3


def test_days_that_repeat_are_learnt():
    counts = minutes(3.25, swing=0.8)
    at = MONDAY + timedelta(days=3, hours=2)  # it rises until 6 o'clock
    state = state_from_history(MONDAY, 60.0, counts[: 3 * DAY + 120])
    (one,) = forecasts(state, at, [1800.0])
    level = counts[3 * DAY + 105 : 3 * DAY + 120].mean() / 60
    actual = counts[3 * DAY + 150 : 3 * DAY + 155].mean() / 60
    assert one.basis == "day"
    assert abs(one.quantiles[0.5] - actual) < 0.5 * abs(level - actual)


@pytest.mark.parametrize(("days", "bases"), [(0.9, {"level", "trend"}), (3.0, {"level", "trend", "day"})])
def test_a_basis_needs_its_history(days, bases):
    at = MONDAY + timedelta(minutes=len(minutes(days)))
    assert {one.basis for one in forecasts(learnt(days), at, [60.0, 480.0])} <= bases


def test_a_week_that_repeats_is_told_from_its_days():
    at = np.arange(21 * DAY)
    weekend = (at // DAY) % 7 >= 5
    hour = at / 60 % 24
    rates = np.where(weekend, 10.0 + 10 * (np.abs(hour - 4) < 2), 10.0 + 30 * (np.abs(hour - 14) < 5))
    counts = np.random.default_rng(6).poisson(60 * np.concatenate((rates, rates[: 6 * DAY]))).astype(float)
    state = state_from_history(MONDAY, 60.0, counts)  # until Sunday: Saturday was lived again
    (one,) = forecasts(state, MONDAY + timedelta(minutes=len(counts)), [1800.0])
    assert one.basis == "week"


def series(kind: str, seed: int) -> np.ndarray:
    """Requests/s by minute: three days."""
    rng = np.random.default_rng(seed)
    at = np.arange(3 * DAY)
    day = 1 + 0.5 * np.sin(2 * pi * at / DAY)
    if kind == "poisson":
        return rng.poisson(60 * 5 * day) / 60
    if kind == "drifting":
        wander = np.zeros(len(at))
        for place, shock in enumerate(rng.normal(0, 0.05, len(at) - 1), start=1):
            wander[place] = 0.97 * wander[place - 1] + shock
        return rng.poisson(60 * 20 * day * np.exp(wander)) / 60
    noise = np.where(at < 1.5 * DAY, 0.05, 0.20)  # "unquiet": four times the noise from the second noon on
    return 30 * day * np.exp(noise * rng.normal(0, 1, len(at)))


@pytest.mark.parametrize(("kind", "seed"), [("poisson", 1), ("drifting", 2), ("unquiet", 3)])
def test_bands_hold_what_they_promise(kind, seed):
    rates, horizons = series(kind, seed), [60.0, 240.0, 480.0]
    state, hits = empty_state(), []
    for minute, rate in enumerate(rates, start=1):
        now = MONDAY + timedelta(minutes=minute)
        state = observed(state, now, float(rate))
        if minute >= DAY and minute + 10 < len(rates) and minute % 3 == 0:
            hits.append(
                [
                    [rates[minute + round(one.horizon_s / 60)] <= one.quantiles[p] for p in (0.9, 0.95, 0.99)]
                    for one in forecasts(state, now, horizons)
                ]
            )
    coverage = np.mean(hits, axis=0)
    assert coverage[:, 0] == pytest.approx(0.90, abs=0.02)
    assert coverage[:, 1] == pytest.approx(0.95, abs=0.02)
    assert coverage[:, 2] == pytest.approx(0.99, abs=0.01)


def test_forecasts_beat_the_last_value_on_a_noisy_day():
    rates = series("poisson", 7)
    state, mine, last = empty_state(), 0.0, 0.0
    for minute, rate in enumerate(rates[: 2 * DAY], start=1):
        now = MONDAY + timedelta(minutes=minute)
        state = observed(state, now, float(rate))
        if minute > DAY and minute % 5 == 0:
            (one,) = forecasts(state, now, [240.0])
            mine += abs(one.quantiles[0.5] - rates[minute + 4])
            last += abs(rate - rates[minute + 4])
    assert mine < 0.85 * last


def test_blind_passes_teach_nothing_and_the_next_one_is_believed(story):
    state = story.after([10.0] * 400)
    later = story.now(state) + timedelta(hours=2)
    back = observed(state, later, 12.0)
    assert back.season.day_seen.sum() <= state.season.day_seen.sum() + 1  # the half hour that was open, no other
    assert (back.record.scored == state.record.scored).all()
    assert story.forecast(back, 75.0) == pytest.approx(12.0, rel=0.05)


def test_a_clock_that_goes_backwards_keeps_what_was_learnt(story):
    state = story.after([10.0] * 400)
    back = observed(state, story.now(state) - timedelta(hours=1), 10.0)
    assert story.now(back) == story.now(state) - timedelta(hours=1)
    assert (back.record.errors == state.record.errors)[~np.isnan(state.record.errors)].all()
    assert story.forecast(story.after([10.0] * 40, state=back, start=story.now(back))) == pytest.approx(10.0)


def test_the_same_time_twice_changes_nothing(story):
    state = story.after([10.0] * 10)
    assert observed(state, story.now(state), 99.0) is state


@pytest.mark.parametrize("rate", [nan, inf])
def test_a_rate_that_is_no_number_says_nothing(story, rate):
    state = story.after([10.0] * 10)
    assert observed(state, story.now(state) + timedelta(seconds=15), rate) is state


def test_observing_leaves_the_state_before_as_it_was(story):
    state = story.after(np.random.default_rng(8).poisson(150, 300) / 15)
    before = json.dumps(state_to_json(state))
    story.after(np.random.default_rng(9).poisson(150, 300) / 15, state=state, start=story.now(state))
    assert json.dumps(state_to_json(state)) == before


def test_a_state_survives_json():
    state, now = learnt(2.0), MONDAY + timedelta(days=2)
    text = json.dumps(state_to_json(state), allow_nan=False)
    again = state_from_json(json.loads(text))
    assert len(text) < 64_000
    for one, other in zip(forecasts(state, now, HORIZONS_S), forecasts(again, now, HORIZONS_S), strict=True):
        assert list(other.quantiles.values()) == pytest.approx(list(one.quantiles.values()), rel=1e-4)
        assert (other.basis, other.scored) == (one.basis, one.scored)


def test_an_empty_state_survives_json():
    text = json.dumps(state_to_json(empty_state()), allow_nan=False)
    assert forecasts(state_from_json(json.loads(text)), MONDAY, [60.0]) == ()


def test_a_state_of_another_version_starts_afresh():
    assert state_from_json({"version": 0}).record.scored.sum() == 0


def test_history_below_a_minute_is_the_same_as_minutes():
    counts = minutes(1.0)
    fine = np.repeat(counts / 4, 4)
    one, other = state_from_history(MONDAY, 60.0, counts), state_from_history(MONDAY, 15.0, fine)
    assert one.recent.levels == pytest.approx(other.recent.levels)


def test_history_in_long_bins_teaches_the_day():
    counts = minutes(3.0).reshape(-1, 10).sum(axis=1)
    state = state_from_history(MONDAY, 600.0, counts)
    assert state.season.day_seen.min() == 3
    assert state.season.day[12] == pytest.approx(30.0, rel=0.05)  # 6 o'clock: the peak


def test_history_that_nobody_saw_is_not_zero():
    counts = minutes(3.0)
    counts[DAY : DAY + 600] = nan
    state = state_from_history(MONDAY, 60.0, counts)
    assert state.season.day[4] == pytest.approx(20 * (1 + 0.5 * np.sin(2 * pi * 4.5 / 48)), rel=0.05)
    assert state.season.day_seen[4] == 2


def test_a_bin_without_length_is_refused():
    with pytest.raises(ValueError, match="above 0 s"):
        state_from_history(MONDAY, 0.0, np.ones(3))


def test_accuracy_is_missing_before_any_forecast_came_due():
    for one in accuracy(empty_state(), "chat"):
        assert isinstance(one.error_ratio, Missing)
        assert one.coverage_ratio == {}


def test_accuracy_tells_error_bias_and_coverage_by_horizon():
    for horizon, one in zip(HORIZONS_S, accuracy(learnt(2.0), "chat"), strict=True):
        assert (one.service, one.horizon_s) == ("chat", horizon)
        assert one.scored > DAY - 60
        assert one.error_ratio < 0.05
        assert abs(one.bias_ratio) < 0.01
        assert one.coverage_ratio[0.9] == pytest.approx(0.9, abs=0.03)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(-300, 4000), st.one_of(st.floats(0, 1e5), st.just(0.0))), min_size=1, max_size=60),
    st.lists(st.floats(1.0, 7200.0), min_size=1, max_size=4),
)
def test_forecasts_are_finite_and_their_quantiles_ascend(passes, horizons):
    state, now = empty_state(), MONDAY
    for step, rate in passes:
        now += timedelta(seconds=step)
        state = observed(state, now, rate)
    found = forecasts(state, now, horizons)
    assert [one.horizon_s for one in found] == sorted(horizons)
    for one in found:
        values = list(one.quantiles.values())
        assert tuple(one.quantiles) == PROBABILITIES
        assert values == sorted(values)
        assert values[0] >= 0
        assert values[-1] < inf

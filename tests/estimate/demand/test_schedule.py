"""What comes at the same minute every day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from math import exp, log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.estimate.demand.bands import MOST_LIFT, MOST_RATIO
from controller.estimate.demand.forecast import forecasts
from controller.estimate.demand.history import state_from_history
from controller.estimate.demand.observe import observed
from controller.estimate.demand.schedule import learned, lifts, step
from controller.estimate.demand.state import DAY_FIVES, KEPT_DAYS, PROBABILITIES, DemandState, empty_state
from controller.facts.demand import Forecast

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
TWO = 2 * 60
BEFORE, AFTER = 10.0, 16.0


def days_with_a_job(*days: bool, minute: int = TWO, after: float = AFTER) -> DemandState:
    """A day each of 10 requests/s; on those that are true a job adds to them for half an hour from ``minute`` on."""
    rates = np.full((len(days), 1440), BEFORE)
    for day, runs in enumerate(days):
        if runs:
            rates[day, minute : minute + 30] = after
    return state_from_history(MONDAY, 60.0, rates.reshape(-1) * 60)


def four_minutes_ahead(state: DemandState, days: int, minute: float) -> Forecast:
    """As it is ``minute`` of the day after ``days`` of history, 10 requests/s until then."""
    midnight = MONDAY + timedelta(days=days)
    for passed in range(round(minute)):
        state = observed(state, midnight + timedelta(minutes=passed + 1), BEFORE, 60.0)
    return forecasts(state, midnight + timedelta(minutes=minute), [240.0])[0]


def test_a_job_that_ran_at_two_every_night_is_expected_before_two() -> None:
    forecast = four_minutes_ahead(days_with_a_job(*[True] * 5), 5, TWO - 3)
    assert forecast.quantiles[0.5] == pytest.approx(AFTER, rel=0.1)
    assert forecast.quantiles[0.95] >= 0.97 * AFTER


def test_it_is_not_expected_while_it_is_further_away_than_the_horizon() -> None:
    forecast = four_minutes_ahead(days_with_a_job(*[True] * 5), 5, TWO - 10)
    assert forecast.quantiles[0.5] == pytest.approx(BEFORE, rel=0.1)


def test_a_job_of_some_nights_moves_the_upper_quantiles_and_leaves_the_middle() -> None:
    calm = four_minutes_ahead(days_with_a_job(*[False] * 7), 7, TWO - 3)
    some = four_minutes_ahead(days_with_a_job(False, True, False, True, False, True, False), 7, TWO - 3)
    assert some.quantiles[0.5] == pytest.approx(BEFORE, rel=0.1)
    assert some.quantiles[0.95] >= 0.97 * AFTER > calm.quantiles[0.95]


def test_a_job_that_came_out_of_silence_is_not_as_many_times_what_there_is_today() -> None:
    nights = np.full((5, 1440), BEFORE)
    nights[:, TWO - 10 : TWO] = 0.0  # out of nothing to 16 requests/s: 4,800 times as many
    nights[:, TWO : TWO + 30] = AFTER
    forecast = four_minutes_ahead(state_from_history(MONDAY, 60.0, nights.reshape(-1) * 60), 5, TWO - 3)
    assert AFTER <= forecast.quantiles[0.5] <= MOST_LIFT * AFTER
    assert forecast.quantiles[0.99] <= MOST_RATIO * MOST_LIFT * AFTER


def test_one_odd_night_is_no_schedule() -> None:
    odd = four_minutes_ahead(days_with_a_job(False, True, False, False, False, False, False), 7, TWO - 3)
    assert odd.quantiles[0.95] < 0.9 * AFTER


def test_a_job_that_is_a_little_late_on_some_nights_counts_once() -> None:
    schedule = empty_state().schedule
    for day in range(6):
        late = day % 2  # at 02:00 or at 02:05
        for five in range(DAY_FIVES):
            rate = AFTER if five >= TWO // 5 + late else BEFORE
            schedule = learned(schedule, day * DAY_FIVES + five, rate * 300, 300.0)
    found = lifts(schedule, 6 * 86_400.0 + TWO * 60 - 60, np.array([6 * 86_400.0 + TWO * 60 + 600]))
    assert found is not None
    assert found[0] == pytest.approx(np.full(len(PROBABILITIES), log(AFTER / BEFORE)), rel=0.01)


def test_what_stopped_running_is_forgotten_after_a_fortnight() -> None:
    state = days_with_a_job(*[True] * 5, *[False] * KEPT_DAYS)
    assert four_minutes_ahead(state, 5 + KEPT_DAYS, TWO - 3).quantiles[0.5] == pytest.approx(BEFORE, rel=0.1)


def test_after_a_gap_there_is_no_step_to_learn() -> None:
    schedule = learned(empty_state().schedule, 10, 300.0, 300.0)
    schedule = learned(schedule, 13, 30_000.0, 300.0)
    assert np.isnan(schedule.jumps).all()


@given(st.floats(0.0, 1000.0), st.floats(0.0, 1000.0))
def test_a_step_back_undoes_a_step(before: float, after: float) -> None:
    assert step(before, after) == pytest.approx(-step(after, before))


@pytest.mark.parametrize(
    ("before", "after", "sharp"),
    [
        pytest.param(100.0, 110.0, False, id="ten per cent is left to levels and trends"),
        pytest.param(100.0, 125.0, True, id="a quarter more in five minutes"),
        pytest.param(0.02, 0.03, False, id="nine requests after six are noise"),
        pytest.param(0.0, 5.0, True, id="from nothing"),
    ],
)
def test_only_what_stands_out_of_noise_and_drift_is_a_step(before: float, after: float, sharp: bool) -> None:
    found = step(before, after)
    assert (found > 0) is sharp
    if sharp and before:
        assert exp(found) == pytest.approx(after / before, rel=0.01)

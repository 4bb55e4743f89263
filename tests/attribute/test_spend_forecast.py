"""What a scope will spend, on weeks that are made up and whose future is therefore known."""

from datetime import UTC, date, datetime, timedelta
from math import exp

import numpy as np
import pytest

from controller.attribute.spend_forecast import Z90, accuracy, forecast, kept, promised
from controller.attribute.spending import Spending
from controller.facts.budgets import SpendPromise
from controller.facts.missing import Missing

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
USD = 10**9


def office(at):
    """A dollar an hour; ten on workdays from 8 to 18."""
    return 10.0 if at.weekday() < 5 and 8 <= at.hour < 18 else 1.0


def nights(at):
    """Nothing at night."""
    return 4.0 if 6 <= at.hour < 22 else 0.0


def history(cost, days, until=MONDAY, noise=0.0, seed=1):
    draw = np.random.default_rng(seed)
    first = until - days * DAY
    hours = [first + index * HOUR for index in range(int(days * 24))]
    factors = np.exp(noise * draw.standard_normal(len(hours)))
    amounts = {at: round(cost(at) * factor * USD) for at, factor in zip(hours, factors, strict=True)}
    return Spending(hours=amounts, known_from=first, known_until=until)


def truth(cost, start, end):
    return sum(cost(start + index * HOUR) for index in range(int((end - start) / HOUR))) * USD


@pytest.mark.parametrize("days", [14, 21, 35, 60])
@pytest.mark.parametrize("ahead", [1, 5, 7, 26])
@pytest.mark.parametrize("since", [0, 4.5, 5])
def test_after_two_weeks_a_weekly_pattern_goes_on_exactly(days, ahead, since):
    now = MONDAY + since * DAY
    found = forecast(history(office, days, now), now, now + ahead * DAY)
    assert found.basis == "week"
    assert found.p50_nanousd == pytest.approx(truth(office, now, now + ahead * DAY), rel=1e-6)


def test_with_less_than_two_weeks_the_day_goes_on():
    found = forecast(history(nights, 3), MONDAY, MONDAY + 2 * DAY)
    assert found.basis == "day"
    assert found.p50_nanousd == pytest.approx(truth(nights, MONDAY, MONDAY + 2 * DAY), rel=1e-6)


def test_with_less_than_two_days_the_level_goes_on():
    found = forecast(history(lambda _: 3.0, 1), MONDAY, MONDAY + DAY)
    assert (found.basis, found.p50_nanousd) == ("flat", pytest.approx(72 * USD))


def test_a_few_hours_are_too_few():
    missing = forecast(history(office, 5 / 24), MONDAY, MONDAY + DAY)
    assert isinstance(missing, Missing)
    assert "5 whole hours" in missing.why


def test_a_cut_hour_counts_by_its_share():
    flat = history(lambda _: 3.0, 1)
    found = forecast(flat, MONDAY + 0.25 * HOUR, MONDAY + 1.5 * HOUR)
    assert found.p50_nanousd == pytest.approx(3.75 * USD)


def test_a_level_that_doubled_two_days_ago_is_believed():
    def doubled(at):
        return office(at) * (2 if at >= MONDAY + 3 * DAY else 1)

    now = MONDAY + 5 * DAY
    found = forecast(history(doubled, 35, now), now, now + 7 * DAY)
    true = truth(doubled, now, now + 7 * DAY)
    assert 0.8 * true < found.p50_nanousd <= true


def test_nothing_spent_is_forecast_as_nothing():
    found = forecast(history(lambda _: 0.0, 20), MONDAY, MONDAY + DAY)
    assert (found.p50_nanousd, found.p90_nanousd) == (0, 0)


def test_a_period_that_ends_now_has_nothing_to_come():
    assert forecast(history(office, 20), MONDAY, MONDAY).p50_nanousd == 0


def test_noise_widens_the_bad_case_and_a_longer_horizon_narrows_it():
    def width(noise, days):
        found = forecast(history(office, 35, noise=noise), MONDAY, MONDAY + days * DAY)
        return found.p90_nanousd / found.p50_nanousd

    assert 1.0 <= width(0.0, 7) < 1.001
    assert width(0.0, 7) < width(0.1, 7) < width(0.4, 7)
    assert width(0.4, 28) < width(0.4, 1)


def test_nine_in_ten_come_out_below_the_bad_case():
    inside = 0
    for seed in range(40):
        past = history(lambda _: 5.0, 35, noise=0.5, seed=seed)
        coming = history(lambda _: 5.0, 1, MONDAY + DAY, noise=0.5, seed=1000 + seed)
        found = forecast(past, MONDAY, MONDAY + DAY)
        inside += sum(coming.hours.values()) <= found.p90_nanousd
    assert 26 <= inside <= 40


def promises(horizon, count, ratio):
    return [
        SpendPromise(
            budget="b",
            made=date(2026, 9, 1) + timedelta(days=index),
            horizon_days=horizon,
            due=date(2026, 9, 2) + timedelta(days=index + horizon),
            p50_nanousd=100,
            p90_nanousd=120,
            actual_nanousd=round(100 * ratio),
        )
        for index in range(count)
    ]


def test_eight_kept_forecasts_at_the_nearest_horizon_say_how_wide_the_bad_case_is():
    past = history(office, 35)
    errors = [*promises(7, 8, exp(0.2)), *promises(1, 20, exp(0.5))]
    found = forecast(past, MONDAY, MONDAY + 8 * DAY, errors)
    assert found.p90_nanousd / found.p50_nanousd == pytest.approx(exp(Z90 * 0.2), rel=0.01)
    few = forecast(past, MONDAY, MONDAY + 8 * DAY, promises(7, 7, exp(0.2)))
    assert few.p90_nanousd / few.p50_nanousd < 1.001


def test_a_days_forecasts_are_kept_and_filled_in_when_their_days_are_known():
    made = promised("b", history(office, 35, MONDAY), MONDAY - 4 * HOUR)
    assert [(one.horizon_days, one.due.isoformat()) for one in made] == [
        (1, "2026-11-03"),
        (7, "2026-11-09"),
        (14, "2026-11-16"),
        (28, "2026-11-30"),
    ]
    assert {one.made for one in made} == {date(2026, 11, 1)}
    later = history(office, 60, MONDAY + 7 * DAY)
    filled = [kept(one, later) for one in made]
    assert [one.actual_nanousd for one in filled] == [
        round(truth(office, MONDAY, MONDAY + DAY)),
        round(truth(office, MONDAY, MONDAY + 7 * DAY)),
        None,
        None,
    ]
    assert kept(filled[0], history(nights, 60, MONDAY + 7 * DAY)) == filled[0]


def test_what_was_spent_before_the_accounts_began_is_not_made_up():
    made = promised("b", history(office, 35, MONDAY), MONDAY - 4 * HOUR)
    assert kept(made[0], history(office, 2, MONDAY + 5 * DAY)).actual_nanousd is None


def test_too_few_hours_promise_nothing():
    assert promised("b", history(office, 0.1), MONDAY) == ()


def test_accuracy_is_kept_by_horizon():
    told = {one.horizon_days: one for one in accuracy([*promises(1, 3, 1.25), *promises(7, 2, 1.0)])}
    assert told[1].accuracy_ratio == pytest.approx(0.8)
    assert (told[1].scored, told[1].p90_ratio) == (3, 0.0)
    assert (told[7].accuracy_ratio, told[7].p90_ratio) == (1.0, 1.0)
    assert isinstance(told[14].accuracy_ratio, Missing)
    assert told[28].scored == 0

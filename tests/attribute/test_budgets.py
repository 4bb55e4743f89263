"""Where budgets stand, what is told of them, and what they hold back."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.attribute.budgets import (
    ServiceMoney,
    burn_rates,
    by_service,
    guards,
    news,
    period_of,
    standing,
    state_of,
)
from controller.attribute.spending import Spending
from controller.facts.account_reader import Dimension
from controller.facts.budgets import (
    AtLimit,
    Budget,
    BudgetPeriod,
    BudgetPhase,
    NewsKind,
    SpendForecast,
)
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing

HOUR = timedelta(hours=1)
USD = 10**9
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
NO_FORECAST = Missing("spend forecast", "too few hours")
WEEKLY = Budget(name="chat", scope={Dimension.SERVICE: "chat"}, limit_nanousd=168 * USD, period=BudgetPeriod.WEEK)


def spent(usd_per_hour, hours=0, *, before=240):
    """A dollar an hour for ten days, then so much an hour: until ``hours`` after Monday midnight."""
    amounts = {MONDAY - back * HOUR: USD for back in range(1, before + 1)}
    amounts |= {MONDAY + index * HOUR: int(usd_per_hour * USD) for index in range(hours)}
    return Spending(hours=amounts, known_from=MONDAY - before * HOUR, known_until=MONDAY + hours * HOUR)


def expected(p50, p90, at=MONDAY):
    return SpendForecast(
        at=at, due=MONDAY + 168 * HOUR, p50_nanousd=int(p50 * USD), p90_nanousd=int(p90 * USD), basis="week"
    )


def at(budget=WEEKLY, usd_per_hour=1.0, hours=24, forecast=NO_FORECAST):
    return standing(budget, spent(usd_per_hour, hours), forecast, MONDAY + hours * HOUR)


@pytest.mark.parametrize(
    ("kind", "moment", "start", "end"),
    [
        (BudgetPeriod.MONTH, "2026-11-21T16:30", "2026-11-01", "2026-12-01"),
        (BudgetPeriod.MONTH, "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
        (BudgetPeriod.WEEK, "2026-11-21T16:30", "2026-11-16", "2026-11-23"),
        (BudgetPeriod.WEEK, "2026-11-23T00:00", "2026-11-23", "2026-11-30"),
    ],
)
def test_periods_are_months_and_weeks_from_monday(kind, moment, start, end):
    found = period_of(kind, datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert [found.start.date().isoformat(), found.end.date().isoformat()] == [start, end]


def test_an_even_spend_burns_at_one():
    burn = burn_rates(WEEKLY, spent(1.0, 72), MONDAY + 72 * HOUR)
    assert [burn.hour, burn.six_hours, burn.day, burn.three_days] == [1.0, 1.0, 1.0, 1.0]


def test_a_short_window_sees_a_burst_before_a_long_one():
    burn = burn_rates(WEEKLY, spent(7.0, 2), MONDAY + 2 * HOUR)
    assert burn.hour == 7.0
    assert burn.six_hours == pytest.approx((2 * 7 + 4) / 6)


def test_no_burn_is_told_of_a_window_that_the_accounts_do_not_reach_back():
    burn = burn_rates(WEEKLY, spent(1.0, 1, before=8), MONDAY + HOUR)
    assert burn.six_hours == 1.0
    assert isinstance(burn.day, Missing)


def test_what_is_spent_is_that_of_the_running_period():
    found = at(usd_per_hour=2.0, hours=10)
    assert found.spent_nanousd == 20 * USD
    assert found.used_ratio == pytest.approx(20 / 168)


def test_hours_that_are_not_accounted_yet_count_as_the_last_ones():
    found = standing(WEEKLY, spent(2.0, 10), NO_FORECAST, MONDAY + 12 * HOUR)
    assert found.spent_nanousd == 24 * USD


@pytest.mark.parametrize(
    ("usd_per_hour", "hours", "forecast", "phase"),
    [
        (1.0, 24, NO_FORECAST, BudgetPhase.WITHIN),
        (1.0, 24, expected(100, 200), BudgetPhase.WITHIN),
        (1.0, 24, expected(145, 200), BudgetPhase.EXPECTED_OVER),
        (7.0, 6, NO_FORECAST, BudgetPhase.BURNING),
        (2.0, 72, NO_FORECAST, BudgetPhase.BURNING),
        (7.0, 24, expected(1, 2), BudgetPhase.OVER),
    ],
)
def test_the_phase_is_the_worst_that_is_true(usd_per_hour, hours, forecast, phase):
    assert at(WEEKLY, usd_per_hour, hours, forecast).phase is phase


def test_a_report_shows_the_forecast_with_what_is_spent():
    found = state_of(at(forecast=expected(100, 120)))
    assert (found.scope, found.spent_nanousd, found.p50_nanousd, found.p90_nanousd) == (
        "service=chat",
        24 * USD,
        124 * USD,
        144 * USD,
    )
    assert state_of(at()).p50_nanousd is None


def kinds(told):
    return [one.kind for one in told]


def test_a_threshold_is_told_once_a_period():
    half = at(usd_per_hour=1.0, hours=84)
    told, memory = news(half, None)
    assert kinds(told) == [NewsKind.THRESHOLD]
    assert told[0].text == "budget chat (service=chat): $84.00 of $168.00 spent: 50% reached with 3.5 days left"
    assert news(half, memory)[0] == ()
    corrected = at(usd_per_hour=0.9, hours=84)
    _, memory = news(corrected, memory)
    assert news(half, memory)[0] == ()


def test_of_several_thresholds_reached_at_once_the_greatest_is_told():
    told, memory = news(at(usd_per_hour=7.0, hours=24), None)
    assert [one.text for one in told if one.kind is NewsKind.THRESHOLD] == [
        "budget chat (service=chat): $168.00 of $168.00 spent: 100% reached with 6.0 days left"
    ]
    assert memory.told_threshold == 1.0


def test_thresholds_are_told_anew_in_the_next_period():
    _, memory = news(at(usd_per_hour=1.0, hours=84), None)
    later = standing(WEEKLY, spent(1.0, 168 + 84), NO_FORECAST, MONDAY + (168 + 84) * HOUR)
    told, memory = news(later, memory)
    assert kinds(told) == [NewsKind.THRESHOLD]
    assert memory.start == MONDAY + 168 * HOUR


def test_what_happens_at_the_limit_is_told_with_it():
    strict = replace(WEEKLY, at_limit=AtLimit.FORBID, forbidden_capacity=frozenset({CapacityType.ON_DEMAND}))
    told, _ = news(at(strict, 7.0, 24), None)
    assert told[0].text.endswith(
        "100% reached with 6.0 days left; until its period ends no replica is added on on_demand"
    )


def test_a_burn_is_told_when_it_begins_and_when_it_is_over():
    told, memory = news(at(usd_per_hour=6.5, hours=6), None)
    assert kinds(told) == [NewsKind.BURN_FAST]
    assert "6.5 times in the last 1 h and 6.5 times in the last 6 h" in told[0].text
    burst = spent(6.5, 6)
    calm = replace(burst, hours=burst.hours | {MONDAY + 6 * HOUR: USD}, known_until=MONDAY + 7 * HOUR)
    told, memory = news(standing(WEEKLY, calm, NO_FORECAST, MONDAY + 7 * HOUR), memory)
    assert kinds(told) == [NewsKind.BURN_OVER]
    assert not memory.burning_fast


def test_one_dear_hour_is_no_burn():
    told, _ = news(at(usd_per_hour=6.5, hours=1), None)
    assert told == ()


def test_a_forecast_over_the_limit_is_told_at_most_once_a_day():
    over = at(hours=24, forecast=expected(150, 180))
    told, memory = news(over, None)
    assert kinds(told) == [NewsKind.FORECAST_P50]
    assert "$174.00 expected by 2026-11-09, $204.00 in the worst case of ten" in told[0].text
    assert news(over, memory)[0] == ()
    tomorrow = at(hours=48, forecast=expected(150, 180))
    assert kinds(news(tomorrow, memory)[0]) == [NewsKind.FORECAST_P50]


def test_only_the_bad_case_over_the_limit_is_told_as_such():
    told, memory = news(at(hours=24, forecast=expected(100, 180)), None)
    assert kinds(told) == [NewsKind.FORECAST_P90]
    worse = at(hours=24, forecast=expected(150, 180))
    assert kinds(news(worse, memory)[0]) == [NewsKind.FORECAST_P50]


def test_a_spent_budget_is_not_also_forecast():
    told, _ = news(at(usd_per_hour=7.0, hours=24, forecast=expected(10, 20)), None)
    assert NewsKind.FORECAST_P50 not in kinds(told)


FLEET = {
    "chat": ServiceMoney(minimum_nanousd_per_hour=2 * USD, recent_nanousd=30 * USD),
    "search": ServiceMoney(minimum_nanousd_per_hour=1 * USD, recent_nanousd=10 * USD),
}
LIMITS = [
    replace(WEEKLY, at_limit=AtLimit.REFUSE_GROWTH),
    replace(WEEKLY, at_limit=AtLimit.FORBID, forbidden_variants=frozenset({"h100"})),
    replace(WEEKLY, at_limit=AtLimit.CAP),
]


@pytest.mark.parametrize("budget", [WEEKLY, *LIMITS], ids=lambda one: str(one.at_limit))
def test_within_its_limit_a_budget_holds_nothing_back(budget):
    assert guards(at(budget), FLEET) == ()


def test_at_the_limit_a_budget_that_only_alerts_holds_nothing_back():
    assert guards(at(WEEKLY, 7.0, 24), FLEET) == ()


def test_at_the_limit_growth_is_refused_in_the_budgets_service_alone():
    (guard,) = guards(at(LIMITS[0], 7.0, 24), FLEET)
    assert (guard.service, guard.refuse_growth) == ("chat", True)
    assert guard.why.endswith("spent; until its period ends no replica is added beyond the minimum")


def test_a_budget_of_the_fleet_guards_every_service():
    found = by_service(guards(at(replace(LIMITS[0], scope={}), 7.0, 24), FLEET))
    assert sorted(found) == ["chat", "search"]


def test_what_is_forbidden_is_forbidden_to_growth():
    (guard,) = guards(at(LIMITS[1], 7.0, 24), FLEET)
    assert guard.forbidden_variants == frozenset({"h100"})
    assert not guard.refuse_growth
    assert guard.cap_nanousd_per_hour is None


def test_a_cap_keeps_to_what_is_left_of_the_budget():
    """144 hours are left, and 168 - 24 dollars."""
    (guard,) = guards(at(LIMITS[2], 1.0, 24, expected(150, 180)), FLEET)
    assert guard.cap_nanousd_per_hour == 2 * USD  # one would be left an hour; the minimum takes two
    cheap = {"chat": replace(FLEET["chat"], minimum_nanousd_per_hour=0)}
    (guard,) = guards(at(LIMITS[2], 1.0, 24, expected(150, 180)), cheap)
    assert guard.cap_nanousd_per_hour == 1 * USD


def test_a_cap_of_the_fleet_goes_to_minimums_first_and_then_by_recent_use():
    budget = replace(LIMITS[2], scope={}, limit_nanousd=7 * 168 * USD)
    found = guards(at(budget, 0.0, 0, expected(7 * 169, 7 * 180)), FLEET)
    assert {one.service: one.cap_nanousd_per_hour for one in found} == {"chat": 5 * USD, "search": 2 * USD}


def test_a_budget_of_a_service_that_is_gone_caps_nothing():
    assert guards(at(LIMITS[2], 1.0, 24, expected(150, 180)), {"search": FLEET["search"]}) == ()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"limit_nanousd": 0}, "more than nothing"),
        ({"thresholds": (0.8, 0.5)}, "ascending"),
        ({"scope": {Dimension.TEAM: "search"}, "at_limit": AtLimit.CAP}, "only a budget of one service"),
        ({"at_limit": AtLimit.FORBID}, "forbids nothing"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        replace(WEEKLY, **changes)

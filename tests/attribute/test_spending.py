"""The series of hours that budgets and forecasts are worked out from."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.spending import Spending, spending
from controller.facts.account_reader import AllocationRow
from controller.facts.accounts import PARTS, Identity
from controller.facts.missing import Missing

HOUR = timedelta(hours=1)
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)


def series(*amounts, minutes=0):
    """Hours from Monday midnight, and then an hour of which so many minutes are told (its amount is the last)."""
    whole = len(amounts) - (1 if minutes else 0)
    return Spending(
        hours={MONDAY + index * HOUR: amount for index, amount in enumerate(amounts)},
        known_from=MONDAY,
        known_until=MONDAY + whole * HOUR + timedelta(minutes=minutes),
    )


def test_whole_hours_are_exact():
    assert series(3, 5, 7).between(MONDAY, MONDAY + 2 * HOUR) == 8


def test_of_a_cut_hour_counts_the_share_of_its_time():
    assert series(100, 60).between(MONDAY + HOUR / 2, MONDAY + 1.5 * HOUR) == 50 + 30


def test_of_an_hour_that_has_only_begun_all_that_is_told_counts():
    found = series(100, 25, minutes=15)
    assert found.between(MONDAY + HOUR, MONDAY + HOUR + timedelta(minutes=15)) == 25


def test_after_the_last_known_hour_spending_goes_on_as_in_the_last_three():
    found = series(999, 10, 20, 30)
    assert found.rate == 20
    assert found.between(MONDAY + 3 * HOUR, MONDAY + 6 * HOUR) == 30 + 2 * 20


def test_a_series_that_knows_nothing_yet_has_no_rate():
    assert series().rate == 0


def test_before_the_accounts_began_nothing_is_known():
    missing = series(1, 2).between(MONDAY - HOUR, MONDAY + HOUR)
    assert isinstance(missing, Missing)
    assert "2026-11-02 00:00" in missing.why
    assert series(1, 2).since(MONDAY - HOUR, MONDAY + HOUR) == 1


def test_an_hour_without_a_row_cost_nothing():
    found = Spending(hours={MONDAY: 5}, known_from=MONDAY, known_until=MONDAY + 3 * HOUR)
    assert found.between(MONDAY, MONDAY + 3 * HOUR) == 5
    assert found.whole_hours(10) == [(MONDAY, 5), (MONDAY + HOUR, 0), (MONDAY + 2 * HOUR, 0)]


def test_an_hour_that_has_only_begun_is_no_whole_hour():
    assert series(1, 2, 3, minutes=59).whole_hours(10) == [(MONDAY, 1), (MONDAY + HOUR, 2)]
    assert series(1, 2, 3).whole_hours(1) == [(MONDAY + 2 * HOUR, 3)]


def test_rows_of_an_hour_are_added_up_whoever_they_are_of():
    rows = [
        AllocationRow(
            start=MONDAY + hour * HOUR,
            end=MONDAY + (hour + 1) * HOUR,
            identity=Identity(team=team),
            pool=None,
            parts=(amount,) * len(PARTS),
        )
        for hour, team, amount in ((0, "a", 1), (0, "b", 2), (1, "a", 4))
    ]
    found = spending(rows, MONDAY, MONDAY + 2 * HOUR)
    assert found.hours == {MONDAY: 36, MONDAY + HOUR: 48}


@given(
    amounts=st.lists(st.integers(0, 10**12), min_size=1, max_size=40),
    cut=st.integers(0, 40),
    end=st.integers(0, 60),
)
def test_an_interval_cut_at_an_hour_adds_up(amounts, cut, end):
    found = series(*amounts)
    first, last = MONDAY + min(cut, end) * HOUR, MONDAY + end * HOUR
    assert found.since(MONDAY, first) + found.since(first, last) == found.since(MONDAY, last)


@pytest.mark.parametrize(("minutes", "rate"), [(0, 60), (30, 120)])
def test_the_rate_is_by_the_time_that_is_told(minutes, rate):
    """The last hour tells 60: a whole one, or half of one with nothing before it."""
    assert series(60, minutes=minutes).rate == rate

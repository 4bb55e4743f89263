"""Fixed monthly costs by the hour."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.fixed_costs import accrued, fixed_costs
from controller.facts.account_reader import HOUR
from controller.facts.fixed_costs import SharedCost


@given(st.integers(1, 10**15), st.sampled_from([2, 11, 12]))
def test_the_hours_of_a_month_add_up_to_it(amount, month):
    item = SharedCost(name="gateway", nanousd_per_month=amount)
    start = datetime(2026, month, 1, tzinfo=UTC)
    end = datetime(2026 + month // 12, month % 12 + 1, 1, tzinfo=UTC)
    hours = [accrued(item, start + at * HOUR, start + (at + 1) * HOUR) for at in range((end - start) // HOUR)]
    assert sum(hours) == amount
    assert max(hours) - min(hours) <= 1


@pytest.mark.parametrize(("at", "costs"), [(9, 0), (10, 1), (12, 1), (13, 0)])
def test_it_costs_from_its_first_day_to_its_last(at, costs):
    day = datetime(2026, 11, 1, tzinfo=UTC)
    item = SharedCost(name="x", nanousd_per_month=30 * 24, since=day.replace(day=10), until=day.replace(day=13))
    assert accrued(item, day.replace(day=at), day.replace(day=at) + HOUR) == costs


def test_it_stands_as_a_seat_of_its_own_with_four_equal_costs():
    hour = datetime(2026, 11, 1, tzinfo=UTC)
    items = [
        SharedCost(name="gateway", nanousd_per_month=720, service="chat"),
        SharedCost(name="people", nanousd_per_month=1440),
    ]
    assert fixed_costs(items, hour) == {
        ("chat", "__shared__", "gateway", "on_demand", ""): (1, 1, 1, 1),
        ("", "__shared__", "people", "on_demand", ""): (2, 2, 2, 2),
    }

"""Cost that the same hours of other weeks do not know."""

from datetime import UTC, datetime, timedelta

import pytest

from controller.attribute.anomalies import Usage, Watch, expected, explained, like_hours, watched
from controller.attribute.spending import Spending
from controller.facts.account_reader import AllocationRow, SeatRow
from controller.facts.accounts import PARTS, Identity, Part, Pool, Tokens
from controller.facts.budgets import Anomaly
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
WEEK = 7 * DAY
MONDAY = datetime(2026, 11, 2, tzinfo=UTC)
USD = 10**9


def office(at):
    """Twenty dollars an hour; two hundred on workdays from 8 to 18."""
    return 200 * USD if at.weekday() < 5 and 8 <= at.hour < 18 else 20 * USD


def history(cost, weeks=6, after=3 * DAY, *, changed=None):
    """``weeks`` before Monday and so much after it; ``changed``: hours that cost something else."""
    first, until = MONDAY - weeks * WEEK, MONDAY + after
    hours = {first + index * HOUR: cost(first + index * HOUR) for index in range(int((until - first) / HOUR))}
    return Spending(hours=hours | (changed or {}), known_from=first, known_until=until)


def look(spending, until=None):
    return watched(Watch(scope="fleet", last=MONDAY - HOUR), spending, until or spending.known_until)


def dear(start, hours, usd):
    return {start + index * HOUR: usd * USD for index in range(hours)}


def test_a_monday_morning_is_no_anomaly():
    """It costs ten times the Sunday before."""
    watch, found = look(history(office))
    assert found == ()
    assert watch.last == MONDAY + 3 * DAY - HOUR


def test_the_same_cost_on_a_sunday_is_one():
    sunday = MONDAY + 6 * DAY
    _, (one,) = look(history(office, after=7 * DAY, changed=dear(sunday + 9 * HOUR, 4, 200)))
    assert (one.began, one.ended) == (sunday + 9 * HOUR, sunday + 16 * HOUR)
    assert one.cost_nanousd == 4 * 180 * USD


def test_two_dear_hours_of_three_open_one_and_a_single_one_does_not():
    noon = MONDAY + 12 * HOUR
    assert look(history(office, changed=dear(noon, 1, 400)))[1] == ()
    _, (one,) = look(history(office, changed={noon: 400 * USD, noon + 2 * HOUR: 400 * USD}), noon + 3 * HOUR)
    assert (one.began, one.last, one.ended) == (noon, noon + 2 * HOUR, None)
    assert one.cost_nanousd == 400 * USD


def test_its_cost_so_far_grows_while_it_goes_on():
    noon = MONDAY + 12 * HOUR
    spending = history(office, changed=dear(noon, 40, 400))
    watch, (begun,) = look(spending, noon + 2 * HOUR)
    watch, (grown,) = watched(watch, spending, noon + 5 * HOUR)
    assert (begun.cost_nanousd, grown.cost_nanousd) == (2 * 200 * USD, 5 * 200 * USD)
    assert begun.began == grown.began
    assert watch.open == grown


def test_it_ends_after_three_hours_that_are_as_usual():
    noon = MONDAY + 10 * HOUR
    _, (one,) = look(history(office, changed=dear(noon, 2, 400)))
    assert one.ended == noon + 5 * HOUR


def test_looking_in_steps_or_at_once_finds_the_same():
    spending = history(office, changed=dear(MONDAY + 12 * HOUR, 5, 400) | dear(MONDAY + 2 * DAY, 3, 90))
    at_once = look(spending)
    watch, seen = Watch(scope="fleet", last=MONDAY - HOUR), {}
    for hour in range(1, 73):
        watch, found = watched(watch, spending, MONDAY + hour * HOUR)
        seen |= {one.began: one for one in found}
    assert (watch, tuple(seen.values())) == at_once


def test_few_dollars_are_no_anomaly():
    cheap = history(lambda _: USD, changed=dear(MONDAY, 5, 20))
    assert look(cheap)[1] == ()
    assert len(watched(Watch(scope="", last=MONDAY - HOUR), cheap, MONDAY + DAY, least_nanousd=USD)[1]) == 1


def test_hours_that_vary_much_are_expected_to():
    def wild(at):
        return (100 + 100 * (((at - MONDAY) // WEEK) % 2)) * USD

    steady = expected(history(office, 8), MONDAY)
    varied = expected(history(wild, 8), MONDAY)
    assert steady.scale_nanousd == 5 * USD
    assert varied.scale_nanousd == pytest.approx(1.4826 * 50 * USD)


def test_before_three_weeks_hours_are_held_against_those_of_other_days():
    found = expected(history(lambda at: at.hour * USD, weeks=2), MONDAY + 7 * HOUR)
    assert found.nanousd == 7 * USD
    assert found.like[0] == MONDAY + 7 * HOUR - DAY
    assert len(found.like) == 14


def test_before_five_days_nothing_is_expected():
    young = history(office, weeks=0, after=4 * DAY, changed=dear(MONDAY + 3 * DAY, 9, 900))
    missing = expected(young, MONDAY + 4 * DAY)
    assert isinstance(missing, Missing)
    assert "4 days" in missing.why
    assert look(young)[1] == ()


POOL = Pool(service="chat", variant="h100", capacity_type=CapacityType.ON_DEMAND)
DEAR = Pool(service="chat", variant="h200", capacity_type=CapacityType.ON_DEMAND)


def used(*, price=1, volume=1, gpu_hours=1, pool=POOL, times=1):
    """One pool: a token costs 1,000 nanodollars at price 1 and one GPU-hour."""
    parts = [0] * len(PARTS)
    parts[PARTS.index(Part.DECODE)] = 10**9 * price * gpu_hours * times
    tokens = Tokens(output=10**6 * volume * times)
    line = AllocationRow(
        start=MONDAY, end=MONDAY + HOUR, identity=Identity(), pool=pool, parts=tuple(parts), tokens=tokens
    )
    seat = SeatRow(
        start=MONDAY,
        end=MONDAY + HOUR,
        service=pool.service,
        variant=pool.variant,
        replica="r",
        capacity_type=pool.capacity_type,
        parts=tuple(parts),
        list_nanousd=None,
        contracted_nanousd=None,
        billed_nanousd=None,
        gpu_us=3_600_000_000 * gpu_hours * times,
    )
    return Usage(lines=[line], seats=[seat])


OPEN = Anomaly(scope="fleet", began=MONDAY, last=MONDAY, expected_nanousd=10**9, actual_nanousd=3 * 10**9)


@pytest.mark.parametrize(
    ("during", "driver"),
    [
        (used(price=3), "price"),
        (used(volume=3, gpu_hours=3), "volume"),
        (used(gpu_hours=3), "efficiency"),
        (used(price=3, pool=DEAR), "mix"),
    ],
)
def test_the_driver_is_what_moved_most(during, driver):
    found = explained(OPEN, during, used(times=8), 8)
    assert found.driver == driver
    assert sum(found.by_driver.values()) == 2 * 10**9


def test_what_made_it_cheaper_does_not_drive_it():
    found = explained(OPEN, used(price=3, volume=2, gpu_hours=1), used(times=8), 8)
    assert found.driver == "price"
    assert found.by_driver["efficiency"] < 0


def test_the_hours_it_is_held_against_are_the_same_of_other_weeks():
    spending = history(office, weeks=4)
    two = Anomaly(scope="", began=MONDAY, last=MONDAY + HOUR, expected_nanousd=0, actual_nanousd=0)
    assert like_hours(spending, two) == tuple(
        tuple(MONDAY + hour * HOUR - back * WEEK for back in range(1, 5)) for hour in range(2)
    )

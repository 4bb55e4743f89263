"""Who watches the clock notices that it was set, and when by it that was what began before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.clock import LEAST_JUMP, ClockWatch, uptime_s

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HOUR, PASS = timedelta(hours=1), timedelta(seconds=15)


class Clocks:
    """The wall clock, and one that nobody sets."""

    def __init__(self) -> None:
        self.wall, self.steady_s = NOON, 1_000.0
        self.watch = ClockWatch(lambda: self.steady_s)
        self.watch.look(self.wall)

    def a_pass(self, *, set_by: timedelta = timedelta(0)) -> timedelta:
        self.wall += PASS + set_by
        self.steady_s += PASS.total_seconds()
        return self.watch.look(self.wall)


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_a_clock_that_nobody_sets_carries_nothing(clocks: Clocks) -> None:
    assert [clocks.a_pass(set_by=LEAST_JUMP / 2), clocks.a_pass(set_by=-LEAST_JUMP / 2)] == [timedelta(0)] * 2
    assert clocks.watch.carried(NOON) == NOON


def test_what_began_before_a_clock_was_set_ahead_began_later_by_it(clocks: Clocks) -> None:
    assert clocks.a_pass(set_by=HOUR) == HOUR
    assert clocks.a_pass() == timedelta(0)
    assert clocks.watch.carried(NOON) == NOON + HOUR
    assert clocks.watch.carried(clocks.wall) == clocks.wall


def test_what_is_carried_already_is_not_carried_again(clocks: Clocks) -> None:
    clocks.a_pass(set_by=HOUR)
    once = clocks.watch.carried(NOON)
    assert clocks.watch.carried(once) == once


def test_jumps_add_up_until_the_clock_is_set_back(clocks: Clocks) -> None:
    clocks.a_pass(set_by=HOUR)
    clocks.a_pass(set_by=HOUR)
    assert clocks.watch.carried(NOON) == NOON + 2 * HOUR
    assert clocks.a_pass(set_by=-HOUR) == timedelta(0)
    assert clocks.watch.carried(NOON) == NOON


def test_the_clock_that_nobody_sets_goes_on() -> None:
    first = uptime_s()
    assert uptime_s() >= first > 0

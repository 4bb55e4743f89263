"""What a replica-minute's cost went into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from controller.attribute.parts import parts, times
from controller.attribute.settle import HourSeen
from controller.facts.accounts import PARTS
from controller.facts.fleet import CapacityType
from tests.attribute.hours import BOOK, EXAMPLES, FIRST, MINUTE_US, RATES, SEATS, hours, rate, seen

S = 1_000_000
NAN = float("nan")
READY = {"ready_us": MINUTE_US}
CHAT, FP8 = ("chat", "bf16", FIRST), ("chat", "fp8", FIRST)


def spent(row: Mapping[str, Any], rates: Any = RATES, asked: Any = None) -> dict[str, float]:
    """Seconds by part, without the zeros."""
    [us] = times(seen(row), BOOK, rates, asked or {})
    return {part.value: one / S for part, one in zip(PARTS, us.tolist(), strict=True) if one}


@pytest.mark.parametrize(
    ("what", "row", "expected"),
    [
        ("nothing asked", READY, {"idle_unscheduled": 60}),
        (
            "100,000 prompt tokens at 100 us, 100,000 cached at 1 us, 6,000 output at 5 ms",
            {**READY, "uncached": 1e5, "cached": 1e5, "output": 6e3, "requests": 90},
            {"prefill": 10, "cached": 0.1, "decode": 30, "idle_unscheduled": 19.9},
        ),
        (
            "more work than time: cut in proportion",
            {**READY, "uncached": 4e5, "output": 16e3},
            {"prefill": 20, "decode": 40},
        ),
        ("an engine without a cache counter", {**READY, "uncached": 1e5, "cached": NAN, "output": 0.0}, {"prefill": 10, "idle_unscheduled": 50}),
        ("unreadable for a while", {**READY, "missing_us": 20 * S}, {"unmeasured": 20, "idle_unscheduled": 40}),
        ("unreadable all the time", {**READY, "missing_us": MINUTE_US, "uncached": NAN, "output": NAN}, {"unmeasured": 60}),
        ("read and no counter", {**READY, "uncached": NAN, "output": NAN}, {"unmeasured": 60}),
        ("starting is no gap", {"starting_us": MINUTE_US, "missing_us": MINUTE_US}, {"overhead_starting": 60}),
        ("starting for another variant", {"starting_us": MINUTE_US, "swapping": True, "replaces_interrupted": True}, {"overhead_swapping": 60}),
        ("starting for a lost spot replica", {"starting_us": MINUTE_US, "replaces_interrupted": True}, {"overhead_interrupted": 60}),
        ("failed", {"failed_us": MINUTE_US}, {"idle_stuck": 60}),
        ("failed on spot", {"seat": 3, "failed_us": MINUTE_US}, {"overhead_interrupted": 60}),
        ("draining and working", {"draining_us": MINUTE_US, "output": 6e3}, {"decode": 30, "overhead_draining": 30}),
        ("half draining", {"ready_us": 30 * S, "draining_us": 30 * S, "output": 6e3}, {"decode": 30, "overhead_draining": 15, "idle_unscheduled": 15}),
        ("requests and nothing comes", {**READY, "running": 3.0}, {"idle_stuck": 60}),
        ("requests wait and nothing comes", {**READY, "queue_depth": 1.0, "running": NAN}, {"idle_stuck": 60}),
        ("requests and a token", {**READY, "running": 3.0, "output": 1.0}, {"decode": 0.005, "idle_unscheduled": 59.995}),
        ("committed and unused", {"seat": 5, **READY}, {"idle_unscheduled": 60}),
        ("stranded", {"seat": 6, **READY}, {"idle_stranded": 60}),
        ("shared", {"seat": 9, **READY}, {"unmeasured": 60}),
    ],
)  # fmt: skip
def test_a_minute_goes_into(what: str, row: Mapping[str, Any], expected: Mapping[str, float]) -> None:
    assert spent(row) == pytest.approx(expected), what


@pytest.mark.parametrize(
    ("what", "row", "expected"),
    [
        ("no work is known without asking", READY, {"idle_unscheduled": 60}),
        ("tokens alone say nothing", {**READY, "uncached": 1e3, "output": 1e3}, {"unmeasured": 60}),
        (
            "by the engine's seconds",
            {**READY, "uncached": 1e3, "output": 1e3, "prefill_s": 6.0, "decode_s": 24.0},
            {"prefill": 6, "decode": 24, "idle_unscheduled": 30},
        ),
        (
            "many at a time: each phase ran for the minute at most",
            {**READY, "uncached": 1e3, "output": 1e3, "prefill_s": 20.0, "decode_s": 2400.0},
            {"prefill": 15, "decode": 45},
        ),
        ("one phase unknown", {**READY, "uncached": 1e3, "output": 1e3, "decode_s": 24.0}, {"unmeasured": 60}),
    ],
)
def test_without_a_work_rate_a_minute_goes_into(
    what: str, row: Mapping[str, Any], expected: Mapping[str, float]
) -> None:
    assert spent(row, rates={}) == pytest.approx(expected, abs=2e-6), what


def test_opencosts_unit_error_does_not_come_back_where_only_seconds_are_known() -> None:
    """30.8 s of prefill and 37,675 s of decode by the requests' own clocks: decode has the larger share by far."""
    got = spent({**READY, "uncached": 1e5, "output": 1e5, "prefill_s": 30.8, "decode_s": 37_675.0}, rates={})
    assert got["decode"] > got["prefill"] > 0
    an_hour_of_it = {**READY, "uncached": 1e5, "output": 1e5, "prefill_s": 30.8 / 60, "decode_s": 37_675.0 / 60}
    got = spent(an_hour_of_it, rates={})
    assert got["decode"] > 50 * got["prefill"]


@pytest.mark.parametrize(
    ("what", "asked", "warm"),
    [
        ("nobody asked", {}, 0.0),
        ("asked for another variant", {FP8: 9.0}, 0.0),
        ("one of three, busy for 30 s of its minute", {CHAT: 1.0}, 30.0),
        ("two of three", {CHAT: 2.0}, 90.0),
        ("all three", {CHAT: 3.0}, 150.0),
        ("more than there are", {CHAT: 30.0}, 150.0),
    ],
)
def test_idle_is_warm_as_far_as_the_policy_asked(what: str, asked: Mapping[Any, float], warm: float) -> None:
    rows = ({**READY, "seat": 1, "output": 6e3}, {**READY, "seat": 2}, {**READY, "seat": 3})
    us = times(seen(*rows), BOOK, RATES, asked)
    idle = us[:, PARTS.index("idle_warm")] + us[:, PARTS.index("idle_unscheduled")]
    assert idle.tolist() == [30 * S, 60 * S, 60 * S]
    assert us[:, PARTS.index("idle_warm")].sum() == pytest.approx(warm * S, abs=3), what
    shares = us[:, PARTS.index("idle_warm")] / idle
    assert shares == pytest.approx([warm / 150] * 3, abs=1e-6), "the same on every replica of the variant"


def test_half_a_minute_watched_asks_for_half_as_much() -> None:
    rows = tuple({"seat": seat, "ready_us": 30 * S} for seat in (1, 2, 3))
    us = times(seen(*rows), BOOK, RATES, {CHAT: 2.0})
    assert us[:, PARTS.index("idle_warm")].tolist() == [20 * S] * 3


@pytest.mark.parametrize("missing_us", [0, MINUTE_US])
def test_places_without_a_replica_fill_nothing_that_was_asked_for(missing_us: int) -> None:
    """One replica asked for and there; the place beside it is committed and empty, the node's rest is stranded."""
    empty = tuple({**READY, "seat": seat, "missing_us": missing_us} for seat in (5, 6))
    us = times(seen({**READY, "seat": 4}, *empty), BOOK, RATES, {FP8: 1.0})
    assert us[0, PARTS.index("idle_warm")] == MINUTE_US
    assert us[1, PARTS.index("idle_unscheduled")] == us[2, PARTS.index("idle_stranded")] == MINUTE_US


def test_long_prompts_weigh_by_their_squares() -> None:
    attention = rate(prefill_s_per_square=1e-7, uncached_cv=1.0)
    got = spent({**READY, "uncached": 1e5}, rates={1: attention})
    assert got["prefill"] == pytest.approx(1e5 * (1e-4 + 2 * 1000 * 1e-7))


def test_a_cost_without_any_time_is_of_something_nobody_watched() -> None:
    assert parts(seen({"cost": 7}), BOOK, RATES, {}).tolist() == [[0, 0, 0, 7] + [0] * 8]


@EXAMPLES
@given(hour=hours())
def test_the_parts_of_any_minute_are_its_cost_and_none_is_below_zero(hour: HourSeen) -> None:
    got = parts(hour.seen, BOOK, hour.rates, hour.asked)
    assert (got.sum(axis=1) == hour.seen.cost).all()
    assert (got >= 0).all()


@EXAMPLES
@given(hour=hours())
def test_the_time_of_any_replica_is_its_phases(hour: HourSeen) -> None:
    us = times(hour.seen, BOOK, hour.rates, hour.asked)
    some = hour.seen.covered_us > 0
    assert (us.sum(axis=1)[some] == hour.seen.covered_us[some]).all()
    assert (us >= 0).all()


@EXAMPLES
@given(hour=hours())
def test_minutes_are_split_alike_in_any_order(hour: HourSeen) -> None:
    backwards = np.arange(len(hour.seen.seat))[::-1]
    got = parts(hour.seen.taken(backwards), BOOK, hour.rates, hour.asked)
    assert (got == parts(hour.seen, BOOK, hour.rates, hour.asked)[backwards]).all()


def test_every_seat_that_is_no_replica_is_covered_here() -> None:
    assert {one.kind.value for one in SEATS.values()} == {"replica", "unused", "stranded", "shared"}
    assert SEATS[3].capacity_type is CapacityType.SPOT

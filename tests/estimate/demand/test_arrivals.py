"""Arrivals are what finished, what piled up and what was turned away; replicas that come and go fake none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.estimate.demand.arrivals import DemandMark, demand_of
from controller.facts.demand import Demand
from controller.facts.estimates import Estimate
from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.performance import RequestShape
from controller.facts.readings import Counter, Distribution, EngineReading, Gauge, Histogram, Target

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
NOTHING = Missing("anything", "not part of this test")


def service(at_s: float, ready: int, read: int | None = None, **changes: object) -> Estimate:
    """Only what demand looks at matters."""
    plain = dict.fromkeys(Estimate.__dataclass_fields__, NOTHING)
    counts = {"replicas_current": ready, "replicas_ready": ready, "replicas_read": ready if read is None else read}
    whole = {"at": NOON + timedelta(seconds=at_s), "window_s": 60.0, "service": "chat", "gpus": ready}
    return Estimate(**{**plain, **counts, **whole, "queue_depth": 0.0, **changes})  # type: ignore[arg-type]


def reading(
    name: str,
    at_s: float,
    inside: tuple[float, float] | None = (0.0, 0.0),
    finished: float | None = 0.0,
    window_s: float = 15.0,
    histograms: Mapping[Distribution, Histogram] | None = None,
    **more: float,
) -> EngineReading:
    """``inside``: running, waiting; ``more``: further counters."""
    counters = {} if finished is None else {Counter.REQUESTS: finished}
    return EngineReading(
        target=Target(service="chat", variant="h100", replica=name, url=f"http://{name}:8000"),
        at=NOON + timedelta(seconds=at_s),
        window_s=window_s,
        source="scrape",
        engine=EngineKind.VLLM,
        gauges={} if inside is None else {Gauge.RUNNING: inside[0], Gauge.QUEUE_DEPTH: inside[1]},
        counters={**counters, **{Counter(key): value for key, value in more.items()}} if window_s else {},
        histograms=histograms or {},
    )


def second_pass(
    before: list[EngineReading], now: list[EngineReading | Missing], ready: int | None = None, read: int | None = None
) -> Demand:
    """The demand 15 s after ``before`` was read."""
    _, mark = demand_of(service(0, len(before)), before, DemandMark())
    demand, _ = demand_of(service(15, len(now) if ready is None else ready, read), now, mark)
    return demand


@pytest.mark.parametrize(
    ("before", "now", "finished", "rejected", "per_s"),
    [
        ((5, 0), (5, 0), 30, 0, 2.0),  # steady: what finished
        ((5, 0), (8, 12), 30, 0, 3.0),  # overloaded: 15 more are inside
        ((5, 20), (5, 5), 45, 0, 2.0),  # a backlog that drains is no arrival
        ((5, 0), (5, 0), 30, 15, 3.0),  # turned away
        ((5, 0), (0, 0), 2, 0, 0.0),  # inside fell by more than finished: never negative
    ],
)
def test_arrivals_are_finished_and_grown_and_rejected(before, now, finished, rejected, per_s):
    demand = second_pass([reading("a", 0, before)], [reading("a", 15, now, finished, rejections=rejected)])
    assert demand.requests_per_s == pytest.approx(per_s)


def test_overload_shows_although_completions_saturate():
    rates, mark = [], DemandMark()
    for number in range(1, 9):
        waiting = 0 if number < 4 else 60.0 * (number - 3)
        demand, mark = demand_of(service(15 * number, 1), [reading("a", 15 * number, (40, waiting), 75)], mark)
        rates.append(demand.requests_per_s)
    assert rates[:3] == pytest.approx([5.0] * 3)
    assert rates[3:] == pytest.approx([9.0] * 5)


def test_a_replica_that_appears_with_requests_inside_fakes_no_arrivals():
    demand = second_pass(
        [reading("a", 0, (40, 0))], [reading("a", 15, (40, 0), 75), reading("b", 15, (30, 0), None, window_s=0)]
    )
    assert demand.requests_per_s == pytest.approx(5.0)


def test_a_replica_that_goes_takes_no_arrivals_with_it():
    demand = second_pass([reading("a", 0, (40, 0)), reading("b", 0, (40, 0))], [reading("a", 15, (40, 0), 75)])
    assert demand.requests_per_s == pytest.approx(5.0)


def test_a_draining_replica_that_finishes_its_last_requests_adds_nothing():
    demand = second_pass(
        [reading("a", 0, (40, 0)), reading("b", 0, (30, 0))],
        [reading("a", 15, (40, 0), 75), reading("b", 15, (0, 0), 30)],
        ready=1,
    )
    assert demand.requests_per_s == pytest.approx(5.0)


def test_a_replica_that_was_skipped_once_is_compared_with_when_it_was_read():
    _, mark = demand_of(service(0, 1), [reading("a", 0, (10, 0))], DemandMark())
    blind, mark = demand_of(service(15, 1, 0), [Missing("engine", "timed out")], mark)
    demand, _ = demand_of(service(30, 1), [reading("a", 30, (40, 0), 60, window_s=30.0)], mark)
    assert isinstance(blind.requests_per_s, Missing)
    assert demand.requests_per_s == pytest.approx(60 / 30 + 30 / 30)


def test_a_replica_that_was_unread_for_long_starts_again():
    _, mark = demand_of(service(0, 1), [reading("a", 0, (10, 0))], DemandMark())
    demand, _ = demand_of(service(900, 1), [reading("a", 900, (40, 0), 900, window_s=900.0)], mark)
    assert demand.requests_per_s == pytest.approx(1.0)


def test_unread_replicas_are_taken_as_like_the_others():
    before = [reading(name, 0, (10, 0)) for name in "abc"]
    demand = second_pass(before, [reading("a", 15, (10, 0), 30), reading("b", 15, (10, 0), 30)], ready=3, read=2)
    assert demand.requests_per_s == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("now", "ready", "read", "why"),
    [
        ([reading("a", 15, (10, 0), 30)], 3, 1, "only 1 of 3 ready replicas were read"),
        ([reading("a", 15, (10, 0), None)], 1, 1, "a: EngineKind|a: vllm does not export it"),
        ([reading("a", 15, None, 30)], 1, 1, "completions may hide a backlog"),
        ([reading("a", 15, (10, 0), None, window_s=0)], 1, 1, "rates need two readings"),
        ([], 0, 0, "no replica is ready"),
    ],
)
def test_what_is_not_known_is_missing_with_its_reason(now, ready, read, why):
    demand = second_pass([], now, ready=ready, read=read)
    assert isinstance(demand.requests_per_s, Missing)
    assert any(one in demand.requests_per_s.why for one in why.split("|"))


@pytest.mark.parametrize(("capacity", "expected"), [(3.0, 3.0), (NOTHING, 7.0)])
def test_waiting_is_what_more_capacity_would_help(capacity, expected):
    demand, _ = demand_of(service(0, 0, queue_depth=7.0, queue_depth_capacity=capacity), [], DemandMark())
    assert demand.waiting_requests == expected


def lengths(value: float, count: float) -> Histogram:
    return Histogram(bounds=(0.5 * value, 1.5 * value, inf), counts=(0.0, count, 0.0), total=value * count)


def shaped(at_s: float, prompt: float, output: float, count: float, cached: float = 0.0) -> EngineReading:
    one = reading(
        "a",
        at_s,
        histograms={
            Distribution.PROMPT_LENGTH_TOKENS: lengths(prompt, count),
            Distribution.OUTPUT_LENGTH_TOKENS: lengths(output, count),
        },
    )
    tokens = {Counter.PROMPT_TOKENS: prompt * count, Counter.CACHED_PROMPT_TOKENS: cached * prompt * count}
    return replace(one, counters={**one.counters, **tokens})


def test_the_shape_is_that_of_what_finished_lately():
    demand, _ = demand_of(service(0, 1), [shaped(0, 1000.0, 100.0, 100, cached=0.25)], DemandMark())
    assert isinstance(demand.shape, RequestShape)
    assert demand.shape.prompt_tokens == pytest.approx(1000.0)
    assert demand.shape.output_tokens == pytest.approx(100.0)
    assert demand.shape.cached_ratio == pytest.approx(0.25)
    assert demand.shape.prompt_cv == pytest.approx(0.289, abs=0.001)  # even over 500 to 1500: 1 / sqrt(12)


def test_the_shape_follows_a_new_use_within_the_half_hour():
    mark = DemandMark()
    for number in range(240):
        prompt = 1000.0 if number < 120 else 4000.0
        demand, mark = demand_of(service(15 * number, 1), [shaped(15 * number, prompt, 100.0, 50)], mark)
    assert demand.shape.prompt_tokens == pytest.approx(4000.0, rel=0.12)


def test_a_quiet_minute_keeps_the_shape_and_a_quiet_day_loses_it():
    _, mark = demand_of(service(0, 1), [shaped(0, 1000.0, 100.0, 100)], DemandMark())
    minute, _ = demand_of(service(60, 1), [reading("a", 60)], mark)
    day, _ = demand_of(service(86_400, 1), [reading("a", 86_400)], mark)
    assert isinstance(minute.shape, RequestShape)
    assert day.shape == Missing("shape", NOTHING.why)


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 80), st.integers(0, 20), st.booleans()), min_size=2, max_size=30
    )
)
def test_every_request_that_arrived_is_counted_once(passes):
    """One replica: arrivals over all passes = finished + rejected + what is inside at the end - at the start."""
    mark, inside, counted, arrived = DemandMark(), 0.0, 0.0, 0.0
    for number, (new, done, turned, _) in enumerate(passes):
        done = min(done, int(inside) + new)
        inside += new - done
        finished = None if number == 0 else float(done)
        now = [
            reading("a", 15 * number, (inside, 0.0), finished, 0.0 if number == 0 else 15.0, rejections=float(turned))
        ]
        demand, mark = demand_of(service(15 * number, 1), now, mark)
        if number:
            counted += demand.requests_per_s * 15
            arrived += new + turned
    assert counted == pytest.approx(arrived)

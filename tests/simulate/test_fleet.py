"""The simulated fleet routes to whoever has least to do, starts, drains and fails replicas, and loses no request unsaid."""

from __future__ import annotations

from typing import Any

import pytest

from controller.facts.readings import Phase
from controller.simulate.fleet import GIVE_UP_S, SimulatedFleet
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100 as SPEC


def at(at_s: float, output: int = 100) -> tuple[float, int, int, int]:
    return at_s, 1000, output, 0


def fleet(ready: int = 1) -> SimulatedFleet:
    made = SimulatedFleet(0.0)
    for number in range(ready):
        made.start(f"r{number}", SPEC, 0.0)
    return made


def inside(one: SimulatedFleet) -> list[int]:
    levels = [one.level(name) for name in one.replicas]
    return [level.running + level.waiting for level in levels]


def test_requests_are_spread_by_outstanding_tokens(bench: Any) -> None:
    two = fleet(2)
    two.advance(1.0, bench.requests([at(0.1, 20_000), at(0.2), at(0.3), at(0.4)]))
    assert inside(two) == [1, 3]


def test_a_starting_replica_gets_nothing_until_it_is_ready(bench: Any) -> None:
    one = fleet(0)
    one.start("late", SPEC, 30.0)
    assert len(one.advance(29.0, bench.requests([at(1.0)]))) == 0
    assert one.replicas["late"].phase(29.0) is Phase.STARTING
    done = one.advance(60.0, bench.requests([]))
    assert done.number.tolist() == [0]
    assert 29.0 < done.ttft_s[0] < 29.5


def test_a_request_that_nobody_takes_is_dropped_and_counted(bench: Any) -> None:
    nobody = fleet(0)
    nobody.advance(GIVE_UP_S + 5, bench.requests([at(1.0), at(50.0)]))
    assert (nobody.dropped, nobody.unrouted, nobody.in_flight) == (1, 1, 1)


def test_draining_finishes_what_it_has_and_takes_nothing_new(bench: Any) -> None:
    two = fleet(2)
    two.advance(1.0, bench.requests([at(0.5)] * 4))
    two.drain("r0")
    done = two.advance(2.0, bench.requests([at(1.5)])).number.tolist()
    assert two.replicas["r0"].phase(2.0) is Phase.DRAINING
    done += two.advance(30.0, bench.requests([])).number.tolist()
    assert list(two.replicas) == ["r1"]
    assert sorted(done) == [0, 1, 2, 3, 4]
    assert two.dropped == 0
    assert 1.0 < two.gone[0].ended_s < 10.0


def test_a_replica_that_never_served_goes_at_once(bench: Any) -> None:
    one = fleet(1)
    one.start("late", SPEC, 100.0)
    one.drain("late")
    one.advance(1.0, bench.requests([]))
    assert list(one.replicas) == ["r0"]


def test_what_a_failed_replica_had_starts_again_elsewhere(bench: Any) -> None:
    two = fleet(2)
    early = two.advance(1.0, bench.requests([at(0.5, 400)] * 6))
    assert two.fail("r0") == 3
    done = two.advance(60.0, bench.requests([]))
    assert sorted([*early.number, *done.number]) == list(range(6))
    assert (two.lost, two.dropped, two.in_flight) == (3, 0, 0)
    late = [float(one) for one, number in zip(done.ttft_s, done.number, strict=True) if number in (0, 2, 4)]
    assert min(late) > 0.5


def test_a_slow_replica_takes_as_much_longer(bench: Any) -> None:
    took = []
    for slowness in (1.0, 2.0):
        one = fleet(0)
        one.start("r", SPEC, 0.0, slowness=slowness)
        took.append(float(one.advance(60.0, bench.requests([at(0.0)])).finished_s[0]))
    assert took[1] == pytest.approx(2 * took[0])


def test_more_replicas_and_requests_than_there_was_room_for_are_given_room(bench: Any) -> None:
    many = fleet(40)
    done = many.advance(1.0, bench.requests([at(0.5, 2000)] * 9000))
    assert sum(inside(many)) + len(done) == 9000
    assert max(inside(many)) - min(inside(many)) <= 1


def test_equal_calls_give_equal_answers(bench: Any) -> None:
    runs = []
    for _ in range(2):
        one = fleet(3)
        runs.append(one.advance(40.0, bench.requests([at(0.01 * number) for number in range(3000)])))
    assert (runs[0].finished_s == runs[1].finished_s).all()
    assert (runs[0].number == runs[1].number).all()

"""The emulated fleet routes to whoever has least to do, starts and drains replicas, and loses no request unsaid."""

from __future__ import annotations

from controller.facts.readings import Phase
from controller.simulate.engine import Request
from controller.simulate.fleet import GIVE_UP_S, EmulatedFleet
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100


def request(number: int, at_s: float, output: int = 100) -> Request:
    return Request(number=number, sent_s=at_s, arrival_s=at_s, prompt_tokens=1000, output_tokens=output)


def fleet(ready: int = 1) -> EmulatedFleet:
    made = EmulatedFleet(LLAMA_70B_FP8_2XH100, 0.0)
    for number in range(ready):
        made.start(f"r{number}", 0.0)
    return made


def test_requests_are_spread_by_outstanding_tokens() -> None:
    two = fleet(2)
    two.advance(1.0, [request(0, 0.1, output=20_000), request(1, 0.2), request(2, 0.3), request(3, 0.4)])
    assert [one.engine.running + one.engine.waiting for one in two.replicas.values()] == [1, 3]


def test_a_starting_replica_gets_nothing_until_it_is_ready() -> None:
    one = fleet(0)
    one.start("late", 30.0)
    assert one.advance(30.0, [request(0, 1.0)]) == []
    assert one.replicas["late"].phase(29.0) is Phase.STARTING
    done = one.advance(60.0, [])
    assert [each.request.number for each in done] == [0]
    assert done[0].ttft_s > 29.0


def test_a_request_that_nobody_takes_is_dropped_and_counted() -> None:
    nobody = fleet(0)
    nobody.advance(GIVE_UP_S + 5, [request(0, 1.0), request(1, 50.0)])
    assert nobody.dropped == 1
    assert nobody.unrouted == 1


def test_draining_finishes_what_it_has_and_takes_nothing_new() -> None:
    two = fleet(2)
    two.advance(1.0, [request(number, 0.5) for number in range(4)])
    two.drain("r0")
    done = two.advance(2.0, [request(9, 1.5)])
    assert two.replicas["r0"].phase(2.0) is Phase.DRAINING
    done += two.advance(30.0, [])
    assert list(two.replicas) == ["r1"]
    assert sorted(each.request.number for each in done) == [0, 1, 2, 3, 9]
    assert two.dropped == 0


def test_a_replica_that_never_served_goes_at_once() -> None:
    one = fleet(1)
    one.start("late", 100.0)
    one.drain("late")
    one.advance(1.0, [])
    assert list(one.replicas) == ["r0"]

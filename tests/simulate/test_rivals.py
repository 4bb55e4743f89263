"""What somebody else's autoscaler is shown, against cases made by hand, and when its answer takes effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from controller.simulate.rivals import rehearse
from controller.simulate.scoring import scored
from controller.simulate.sight import Sight, Wish


@dataclass
class Onlooker:
    """An autoscaler that remembers what it saw, and wants what it is told to."""

    wanted: Callable[[Sight], int]
    sync_s: float = 15.0
    seen: list[Sight] = field(default_factory=list)

    def desired(self, sight: Sight) -> int:
        self.seen.append(sight)
        return self.wanted(sight)


def constant(count: int) -> Onlooker:
    return Onlooker(wanted=lambda _: count)


def test_the_first_look_sees_a_quiet_fleet(bench: Any) -> None:
    onlooker = constant(2)
    rehearse(bench.world([(1.0, 10, 5, 0)], 30.0, initial_replicas=2), onlooker, "")
    first = onlooker.seen[0]
    assert (first.at_s, first.current, first.ready, first.running, first.waiting) == (0.0, 2, 2, 0, 0)
    assert (first.arrivals_per_s, first.finished_per_s, first.prompt_tokens_per_s) == (0.0, 0.0, 0.0)
    assert (first.ttft_s, first.tpot_s, first.mean_prompt_tokens, first.mean_output_tokens) == (None,) * 4


def test_rates_and_means_are_those_of_the_time_since_the_last_look(bench: Any) -> None:
    # Six requests of 1 s each in the second interval, one at a time; a seventh goes on beyond it, since 29 s.
    rows = [(16.0 + 2 * number, 100, 101, 0) for number in range(6)] + [(29.0, 300, 1001, 0)]
    onlooker = constant(1)
    rehearse(bench.world(rows, 60.0), onlooker, "")
    quiet, busy, after = onlooker.seen[1:4]
    assert quiet.arrivals_per_s == 0.0
    assert busy.arrivals_per_s == pytest.approx(7 / 15)
    assert busy.finished_per_s == pytest.approx(6 / 15)
    assert busy.prompt_tokens_per_s == pytest.approx((600 + 300) / 15)
    assert busy.output_tokens_per_s == pytest.approx((606 + 100) / 15)
    assert busy.mean_prompt_tokens == pytest.approx(100)
    assert busy.mean_output_tokens == pytest.approx(101)
    assert busy.ttft_s == pytest.approx(0.01)
    assert busy.tpot_s == pytest.approx(0.01)
    assert busy.replicas[0].gpu_utilization_ratio == pytest.approx((6 * 1.01 + 1.0) / 15)
    assert (busy.running, busy.waiting) == (1, 0)
    assert after.finished_per_s == pytest.approx(1 / 15)
    assert after.mean_output_tokens == pytest.approx(1001)
    assert after.arrivals_per_s == 0.0


def test_levels_are_those_of_the_moment(bench: Any) -> None:
    narrow = replace(bench.CLOCKWORK, max_sequences=2, kv_capacity_tokens=40_000)
    onlooker = constant(1)
    rehearse(bench.world([(14.0, 1000, 3001, 0)] * 5, 60.0, spec=narrow), onlooker, "")
    replica = onlooker.seen[1].replicas[0]
    assert (replica.running, replica.waiting) == (2, 3)
    assert onlooker.seen[1].waiting == 3
    assert replica.kv_cache_ratio == pytest.approx(2 * (1000 + 100 + 7.5) / 40_000, rel=0.002)
    assert onlooker.seen[1].kv_capacity_tokens == 40_000


def test_replicas_that_start_are_current_but_not_ready_and_drained_ones_are_neither(bench: Any) -> None:
    counts = iter([3, 3, 3, 3, 3, 3, 1, 1])
    onlooker = Onlooker(wanted=lambda _: next(counts))
    world = bench.world([(80.0, 10, 3000, 0)] * 3, 120.0)  # 30 s each, one a replica
    rehearse(world, onlooker, "")
    assert [(sight.current, sight.ready) for sight in onlooker.seen] == [
        (1, 1),
        *[(3, 1)] * 4,  # ordered at 7.5 s, ready at 67.5 s
        (3, 3),
        (3, 3),
        (1, 1),
    ]
    assert onlooker.seen[-1].running == 1


def test_requests_without_a_replica_wait_at_the_router(bench: Any) -> None:
    onlooker = constant(0)
    rehearse(bench.world([(1.0, 10, 5, 0)] * 4, 90.0, initial_replicas=0), onlooker, "")
    assert [sight.waiting_at_router for sight in onlooker.seen] == [0, 4, 4, 4, 4, 0]  # dropped after 60 s
    assert [sight.waiting for sight in onlooker.seen] == [0, 4, 4, 4, 4, 0]


def test_counters_of_a_replica_that_is_gone_are_not_taken_back(bench: Any) -> None:
    counts = iter([2, 2, 1, 1, 1, 1])
    onlooker = Onlooker(wanted=lambda _: next(counts))
    rehearse(bench.world([(1.0, 10, 101, 0)] * 2, 90.0, initial_replicas=2), onlooker, "")
    assert [sight.finished_per_s for sight in onlooker.seen] == pytest.approx([0, 2 / 15, 0, 0, 0, 0])
    assert all(sight.output_tokens_per_s >= 0 for sight in onlooker.seen)


@pytest.mark.parametrize(("sync_s", "staleness_s", "at_s"), [(15.0, 7.5, 22.5), (60.0, 7.5, 67.5), (5.0, 7.5, 10.0)])
def test_an_answer_takes_effect_after_the_staleness_or_at_the_next_look(
    bench: Any, sync_s: float, staleness_s: float, at_s: float
) -> None:
    onlooker = Onlooker(wanted=lambda sight: 2 if sight.at_s >= sync_s else 1, sync_s=sync_s)
    world = bench.world([], 300.0, staleness_s=staleness_s)
    rehearse(world, onlooker, "because")
    assert world.tape.moves == [(at_s, 1, 2, "because")]


def test_it_looks_as_often_as_it_says_until_the_end(bench: Any) -> None:
    onlooker = Onlooker(wanted=lambda _: 1, sync_s=20.0)
    world = bench.world([], 70.0)
    rehearse(world, onlooker, "")
    assert [sight.at_s for sight in onlooker.seen] == [0.0, 20.0, 40.0, 60.0]
    assert scored(world, "onlooker", 0).hours == pytest.approx(70 / 3600)


@dataclass
class Talker(Onlooker):
    """It says why, and counts how often it is asked."""

    asked: int = 0

    def wish(self) -> Wish | None:
        self.asked += 1
        return Wish("12.0 waiting requests at 5.00 a replica", 3)


def test_a_move_has_the_arithmetic_that_led_to_it_and_nobody_is_asked_without_one(bench: Any) -> None:
    world, talker = bench.world([(1.0, 10, 5, 0)], 120.0), Talker(wanted=lambda sight: 3 if sight.at_s < 60 else 2)
    rehearse(world, talker, "talker")
    assert [move[1:] for move in world.tape.moves] == [
        (1, 3, "12.0 waiting requests at 5.00 a replica: wants 3"),
        (3, 2, "12.0 waiting requests at 5.00 a replica: wants 3, its limits and waits make that 2"),
    ]
    assert talker.asked == 2


def test_who_does_not_explain_itself_moves_under_its_name(bench: Any) -> None:
    world = bench.world([(1.0, 10, 5, 0)], 60.0)
    rehearse(world, constant(2), "onlooker")
    assert [move[3] for move in world.tape.moves] == ["onlooker"]

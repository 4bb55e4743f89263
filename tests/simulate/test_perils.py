"""Replicas crash, fail to start and are taken away with notice; what is reserved is paid for; and still no request is
lost unsaid and no dollar made up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from controller.facts.fleet import CapacityType
from controller.simulate.failures import GPU_HOURS_BETWEEN_FAILURES, PUBLISHED, Failures
from controller.simulate.score import RunScore
from controller.simulate.spot import SpotDraw, SpotZone
from controller.simulate.startup import StartUp
from controller.simulate.world import World
from tests.simulate.bought import ON_DEMAND, RESERVED, SPOT, closed, kind, lot, market


def spent(score: RunScore) -> dict[CapacityType, float]:
    return {one.type: pytest.approx(one.usd) for one in score.paid}


def in_each(world: World) -> list[tuple[CapacityType, str]]:
    """How the replicas that are there were bought, and in which zone."""
    places = [world.stock.places[name] for name in world.fleet.replicas]
    return [(place.bought.type, place.zone) for place in places]


# --- crashes


FRAIL = Failures(mean_s=300.0)


def lives(seed: int, replicas: int) -> list[float]:
    return [FRAIL.drawn(seed, 1 + number, 1)[0] for number in range(replicas)]


def unlucky(crashing: int, replicas: int) -> int:
    """A seed with which so many of the first replicas crash within 10 to 45 s, and the others outlive ten minutes."""
    seeds = ((seed, lives(seed, replicas)) for seed in range(20_000))
    return next(
        seed
        for seed, some in seeds
        if all(10 < life < 45 for life in some[:crashing]) and all(life > 700 for life in some[crashing:])
    )


def test_a_crash_ends_the_bill_and_what_the_replica_had_counts_as_missed(bench: Any) -> None:
    rows = [(1.0, 10, 5000, 0), (2.0, 10, 5000, 0), (300.0, 10, 5, 0)]  # the first two take 50 s each
    seed = unlucky(1, 2)
    score = closed(bench.world(rows, 600.0, seed=seed, initial_replicas=2, failures=FRAIL))
    assert (score.failures, score.lost, score.requests, score.finished, score.dropped) == (1, 1, 3, 3, 0)
    assert (score.within_slo, score.within_ttft, score.within_tpot) == (2, 2, 2)
    assert score.usd == pytest.approx((lives(seed, 1)[0] + 600) * 7.2 / 3600)


def test_a_request_that_is_lost_twice_is_one_request(bench: Any) -> None:
    rows = [(1.0, 10, 10_000, 0)]
    score = closed(bench.world(rows, 600.0, seed=unlucky(2, 3), initial_replicas=3, failures=FRAIL))
    assert (score.failures, score.finished, score.within_slo) == (2, 1, 0)
    assert score.lost == 1


def test_crashes_come_as_often_as_was_said_and_by_the_number_of_the_replica() -> None:
    failures = Failures(mean_s=1000.0)
    lives = [failures.drawn(7, number, 1)[0] for number in range(3000)]
    assert np.mean(lives) == pytest.approx(1000, rel=0.06)
    assert failures.drawn(7, 5, 1) == failures.drawn(7, 5, 1) != failures.drawn(8, 5, 1)


def test_any_of_its_gpus_takes_a_replica_down() -> None:
    one, eight = (PUBLISHED.drawn(1, 1, gpus)[0] for gpus in (1, 8))
    assert one == pytest.approx(8 * eight)
    assert pytest.approx(50_677, rel=1e-4) == GPU_HOURS_BETWEEN_FAILURES


def test_what_fails_by_chance_takes_no_start_up_time_from_the_others(bench: Any) -> None:
    """So that a run with failures is the same run, with failures."""
    took = []
    for failures in (Failures(), Failures(mean_s=50.0, failed_start_ratio=0.1)):
        world = bench.world([], 600.0, seed=4, start_up=StartUp.around(200.0), failures=failures)
        world.order(6, "more")
        took.append([one.ready_s for one in list(world.fleet.replicas.values())[1:] if one.ready_s < np.inf])
    assert set(took[1]) <= set(took[0])
    assert len(took[1]) >= 3


def test_a_start_that_fails_is_billed_until_it_does_and_never_serves(bench: Any) -> None:
    rows = [(155.0, 10, 5, 0)]
    world = bench.world(rows, 300.0, initial_replicas=0, failures=Failures(failed_start_ratio=1.0))
    world.advance(100.0)
    world.order(1, "more")
    score = closed(world)
    assert (score.failures, score.lost, score.dropped) == (1, 0, 1)
    assert score.usd == pytest.approx(60 * 7.2 / 3600)
    assert score.series.ready.max() == 0


@pytest.mark.parametrize("wrong", [{"mean_s": 0.0}, {"failed_start_ratio": 1.5}, {"failed_start_ratio": -0.1}])
def test_impossible_failures_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        Failures(**wrong)


# --- spot


def test_a_replica_that_is_warned_takes_nothing_new_and_is_killed_at_the_deadline(bench: Any) -> None:
    rows = [(1.0, 10, 100_00, 0), (150.0, 10, 100_00, 0), (310.0, 10, 5, 0)]  # 100 s each
    kinds = (kind(bench, lot(SPOT), spec=replace(bench.CLOCKWORK, max_sequences=1)),)
    spot = market(notice_s=100.0, a=[(0.0, 300.0)], b=[(0.0, 1800.0)])
    world = bench.world(rows, 600.0, kinds=kinds, spot=spot, initial_replicas=1)
    world.advance(199.0)
    assert [one.draining_since_s for one in world.fleet.replicas.values()] == [None]
    world.advance(201.0)
    assert [one.draining_since_s for one in world.fleet.replicas.values()] == [200.0]
    world.order(1, "instead")
    assert in_each(world)[-1] == (SPOT, "b"), "not where we have one already"
    world.advance(299.0)
    assert len(world.fleet.replicas) == 1, "it had finished before the deadline and gone"
    score = closed(world)
    assert (score.interruptions, score.failures, score.lost, score.dropped) == (1, 0, 0, 0)
    assert (score.finished, score.within_slo) == (3, 3)


def test_what_is_not_finished_at_the_deadline_is_lost_and_sent_again(bench: Any) -> None:
    rows = [(150.0, 10, 20_000, 0)]  # 200 s
    kinds = (kind(bench, lot(SPOT)),)
    spot = market(notice_s=30.0, a=[(0.0, 300.0)], b=[(0.0, 1800.0)])
    world = bench.world(rows, 600.0, kinds=kinds, spot=spot, initial_replicas=2)
    score = closed(world)
    assert (score.interruptions, score.lost, score.finished, score.within_slo) == (1, 1, 1, 0)
    assert score.usd == pytest.approx((300 + 600) * 1.8 / 3600)


def test_spot_is_spread_over_the_zones_that_have_any(bench: Any) -> None:
    spot = market(a=[(0.0, 1800.0)], b=[(0.0, 1800.0)], c=[(900.0, 1800.0)])
    world = bench.world([], 600.0, kinds=(kind(bench, lot(SPOT)),), spot=spot, initial_replicas=4)
    assert [zone for _, zone in in_each(world)] == ["a", "b", "a", "b"]


def test_where_no_zone_has_any_the_next_way_of_buying_is_taken(bench: Any) -> None:
    spot = market(a=[(600.0, 1800.0)])
    world = bench.world([], 900.0, kinds=(kind(bench, lot(SPOT), lot(ON_DEMAND)),), spot=spot)
    world.advance(700.0)
    world.order(1, "more")
    assert in_each(world) == [(ON_DEMAND, ""), (SPOT, "a")]


def test_where_only_spot_is_left_the_order_waits_unpaid_until_a_zone_has_some(bench: Any) -> None:
    spot = market(a=[(600.0, 1800.0)])
    world = bench.world([], 900.0, kinds=(kind(bench, lot(SPOT)),), spot=spot, initial_replicas=1)
    assert world.current == 0, "what cannot be had is not there at the start"
    world.advance(100.0)
    (name,) = world.order(1, "more")
    world.advance(599.0)
    assert (world.current, len(world.fleet.replicas)) == (1, 0)
    score = closed(world)
    assert world.stock.places[name].ordered_s == 100.0
    assert score.usd == pytest.approx(300 * 1.8 / 3600)
    assert score.series.current.tolist() == [0] * 6 + [1] * 54
    assert score.series.ready.tolist() == [0] * 43 + [1] * 17, "ready a start-up after the zone opened"


def test_nothing_is_to_be_had_of_what_is_about_to_be_taken(bench: Any) -> None:
    spot = market(notice_s=120.0, a=[(0.0, 300.0)])
    world = bench.world([], 900.0, kinds=(kind(bench, lot(SPOT)),), spot=spot, initial_replicas=0)
    world.advance(179.0)
    world.order(1, "in time")
    world.advance(180.0)
    world.order(1, "too late")
    assert (list(world.fleet.replicas), list(world.stock.waiting)) == (["r1"], ["r2"])


def test_an_order_that_waits_can_be_taken_back(bench: Any) -> None:
    world = bench.world([], 900.0, kinds=(kind(bench, lot(SPOT)),), spot=market(a=[(600.0, 1800.0)]))
    world.order(2, "more")
    world.scale_to(1, "fewer")
    assert list(world.stock.waiting) == ["r2"]
    world.dismiss(["r2"], "none")
    score = closed(world)
    assert (score.usd, world.losses) == (0, [])
    assert [(before, after) for _, before, after, _ in world.tape.moves] == [(0, 2), (2, 1), (1, 0)]


def test_a_recorded_market_begins_with_the_run_and_must_last_as_long() -> None:
    spot = market(a=[(600.0, 1800.0)]).over(86_400.0, 86_400.0 + 1800.0, seed=1)
    assert spot.up["a"].tolist() == [[87_000.0, 88_200.0]]
    assert (spot.available("a", 87_000.0), spot.next_begin_s(86_400.0)) == (True, 87_000.0)
    with pytest.raises(ValueError, match="does not last"):
        spot.over(0.0, 2000.0, seed=1)


def test_every_seed_draws_its_own_market_unless_one_is_named() -> None:
    zones = (SpotZone(name="a", region="x", mean_up_s=600.0, mean_down_s=600.0),)
    drawn = [SpotDraw(zones=zones).over(0.0, 36_000.0, seed).up["a"].tolist() for seed in (1, 1, 2)]
    named = [SpotDraw(zones=zones, seed=1).over(0.0, 36_000.0, seed).up["a"].tolist() for seed in (1, 2)]
    assert drawn[0] == drawn[1] == named[0] == named[1] != drawn[2]


# --- what is reserved, and several kinds


def test_what_is_reserved_is_paid_for_whether_it_is_used_or_not(bench: Any) -> None:
    kinds = (kind(bench, lot(RESERVED, 3), lot(ON_DEMAND)),)
    world = bench.world([(590.0, 10, 5000, 0)], 600.0, kinds=kinds, initial_replicas=1)  # busy until 640 s
    score = closed(world)
    assert spent(score) == {RESERVED: (3 * 600 + 40) * 3.6 / 3600}
    assert score.series.usd.sum() == pytest.approx(score.usd)
    assert score.idle_ratio == pytest.approx(1 - 50 / 1840)


def test_what_is_reserved_is_filled_first_and_freed_by_who_goes(bench: Any) -> None:
    kinds = (kind(bench, lot(RESERVED, 1), lot(ON_DEMAND)),)
    world = bench.world([], 600.0, kinds=kinds, initial_replicas=2)
    assert in_each(world) == [(RESERVED, ""), (ON_DEMAND, "")]
    world.dismiss(["r1"], "fewer")
    world.advance(10.0)
    world.order(1, "more")
    assert in_each(world) == [(ON_DEMAND, ""), (RESERVED, "")]


def test_an_order_waits_while_all_places_are_taken(bench: Any) -> None:
    kinds = (kind(bench, lot(ON_DEMAND, 1)),)
    world = bench.world([(0.0, 10, 5000, 0)], 600.0, kinds=kinds)  # 50 s of work
    world.advance(1.0)
    world.dismiss(["r1"], "out")
    world.order(1, "in")
    assert list(world.stock.waiting) == ["r2"]
    score = closed(world)
    assert score.usd == pytest.approx((50 + 540) * 7.2 / 3600), "tried again each interval"


def test_every_kind_has_its_own_engine_start_up_and_price(bench: Any) -> None:
    slow = replace(bench.CLOCKWORK, step=replace(bench.CLOCKWORK.step, base_s=0.04))
    kinds = (
        kind(bench, lot(ON_DEMAND)),
        kind(bench, lot(SPOT), name="l4", spec=slow, start_up=StartUp.fixed(30.0)),
    )
    world = bench.world([(200.0, 10, 101, 0)], 600.0, kinds=kinds, initial_replicas=1)
    world.order(1, "of the other", "l4")
    world.dismiss(["r1"], "no more of these")
    score = closed(world)
    assert [(one.variant, one.type) for one in score.paid] == [("h100", ON_DEMAND), ("l4", SPOT)]
    assert score.tpot_p50_s == pytest.approx(0.04, rel=0.02)
    assert score.series.ready[2] == 1


def test_a_closed_lot_takes_nobody_but_is_paid_for_when_it_is_reserved(bench: Any) -> None:
    first, second = kind(bench, lot(RESERVED, 1), lot(ON_DEMAND)), kind(bench, lot(RESERVED, 2), name="l4")
    kinds = (first.only([ON_DEMAND]), second.only([]))
    assert [one.room for one in kinds] == [np.inf, 0]
    score = closed(bench.world([], 600.0, kinds=kinds, initial_replicas=1))
    assert [one.usd for one in score.paid] == pytest.approx([0.6, 1.2, 1.2])

"""Whatever befalls replicas, no request is lost unsaid and no dollar made up."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.facts.fleet import CapacityType
from controller.simulate.failures import Failures
from controller.simulate.fleet import Finished
from controller.simulate.spot import SpotMarket
from controller.simulate.startup import StartUp
from controller.simulate.world import Case, Tape, World
from tests.simulate.bought import ON_DEMAND, RESERVED, SPOT, TIGHT, USD_PER_HOUR, closed, kind, lot, market


class Remembering(Tape):
    """Keeps what it is told, too."""

    def __init__(self, case: Case, start_s: float, end_s: float) -> None:
        super().__init__(case, start_s, end_s)
        self.parts: list[Finished] = []

    def finished(self, done: Finished) -> None:
        self.parts.append(done)
        super().finished(done)


Row = tuple[float, int, int, int]


@st.composite
def requests(draw: st.DrawFn) -> list[Row]:
    at_s, rows = 0.0, []
    for _ in range(draw(st.integers(0, 50))):
        at_s += draw(st.floats(0, 30, allow_nan=False))
        prompt = draw(st.integers(1, 2000))
        rows.append((at_s, prompt, draw(st.integers(1, 900)), draw(st.integers(0, prompt - 1))))
    return [row for row in rows if row[0] < 900]


@st.composite
def markets(draw: st.DrawFn) -> SpotMarket:
    """Up to three zones with runs of any length, and any notice."""
    up = {}
    for zone in "abc"[: draw(st.integers(1, 3))]:
        edges = sorted(draw(st.lists(st.floats(0, 900), max_size=8, unique=True)))
        up[zone] = [run for run in list(pairwise(edges))[::2] if run[1] > run[0]]
    return market(notice_s=draw(st.floats(0, 200)), **up)


PLAYS = st.lists(
    st.tuples(st.floats(0, 900, allow_nan=False), st.integers(0, 5), st.sampled_from(["h100", "l4"])), max_size=8
)


@settings(max_examples=80)
@given(
    rows=requests(),
    spot=markets(),
    play=PLAYS,
    mean_s=st.floats(50, 5000),
    failed=st.floats(0, 0.5),
    bounds=st.tuples(st.integers(0, 3), st.integers(0, 3)),
    seed=st.integers(0, 99),
)
def test_requests_and_dollars_are_conserved_whatever_befalls_whom(
    bench: Any,
    rows: list[Row],
    spot: SpotMarket,
    play: list[tuple[float, int, str]],
    mean_s: float,
    failed: float,
    bounds: tuple[int, int],
    seed: int,
) -> None:
    start_up = StartUp.around(80.0)
    kinds = (
        kind(bench, lot(RESERVED, bounds[0]), lot(SPOT), lot(ON_DEMAND, bounds[1]), spec=TIGHT, start_up=start_up),
        kind(bench, lot(SPOT), name="l4", spec=replace(TIGHT, max_sequences=8), start_up=start_up),
    )
    failures = Failures(mean_s=mean_s, failed_start_ratio=failed)
    world = bench.world(rows, 900.0, seed=seed, kinds=kinds, spot=spot, failures=failures, initial_replicas=2)
    world.tape = Remembering(world.case, 0.0, 900.0)
    for at_s, desired, name in sorted(play):
        world.advance(at_s)
        if desired > world.current:
            world.order(desired - world.current, "somebody said so", name)
        else:
            world.scale_to(desired, "somebody said so")
    score = closed(world)
    answered = np.concatenate([part.number for part in world.tape.parts] or [np.empty(0, np.int64)])
    assert score.requests == len(rows) == score.finished + score.dropped
    assert len(set(answered.tolist())) == len(answered) == score.finished
    assert score.output_tokens == sum(rows[number][2] for number in answered)
    assert score.within_slo <= score.finished - len(set(answered.tolist()) & set(world.tape.lost_numbers.tolist()))
    assert score.within_slo == score.series.within_slo.sum()
    assert world.fleet.in_flight == 0
    assert score.usd == pytest.approx(sum(by_hand(world).values()))
    assert {one.type for one in score.paid} >= {bought for bought, usd in by_hand(world).items() if usd}
    assert score.series.usd.sum() == pytest.approx(score.usd)
    assert len(spot_gone_late(world, spot)) == 0


def by_hand(world: World) -> dict[CapacityType, float]:
    """The bill, replica-second by replica-second."""
    seconds = dict.fromkeys(CapacityType, 0.0)
    for one in world.fleet.gone:
        bought = world.stock.places[one.name].bought
        begin_s = max(one.created_s, world.end_s) if bought.committed else one.created_s
        seconds[bought.type] += max(0.0, one.ended_s - begin_s)
    committed = sum(one.committed for each in world.case.kinds for one in each.lots)
    seconds[RESERVED] += committed * (world.end_s - world.start_s)
    return {bought: some * USD_PER_HOUR[bought] / 3600 for bought, some in seconds.items()}


def spot_gone_late(world: World, spot: SpotMarket) -> list[str]:
    """Replicas on spot that were there outside their zone's time."""
    late = []
    for one in world.fleet.gone:
        zone = world.stock.places[one.name].zone
        inside = zone == "" or any(
            begin <= one.created_s and min(one.ended_s, world.end_s) <= end + 1e-6 for begin, end in spot.up[zone]
        )
        late += [] if inside else [one.name]
    return late

"""The search finds what trying everything finds, keeps the attainment, and reads what replays tell about blocks."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from controller.facts.missing import Missing
from controller.simulate.bracket.blocks import BLOCK_SLOTS, Blocks
from controller.simulate.bracket.clairvoyant import clairvoyant
from controller.simulate.score import RunScore, Series

Counts = NDArray[np.int64]
NONE = Missing("latency", "a fluid has none")


def score_of(wanted: Counts, come: Counts, within: Counts, lead: int) -> RunScore:
    """A bill of one dollar a replica and slot, ordered ``lead`` slots ahead."""
    slots = len(come)
    billed = np.array([wanted[slot : slot + lead + 1].max() for slot in range(slots)])
    return RunScore(
        controller="fluid",
        trace="toy",
        seed=0,
        hours=slots / 60,
        usd=float(billed.sum()),
        replica_hours=float(billed.sum()) / 60,
        requests=int(come.sum()),
        finished=int(come.sum()),
        dropped=0,
        within_slo=int(within.sum()),
        within_ttft=int(within.sum()),
        within_tpot=int(within.sum()),
        worst_five_minutes_ratio=NONE,
        ttft_p50_s=NONE,
        ttft_p99_s=NONE,
        tpot_p50_s=NONE,
        tpot_p99_s=NONE,
        prompt_tokens=0,
        output_tokens=0,
        preemptions=0,
        moves=(),
        reversals=0,
        idle_ratio=0.0,
        forecast_error_ratio=NONE,
        pass_s=NONE,
        wall_s=0.0,
        series=Series(
            time_s=60.0 * np.arange(1, slots + 1, dtype=np.float64),
            arrivals_per_s=come / 60,
            ready=wanted.astype(np.int32),
            current=wanted.astype(np.int32),
            waiting=np.zeros(slots, np.int32),
            within_slo=within.astype(np.int32),
            judged=come.astype(np.int32),
            usd=billed.astype(np.float64),
        ),
    )


def fluid(come: Counts, per_replica: int, lead: int = 0) -> Callable[[Counts], RunScore]:
    """First come first served; whoever is not served in the slot of its arrival misses and is served later."""

    def replay(wanted: Counts) -> RunScore:
        within = np.zeros(len(come), np.int64)
        queue = 0
        for slot, arrived in enumerate(come):
            room = int(wanted[slot]) * per_replica - queue
            queue = max(0, arrived - room)
            within[slot] = np.clip(room, 0, arrived)
        return score_of(wanted, come, within, lead)

    return replay


def blocks_of(levels: list[int]) -> Counts:
    return np.repeat(np.array(levels, np.int64), BLOCK_SLOTS)


@pytest.mark.parametrize(
    ("levels", "alpha", "lead"),
    [
        ([100, 300, 200], 0.99, 0),
        ([100, 300, 200], 0.9, 0),
        ([100, 310, 120], 0.95, 0),
        ([150, 150, 350, 40], 0.9, 0),
        ([100, 300, 200], 0.95, 2),
        ([220, 90, 220], 0.99, 10),
    ],
)
def test_on_small_cases_it_finds_what_trying_everything_finds(levels: list[int], alpha: float, lead: int) -> None:
    come = blocks_of(levels)
    replay = fluid(come, 100, lead)
    everything = (replay(blocks_of(list(counts))) for counts in product(range(1, 5), repeat=len(levels)))
    least = min(score.usd for score in everything if score.within_slo >= alpha * score.requests)
    found = clairvoyant(come / 60, replay, alpha=alpha, capacity_per_s=100 / 60, least=1, lead_s=60.0 * lead)
    assert found.score.usd <= least
    assert found.score.within_slo >= alpha * found.score.requests


@settings(max_examples=30)
@given(st.lists(st.integers(0, 900), min_size=3, max_size=40), st.sampled_from([0.9, 0.99]), st.integers(0, 12))
def test_whatever_comes_the_attainment_is_kept_for_no_more_than_the_peak_fleet(
    come: list[int], alpha: float, lead: int
) -> None:
    arrivals = np.array(come, np.int64)
    replay = fluid(arrivals, 100, lead)
    found = clairvoyant(
        arrivals / 60, replay, alpha=alpha, capacity_per_s=100 / 60, least=1, rounds=2, lead_s=60 * lead
    )
    peak = max(1, -(-int(arrivals.max()) // 100))
    assert found.score.within_slo >= alpha * found.score.requests
    assert found.score.usd <= replay(np.full(len(come), peak)).usd
    assert (found.wanted >= 1).all()
    assert replay(found.wanted).usd == found.score.usd


def test_it_says_so_when_no_number_of_replicas_is_enough() -> None:
    come = blocks_of([100, 200])

    def hopeless(wanted: Counts) -> RunScore:
        return score_of(wanted, come, come * 0, 0)

    with pytest.raises(ValueError, match=r"no schedule reaches 99\.0%: at 0\.42 requests/s a replica"):
        clairvoyant(come / 60, hopeless, alpha=0.99, capacity_per_s=100 / 60, least=1)


def test_a_capacity_far_too_high_is_corrected_before_anything_else() -> None:
    come = blocks_of([300, 600, 300])
    found = clairvoyant(come / 60, fluid(come, 100), alpha=0.99, capacity_per_s=300 / 60, least=1)
    assert found.score.usd <= 120 + 3  # 3, 6 and 3 replicas for ten slots each; the six a slot early


def known(rows: list[tuple[list[int], list[float]]], lead: int = 0) -> Blocks:
    blocks = Blocks(len(rows[0][0]) * BLOCK_SLOTS, lead)
    for levels, misses in rows:
        blocks.saw(blocks_of(levels), np.array(misses))
    return blocks


def test_the_allowed_misses_are_spent_where_they_save_most() -> None:
    blocks = known([([3, 3], [0, 0]), ([2, 2], [5, 50]), ([1, 1], [200, 60])])
    assert [blocks.cheapest(allowed)[0][::BLOCK_SLOTS].tolist() for allowed in (0, 5, 65)] == [[3, 3], [2, 3], [2, 1]]
    assert blocks.cheapest(65)[1] == 65


def test_when_nothing_keeps_what_is_allowed_the_fewest_misses_are_taken() -> None:
    wanted, expected = known([([2, 2], [5, 50]), ([1, 1], [200, 60])]).cheapest(10)
    assert (wanted[0], wanted[-1], expected) == (2, 2, 55)


def test_a_replica_that_is_needed_again_within_its_start_up_saves_nothing_meanwhile() -> None:
    rows = [([3, 3, 3], [0.0, 0.0, 0.0]), ([3, 2, 3], [0.0, 4.0, 0.0])]
    assert known(rows, lead=4).cheapest(10)[0][BLOCK_SLOTS] == 2
    assert known(rows, lead=10).cheapest(10)[1] == 0  # nothing is saved, so nobody misses for it

"""In the simulated world every replica-second is billed, every request is judged, and nothing is lost or made up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.facts.slo import LatencyTarget, Slo
from controller.simulate.fleet import GIVE_UP_S, Finished
from controller.simulate.score import RunScore
from controller.simulate.scoring import scored
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100
from controller.simulate.world import Case, Judge, Tape, World

USD_PER_S = 7.2 / 3600
TIGHT = replace(LLAMA_70B_FP8_2XH100, kv_capacity_tokens=4000, max_model_len=3000, token_budget=256, max_sequences=16)


def closed(world: World) -> RunScore:
    world.advance(world.end_s)
    world.close()
    return scored(world, "by hand", 0)


def bill_s(score: RunScore) -> float:
    """Seconds that were billed."""
    return score.usd / USD_PER_S


# --- the bill


def test_a_replica_that_idles_all_the_time_is_billed_from_the_first_second_to_the_last(bench: Any) -> None:
    assert bill_s(closed(bench.world([], 300.0, initial_replicas=3))) == pytest.approx(900)


def test_start_up_is_billed_from_the_order(bench: Any) -> None:
    world = bench.world([], 300.0)
    world.advance(100.0)
    world.order(1, "more")
    assert bill_s(closed(world)) == pytest.approx(300 + 200)


def test_what_is_dismissed_while_it_starts_is_billed_until_then(bench: Any) -> None:
    world = bench.world([], 300.0)
    world.advance(100.0)
    names = world.order(1, "more")
    world.advance(130.0)
    world.dismiss(names, "fewer")
    assert bill_s(closed(world)) == pytest.approx(300 + 30)


def test_draining_is_billed_until_the_last_token(bench: Any) -> None:
    world = bench.world([(0.0, 10, 5000, 0)], 300.0, initial_replicas=2)  # 50 s of work for r1
    world.advance(20.0)
    world.dismiss(["r1"], "fewer")
    assert bill_s(closed(world)) == pytest.approx(300 + 50)


def test_work_left_at_the_end_is_finished_and_billed(bench: Any) -> None:
    score = closed(bench.world([(290.0, 10, 5000, 0)], 300.0))
    assert (score.finished, bill_s(score)) == (1, pytest.approx(340))


def test_the_last_interval_of_the_series_carries_what_is_billed_after_the_end(bench: Any) -> None:
    series = closed(bench.world([(290.0, 10, 5000, 0)], 300.0)).series
    assert (series.usd / USD_PER_S).tolist() == pytest.approx([15.0] * 19 + [15 + 40])


def test_each_interval_of_the_series_is_billed_for_who_was_there_in_it(bench: Any) -> None:
    world = bench.world([], 60.0)
    world.advance(20.0)
    names = world.order(2, "more")
    world.advance(40.0)
    world.dismiss(names, "fewer")
    series = closed(world).series
    assert (series.usd / USD_PER_S).tolist() == pytest.approx([15, 15 + 20, 15 + 20, 15])
    assert series.current.tolist() == [1, 3, 1, 1]
    assert series.ready.tolist() == [1, 1, 1, 1]


# --- the judgement


def finished(rows: Sequence[tuple[float, float, int, int]]) -> Finished:
    """(TTFT, TPOT, prompt, output) of requests sent at 0."""
    ttft, tpot, prompt, output = (np.array(column) for column in zip(*rows, strict=True))
    return Finished(
        number=np.arange(len(rows)),
        sent_s=np.zeros(len(rows)),
        first_token_s=ttft,
        finished_s=ttft + tpot * (output - 1),
        prompt_tokens=prompt,
        output_tokens=output,
        preemptions=np.zeros(len(rows), np.int64),
    )


@pytest.mark.parametrize(
    ("judge", "request_", "verdict"),
    [
        (Judge(ttft_s=2.0, tpot_s=0.05), (1.9, 0.04, 100, 11), (True, True)),
        (Judge(ttft_s=2.0, tpot_s=0.05), (2.0, 0.05, 100, 2), (True, True)),
        (Judge(ttft_s=2.0, tpot_s=0.05), (2.1, 0.04, 100, 11), (False, True)),
        (Judge(ttft_s=2.0, tpot_s=0.05), (1.9, 0.06, 100, 11), (True, False)),
        (Judge(ttft_s=2.0, tpot_s=0.05), (1.9, 9.99, 100, 1), (True, True)),
        (Judge(ttft_s=None, tpot_s=0.05), (99.0, 0.04, 100, 11), (True, True)),
        (Judge(ttft_s=2.0, tpot_s=None), (1.9, 9.0, 100, 11), (True, True)),
        (Judge(ttft_s=2.0, tpot_s=None, long_prompt_tokens=8000, long_ttft_s=5.0), (4.9, 0.1, 8001, 11), (True, True)),
        (Judge(ttft_s=2.0, tpot_s=None, long_prompt_tokens=8000, long_ttft_s=5.0), (4.9, 0.1, 8000, 11), (False, True)),
    ],
)
def test_a_request_is_judged_by_both_latencies(judge: Judge, request_: Any, verdict: tuple[bool, bool]) -> None:
    in_ttft, in_tpot = judge.verdicts(finished([request_]))
    assert (in_ttft[0], in_tpot[0]) == verdict


def test_a_judge_takes_the_bounds_of_the_slo() -> None:
    slo = Slo(ttft=LatencyTarget(quantile=0.99, seconds=1.5), tpot=None)
    assert Judge.of(slo) == Judge(ttft_s=1.5, tpot_s=None)


def test_a_request_that_waited_too_long_for_a_replica_is_a_miss(bench: Any) -> None:
    world = bench.world([(0.5, 10, 5, 0), (10.0, 10, 5, 0), (70.0, 10, 5, 0)], 200.0, initial_replicas=0)
    world.order(1, "at last")  # ready at 60 s
    score = closed(world)
    assert (score.requests, score.finished, score.dropped) == (3, 3, 0)
    assert (score.within_slo, score.within_tpot) == (1, 3)
    assert score.attainment_ratio == pytest.approx(1 / 3)


def test_a_client_gives_up_even_when_a_replica_gets_ready_before_anybody_looks(bench: Any) -> None:
    world = bench.world([(0.0, 10, 5, 0), (20.0, 10, 5, 0)], 200.0, initial_replicas=0)
    world.advance(GIVE_UP_S - 55.0)
    world.order(1, "at last")  # ready at 65 s, in the middle of an interval of the series
    score = closed(world)
    assert (score.requests, score.finished, score.dropped, score.within_slo) == (2, 1, 1, 0)


def test_what_still_waits_for_a_replica_at_the_end_is_turned_away_and_a_miss(bench: Any) -> None:
    world = bench.world([(190.0, 10, 5, 0)], 200.0, initial_replicas=0)
    world.advance(195.0)
    world.order(1, "too late")
    score = closed(world)
    assert (score.requests, score.finished, score.dropped, score.within_slo) == (1, 0, 1, 0)


def test_requests_are_judged_in_the_interval_of_their_arrival(bench: Any) -> None:
    rows = [(14.9, 10, 3000, 0), (15.1, 10, 5, 0), (31.0, 10, 5, 0)]
    series = closed(bench.world(rows, 60.0)).series
    assert series.judged.tolist() == [1, 1, 1, 0]
    assert series.within_slo.tolist() == [1, 1, 1, 0]
    assert series.arrivals_per_s.tolist() == pytest.approx([1 / 15, 1 / 15, 1 / 15, 0])


# --- conservation


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
def plays(draw: st.DrawFn) -> tuple[list[Row], list[tuple[float, int]]]:
    """Requests over ten minutes, and what the fleet is scaled to when."""
    at_s, rows = 0.0, []
    for _ in range(draw(st.integers(0, 60))):
        at_s += draw(st.floats(0, 20, allow_nan=False))
        prompt = draw(st.integers(1, 2000))
        rows.append((at_s, prompt, draw(st.integers(1, 900)), draw(st.integers(0, prompt - 1))))
    moves = draw(st.lists(st.tuples(st.floats(0, 600, allow_nan=False), st.integers(0, 5)), max_size=8))
    return [row for row in rows if row[0] < 600], sorted(moves)


@settings(max_examples=60)
@given(play=plays(), initial=st.integers(0, 3))
def test_requests_tokens_and_dollars_are_conserved_whatever_is_done(
    bench: Any, play: tuple[list[Row], list[tuple[float, int]]], initial: int
) -> None:
    rows, moves = play
    start_up = StartUp.around(80.0)
    world = bench.world(rows, 600.0, seed=3, spec=TIGHT, initial_replicas=initial, start_up=start_up)
    world.tape = Remembering(world.case, 0.0, 600.0)
    for at_s, desired in moves:
        world.advance(at_s)
        world.scale_to(desired, "somebody said so")
    score = closed(world)
    answered = np.concatenate([part.number for part in world.tape.parts] or [np.empty(0, np.int64)])
    assert score.requests == len(rows) == score.finished + score.dropped == score.series.judged.sum()
    assert len(set(answered.tolist())) == len(answered) == score.finished
    assert score.prompt_tokens == sum(rows[number][1] for number in answered)
    assert score.output_tokens == sum(rows[number][2] for number in answered)
    assert score.within_slo == score.series.within_slo.sum() <= min(score.within_ttft, score.within_tpot)
    assert score.usd == pytest.approx(sum(one.ended_s - one.created_s for one in world.fleet.gone) * USD_PER_S)
    assert score.series.usd.sum() == pytest.approx(score.usd, rel=1e-12)
    assert score.replica_hours * 7.2 == pytest.approx(score.usd)
    assert world.fleet.in_flight == 0
    assert 0 <= score.idle_ratio <= 1


@settings(max_examples=30)
@given(play=plays(), cuts=st.lists(st.floats(0, 600, allow_nan=False), max_size=8))
def test_looking_at_the_world_in_between_changes_nothing(bench: Any, play: Any, cuts: list[float]) -> None:
    """At latencies: the judge's bins, and who was counted when."""
    whole, parts = (bench.world(play[0], 600.0, spec=TIGHT, initial_replicas=2) for _ in range(2))
    for cut_s in sorted(cuts):
        parts.advance(cut_s)
    one, other = closed(whole), closed(parts)
    assert other.finished == one.finished
    assert other.usd == pytest.approx(one.usd)
    assert other.series.within_slo.tolist() == one.series.within_slo.tolist()
    assert other.series.waiting.tolist() == one.series.waiting.tolist()


# --- the seed, and who goes


def starts(world: World) -> list[float]:
    world.order(4, "more")
    return [one.ready_s - one.created_s for one in world.fleet.replicas.values()][1:]


def test_the_seed_draws_the_start_up_times(bench: Any) -> None:
    first, again, other = (
        starts(bench.world([], 60.0, seed=seed, start_up=StartUp.around(200.0))) for seed in (1, 1, 2)
    )
    assert first == again
    assert not set(first) & set(other)
    assert all(150 <= seconds <= 250 for seconds in first)


def test_fewer_replicas_are_first_those_that_start_then_the_youngest(bench: Any) -> None:
    world = bench.world([], 600.0, initial_replicas=2)
    world.advance(10.0)
    world.order(1, "more")  # r3, ready at 70 s
    world.advance(100.0)
    world.order(2, "more")  # r4 and r5 start
    world.scale_to(3, "fewer")
    assert [one.name for one in world.alive] == ["r1", "r2", "r3"]
    world.scale_to(2, "fewer")
    assert [one.name for one in world.alive] == ["r1", "r2"]
    assert [(at, before, after) for at, before, after, _ in world.tape.moves] == [
        (10.0, 2, 3),
        (100.0, 3, 5),
        (100.0, 5, 3),
        (100.0, 3, 2),
    ]


def test_staying_is_no_move(bench: Any) -> None:
    world = bench.world([], 60.0)
    world.scale_to(1, "as before")
    assert world.tape.moves == []

"""From what happened in a simulated world to its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from controller.facts.missing import Missing
from controller.simulate.score import Move, Number, RunScore, Series
from controller.simulate.world import HOUR_S, Tape, World

FIVE_MINUTES_S = 300.0
LEAST_REQUESTS = 20
"""Five minutes with fewer requests say nothing about a share of 99 %."""

REVERSAL_S = 600.0


def scored(
    world: World,
    controller: str,
    seed: int,
    *,
    settings: Mapping[str, float] | None = None,
    forecast_error_ratio: Number | None = None,
    pass_s: Number | None = None,
    wall_s: float = 0.0,
) -> RunScore:
    """The score of a world that was closed: every replica is gone and was billed from its order to its end."""
    if world.fleet.replicas:
        raise ValueError("close the world before it is scored: replicas are still running")
    tape, case = world.tape, world.case
    billed_s = sum(one.ended_s - one.created_s for one in world.fleet.gone)
    busy_s = sum(one.busy_s for one in world.fleet.gone)
    moves = tuple(Move(at_s=at, before=before, after=after, reason=why) for at, before, after, why in tape.moves)
    within_ttft, within_tpot, within_both = (int(column) for column in tape.within.sum(axis=0))
    return RunScore(
        controller=controller,
        trace=case.name,
        seed=seed,
        settings=dict(settings or {}),
        hours=(world.end_s - world.start_s) / HOUR_S,
        usd=billed_s / HOUR_S * case.usd_per_replica_hour,
        replica_hours=billed_s / HOUR_S,
        requests=int(tape.come.sum()),
        finished=tape.done,
        dropped=world.fleet.dropped,
        within_slo=within_both,
        within_ttft=within_ttft,
        within_tpot=within_tpot,
        worst_five_minutes_ratio=_worst(tape),
        ttft_p50_s=_quantile("ttft_p50_s", tape.ttft_bins, tape.edges, 0.5),
        ttft_p99_s=_quantile("ttft_p99_s", tape.ttft_bins, tape.edges, 0.99),
        tpot_p50_s=_quantile("tpot_p50_s", tape.tpot_bins, tape.edges, 0.5),
        tpot_p99_s=_quantile("tpot_p99_s", tape.tpot_bins, tape.edges, 0.99),
        prompt_tokens=tape.prompt_tokens,
        output_tokens=tape.output_tokens,
        preemptions=tape.preemptions,
        moves=moves,
        reversals=reversals(moves),
        idle_ratio=max(0.0, 1 - busy_s / billed_s) if billed_s else 0.0,
        forecast_error_ratio=_or_missing(forecast_error_ratio, "forecast error", "this controller forecasts nothing"),
        pass_s=_or_missing(pass_s, "pass time", "not measured"),
        wall_s=wall_s,
        series=_series(world),
    )


def reversals(moves: Sequence[Move]) -> int:
    """Moves against the direction of one in the ten minutes before."""
    found, latest = 0, {True: -np.inf, False: -np.inf}  # by direction: when it was last moved in
    for move in moves:
        grew = move.after > move.before
        found += move.at_s - latest[not grew] <= REVERSAL_S
        latest[grew] = move.at_s
    return found


def _or_missing(value: Number | None, what: str, why: str) -> Number:
    return Missing(what, why) if value is None else value


def _series(world: World) -> Series:
    tape, case = world.tape, world.case
    rows = len(tape.come)
    edges: NDArray[np.float64] = world.start_s + case.interval_s * np.arange(rows + 1, dtype=np.float64)
    billed_s = np.zeros(rows)
    for one in world.fleet.gone:
        billed_s += np.clip(np.minimum(one.ended_s, edges[1:]) - np.maximum(one.created_s, edges[:-1]), 0, None)
        billed_s[-1] += max(0.0, one.ended_s - max(one.created_s, edges[-1]))  # what is finished after the last arrival
    return Series(
        time_s=edges[1:],
        arrivals_per_s=tape.come / case.interval_s,
        ready=tape.ready,
        current=tape.current,
        waiting=tape.waiting,
        within_slo=tape.within[:, 2].astype(np.int32),
        judged=tape.come.astype(np.int32),
        usd=billed_s / HOUR_S * case.usd_per_replica_hour,
    )


def _worst(tape: Tape) -> Number:
    span = max(1, round(FIVE_MINUTES_S / tape.case.interval_s))
    if len(tape.come) < span:
        return Missing("worst five minutes", "the run is shorter than five minutes")
    come = np.convolve(tape.come, np.ones(span, np.int64), "valid")
    within = np.convolve(tape.within[:, 2], np.ones(span, np.int64), "valid")
    judged = come >= LEAST_REQUESTS
    if not judged.any():
        return Missing("worst five minutes", f"no five minutes saw {LEAST_REQUESTS} requests")
    return float((within[judged] / come[judged]).min())


def _quantile(what: str, bins: NDArray[np.int64], edges: NDArray[np.float64], q: float) -> Number:
    upto = np.cumsum(bins)
    if upto[-1] == 0:
        return Missing(what, "nothing finished that has one")
    place = int(np.searchsorted(upto, q * upto[-1]))
    return float(edges[min(place, len(edges) - 1)])

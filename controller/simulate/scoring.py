"""From what happened in a simulated world to its score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from controller.facts.missing import Missing
from controller.simulate.bill import Account, accounts, edges_of
from controller.simulate.score import Move, Number, Paid, RunScore, Series
from controller.simulate.stock import Mishap
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
    held: int = 0,
) -> RunScore:
    """The score of a world that was closed: every replica is gone and was billed from its order to its end."""
    if world.fleet.replicas:
        raise ValueError("close the world before it is scored: replicas are still running")
    tape, case = world.tape, world.case
    billed = accounts(world)
    billed_s = sum(one.seconds for one in billed)
    busy_s = sum(one.busy_s for one in world.fleet.gone)
    moves = tuple(Move(at_s=at, before=before, after=after, reason=why) for at, before, after, why in tape.moves)
    within_ttft, within_tpot, within_both = (int(column) for column in tape.within.sum(axis=0))
    return RunScore(
        controller=controller,
        trace=case.name,
        seed=seed,
        settings=dict(settings or {}),
        hours=(world.end_s - world.start_s) / HOUR_S,
        usd=sum(one.usd for one in billed),
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
        series=_series(world, billed),
        paid=tuple(
            Paid(variant=one.kind.name, type=one.lot.type, replica_hours=one.seconds / HOUR_S, usd=one.usd)
            for one in billed
        ),
        interruptions=_befell(world, Mishap.NOTICE),
        failures=_befell(world, Mishap.CRASH, Mishap.FAILED_START),
        lost=len(tape.lost_numbers),
        held=held,
    )


def _befell(world: World, *mishaps: Mishap) -> int:
    return sum(loss.mishap in mishaps for loss in world.losses)


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


def _series(world: World, billed: Sequence[Account]) -> Series:
    tape, case = world.tape, world.case
    return Series(
        time_s=edges_of(world)[1:],
        arrivals_per_s=tape.come / case.interval_s,
        ready=tape.ready,
        current=tape.current,
        waiting=tape.waiting,
        within_slo=tape.within[:, 2].astype(np.int32),
        judged=tape.come.astype(np.int32),
        usd=sum((one.usd_by_interval for one in billed), np.zeros(len(tape.come))),
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

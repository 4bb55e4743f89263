"""What is played: a load, two ways of buying the same replica, and markets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from benchmarks.contest.cases import Ground
from benchmarks.contest.cases import stage as stage_of
from benchmarks.contest.cases import workload as workload_of
from benchmarks.spot.sky import sky_of
from controller.backtest.run import OURS, Entrant, Stage, play
from controller.decide.rules import ServicePolicy
from controller.facts.fleet import Capacity, CapacityType, Fleet, Service
from controller.simulate.buying import Kind, Lot
from controller.simulate.score import RunScore
from controller.simulate.scoring import scored
from controller.simulate.spot import AWS_ZONES, NOTICE_S, SpotDraw, SpotMarket
from controller.simulate.workload.blocks import BlockWorkload
from controller.simulate.world import World

SPOT, ON_DEMAND = "spot", "on-demand"

SPOT_RATIO = 0.4
"""Of the on-demand price: spot of GPUs is listed 50 to 70 % below."""

Market = SpotMarket | SpotDraw

ZONES = {
    "five zones": tuple(one for one in AWS_ZONES if one.region in ("us-east-2", "us-west-2")),
    "one region": tuple(one for one in AWS_ZONES if one.region == "us-east-2"),
}
"""Drawn with the rates and correlations fitted to 45 days of probes, see controller/simulate/spot.py."""


def drawn(zones: str) -> Market:
    return SpotDraw(zones=ZONES[zones], notice_s=NOTICE_S["aws"])


def window(market: SpotMarket, begin_s: float, span_s: float) -> SpotMarket:
    """``span_s`` of a recorded market from ``begin_s`` of its own time."""
    start_s = market.start_s + begin_s
    end_s = start_s + span_s
    if end_s > market.end_s:
        raise ValueError(f"the record ends after {(market.end_s - market.start_s) / 3600:.0f} h")
    up = {
        zone: np.clip(runs[(runs[:, 1] > start_s) & (runs[:, 0] < end_s)], start_s, end_s)
        for zone, runs in market.up.items()
    }
    return replace(market, start_s=start_s, end_s=end_s, up=up)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything but who plays."""

    stage: Stage
    workload: BlockWorkload
    seed: int


def scene(ground: Ground, market: Market, seed: int) -> Scene:
    """Two variants, the same but for how they are bought. All begin on demand."""
    plain = stage_of(ground, seed)
    case, (variant,) = plain.case, plain.fleet.services["chat"].variants.values()
    usd = {ON_DEMAND: case.usd_per_replica_hour, SPOT: SPOT_RATIO * case.usd_per_replica_hour}
    types = {ON_DEMAND: CapacityType.ON_DEMAND, SPOT: CapacityType.SPOT}
    kinds = tuple(
        Kind(
            name=name,
            spec=case.spec,
            start_up=case.start_up,
            lots=(Lot(type=types[name], usd_per_replica_hour=usd[name]),),
            gpus_per_replica=variant.gpus_per_replica,
        )
        for name in (ON_DEMAND, SPOT)
    )
    variants = {
        name: replace(
            variant,
            name=name,
            capacity=(Capacity(type=types[name], usd_per_gpu_hour=usd[name] / variant.gpus_per_replica),),
        )
        for name in (ON_DEMAND, SPOT)
    }
    service = Service(name="chat", model=plain.fleet.services["chat"].model, variants=variants)
    stage = replace(
        plain,
        case=replace(case, kinds=kinds, spot=market),
        fleet=Fleet(services={"chat": service}),
        policy=replace(plain.policy, spot_allowed=True),
    )
    return Scene(stage=stage, workload=workload_of(ground, seed), seed=seed)


# --- who plays --------------------------------------------------------------------------------------------------------


def _ours(on: Scene, policy: ServicePolicy) -> RunScore:
    entrant = Entrant(name=OURS, policy=policy)
    return play(on.stage, on.workload, entrant, on.seed)


def ours(on: Scene) -> RunScore:
    """As it ships, spot allowed."""
    return _ours(on, on.stage.policy)


def without_spare(on: Scene) -> RunScore:
    """The same with no more spot than is wanted."""
    return _ours(on, replace(on.stage.policy, spot=replace(on.stage.policy.spot, spare=False)))


def on_demand(on: Scene) -> RunScore:
    """The same without spot."""
    return _ours(on, replace(on.stage.policy, spot_allowed=False))


def skyserve(on: Scene) -> RunScore:
    """Its rule, see sky.py."""
    began = time.perf_counter()
    world = World(on.stage.case, on.workload.again(), on.seed)
    limits = on.stage.policy.replicas
    carries = on.stage.profile.requests_per_s
    sky_of(world, carries, max(1, limits.min_replicas), limits.max_replicas, (SPOT, ON_DEMAND)).play()
    return scored(world, "skyserve", on.seed, wall_s=time.perf_counter() - began)


PLAYERS: dict[str, Callable[[Scene], RunScore]] = {
    "pennyweight": ours,
    "without a spare": without_spare,
    "skyserve": skyserve,
    "on demand only": on_demand,
}


# --- what is told -----------------------------------------------------------------------------------------------------


def ready_ratio(score: RunScore, requests_per_s: float) -> float:
    """Share of the time in which as many replicas were ready as the last minute's requests needed at their best."""
    series = score.series
    per_minute = max(1, round(60 / float(series.time_s[1] - series.time_s[0])))
    rate = np.convolve(series.arrivals_per_s, np.ones(per_minute) / per_minute)[: len(series.arrivals_per_s)]
    needed = np.array([ceil(one / requests_per_s) for one in rate])
    return float(np.mean(series.ready >= needed))


def share_on_spot(score: RunScore) -> float:
    """Of the replica-hours."""
    hours = {paid.type: paid.replica_hours for paid in score.paid}
    return hours.get(CapacityType.SPOT, 0.0) / max(sum(hours.values()), 1e-9)


def mean_and_range(values: Sequence[float], form: str) -> str:
    mean = format(float(np.mean(values)), form)
    low, high = format(min(values), form), format(max(values), form)
    return mean if low == high else f"{mean} ({low} to {high})"

"""What may befall rented replicas: failures, and a spot market that gives and takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf
from pathlib import Path

from controller.backtest.asked import SpotAsked
from controller.backtest.choice import Wares, bought_by
from controller.backtest.tracefile import read_spot
from controller.backtest.words import many, percent, span
from controller.decide.rules import ServicePolicy
from controller.documents import nearest
from controller.errors import ConfigError, Problem
from controller.facts.fleet import Capacity, CapacityType
from controller.quantities import duration_text
from controller.simulate.failures import GPU_HOURS_BETWEEN_FAILURES, Failures
from controller.simulate.spot import AWS_ZONES, NOTICE_S, SpotDraw, SpotMarket

USUAL_PROVIDER, USUAL_REGION = "aws", "us-east-2"
"""Where no offer says. A guess: of the three regions with a record, the one in the middle: spot can be had 72 % of the
time."""


def market_of(
    asked: SpotAsked, wares: Sequence[Wares], policies: Sequence[ServicePolicy], span_s: float
) -> SpotMarket | SpotDraw | None:
    """For a replay of ``span_s``; None where no policy may buy spot. Raises ConfigError."""
    bought = _spot(wares, policies)
    if not bought:
        if asked.said:
            message = (
                "nothing is bought on spot: expected a fleet file with capacity of type spot, and a policy with"
                " capacity_mix: {spot: {allow: true}}; prices in options make all capacity on demand"
            )
            raise ConfigError([Problem(", ".join(asked.said), 0, 0, "", message)])
        return None
    provider, region = _place(bought)
    notice_s = NOTICE_S.get(provider, NOTICE_S[USUAL_PROVIDER]) if asked.notice_s is None else asked.notice_s
    if asked.trace is not None:
        return _recorded(asked.trace, asked.zones, notice_s, span_s)
    here = asked.zones or tuple({region} & {one.region for one in AWS_ZONES}) or (USUAL_REGION,)
    names = _named(here, [one.name for one in AWS_ZONES])
    return SpotDraw(zones=tuple(one for one in AWS_ZONES if one.name in names), notice_s=notice_s, seed=asked.seed)


def _spot(wares: Sequence[Wares], policies: Sequence[ServicePolicy]) -> list[Capacity]:
    return [
        offer.capacity
        for one in wares
        for offer in one.offers
        if offer.capacity.type is CapacityType.SPOT
        and any(CapacityType.SPOT in bought_by(policy, one.variant.name) for policy in policies)
    ]


def _place(bought: Sequence[Capacity]) -> tuple[str, str]:
    """Provider and region of the first offer that is named."""
    offer = next((one.offer for one in bought if one.offer), "")
    provider, region, *_ = [*offer.split("/"), "", ""]
    return provider, region


def _recorded(path: Path, zones: tuple[str, ...], notice_s: float, span_s: float) -> SpotMarket:
    market = read_spot(path, notice_s)
    if zones:
        names = _named(zones, market.zones)
        market = replace(market, up={name: runs for name, runs in market.up.items() if name in names})
    lasts_s = market.end_s - market.start_s
    if lasts_s < span_s:
        told = f"{path} lasts {span(lasts_s / 3600)}, {span(span_s / 3600)} are replayed; replay less with --to"
        raise ConfigError([Problem("--spot-trace", 0, 0, "", told)])
    return market


def _named(wanted: Sequence[str], zones: Sequence[str]) -> set[str]:
    """The zones whose names begin so. Raises ConfigError with each that none does."""
    problems = [
        Problem("--spot-zones", 0, 0, "", f"no zone '{name}'{nearest(name, zones)}")
        for name in wanted
        if not any(zone.startswith(name) for zone in zones)
    ]
    if problems:
        raise ConfigError(problems)
    return {zone for zone in zones if any(zone.startswith(name) for name in wanted)}


# --- in words --------------------------------------------------------------------------------------------------------


def failures_told(failures: Failures) -> str:
    """ "" where nothing fails."""
    told = []
    if failures.per_gpu:
        told.append(f"a GPU every {GPU_HOURS_BETWEEN_FAILURES:,.0f} h on average takes its replica down (Llama 3 405B)")
    elif failures.mean_s < inf:
        told.append(f"a replica crashes every {duration_text(failures.mean_s)} on average")
    if failures.failed_start_ratio:
        told.append(f"{percent(failures.failed_start_ratio)} of all starts fail")
    return "; ".join(told)


def spot_told(asked: SpotAsked, market: SpotMarket | SpotDraw | None) -> str:
    """ "" where nothing is on spot."""
    if market is None:
        return ""
    notice = f"{duration_text(market.notice_s)} of notice"
    if isinstance(market, SpotMarket):
        return f"{asked.trace}, {many(len(market.zones), 'zone')}, {notice}"
    names = ", ".join(zone.name for zone in market.zones)
    drawn = "the run's seed" if market.seed is None else f"seed {market.seed}"
    return f"drawn from {drawn}: {names}, as V100s were had there in 2023, {notice}"

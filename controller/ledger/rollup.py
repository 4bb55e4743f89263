"""Readings to rows: a pass' uses and estimates cut at the minute. Pure; whatever is cut adds up again exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from math import floor, isfinite
from typing import Any, TypeVar

from controller.facts.decisions import Decision
from controller.facts.estimates import Estimate, Estimates
from controller.facts.missing import Missing
from controller.facts.passes import ReplicaUse
from controller.facts.readings import Counter, Phase

Row = dict[str, Any]
"""Column name -> value: what SQLAlchemy's bulk insert takes, and the one place where values of all types meet."""

Amount = TypeVar("Amount", int, float)

MINUTE = timedelta(minutes=1)
MICROSECOND = timedelta(microseconds=1)

PHASE_COLUMNS = {
    Phase.READY: "ready_s",
    Phase.STARTING: "starting_s",
    Phase.DRAINING: "draining_s",
    Phase.FAILED: "failed_s",
}
NO_SECONDS = dict.fromkeys(PHASE_COLUMNS.values(), 0.0)
COUNT_COLUMNS = {
    "prompt_tokens": Counter.PROMPT_TOKENS,
    "cached_prompt_tokens": Counter.CACHED_PROMPT_TOKENS,
    "output_tokens": Counter.OUTPUT_TOKENS,
    "requests": Counter.REQUESTS,
    "rejections": Counter.REJECTIONS,
    "preemptions": Counter.PREEMPTIONS,
    "engine_steps": Counter.ENGINE_STEPS,
}
COST_COLUMNS = ("cost_nanousd", "list_nanousd", "contracted_nanousd", "billed_nanousd")
AMOUNT_COLUMNS = ("energy_j", "prefill_s", "decode_s")
"""Cut in proportion to time, not in whole units."""

LEVELS = ("running", "queue_depth", "kv_cache_ratio", "mfu_ratio")
LEVEL_COLUMNS = {name: (f"{name}_integral", f"{name}_s") for name in LEVELS}

ESTIMATE_MAXIMA = (
    "ttft_p50_s",
    "ttft_p95_s",
    "ttft_p99_s",
    "tpot_p50_s",
    "tpot_p95_s",
    "tpot_p99_s",
    "e2e_p95_s",
    "queue_time_p95_s",
    "queue_depth",
    "kv_cache_ratio",
)
"""Of these the minute keeps the highest: a short spike must not hide behind the minute's last value."""

ESTIMATE_LAST = (
    "running",
    "prefix_hit_ratio",
    "acceptance_ratio",
    "mfu_ratio",
    "mbu_ratio",
    "gpu_utilization_ratio",
    "power_w",
    "joules_per_token",
    "requests_per_s",
    "rejections_per_s",
    "prompt_tokens_per_s",
    "output_tokens_per_s",
    "usd_per_hour",
    "usd_per_million_output_tokens",
    "usd_per_million_tokens",
    "output_tokens_per_usd",
    "tokens_per_usd",
)


def minute_of(at: datetime) -> datetime:
    """The start of the UTC minute that ``at`` lies in."""
    return at.astimezone(UTC).replace(second=0, microsecond=0)


def minutes(start: datetime, end: datetime) -> tuple[tuple[datetime, int], ...]:
    """The minutes that ``start`` to ``end`` touches, each with its microseconds.

    An empty interval is one piece without length, in the minute of its moment.
    """
    pieces = []
    at = start
    while at < end:
        until = min(minute_of(at) + MINUTE, end)
        pieces.append((minute_of(at), (until - at) // MICROSECOND))
        at = until
    return tuple(pieces) or ((minute_of(end), 0),)


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """``total`` in proportion to ``weights``, in whole units that add up to ``total`` exactly.

        share_i = F(i) - F(i - 1),   F(i) = floor(total x (w_1 + … + w_i) / (w_1 + … + w_n))

    as ``facts.money`` accrues. Without any weight everything is the last piece's.
    """
    if len(weights) == 1:
        return [total]
    whole = sum(weights)
    if whole == 0:
        return [0] * (len(weights) - 1) + [total]
    result, reached, past = [], 0, 0
    for weight in weights:
        reached += weight
        upto = total * reached // whole
        result.append(upto - past)
        past = upto
    return result


def count_shares(count: float, weights: Sequence[int]) -> list[float]:
    """The same for a counter's increase: whole tokens in proportion; a fraction, if any, goes to the last piece.

    Whole counts below 2^53 are exact as floats, and so are their sums.
    """
    if len(weights) == 1:
        return [float(count)]
    parts = [float(part) for part in shares(floor(count), weights)]
    parts[-1] += count - floor(count)
    return parts


def amount_shares(amount: float, weights: Sequence[int]) -> list[float]:
    """The same for what is measured, not counted: in proportion."""
    whole = sum(weights)
    return [amount * (weight / whole) for weight in weights]


def replica_minutes(uses: Sequence[ReplicaUse]) -> Iterator[Row]:
    """Rows to add to ``replica_minute``: one for each minute that a use touches."""
    cut = cache(minutes)  # a pass's uses span the same time
    for use in uses:
        pieces = cut(use.start, use.end)
        sums = _sums(use, [microseconds for _minute, microseconds in pieces])
        for (minute, microseconds), part in zip(pieces, sums, strict=True):
            seconds = microseconds / 1e6
            yield {**_whose(use, minute), **_seconds(use, seconds), **_levels(use, seconds), **part}


def _sums(use: ReplicaUse, weights: Sequence[int]) -> list[Row]:
    """What adds up over time, cut in proportion to ``weights``: mostly a use lies within one minute."""
    counts = {column: number(use.counts.get(counter)) for column, counter in COUNT_COLUMNS.items()}
    amounts = {column: number(getattr(use, column)) for column in AMOUNT_COLUMNS}
    costs: dict[str, int | None] = {column: getattr(use, column) for column in COST_COLUMNS}
    if len(weights) == 1:
        return [{**counts, **amounts, **costs}]
    parts = {
        **{column: _cut(count, count_shares, weights) for column, count in counts.items()},
        **{column: _cut(amount, amount_shares, weights) for column, amount in amounts.items()},
        **{column: _cut(cost, shares, weights) for column, cost in costs.items()},
    }
    return [{column: cut[piece] for column, cut in parts.items()} for piece in range(len(weights))]


def _cut(
    total: Amount | None, into: Callable[[Amount, Sequence[int]], list[Amount]], weights: Sequence[int]
) -> Sequence[Amount | None]:
    return [None] * len(weights) if total is None else into(total, weights)


def _whose(use: ReplicaUse, minute: datetime) -> Row:
    return {
        "minute": minute,
        "service": use.service,
        "variant": use.variant,
        "replica": use.replica,
        "capacity_type": use.capacity_type.value,
        "gpus": use.gpus,
        "node": use.node,
    }


def _seconds(use: ReplicaUse, seconds: float) -> Row:
    return {
        **NO_SECONDS,
        PHASE_COLUMNS[use.phase]: seconds,
        "covered_s": seconds,
        "missing_s": seconds if use.missing else 0.0,
        "missing_why": use.missing,
        "unpriced_s": seconds if use.cost_nanousd is None else 0.0,
    }


def _levels(use: ReplicaUse, seconds: float) -> Row:
    row: Row = {}
    for name, (integral, covered) in LEVEL_COLUMNS.items():
        level = number(getattr(use, name))
        row[integral] = None if level is None else level * seconds
        row[covered] = 0.0 if level is None else seconds
    return row


def service_minutes(
    at: datetime, estimates: Estimates, decisions: Sequence[Decision], fleet: str = ""
) -> Iterator[Row]:
    """Rows to merge into ``service_minute``: the fleet of that name, its services and their variants."""
    minute = minute_of(at)
    desired = desired_replicas(decisions)
    scopes = {("", fleet): estimates.fleet}
    scopes |= {(service, ""): estimate for service, estimate in estimates.services.items()}
    scopes |= estimates.variants
    for (service, variant), estimate in scopes.items():
        yield {
            "minute": minute,
            "service": service,
            "variant": variant,
            "replicas_current": estimate.replicas_current,
            "replicas_ready": estimate.replicas_ready,
            "replicas_desired": desired.get((service, variant if service else "")),
            "gpus": estimate.gpus,
            **_estimated(estimate),
        }


def desired_replicas(decisions: Sequence[Decision]) -> Mapping[tuple[str, str], int]:
    """Desired counts of each variant, and their sums by service and for the fleet ("", "")."""
    sums: dict[tuple[str, str], int] = {}
    for decision in decisions:
        for key in ((decision.service, decision.variant), (decision.service, ""), ("", "")):
            sums[key] = sums.get(key, 0) + decision.desired
    return sums


def _estimated(estimate: Estimate) -> Row:
    return {name: number(getattr(estimate, name)) for name in (*ESTIMATE_MAXIMA, *ESTIMATE_LAST)}


def number(value: float | Missing | None) -> float | None:
    """What a nullable column takes: NULL for what is missing, and for what is not a number at all."""
    if value is None or isinstance(value, Missing) or not isfinite(value):
        return None
    return float(value)

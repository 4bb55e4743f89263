"""Money as Prometheus reads it: the last settled hour, budgets and commitments. What is unknown has no sample.

The number of series follows the fleet file, the budgets and the commitments; of teams there are at most fifty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controller.attribute.unit_costs import Basis, TokenKind, by_kind, unit_costs
from controller.facts.account_reader import HOUR, AccountReader, CommitmentUse, Dimension, Window
from controller.facts.accounts import OTHER, PARTS, UNATTRIBUTED
from controller.facts.budgets import BudgetStanding
from controller.facts.missing import Missing
from controller.facts.money import usd
from controller.facts.usage import Reason
from controller.serve.accounts import Row, Total, line_rows, seat_rows

MOST_TEAMS = 50
"""The dearest of the last day; the rest together are ``__other__``."""

ACCOUNT_METRICS = {
    "pennyweight_settled_hour_timestamp_seconds": "End of the last settled hour, of which the figures of money are.",
    "pennyweight_team_cost_usd_per_hour": "What a team cost. By team: the 50 dearest of the last day, the rest as "
    "__other__; idle and overhead that are nobody's as __idle__ and __overhead__.",
    "pennyweight_cost_part_usd_per_hour": "What a service's cost went into. By service and part.",
    "pennyweight_unit_cost_usd_per_million_tokens": "What a million tokens cost. By service, variant, kind of token "
    "and basis: allocation with idle and overhead, usage without.",
    "pennyweight_unattributed_ratio": "Share of the work's cost that no usage record explains. By service.",
    "pennyweight_budget_used_ratio": "Spent of a budget in its running period. By budget.",
    "pennyweight_budget_burn": "Spend in the window as a multiple of what uses the budget up exactly at its period's "
    "end. By budget and window.",
    "pennyweight_budget_forecast_usd": "Expected spend at the period's end. By budget and quantile.",
    "pennyweight_commitment_utilization_ratio": "Used of a commitment in the last day. By commitment.",
    "pennyweight_commitment_coverage_ratio": "Share of the usage that commitments could cover which they did, at "
    "on-demand prices, in the last day.",
    "pennyweight_anomalies_open": "Anomalies of cost that go on.",
    "pennyweight_usage_records_total": "Usage records since the ledger began. By source and result: accepted, "
    "duplicate or refused.",
    "pennyweight_usage_lag_seconds": "How long ago the last was heard of a source of usage records; of one that "
    "sends, to the hour. By source.",
    "pennyweight_price_age_seconds": "How long ago a price was last answered, of those that are asked for. By offer "
    "and capacity_type.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MoneySeen:
    """What is told. It is worked out once an hour and kept: reading the ledger at each scrape would be too much.

    hour   the start of the last settled hour
    """

    hour: datetime
    teams: Mapping[str, int]
    parts: Mapping[tuple[str, str], int]
    unit_usd: Mapping[tuple[str, str, str, str], float]
    unattributed: Mapping[str, float]
    commitments: Sequence[CommitmentUse]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedSeen:
    """One source of usage records, and what became of all it ever gave. ``lag_s`` Missing: nothing came yet."""

    source: str
    lag_s: float | Missing
    accepted: int
    duplicates: int
    refused: int
    refused_for: Mapping[Reason, int] = field(default_factory=dict)


PriceAges = Mapping[tuple[str, str], float | Missing]
"""Seconds since a price was answered, by (offer, capacity type)."""

NO_PRICES_ASKED: PriceAges = MappingProxyType({})


def money_seen(reader: AccountReader, hour: datetime) -> MoneySeen:
    """Of the settled hour that begins at ``hour``. LedgerError when the accounts cannot be read."""
    window, last_day = Window(start=hour, end=hour + HOUR), Window(start=hour - 23 * HOUR, end=hour + HOUR)
    seats = [row for row in seat_rows(reader, window) if row.values[Dimension.SERVICE]]
    (lines,) = line_rows(reader, window, (Dimension.TEAM, Dimension.SERVICE), {})
    return MoneySeen(
        hour=hour,
        teams=_teams(lines, _dearest(reader, last_day)),
        parts=_parts(seats),
        unit_usd=_unit_usd(seats),
        unattributed=_unattributed(lines),
        commitments=tuple(reader.commitments(last_day)),
    )


def _dearest(reader: AccountReader, window: Window) -> set[str]:
    costs: dict[str, int] = {}
    for row in line_rows(reader, window, (Dimension.TEAM,), {})[0]:
        costs[row.values[Dimension.TEAM]] = costs.get(row.values[Dimension.TEAM], 0) + row.cost
    return set(sorted(costs, key=lambda team: (-costs[team], team))[:MOST_TEAMS])


def _teams(lines: Sequence[Row], shown: set[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in lines:
        team = row.values[Dimension.TEAM]
        name = team if team in shown else OTHER.team
        found[name] = found.get(name, 0) + row.cost
    return found


def _parts(seats: Sequence[Row]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for row in seats:
        for part, amount in zip(PARTS, row.parts, strict=True):
            key = (row.values[Dimension.SERVICE], str(part))
            found[key] = found.get(key, 0) + amount
    return found


def _unit_usd(seats: Sequence[Row]) -> dict[tuple[str, str, str, str], float]:
    variants: dict[tuple[str, str], Total] = {}
    for row in seats:
        key = (row.values[Dimension.SERVICE], row.values[Dimension.VARIANT])
        variants.setdefault(key, Total()).add(row)
    found: dict[tuple[str, str, str, str], float] = {}
    for (service, variant), total in variants.items():
        for basis in Basis:
            unit = unit_costs(by_kind(total.parts), total.tokens, basis)
            kinds = {
                TokenKind.INPUT: unit.input,
                TokenKind.CACHED_INPUT: unit.cached_input,
                TokenKind.OUTPUT: unit.output,
            }
            for kind, value in kinds.items():
                if not isinstance(value, Missing):
                    found[service, variant, str(kind).replace(" ", "_"), str(basis)] = float(value)
    return found


def _unattributed(lines: Sequence[Row]) -> dict[str, float]:
    work: dict[str, tuple[int, int]] = {}
    for row in lines:
        nobody, whole = work.get(row.values.get(Dimension.SERVICE, ""), (0, 0))
        mine = row.work if row.values[Dimension.TEAM] == UNATTRIBUTED.team else 0
        work[row.values.get(Dimension.SERVICE, "")] = (nobody + mine, whole + row.work)
    return {service: nobody / whole for service, (nobody, whole) in work.items() if service and whole > 0}


def account_metrics(
    money: MoneySeen | None,
    standings: Sequence[BudgetStanding] = (),
    anomalies_open: int | None = None,
    feeds: Sequence[FeedSeen] = (),
    price_ages: PriceAges = NO_PRICES_ASKED,
) -> Iterator[Metric]:
    """Without ``money`` nothing is told of costs: no hour has been settled yet."""
    if money is not None:
        yield from _about_money(money)
    yield from _about_budgets(standings)
    if anomalies_open is not None:
        yield _gauge("pennyweight_anomalies_open", (), {(): float(anomalies_open)})
    yield from _about_feeds(feeds)
    yield _gauge("pennyweight_price_age_seconds", ("offer", "capacity_type"), price_ages)


def _about_feeds(feeds: Sequence[FeedSeen]) -> Iterator[Metric]:
    name = "pennyweight_usage_records_total"
    records = CounterMetricFamily(name, ACCOUNT_METRICS[name], labels=("source", "result"))
    for one in feeds:
        for result, count in (("accepted", one.accepted), ("duplicate", one.duplicates), ("refused", one.refused)):
            records.add_metric((one.source, result), count)
    yield records
    yield _gauge("pennyweight_usage_lag_seconds", ("source",), {(one.source,): one.lag_s for one in feeds})


def _about_money(money: MoneySeen) -> Iterator[Metric]:
    yield _gauge("pennyweight_settled_hour_timestamp_seconds", (), {(): (money.hour + HOUR).timestamp()})
    yield _gauge(
        "pennyweight_team_cost_usd_per_hour", ("team",), {(team,): usd(cost) for team, cost in money.teams.items()}
    )
    parts = {key: usd(amount) for key, amount in money.parts.items()}
    yield _gauge("pennyweight_cost_part_usd_per_hour", ("service", "part"), parts)
    labels = ("service", "variant", "kind", "basis")
    yield _gauge("pennyweight_unit_cost_usd_per_million_tokens", labels, money.unit_usd)
    unexplained = {(service,): share for service, share in money.unattributed.items()}
    yield _gauge("pennyweight_unattributed_ratio", ("service",), unexplained)
    used = {
        (one.id,): one.used_nanousd / one.amortised_nanousd for one in money.commitments if one.amortised_nanousd > 0
    }
    yield _gauge("pennyweight_commitment_utilization_ratio", ("commitment",), used)
    yield _gauge("pennyweight_commitment_coverage_ratio", (), _coverage(money.commitments))


def _coverage(uses: Sequence[CommitmentUse]) -> dict[tuple[()], float]:
    """Each commitment says what it could have covered: the greatest of them is all that is eligible. Unknown when any
    on-demand price is."""
    covered = [one.covered_on_demand_nanousd for one in uses]
    eligible = [one.eligible_on_demand_nanousd for one in uses]
    known = [one for one in covered if one is not None], [one for one in eligible if one is not None]
    if not uses or len(known[0]) < len(uses) or len(known[1]) < len(uses) or max(known[1]) <= 0:
        return {}
    return {(): min(sum(known[0]) / max(known[1]), 1.0)}


def _about_budgets(standings: Sequence[BudgetStanding]) -> Iterator[Metric]:
    yield _gauge(
        "pennyweight_budget_used_ratio", ("budget",), {(one.budget.name,): one.used_ratio for one in standings}
    )
    burn = {
        (one.budget.name, name): rate
        for one in standings
        for name, rate in (
            ("1h", one.burn.hour),
            ("6h", one.burn.six_hours),
            ("1d", one.burn.day),
            ("3d", one.burn.three_days),
        )
    }
    yield _gauge("pennyweight_budget_burn", ("budget", "window"), burn)
    expected = {
        (one.budget.name, name): value if isinstance(value, Missing) else usd(value)
        for one in standings
        for name, value in (("0.5", one.p50_nanousd), ("0.9", one.p90_nanousd))
    }
    yield _gauge("pennyweight_budget_forecast_usd", ("budget", "quantile"), expected)


def _gauge(name: str, labels: tuple[str, ...], values: Mapping[Any, float | Missing]) -> Metric:
    """One family; the keys of ``values`` are its labels' values."""
    family = GaugeMetricFamily(name, ACCOUNT_METRICS[name], labels=labels)
    for key, value in values.items():
        if not isinstance(value, Missing):
            family.add_metric(key, value)
    return family

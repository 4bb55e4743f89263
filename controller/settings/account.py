"""What ``account:`` and ``finance:`` say, as rooms take it. Secrets come from the environment and are not shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from controller.attribute.rules import Group, Rule, RuleKind, Rules
from controller.facts.accounts import Identity
from controller.facts.budgets import Budget
from controller.facts.commitments import Commitment
from controller.facts.fixed_costs import SharedCost
from controller.facts.fleet import CapacityType
from controller.facts.money import NANOUSD_PER_USD, nanousd
from controller.facts.prices import Exchange
from controller.settings.account_shapes import (
    AccountShape,
    AgesShape,
    FinanceShape,
    LiteLlmShape,
    LogShape,
    RuleShape,
    Sharing,
    SharingShape,
    SourceShape,
)
from controller.settings.money_shapes import ContractShape, midnight

Dated = TypeVar("Dated", RuleShape, ContractShape)


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestToken:
    """Who may send usage records. ``trusted``: what it says of identities is true."""

    name: str
    secret: str = field(repr=False)
    trusted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLogsSource:
    """LiteLLM's spend logs. ``tags`` None: the usual ones."""

    name: str
    url: str = field(repr=False)
    tenant: str
    tags: Mapping[str, str] | None
    overlap: timedelta
    services: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return "litellm"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSource:
    """A file of records: ``kind`` "access_log" or "otel". ``fields``: where a record's fields stand, if elsewhere."""

    name: str
    kind: str
    path: Path
    trusted: bool
    fields: Mapping[str, tuple[str, ...]]
    services: tuple[str, ...] = ()


UsageSource = SpendLogsSource | FileSource


@dataclass(frozen=True, slots=True, kw_only=True)
class DatedRule:
    """A sharing rule from ``since`` on; None: from the beginning. ``service`` "": all without a rule of their own."""

    since: date | None
    service: str
    group: Group
    rule: Rule


@dataclass(frozen=True, slots=True, kw_only=True)
class Discount:
    """Off a provider's on-demand list prices, from ``since`` on; None: from the beginning."""

    ratio: float
    since: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAges:
    """How old a price may be before it is asked for again, and before it is unknown."""

    ask_after: timedelta
    stale_after: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class FinanceNames:
    """What exports for finance call the accounts. ``invoice_issuer``: of capacity that no provider sells."""

    billing_account_id: str
    billing_account_name: str
    billing_account_type: str
    invoice_issuer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Whose the cost is, and what may be spent.

    models              a model as requests name it: its service
    exchange            by currency, oldest first
    price_sources       names of those who are asked, in wiring.QUOTERS; ``price_ages`` where they are not the usual
    unattributed_ratio  more of a service's work without a record is alerted
    channels            of alerts about money; empty: all
    """

    tokens: tuple[IngestToken, ...]
    sources: tuple[UsageSource, ...]
    keys: Mapping[str, Identity]
    models: Mapping[str, str]
    settle_after: timedelta
    accept_late: timedelta
    max_identities: int
    cached_token_weight: float
    rules: tuple[DatedRule, ...]
    shared: tuple[SharedCost, ...]
    budgets: tuple[Budget, ...]
    commitments: tuple[Commitment, ...]
    contracts: Mapping[str, tuple[Discount, ...]]
    exchange: Exchange
    price_sources: tuple[str, ...]
    price_ages: Mapping[CapacityType, AskedAges]
    unattributed_ratio: float
    anomaly_nanousd: int
    channels: tuple[str, ...]

    @property
    def takes_usage(self) -> bool:
        """Whether anybody tells who used what."""
        return bool(self.tokens or self.sources)

    def rules_at(self, at: datetime) -> Rules:
        """The sharing rules in force at ``at``: of each service and group the newest; of one day the last."""
        found: dict[tuple[str, Group], Rule] = {}
        for one in self.rules:
            if one.since is None or one.since <= at.date():
                found[one.service, one.group] = one.rule
        return found


def account_of(shape: AccountShape, environ: Mapping[str, str], folder: Path) -> Account:
    """Nothing is wrong with ``shape`` any more; relative paths in it start at ``folder``."""
    ages = {CapacityType.ON_DEMAND: shape.prices.on_demand, CapacityType.SPOT: shape.prices.spot}
    return Account(
        tokens=tuple(
            IngestToken(name=one.name, secret=environ.get(one.env, ""), trusted=one.trusted)
            for one in shape.ingest.tokens
        ),
        sources=tuple(_source(one, environ, folder) for one in shape.sources),
        keys={name: one.identity for name, one in shape.keys.items()},
        models=shape.models,
        settle_after=timedelta(seconds=shape.settle_after),
        accept_late=timedelta(seconds=shape.accept_late),
        max_identities=shape.max_identities,
        cached_token_weight=shape.cached_token_weight,
        rules=_rules(shape),
        shared=_shared(shape),
        budgets=tuple(one.budget(one.name, one.scope) for one in shape.budgets),
        commitments=tuple(one.commitment() for one in shape.commitments),
        contracts={
            provider: tuple(Discount(ratio=one.discount, since=one.since) for one in _by_day(rows))
            for provider, rows in shape.contract.items()
        },
        exchange={
            name: tuple((one.since, one.usd) for one in sorted(rows, key=lambda row: row.since))
            for name, rows in shape.exchange.items()
        },
        price_sources=shape.prices.sources,
        price_ages={kind: _ages(one) for kind, one in ages.items() if one is not None},
        unattributed_ratio=shape.unattributed_alert,
        anomaly_nanousd=round(shape.anomalies.min_usd * NANOUSD_PER_USD),
        channels=shape.to,
    )


def finance_of(shape: FinanceShape) -> FinanceNames:
    """The same."""
    return FinanceNames(**shape.model_dump())


def amortised_usd_per_gpu_hour(one: Commitment) -> float | None:
    """What an hour of one of its GPUs costs over its term, power as assumed included; None for a savings plan."""
    if not one.gpus:
        return None
    hours = (one.end - one.start) / timedelta(hours=1)
    nanousd_per_hour = one.upfront_nanousd / hours + one.recurring_nanousd_per_hour
    power = one.power
    drawn = power.watts_per_gpu / 1000 * power.usd_per_kwh * power.pue if power is not None else 0.0
    return (nanousd_per_hour / one.gpus / NANOUSD_PER_USD + drawn) or None


def _source(shape: SourceShape, environ: Mapping[str, str], folder: Path) -> UsageSource:
    kind, block = shape.chosen
    if isinstance(block, LiteLlmShape):
        return SpendLogsSource(
            name=shape.name,
            url=environ.get(block.url_env, ""),
            tenant=block.tenant,
            tags=block.tags or None,
            overlap=timedelta(seconds=block.overlap),
            services=shape.services,
        )
    return _file(shape, kind, block, folder)


def _file(shape: SourceShape, kind: str, block: LogShape, folder: Path) -> FileSource:
    fields = {name: (paths,) if isinstance(paths, str) else paths for name, paths in block.fields.items()}
    return FileSource(
        name=shape.name,
        kind=kind,
        path=folder / block.path,
        trusted=block.trusted,
        fields=fields,
        services=shape.services,
    )


def _rules(shape: AccountShape) -> tuple[DatedRule, ...]:
    """By day, those of one day as they stand."""
    made = [
        DatedRule(since=one.since, service=service, group=group, rule=rule)
        for one in _by_day(shape.rules)
        for group, sharing in _groups(one)
        for service, rule in _services(one.service or "", sharing, shape.floors)
    ]
    return tuple(made)


def _groups(one: RuleShape) -> Iterable[tuple[Group, Sharing]]:
    given = ((Group.IDLE, one.idle), (Group.OVERHEAD, one.overhead), (Group.SHARED, one.shared))
    return [(group, sharing) for group, sharing in given if sharing is not None]


def _services(service: str, sharing: Sharing, floors: Mapping[str, Mapping[str, float]]) -> list[tuple[str, Rule]]:
    """The rule of ``service``. Floors are a service's: by_floor for all is one rule for each that has floors."""
    if isinstance(sharing, SharingShape):
        if sharing.fixed is not None:
            return [(service, Rule(kind=RuleKind.FIXED, teams=sharing.fixed))]
        return [(service, Rule(kind=RuleKind.EVEN, teams=dict.fromkeys(sharing.even or (), 1.0)))]
    if sharing != RuleKind.BY_FLOOR:
        return [(service, Rule(kind=RuleKind(sharing)))]
    meant = [service] if service else list(floors)
    return [(name, Rule(kind=RuleKind.BY_FLOOR, teams=floors.get(name, {}))) for name in meant]


def _shared(shape: AccountShape) -> tuple[SharedCost, ...]:
    return tuple(
        SharedCost(
            name=one.name,
            nanousd_per_month=nanousd(one.usd_per_month),
            service=one.service or "",
            since=None if one.since is None else midnight(one.since),
            until=None if one.until is None else midnight(one.until),
        )
        for one in shape.shared
    )


def _by_day(rows: Sequence[Dated]) -> list[Dated]:
    """Oldest first; what has no day is from the beginning."""
    return sorted(rows, key=lambda row: row.since or date.min)


def _ages(shape: AgesShape) -> AskedAges:
    return AskedAges(ask_after=timedelta(seconds=shape.ask_after), stale_after=timedelta(seconds=shape.stale_after))

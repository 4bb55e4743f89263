"""The accounts of one daemon: the accountant, what it stands on, and who takes the records, built from the settings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, cast

from controller.accountant.alike import OF_SUMS, digest
from controller.accountant.job import Accountant
from controller.accountant.protocols import Books, Duties, Post, Source
from controller.attribute.fixed_costs import fixed_costs
from controller.attribute.rules import Rules as SharingRules
from controller.attribute.settle import SeatCosts
from controller.attribute.statics import bought_of, statics_of
from controller.decide.rules import ServicePolicy
from controller.facts.account_reader import Window
from controller.facts.accounts import Pool
from controller.facts.budgets import Anomaly, Budget
from controller.facts.commitments import Bought, Commitment
from controller.facts.fleet import CapacityType, Service
from controller.facts.missing import Missing
from controller.facts.money import nanousd
from controller.facts.passes import PassResult
from controller.facts.prices import Price, Prices
from controller.ledger.accounts.alike import Alike
from controller.ledger.accounts.budgets import Budgets
from controller.ledger.accounts.hours import time_of
from controller.ledger.accounts.ingest import Intake
from controller.ledger.accounts.inputs import Found, SeatName
from controller.ledger.accounts.quotes import QuoteBooks
from controller.ledger.accounts.reader import LedgerAccounts
from controller.ledger.accounts.retention import Keep
from controller.ledger.accounts.settle import Round, Settler
from controller.ledger.accounts.standing import standing
from controller.ledger.accounts.unpriced import Filled
from controller.ledger.claim import READING, Lead
from controller.ledger.fleets import bought_in
from controller.prices.book import PriceBook
from controller.prices.pricing import Pricing
from controller.prices.quotes import AGES, AgeLimits, Quoter, Quotes
from controller.prices.source import PriceSource
from controller.settings.account import Account, FileSource, SpendLogsSource, UsageSource
from controller.settings.load import Settings
from controller.usage.batch import Rules
from controller.usage.directory import Directory, plain_base
from controller.usage.fleet import directory_of, only
from controller.usage.litellm import SpendLogs
from controller.usage.spend_rows import TAGS, SpendRows

Quoters = Mapping[str, Callable[[], Quoter]]
PriceSources = Mapping[str, Callable[[], PriceSource]]
SourceMakers = Mapping[str, Callable[[UsageSource, Callable[[], Rules]], Source]]
Policies = Mapping[str, ServicePolicy]

BOOK = "book"
"""The price source of last resort; who is asked comes before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """wiring's tables: which class stands behind which name."""

    prices: PriceSources
    quoters: Quoters
    sources: SourceMakers


@dataclass(frozen=True, slots=True, kw_only=True)
class _Now:
    """What is in force, replaced as a whole by a reload."""

    settings: Settings
    policies: Policies
    pricing: Pricing
    quotes: tuple[Quotes, ...]


class Accounting:
    """Everything about money that a daemon has beside its passes. Opens nothing until it is used."""

    def __init__(self, settings: Settings, policies: Policies, tables: Tables, post: Post) -> None:
        """``post``: where alerts go. Raises PriceError when prices are to be asked for by what is not installed."""
        url = settings.ledger_url
        self._tables = tables
        self._quotes_kept = QuoteBooks(url)
        self._now = self._fresh(settings, policies)
        self._latest: Callable[[], PassResult | None] = lambda: None
        self.intake = Intake(url, max_identities=settings.account.max_identities)
        self._settler = settler_of(settings, lambda: self._now.settings)
        self._lead = Lead(url)
        self._readers: dict[str, Lead] = {}
        self._alike = Alike(url, settings.fleet_name)
        self._kept = Budgets(url)
        self.reader = LedgerAccounts(url, statics_of(settings.fleet))
        self.accountant = Accountant(
            Books(
                reader=self.reader,
                settler=OneOfAll(self._settler, self.leads),
                known=lambda: standing(url),
                kept=self._kept,
                intake=self.intake,
            ),
            self._duties(),
            post,
        )

    @property
    def pricing(self) -> Pricing:
        """How the fleet is priced, quotes included."""
        return self._now.pricing

    @property
    def settings(self) -> Settings:
        """Those in force."""
        return self._now.settings

    def watch(self, latest: Callable[[], PassResult | None]) -> None:
        """Where the last pass is asked for: live addresses of replicas, and prices that it lacked."""
        self._latest = latest

    def reload(self, settings: Settings, policies: Policies) -> None:
        """From the next round on. The ledger, the most identities and when hours are settled stay until a restart."""
        self._now = self._fresh(settings, policies)
        self.accountant.reload(self._duties())

    def rules(self, services: Collection[str] = ()) -> Rules:
        """What records are held against; of a source, only its ``services``."""
        return rules_of(self._now.settings, self._latest(), services)

    def leads(self) -> bool:
        """Whether this daemon settles and forgets. Of all that work on the ledger one does; another follows it."""
        return self._lead.held()

    def rest(self) -> None:
        """Settle and read no more, until it leads again: another daemon may. In the accountant's thread, between its
        rounds."""
        for lead in (self._lead, *self._readers.values()):
            lead.release()

    def reads(self, source: str) -> bool:
        """Whether this daemon reads the usage source of that name. Of all on the ledger that name it one does; another
        goes on where it stopped."""
        if source not in self._readers:
            self._readers[source] = Lead(self._now.settings.ledger_url, READING + source)
        return self._readers[source].held()

    def forget(self, now: datetime) -> None:
        """What retention no longer keeps."""
        settings = self._now.settings
        usage, hours = timedelta(seconds=settings.keep_usage_s), timedelta(seconds=settings.keep_hours_s)
        self._settler.forget(now, Keep(usage=usage, hours=hours))

    def reprice(self, start: datetime, end: datetime, now: datetime) -> tuple[Filled, Round]:
        """Give minutes a price that had none, as far as it is known of their time now, and work settled hours out
        again. Hours of closed months keep their costs."""
        fleet = self._now.settings.fleet
        found = self._settler.fill(start, end, lambda at: self.pricing.prices(fleet, at))
        return found, self._settler.reprice(start, end, now)

    def anomalies(self, window: Window) -> Sequence[Anomaly]:
        """Those of which an hour is in ``window``."""
        return self._kept.anomalies(window)

    def price_ages(self, now: datetime) -> dict[tuple[str, str], float]:
        """Seconds since each price that is asked for was answered, by offer and capacity type."""
        ages = {}
        for quotes, offers in self._asked():
            for offer in offers:
                age = quotes.age_s(offer, now)
                if isinstance(age, float):
                    ages[offer, quotes.capacity_type.value] = age
        return ages

    def close(self) -> None:
        """After the last round."""
        self.intake.close()
        self._settler.close()
        for lead in (self._lead, *self._readers.values()):
            lead.close()
        self._alike.close()
        self._kept.close()
        self._quotes_kept.close()
        self.reader.close()

    def _fresh(self, settings: Settings, policies: Policies) -> _Now:
        account, offers = settings.account, PriceBook.shipped().offers
        quoters = [self._tables.quoters[name]() for name in account.price_sources]
        quotes = tuple(
            Quotes(
                quoter=one,
                store=self._quotes_kept,
                offers=offers,
                ages=_ages(settings, one.capacity_type),
                exchange=account.exchange,
            )
            for one in quoters
        )
        usual = {name: make() for name, make in self._tables.prices.items()}
        before = [one for name, one in usual.items() if name != BOOK]
        contracts = {
            provider: [(one.since, one.ratio) for one in agreed] for provider, agreed in account.contracts.items()
        }
        pricing = Pricing(sources=[*before, *quotes, usual[BOOK]], contracts=contracts)
        return _Now(settings=settings, policies=policies, pricing=pricing, quotes=quotes)

    def _duties(self) -> Duties:
        settings = self._now.settings
        account = settings.account
        return Duties(
            services=tuple(settings.fleet.services),
            sources=tuple(self._source(one) for one in account.sources),
            reads=self.reads,
            differing=self._differing,
            asked=tuple(self._asked()),
            budgets=self._budgets(),
            applied=self._applied,
            unpriced=lambda now: _unpriced(self._latest(), self._now.pricing.prices(settings.fleet, now)),
            minimums=self._minimums,
            settle_after=account.settle_after,
            unattributed_ratio=account.unattributed_ratio if account.takes_usage else None,
            anomaly_nanousd=account.anomaly_nanousd,
            channels=account.channels or settings.channels,
        )

    def _differing(self) -> Mapping[str, Sequence[str]]:
        """What this fleet's file says is kept first, so that the other's daemon sees it too."""
        self._alike.keep(digests(self._now.settings.account, self._budgets()))
        return self._alike.differing()

    def _budgets(self) -> tuple[Budget, ...]:
        own = [one.budget for one in self._now.policies.values() if one.budget is not None]
        return (*self._now.settings.account.budgets, *own)

    def _source(self, one: UsageSource) -> Source:
        return self._tables.sources[one.kind](one, lambda: self.rules(one.services))

    def _asked(self) -> Iterator[tuple[Quotes, tuple[str, ...]]]:
        """Who is asked for which offers: on-demand prices are the list prices of all others too."""
        for quotes in self._now.quotes:
            wanted = {
                capacity.offer
                for variant in self._now.settings.fleet.variants()
                for capacity in variant.capacity
                if capacity.offer is not None and quotes.capacity_type in (capacity.type, CapacityType.ON_DEMAND)
            }
            yield quotes, tuple(sorted(offer for offer in wanted if quotes.sells(offer)))

    def _applied(self, now: datetime) -> None:
        """The prices in force go into the ledger's history."""
        self._quotes_kept.applied(self._now.pricing.prices(self._now.settings.fleet, now), now)

    def _minimums(self, now: datetime) -> dict[str, int]:
        """By service what its minimum of replicas costs an hour, at the cheapest price that is known."""
        fleet = self._now.settings.fleet
        prices = self._now.pricing.prices(fleet, now)
        return {
            name: policy.replicas.min_replicas * _cheapest(fleet.services[name], prices)
            for name, policy in self._now.policies.items()
            if name in fleet.services
        }


def digests(account: Account, budgets: Sequence[Budget]) -> dict[str, str]:
    """By key what should be alike in all files of a ledger's fleets; of what has a name, where both name it."""
    same = {name: getattr(account, name) for name in (*OF_SUMS, "settle_after", "accept_late", "max_identities")}
    named = {
        **{f"keys.{key}": identity for key, identity in account.keys.items()},
        **{f"sources.{one.name}": one for one in account.sources},
        **{f"budgets.{one.name}": one for one in budgets},
    }
    return {key: digest(value) for key, value in {**same, **named}.items()}


class OneOfAll:
    """Settles while this daemon leads; else another one does."""

    def __init__(self, settler: Settler, leads: Callable[[], bool]) -> None:
        self._settler = settler
        self._leads = leads

    def settle(self, now: datetime) -> Round:
        return self._settler.settle(now) if self._leads() else Round()


def rules_of(settings: Settings, latest: PassResult | None = None, services: Collection[str] = ()) -> Rules:
    """What records are held against; with the addresses that were read in the ``latest`` pass."""
    account = settings.account
    directory = _live(directory_of(settings.fleet, account.models), latest)
    return Rules(
        directory=only(directory, services) if services else directory,
        keys=account.keys,
        accept_late=account.accept_late,
    )


def settler_of(settings: Settings, now: Callable[[], Settings] | None = None) -> Settler:
    """Settles the hours of the ledger of ``settings``, by the rules, commitments and fixed costs that ``now`` names."""
    current = now or (lambda: settings)

    def rules(at: datetime) -> SharingRules:
        return current().account.rules_at(at)

    def charges(found: Found) -> Mapping[SeatName, SeatCosts]:
        return fixed_costs(current().account.shared, time_of(found.hour))

    def commitments() -> Sequence[Commitment]:
        return current().account.commitments

    def bought(pool: Pool) -> Bought:
        fleet = current().fleet
        return bought_of(fleet, pool) if pool.service in fleet.services else bought_in(settings.ledger_url, pool)

    return Settler(
        settings.ledger_url,
        rules=rules,
        charges=charges,
        commitments=commitments,
        bought=bought,
        settle_after=settings.account.settle_after,
    )


def spend_logs(one: UsageSource, rules: Callable[[], Rules]) -> Source:
    """LiteLLM's, as the fleet file says."""
    assert isinstance(one, SpendLogsSource)
    tenant = cast(Literal["organization_id", "end_user", "user"], one.tenant)  # the fleet file allows no other
    rows = SpendRows(tenant=tenant, tags=one.tags or TAGS)
    return SpendLogs(name=one.name, url=one.url, rules=rules, rows=rows, overlap=one.overlap)


def followed(make: Callable[..., Source]) -> Callable[[UsageSource, Callable[[], Rules]], Source]:
    """A maker of a file's source, as the fleet file says."""

    def made(one: UsageSource, rules: Callable[[], Rules]) -> Source:
        assert isinstance(one, FileSource)
        return make(one.name, one.path, rules, trusted=one.trusted, fields=one.fields)

    return made


def _ages(settings: Settings, kind: CapacityType) -> AgeLimits:
    own = settings.account.price_ages.get(kind)
    return AGES[kind] if own is None else AgeLimits(ask_after=own.ask_after, stale_after=own.stale_after)


def _cheapest(service: Service, prices: Prices) -> int:
    """Nanodollars an hour of a replica; 0 when no price is known."""
    known = [
        nanousd(price.usd_per_gpu_hour * variant.gpus_per_replica)
        for variant in service.variants.values()
        for kind in CapacityType
        if isinstance(price := prices.get((service.name, variant.name, kind)), Price)
    ]
    return min(known, default=0)


def _unpriced(latest: PassResult | None, prices: Prices) -> dict[str, str]:
    """By service the capacity that the last pass could not price. Where a price was answered since that pass, the next
    one says what is still missing: at the first start nobody had been asked yet."""
    found: dict[str, str] = {}
    if latest is None:
        return found
    answered = {
        key
        for key, price in prices.items()
        if isinstance(price, Price) and price.fetched_at is not None and price.fetched_at >= latest.at
    }
    for cost in latest.estimates.costs:
        key, why = (cost.service, cost.variant, cost.capacity_type), cost.usd_per_hour
        if isinstance(why, Missing) and key not in answered and str(why) not in found.get(cost.service, ""):
            found[cost.service] = "; ".join(filter(None, (found.get(cost.service, ""), str(why))))
    return found


def _live(directory: Directory, latest: PassResult | None) -> Directory:
    """With the addresses at which replicas were read last."""
    if latest is None:
        return directory
    seen = {
        plain_base(one.url.removesuffix("/metrics")): (one.service, one.variant) for one in latest.observation.targets
    }
    return replace(directory, bases={**seen, **directory.bases})

"""The daemon, its exporter and its HTTP server put together."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import datetime

from fastapi import FastAPI
from prometheus_client.core import Metric

from controller.accountant.job import Accounted
from controller.accounting import Accounting, rules_of
from controller.attribute.batch import Batch
from controller.clock import Clock, utc_now
from controller.errors import LedgerError
from controller.facts.account_reader import HOUR
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.ledger.accounts.ingest import Intake
from controller.ledger.accounts.read import AccountReader
from controller.ledger.accounts.rows import SourceState
from controller.ledger.accounts.standing import newest_records
from controller.scalers import Scalers, scalers_of
from controller.serve.account_metrics import FeedSeen, MoneySeen, PriceAges, account_metrics, money_seen
from controller.serve.accounts import Accounts
from controller.serve.allocation import allocation_router
from controller.serve.api import create_app
from controller.serve.exporter import Exporter
from controller.serve.inference_cost import inference_router
from controller.serve.ingest import Desk, Token, ingest_router
from controller.serve.opencost import opencost_router
from controller.serve.server import Server
from controller.serve.usage_sources import sources_router
from controller.serve.view import Delivered, Standing
from controller.settings.load import Settings
from controller.standby import cached
from controller.usage.batch import Rules
from controller.usage.decode import read_usage
from controller.wiring import Built

log = logging.getLogger("pennyweight")


class DaemonView:
    """The daemon as the endpoints see it."""

    def __init__(self, everything: Built) -> None:
        self._daemon = everything.daemon
        self._dispatcher = everything.dispatcher
        self._accountant = everything.accounting.accountant
        self._aws = everything.aws

    def latest(self) -> PassResult | None:
        """The last pass, with the alerts about money among its own; of a daemon that stands by, none: whoever leads
        exports its own, and two would be summed up."""
        if not self._daemon.leads:
            return None
        found = self._daemon.latest()
        return None if found is None else replace(found, alerts=(*found.alerts, *self._accountant.alerts()))

    def standing(self) -> Standing:
        daemon, health = self._daemon, self._daemon.health()
        return Standing(
            reasons=health.reasons,
            standing_by=health.standing_by,
            leads=daemon.leads,
            epoch=daemon.epoch,
            terms_begun=daemon.terms_begun,
            aws_calls=self._aws.calls,
            overruns=daemon.overruns,
            failed_passes=daemon.failed_passes,
            reload_ok=daemon.reload_ok,
            reloaded_at=daemon.reloaded_at,
            delivered={
                name: Delivered(sent=one.sent, failed=one.failed, dropped=one.dropped)
                for name, one in self._dispatcher.counts().items()
            },
        )


class LastPass(DaemonView):
    """The same for people: while this daemon stands by, the last pass as the ledger has it."""

    def __init__(self, everything: Built) -> None:
        super().__init__(everything)
        settings = everything.accounting.settings
        self._recorded = cached(settings.ledger_url, settings.fleet_name, settings.interval_s / 2)

    def latest(self) -> PassResult | None:
        if self._daemon.leads:
            return super().latest()
        try:
            return self._recorded()
        except LedgerError as error:
            log.warning("the last pass cannot be told: %s", error)
            return None


class Money:
    """What /metrics tells of money: worked out after each settled hour, for no scrape should wait for the ledger."""

    def __init__(self, accounting: Accounting) -> None:
        self._accounting = accounting
        self._seen: MoneySeen | None = None
        self._feeds: tuple[FeedSeen, ...] = ()
        self._metrics: tuple[Metric, ...] = ()

    def metrics(self) -> tuple[Metric, ...]:
        """As the accountant's last round left them."""
        return self._metrics

    def observe(self, round_: Accounted) -> None:
        """After each round of the accountant, in its thread."""
        try:
            self._look(round_)
        except LedgerError as error:
            log.warning("money in /metrics stays as it was: %s", error)
        ages: PriceAges = self._accounting.price_ages(round_.at)
        self._metrics = tuple(account_metrics(self._seen, round_.standings, len(round_.anomalies), self._feeds, ages))

    def _look(self, round_: Accounted) -> None:
        until = None if round_.known is None else round_.known.settled_until
        if until is not None and (self._seen is None or self._seen.hour != until - HOUR):
            self._seen = money_seen(self._accounting.reader, until - HOUR)
        self._feeds = feeds_seen(self._accounting.settings.ledger_url, round_.at)


def feeds_seen(url: str, now: datetime) -> tuple[FeedSeen, ...]:
    """Where usage records come from. Of what is sent, the newest is known to the hour. Raises LedgerError."""
    newest = newest_records(url)
    with closing(AccountReader(url)) as reader:
        return tuple(_feed(one, newest.get(one.source), now) for one in reader.sources())


def _feed(one: SourceState, newest: datetime | None, now: datetime) -> FeedSeen:
    heard = max((at for at in (one.watermark_at, newest) if at is not None), default=None)
    nothing = Missing("lag", f"nothing has come from {one.source} yet")
    return FeedSeen(
        source=one.source,
        lag_s=nothing if heard is None else max((now - heard).total_seconds(), 0.0),
        accepted=one.records,
        duplicates=one.duplicates,
        refused=one.refused,
        refused_for={why.reason: why.records for why in one.refused_for},
    )


def desk_of(intake: Intake, settings: Callable[[], Settings], rules: Callable[[], Rules], clock: Clock) -> Desk:
    """Who may send usage records, and where they go."""

    def tokens() -> tuple[Token, ...]:
        known = settings().account.tokens
        return tuple(Token(name=one.name, secret=one.secret, trusted=one.trusted) for one in known)

    def read(body: bytes, encoding: str, *, source: str, trusted: bool, now: datetime) -> Batch:
        return read_usage(body, encoding, rules(), source=source, trusted=trusted, now=now)

    return Desk(intake=intake, read=read, tokens=tokens, clock=clock)


@contextmanager
def served_intake(settings: Settings, host: str, port: int) -> Iterator[Server]:
    """Take usage records and nothing else, beside the daemon or on another machine over the same ledger."""
    app = FastAPI(title="Pennyweight's intake", docs_url=None, redoc_url=None)

    @app.get("/healthz", summary="Is the process alive?")
    def healthz() -> dict[str, str]:
        return {"status": "alive"}

    with closing(Intake.open(settings.ledger_url, max_identities=settings.account.max_identities)) as intake:
        app.include_router(ingest_router(desk_of(intake, lambda: settings, lambda: rules_of(settings), utc_now)))
        with Server(app, host, port) as server:
            log.info("listening on %s: /api/v1/usage /healthz", server.url)
            yield server


@contextmanager
def served(settings: Settings, everything: Built) -> Iterator[Server]:
    """Answer HTTP while the daemon runs."""
    accounting = everything.accounting
    view, money = DaemonView(everything), Money(accounting)
    scaling = scalers_of(
        everything.daemon, everything.external, lambda: accounting.settings, everything.dispatcher.post
    )
    with scaling as scalers, _answering(settings, everything, view, money, scalers) as server:
        yield server


@contextmanager
def _answering(
    settings: Settings, everything: Built, view: DaemonView, money: Money, scalers: Scalers
) -> Iterator[Server]:
    accounting, clock = everything.accounting, everything.daemon.clock

    def beside() -> Iterator[Metric]:
        if everything.daemon.leads:
            yield from money.metrics()
        yield from scalers.metrics()

    exporter = Exporter(view, beside)
    everything.daemon.on_pass(exporter.observe)
    accounting.accountant.on_round(money.observe)
    app = create_app(LastPass(everything), exporter)
    accounts = Accounts(reader=accounting.reader, clock=clock, anomalies=accounting.anomalies)
    for router in (allocation_router(accounts), opencost_router(accounts), inference_router(accounts)):
        app.include_router(router)
    desk = desk_of(accounting.intake, lambda: accounting.settings, accounting.rules, clock)
    app.include_router(ingest_router(desk))
    app.include_router(sources_router(lambda: feeds_seen(accounting.settings.ledger_url, clock())))
    with Server(app, settings.host, settings.port) as server:
        log.info("listening on %s: /metrics /healthz /readyz /api/v1/fleet /api/v1/allocation", server.url)
        yield server

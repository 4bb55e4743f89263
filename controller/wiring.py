"""Which class stands behind which name, and the daemon built from them. To add one thing: one line here."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import nan

from controller.accountant.protocols import Source
from controller.accounting import Accounting, Tables, followed, spend_logs
from controller.act.actuator import Actuator
from controller.act.dry_run import DryRunActuator
from controller.act.process import ProcessActuator
from controller.act.systemd import SystemdActuator
from controller.attribute.charges import Bill
from controller.daemon import Clock, Daemon, utc_now
from controller.decide.replicas import decide_replicas
from controller.decide.rules import ServicePolicy
from controller.errors import ConfigError, PennyweightError, Problem
from controller.ledger.read import LedgerReader
from controller.ledger.write import Ledger
from controller.loop import Plan
from controller.notify.channel import Channel
from controller.notify.dispatch import Dispatcher
from controller.notify.log import LogChannel
from controller.notify.slack import SlackChannel
from controller.observe import nvml_library
from controller.observe.discovery import Discoverer
from controller.observe.engines import ADAPTERS
from controller.observe.fleet_observer import FleetObserver
from controller.observe.nvml import NvmlSource
from controller.observe.prometheus import PrometheusReader
from controller.observe.scrape import ScrapeLimits, Scraper
from controller.policy.load import load_policies
from controller.prices.aws import clients
from controller.prices.aws_on_demand import AwsOnDemand
from controller.prices.aws_spot import AwsSpot
from controller.prices.bills import cost_explorer, cur, focus
from controller.prices.book import PriceBook
from controller.prices.overrides import Overrides
from controller.prices.quotes import Quoter
from controller.prices.source import PriceSource
from controller.settings.account import UsageSource
from controller.settings.load import Settings
from controller.shell import LiveShell
from controller.usage.access_log import access_log
from controller.usage.batch import Rules
from controller.usage.otel import otel_spans

ENGINES = ADAPTERS
"""How each engine's metrics are read, by the fleet file's ``engine``."""

SOURCES: Mapping[str, Callable[..., object]] = {
    "scrape": Scraper,
    "prometheus": PrometheusReader,
    "discovery": Discoverer,
    "nvml": NvmlSource,
}
"""Where readings come from."""

PRICES: Mapping[str, Callable[[], PriceSource]] = {
    "overrides": Overrides,
    "book": PriceBook.shipped,
}
"""Price sources; the first that knows wins."""

QUOTERS: Mapping[str, Callable[[], Quoter]] = {
    "aws_on_demand": lambda: AwsOnDemand(clients("pricing")),
    "aws_spot": lambda: AwsSpot(clients("ec2")),
}
"""Who is asked for prices between passes; what they answer is kept, and a pass reads what was kept."""

USAGE_SOURCES: Mapping[str, Callable[[UsageSource, Callable[[], Rules]], Source]] = {
    "litellm": spend_logs,
    "access_log": followed(access_log),
    "otel": followed(otel_spans),
}
"""Where usage records are read from, by the one block of a source under ``account.sources``."""

BILLS: Mapping[str, Callable[..., tuple[Bill, ...]]] = {
    "cost_explorer": lambda client, first, until, regions: (cost_explorer.read(client, first, until, regions),),
    "cur": lambda paths: (cur.read(paths),),
    "focus": focus.read,
}
"""How a bill is read, by who made it: of a provider, or from files."""

ACTUATORS: Mapping[str, Callable[[], Actuator]] = {
    "dry_run": DryRunActuator,
    "process": ProcessActuator,
    "systemd": SystemdActuator,
}
"""What starts and stops replicas, by the fleet file's ``actuator``."""

CHANNELS: Mapping[str, Callable[[Settings], Channel]] = {
    "log": lambda settings: LogChannel(),
    "slack": lambda settings: SlackChannel(url=settings.slack_webhook_url or ""),
}
"""Where alerts go, by a policy's ``to``."""

KNOBS = (decide_replicas,)
"""What is turned, in this order, one knob a variant and pass."""


TABLES = Tables(prices=PRICES, quoters=QUOTERS, sources=USAGE_SOURCES)
"""What the accounts are built from."""


def offers() -> Collection[str]:
    """What a fleet file's `offer` may name without a price of its own: whatever a price source may know."""
    return PriceBook.shipped().offers


def policies_of(settings: Settings) -> Mapping[str, ServicePolicy]:
    """The policies that the fleet file names, checked against it. Raises ConfigError."""
    return load_policies(settings.policy_files, settings.services, settings.channels)


def plan_of(settings: Settings, policies: Mapping[str, ServicePolicy]) -> Plan:
    """What the passes run on."""
    return Plan(
        fleet=settings.fleet,
        policies=policies,
        mode=settings.mode,
        interval_s=settings.interval_s,
        rate_window_s=settings.rate_window_s,
        cached_token_weight=settings.account.cached_token_weight,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A daemon, its accounts, and what people look at it through."""

    daemon: Daemon
    dispatcher: Dispatcher
    accounting: Accounting


@contextmanager
def built(
    settings: Settings,
    *,
    clock: Clock = utc_now,
    actuators: Mapping[str, Actuator] | None = None,
    reload: Callable[[], Settings] | None = None,
) -> Iterator[Built]:
    """The daemon for ``settings``, closed at the end. Raises ConfigError, LedgerError.

    actuators   in place of those of the same name: the demo brings its own
    reload      reads the settings again; its ConfigError leaves everything as it is
    """
    available = {name: make() for name, make in ACTUATORS.items()} | dict(actuators or {})
    policies = policies_of(settings)
    plan = _runnable(plan_of(settings, policies), available, settings)
    ledger = Ledger.open(settings.ledger_url, settings.fleet_name)
    try:
        ledger.claim()
        _owned(ledger, settings, clock())
        dispatcher = Dispatcher({name: CHANNELS[name](settings) for name in settings.channels})
        accounting = Accounting(settings, policies, TABLES, dispatcher.post)
    except PennyweightError:
        ledger.close()
        raise
    shell = LiveShell(
        settings.fleet,
        observer=_observer(settings),
        pricing=accounting.pricing,
        actuators=available,
        ledger=ledger,
        dispatcher=dispatcher,
        guards=accounting.accountant.guards,
    )

    jobs = _Jobs(settings, available, ledger, accounting, shell, clock, reload)
    try:
        daemon = Daemon(
            shell,
            plan,
            shell.restore(clock(), jobs.history),
            clock=clock,
            reload=None if reload is None else jobs.reloaded,
            prune=jobs.prune,
            account=accounting.accountant.step,
        )
        daemon.on_stop(accounting.accountant.stop)
        accounting.watch(daemon.latest)
        yield Built(daemon=daemon, dispatcher=dispatcher, accounting=accounting)
    finally:
        accounting.close()
        shell.close()


@dataclass(frozen=True, slots=True)
class _Jobs:
    """What a daemon calls beside its passes. ``settings``: those that it started with."""

    settings: Settings
    available: Mapping[str, Actuator]
    ledger: Ledger
    accounting: Accounting
    shell: LiveShell
    clock: Clock
    reload: Callable[[], Settings] | None

    def reloaded(self) -> Plan:
        """What to go on with, all of it checked before any of it is taken. Raises ConfigError."""
        assert self.reload is not None
        fresh = self.reload()
        policies = policies_of(fresh)
        plan = _runnable(plan_of(fresh, policies), self.available, fresh)
        if fresh.fleet_name != self.settings.fleet_name:
            raise ConfigError([Problem(str(fresh.file), 0, 0, "fleet", "a fleet takes another name at a restart")])
        _owned(self.ledger, fresh, self.clock())
        self.accounting.reload(fresh, policies)
        self.shell.reload(fresh.fleet, self.accounting.pricing)
        return plan

    def prune(self, now: datetime) -> None:
        """Of several daemons on one ledger, one."""
        if self.accounting.leads():
            self.ledger.prune(now, self.settings.keep_minutes_s, self.settings.keep_decisions_s)
            self.accounting.forget(now)

    def history(self, service: str, start: datetime, end: datetime) -> list[float]:
        """Requests/s that arrived, by minute; nan where nobody knows."""
        with closing(LedgerReader(self.settings.ledger_url)) as reader:
            minutes = reader.demand_history(service, start, end)
        return [nan if one.arrivals_per_s is None else one.arrivals_per_s for one in minutes]


def _runnable(plan: Plan, available: Mapping[str, Actuator], settings: Settings) -> Plan:
    """``plan``, or a ConfigError: the demo's own actuator may be named only in the demo's files."""
    problems = [
        Problem(str(settings.file), 0, 0, f"services.{one.service}.variants.{one.name}.actuator", message)
        for one in plan.fleet.variants()
        if one.actuator not in available
        for message in (f"'{one.actuator}' belongs to `pennyweight demo`; expected {', '.join(ACTUATORS)}",)
    ]
    if problems:
        raise ConfigError(problems)
    return plan


def _owned(ledger: Ledger, settings: Settings, now: datetime) -> None:
    """The services are this fleet's, or a ConfigError: two daemons never decide about one service."""
    problems = [
        Problem(str(settings.file), 0, 0, f"services.{service}", f"{_whose(other)} on the same ledger has it already")
        for service, other in ledger.own(settings.fleet, now).items()
    ]
    if problems:
        raise ConfigError(problems)


def _whose(fleet: str) -> str:
    told = f"the fleet '{fleet}'" if fleet else "a fleet without a name"
    return f"the running daemon of {told}"


def _observer(settings: Settings) -> FleetObserver:
    limits = ScrapeLimits(
        deadline_s=settings.scrape_deadline_s,
        target_timeout_s=settings.scrape_target_timeout_s,
        max_body_bytes=settings.scrape_max_body_bytes,
        max_series=settings.scrape_max_series,
    )
    nvml = NvmlSource(nvml_library.load, socket.gethostname())
    return FleetObserver(settings.fleet, Scraper(limits), nvml=nvml, deadline_s=settings.scrape_deadline_s)

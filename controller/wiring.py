"""Which class stands behind which name, and the daemon built from them. To add one thing: one line here."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from math import nan

from controller.act.actuator import Actuator
from controller.act.dry_run import DryRunActuator
from controller.act.process import ProcessActuator
from controller.act.systemd import SystemdActuator
from controller.daemon import Clock, Daemon, utc_now
from controller.decide.replicas import decide_replicas
from controller.decide.rules import ServicePolicy
from controller.errors import ConfigError, LedgerError, Problem
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
from controller.prices.book import PriceBook
from controller.prices.overrides import Overrides
from controller.prices.quotes import Quoter
from controller.prices.source import PriceSource
from controller.settings.load import Settings
from controller.shell import LiveShell

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
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A daemon and what people look at it through."""

    daemon: Daemon
    dispatcher: Dispatcher


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
    plan = _runnable(plan_of(settings, policies_of(settings)), available, settings)
    ledger = Ledger.open(settings.ledger_url)
    try:
        ledger.claim()
    except LedgerError:
        ledger.close()
        raise
    dispatcher = Dispatcher({name: CHANNELS[name](settings) for name in settings.channels})
    shell = LiveShell(
        settings.fleet,
        observer=_observer(settings),
        price_sources=[make() for make in PRICES.values()],
        actuators=available,
        ledger=ledger,
        dispatcher=dispatcher,
    )

    def reloaded() -> Plan:
        if reload is None:
            return plan
        fresh = reload()
        replacement = _runnable(plan_of(fresh, policies_of(fresh)), available, fresh)
        shell.reload(fresh.fleet)
        return replacement

    def prune(now: datetime) -> None:
        ledger.prune(now, settings.keep_minutes_s, settings.keep_decisions_s)

    def history(service: str, start: datetime, end: datetime) -> list[float]:
        with closing(LedgerReader(settings.ledger_url)) as reader:
            minutes = reader.demand_history(service, start, end)
        return [nan if one.arrivals_per_s is None else one.arrivals_per_s for one in minutes]

    try:
        daemon = Daemon(shell, plan, shell.restore(clock(), history), clock=clock, reload=reloaded, prune=prune)
        yield Built(daemon=daemon, dispatcher=dispatcher)
    finally:
        shell.close()


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


def _observer(settings: Settings) -> FleetObserver:
    limits = ScrapeLimits(
        deadline_s=settings.scrape_deadline_s,
        target_timeout_s=settings.scrape_target_timeout_s,
        max_body_bytes=settings.scrape_max_body_bytes,
        max_series=settings.scrape_max_series,
    )
    nvml = NvmlSource(nvml_library.load, socket.gethostname())
    return FleetObserver(settings.fleet, Scraper(limits), nvml=nvml, deadline_s=settings.scrape_deadline_s)

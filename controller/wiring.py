"""Which class stands behind which name, and the daemon built from them. To add one thing: one line here."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from math import nan

from controller.accountant.protocols import Post, Source
from controller.accounting import Accounting, Tables, followed, spend_logs
from controller.act.actuator import Actuator
from controller.act.aws_asg.actuator import AwsAsgActuator
from controller.act.dry_run import DryRunActuator
from controller.act.external import ExternalActuator
from controller.act.gate import stop_file
from controller.act.kubernetes.actuator import KubernetesActuator
from controller.act.process import ProcessActuator
from controller.act.systemd import SystemdActuator
from controller.attribute.charges import Bill
from controller.aws.clients import Aws
from controller.aws.groups import GroupBook
from controller.clock import Clock, ClockWatch, utc_now
from controller.daemon import Daemon
from controller.decide.replicas import decide_replicas
from controller.decide.rules import ServicePolicy
from controller.errors import ConfigError, Problem
from controller.facts.decisions import Alert
from controller.facts.fleet import Mode
from controller.facts.leadership import Electing
from controller.kubernetes.cluster import Clusters
from controller.leader.leadership import Elected, Leadership, Sole, Tenure
from controller.ledger.read import LedgerReader
from controller.ledger.write import Ledger
from controller.loop import Plan, Running
from controller.notify.channel import Channel
from controller.notify.dispatch import Dispatcher
from controller.notify.log import LogChannel
from controller.notify.slack import SlackChannel
from controller.observe import nvml_library
from controller.observe.aws_asg import AwsAsgSource
from controller.observe.discovery import Discoverer
from controller.observe.engines import ADAPTERS
from controller.observe.fleet_observer import FleetObserver
from controller.observe.interruptions import listening
from controller.observe.kubernetes import PodDiscovery
from controller.observe.nvml import NvmlSource
from controller.observe.prometheus import PrometheusReader
from controller.observe.scrape import ScrapeLimits, Scraper
from controller.policy.load import load_policies
from controller.prices.aws import clients
from controller.prices.aws_on_demand import AwsOnDemand
from controller.prices.aws_spot import AwsSpot
from controller.prices.bills import cost_explorer, cur, focus
from controller.prices.book import PriceBook
from controller.prices.llmd import LlmdCost
from controller.prices.overrides import Overrides
from controller.prices.quotes import Quoter
from controller.prices.source import PriceSource
from controller.settings.account import UsageSource
from controller.settings.load import Settings
from controller.shell import LiveShell
from controller.terms import Terms, alone, elected
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
    "kubernetes": PodDiscovery,
}
"""Where readings come from."""

PRICES: Mapping[str, Callable[[], PriceSource]] = {
    "overrides": Overrides,
    "llmd": LlmdCost,
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
    "aws_asg": AwsAsgActuator,
    "dry_run": DryRunActuator,
    "external": ExternalActuator,
    "kubernetes": KubernetesActuator,
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
        safety=settings.safety,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A daemon, its accounts, and what people look at it through."""

    daemon: Daemon
    dispatcher: Dispatcher
    accounting: Accounting
    external: ExternalActuator
    aws: Aws


@contextmanager
def built(
    settings: Settings,
    *,
    clock: Clock = utc_now,
    actuators: Mapping[str, Actuator] | None = None,
    reload: Callable[[], Settings] | None = None,
    stands_by: bool = False,
) -> Iterator[Built]:
    """The daemon for ``settings``, closed at the end. Raises ConfigError, LedgerError.

    actuators   in place of those of the same name: the demo brings its own
    reload      reads the settings again; its ConfigError leaves everything as it is
    stands_by   as one of several, where the fleet file says how they agree; else the only one, or none
    """
    external = ExternalActuator(lambda: parts.accounting.settings.mode is Mode.ACT)
    available: dict[str, Actuator] = {external.name: external, **(actuators or {})}
    policies = policies_of(settings)
    plan = _runnable(plan_of(settings, policies), {*ACTUATORS, *available}, settings)
    parts = _opened(settings, policies, available, clock, settings.electing if stands_by else None)
    ledger, accounting = parts.ledger, parts.accounting
    jobs = _Jobs(settings, {*ACTUATORS, *available}, ledger, accounting, clock, reload)
    terms = Terms(
        parts.leadership,
        shell=parts.shell,
        own=lambda now: _owned(ledger, accounting.settings, now),
        history=jobs.history,
        rest=accounting.rest,
    )
    try:
        daemon = _daemon(plan, jobs, terms, parts)
        if isinstance(parts.leadership, Elected):
            parts.leadership.start()
        yield Built(daemon=daemon, dispatcher=parts.dispatcher, accounting=accounting, external=external, aws=parts.aws)
    finally:
        parts.leadership.release()
        accounting.close()
        terms.end()
        parts.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What a daemon and the shells of its terms are made of."""

    ledger: Ledger
    leadership: Leadership
    dispatcher: Dispatcher
    accounting: Accounting
    clusters: Clusters
    aws: Aws
    available: Mapping[str, Actuator]
    clock: Clock

    def shell(self, tenure: Tenure) -> LiveShell:
        """That of a term of leading, by the settings that hold then."""
        now, groups = self.accounting.settings, GroupBook(self.aws)
        asg = AwsAsgActuator(self.aws, groups)
        live = LiveShell(
            now.fleet,
            observer=_observer(now, self.clusters, groups),
            pricing=self.accounting.pricing,
            actuators=_actuators({asg.name: asg, **self.available}, self.clusters),
            ledger=self.ledger,
            dispatcher=self.dispatcher,
            tenure=tenure,
            guards=self.accounting.accountant.guards,
        )
        if self.clock is utc_now:
            live.watching(ClockWatch())
        live.acting_while(lambda: self.accounting.settings.mode is Mode.ACT)
        live.stopped_by(stop_file(lambda: self.accounting.settings.stop_file))
        return live.heeding(listening(now.announcers, self.clock, self.aws, lambda: tenure.lead() is not None))

    def close(self) -> None:
        """What everything else may still have needed."""
        self.clusters.close()
        self.dispatcher.close()
        self.ledger.close()


def _opened(
    settings: Settings,
    policies: Mapping[str, ServicePolicy],
    available: Mapping[str, Actuator],
    clock: Clock,
    electing: Electing | None,
) -> _Parts:
    """All of them, or none: what was opened before one fails is closed again."""
    clusters, aws = Clusters(), Aws()
    with ExitStack() as undo:
        ledger = Ledger.open(settings.ledger_url, settings.fleet_name)
        undo.callback(ledger.close)
        leadership = elected(settings, electing, ledger, clock) if electing is not None else alone(ledger, clock)
        undo.callback(leadership.release)
        dispatcher = Dispatcher({name: CHANNELS[name](settings) for name in settings.channels})
        undo.callback(dispatcher.close)
        post = _while_leading(leadership, dispatcher.post)
        accounting = Accounting(settings, policies, _tables(clusters, aws), post)
        undo.pop_all()
    return _Parts(
        ledger=ledger,
        leadership=leadership,
        dispatcher=dispatcher,
        accounting=accounting,
        clusters=clusters,
        aws=aws,
        available=available,
        clock=clock,
    )


def _daemon(plan: Plan, jobs: _Jobs, terms: Terms, parts: _Parts) -> Daemon:
    """Alone, all that may be wrong is told at once; of several, whoever leads will find out."""
    only = parts.leadership if isinstance(parts.leadership, Sole) else None
    begun, running = (None, Running()) if only is None else terms.begin(only.epoch, parts.clock())
    daemon = Daemon(
        begun,
        plan,
        running,
        clock=parts.clock,
        reload=None if jobs.reload is None else lambda: jobs.reloaded(terms.shell),
        prune=jobs.prune,
        account=parts.accounting.accountant.step,
        terms=None if only is not None else terms,
    )
    daemon.after_passes(terms.catch_up)
    daemon.on_stop(parts.accounting.accountant.stop)
    parts.accounting.watch(daemon.latest)
    return daemon


def _tables(clusters: Clusters, aws: Aws) -> Tables:
    """The accounts see the clusters that everything else sees, and ask AWS as everything else does."""
    quoters: Mapping[str, Callable[[], Quoter]] = {
        "aws_on_demand": lambda: AwsOnDemand(clients("pricing", aws)),
        "aws_spot": lambda: AwsSpot(clients("ec2", aws)),
    }
    return replace(TABLES, prices={**PRICES, "llmd": lambda: LlmdCost(clusters)}, quoters={**QUOTERS, **quoters})


def _actuators(given: Mapping[str, Actuator], clusters: Clusters) -> dict[str, Actuator]:
    """New ones for a term, which watch what discovery watches, and those that outlive it."""

    def kubernetes() -> Actuator:
        return KubernetesActuator(clusters.of)

    makers = {**ACTUATORS, KubernetesActuator.name: kubernetes}
    return {name: make() for name, make in makers.items() if name not in given} | dict(given)


def _while_leading(leadership: Leadership, post: Post) -> Post:
    """Of a round that goes on when another daemon leads already, nobody is told: that one tells the same."""

    def posted(alerts: Sequence[Alert]) -> None:
        if leadership.held() is not None:
            post(alerts)

    return posted


@dataclass(frozen=True, slots=True)
class _Jobs:
    """What a daemon calls beside its passes. ``settings``: those that it started with."""

    settings: Settings
    available: Collection[str]
    ledger: Ledger
    accounting: Accounting
    clock: Clock
    reload: Callable[[], Settings] | None

    def reloaded(self, shell: LiveShell | None) -> Plan:
        """What to go on with, all of it checked before any of it is taken. Raises ConfigError.

        Without a ``shell`` the daemon stands by: whose the services are it says when it leads.
        """
        assert self.reload is not None
        fresh = self.reload()
        policies = policies_of(fresh)
        plan = _runnable(plan_of(fresh, policies), self.available, fresh)
        if fresh.fleet_name != self.settings.fleet_name:
            raise ConfigError([Problem(str(fresh.file), 0, 0, "fleet", "a fleet takes another name at a restart")])
        if shell is not None:
            _owned(self.ledger, fresh, self.clock())
        self.accounting.reload(fresh, policies)
        if shell is not None:
            shell.reload(fresh.fleet, self.accounting.pricing)
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


def _runnable(plan: Plan, available: Collection[str], settings: Settings) -> Plan:
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
    taken = "the running daemon of {} on the same ledger has it already"
    problems = [
        Problem(str(settings.file), 0, 0, f"services.{service}", taken.format(whose))
        for service, other in ledger.own(settings.fleet, now).items()
        for whose in (f"the fleet '{other}'" if other else "a fleet without a name",)
    ]
    if problems:
        raise ConfigError(problems)


def _observer(settings: Settings, clusters: Clusters, groups: GroupBook) -> FleetObserver:
    limits = ScrapeLimits(
        deadline_s=settings.scrape_deadline_s,
        target_timeout_s=settings.scrape_target_timeout_s,
        max_body_bytes=settings.scrape_max_body_bytes,
        max_series=settings.scrape_max_series,
    )
    nvml = NvmlSource(nvml_library.load, socket.gethostname())
    discoverer = Discoverer(groups=AwsAsgSource(groups), pods=PodDiscovery(clusters))
    deadline_s = settings.scrape_deadline_s
    return FleetObserver(settings.fleet, Scraper(limits), nvml=nvml, discoverer=discoverer, deadline_s=deadline_s)

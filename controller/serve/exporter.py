"""/metrics: the last pass as Prometheus reads it. A value that is missing has no sample, never a zero.

Levels are service and variant, never the replica, so that the number of series follows the fleet file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest

from controller.facts.decisions import AlertPhase
from controller.facts.estimates import Estimate
from controller.facts.learned import Learned
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.facts.readings import EngineReading
from controller.serve.names import ESTIMATES, OTHERS, QUANTILES
from controller.serve.view import Standing, View

PASS_BUCKETS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)
"""From a small fleet's pass to the longest useful interval."""


class Exporter:
    """Counts what passes did, and renders it with the last pass's levels."""

    def __init__(self, view: View, money: Callable[[], Iterable[Metric]] = tuple) -> None:
        """``money``: what account_metrics.py tells, without asking the ledger."""
        self._view = view
        self._money = money
        self._decisions: Counter[tuple[str, str, str]] = Counter()
        self._actions: Counter[tuple[str, str, str]] = Counter()
        self._registry = CollectorRegistry(auto_describe=False)
        self._durations = Histogram(
            "pennyweight_pass_duration_seconds",
            OTHERS["pennyweight_pass_duration_seconds"],
            buckets=PASS_BUCKETS_S,
            registry=self._registry,
        )
        self._registry.register(self)

    def observe(self, result: PassResult) -> None:
        """Count one finished pass."""
        self._durations.observe(result.duration_s)
        self._decisions.update((one.service, one.variant, one.because.value) for one in result.decisions)
        self._actions.update((one.service, one.variant, one.kind.value) for one in result.outcomes)

    def render(self) -> bytes:
        """The page, text format 0.0.4."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Everything but the durations. Called by the registry."""
        latest, standing = self._view.latest(), self._view.standing()
        yield from _about_daemon(standing)
        yield _counter("pennyweight_decisions_total", ("service", "variant", "because"), self._decisions)
        yield _counter("pennyweight_actions_total", ("service", "variant", "outcome"), self._actions)
        if latest is not None:
            yield from _about_pass(latest)
            yield from _estimates(latest)
            yield from _learned(latest.learned or Learned())
        yield from self._money()


def _gauge(name: str, labels: tuple[str, ...], values: Mapping[Any, float | Missing]) -> Metric:
    """One family; the keys of ``values`` are its labels' values."""
    family = GaugeMetricFamily(name, OTHERS[name], labels=labels)
    for key, value in values.items():
        if not isinstance(value, Missing):
            family.add_metric(key, value)
    return family


def _counter(name: str, labels: tuple[str, ...], values: Mapping[Any, float]) -> Metric:
    """One family; the keys of ``values`` are its labels' values."""
    family = CounterMetricFamily(name, OTHERS[name], labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _about_daemon(standing: Standing) -> Iterator[Metric]:
    yield _gauge("pennyweight_build_info", ("version",), {(_version(),): 1})
    yield _gauge("pennyweight_ready", (), {(): not standing.reasons})
    yield _gauge("pennyweight_config_last_reload_successful", (), {(): standing.reload_ok})
    yield _gauge("pennyweight_leading", (), {(): standing.leads})
    yield _gauge("pennyweight_leader_epoch", (), {} if standing.epoch is None else {(): standing.epoch})
    yield _counter("pennyweight_leader_terms_total", (), {(): standing.terms_begun})
    yield _counter("pennyweight_passes_overrun_total", (), {(): standing.overruns})
    yield _counter("pennyweight_passes_failed_total", (), {(): standing.failed_passes})
    calls = {(operation,): count for operation, count in standing.aws_calls.items()}
    yield _counter("pennyweight_aws_calls_total", ("operation",), calls)
    sent = {
        (channel, result): count
        for channel, one in standing.delivered.items()
        for result, count in (("sent", one.sent), ("failed", one.failed), ("dropped", one.dropped))
    }
    yield _counter("pennyweight_notifications_total", ("channel", "result"), sent)


def _about_pass(latest: PassResult) -> Iterator[Metric]:
    yield _gauge("pennyweight_last_pass_timestamp_seconds", (), {(): latest.at.timestamp()})
    yield _gauge("pennyweight_mode_info", ("mode",), {(latest.mode.value,): 1})
    desired = {(one.service, one.variant): float(one.desired) for one in latest.decisions}
    yield _gauge("pennyweight_replicas_desired", ("service", "variant"), desired)
    paused = {(name,): float(name in latest.pauses) for name in latest.estimates.services}
    yield _gauge("pennyweight_service_paused", ("service",), paused)
    yield from _safety(latest)
    findings = Counter((one.service, one.variant, one.kind.value) for one in latest.estimates.findings)
    yield _gauge("pennyweight_findings", ("service", "variant", "kind"), findings)
    firing = {(one.service, one.name): 1.0 for one in latest.alerts if one.phase is AlertPhase.FIRING}
    yield _gauge("pennyweight_alerts_firing", ("service", "alert"), firing)
    heard = {(source,): age_s for source, age_s in latest.observation.heard_ago_s.items()}
    yield _gauge("pennyweight_interruption_source_age_seconds", ("source",), heard)
    yield _gauge("pennyweight_replicas_noticed", ("service", "variant", "kind"), _noticed(latest))
    yield from _targets(latest)


def _noticed(latest: PassResult) -> Counter[tuple[str, str, str]]:
    return Counter(
        (*key, state.notice.kind.value)
        for key, states in latest.observation.replicas.items()
        if not isinstance(states, Missing)
        for state in states
        if state.notice is not None
    )


def _safety(latest: PassResult) -> Iterator[Metric]:
    """What the safety kernel holds back."""
    seen = latest.safety
    stopped = {(name,): 0.0 for name in ("", *latest.estimates.services)} | {(one.service,): 1.0 for one in seen.stops}
    yield _gauge("pennyweight_stopped", ("service",), stopped)
    yield _gauge("pennyweight_storm", ("domain",), {(one.domain,): 1.0 for one in seen.storms})
    yield _gauge("pennyweight_flap_ratio", ("service",), {(name,): one for name, one in seen.flap_ratios.items()})
    flapping = {(name,): float(name in seen.damped) for name in seen.flap_ratios}
    yield _gauge("pennyweight_flapping", ("service",), flapping)
    moved = {(direction,): float(replicas) for direction, replicas in seen.moved.items()}
    yield _gauge("pennyweight_moved_replicas", ("direction",), moved)


def _targets(latest: PassResult) -> Iterator[Metric]:
    states: Counter[tuple[str, str, str]] = Counter()
    missing: Counter[tuple[str, str, str]] = Counter()
    rejected: Counter[tuple[str, str]] = Counter()
    for target in latest.observation.targets:
        where = (target.service, target.variant)
        reading = latest.observation.engines.get(target.url)
        read = isinstance(reading, EngineReading)
        states[(*where, "read" if read else "missing")] += 1
        if isinstance(reading, EngineReading):
            missing.update((*where, signal.value) for signal in reading.missing)
            rejected[where] += reading.rejected_lines
    yield _gauge("pennyweight_targets", ("service", "variant", "state"), states)
    yield _gauge("pennyweight_missing_signals", ("service", "variant", "signal"), missing)
    yield _gauge("pennyweight_rejected_lines", ("service", "variant"), rejected)


def _estimates(latest: PassResult) -> Iterator[Metric]:
    scopes: Iterable[Estimate] = (*latest.estimates.services.values(), *latest.estimates.variants.values())
    scopes = tuple(scopes)
    for metric in ESTIMATES:
        family = GaugeMetricFamily(metric.name, metric.help, labels=("service", "variant"))
        for scope in scopes:
            value = metric.read(scope)
            if not isinstance(value, Missing):
                family.add_metric((scope.service, scope.variant), value)
        yield family


def _learned(learned: Learned) -> Iterator[Metric]:
    """What is asked, what is expected, how good that was lately, and what one replica carries."""
    demand = {(name,): one.requests_per_s for name, one in learned.demand.items()}
    yield _gauge("pennyweight_demand_requests_per_second", ("service",), demand)
    expected = {
        (name, f"{one.horizon_s:g}", f"{probability:g}"): one.quantiles[probability]
        for name, made in learned.forecasts.items()
        for one in made
        for probability in QUANTILES
        if probability in one.quantiles
    }
    labels = ("service", "horizon_seconds", "probability")
    yield _gauge("pennyweight_forecast_requests_per_second", labels, expected)
    errors = {(one.service, f"{one.horizon_s:g}"): one.error_ratio for one in learned.accuracy}
    yield _gauge("pennyweight_forecast_error_ratio", ("service", "horizon_seconds"), errors)
    carried = {key: one if isinstance(one, Missing) else one.requests_per_s for key, one in learned.capacity.items()}
    yield _gauge("pennyweight_replica_capacity_requests_per_second", ("service", "variant"), carried)


def _version() -> str:
    try:
        return version("pennyweight")
    except PackageNotFoundError:
        return "unknown"

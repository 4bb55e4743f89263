"""What the daemon tells under the names of llm-d's Workload Variant Autoscaler, for HPAs and dashboards that know it.

https://github.com/llm-d/llm-d-workload-variant-autoscaler. Its HPA takes ``wva_desired_replicas`` with an AverageValue
of 1. Only what we really work out is told; of the others there is no series. A label that is not known is ``unknown``:
a series that goes when a label goes would look like a variant that went.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controller.facts.actuators import ExternalOptions, KubernetesOptions
from controller.facts.decisions import OutcomeKind
from controller.facts.fleet import Variant
from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.serve.wanted import Key, Wanted

UNKNOWN = "unknown"
LABELS = ("variant_name", "namespace", "accelerator_type", "service")
"""Theirs, and the service, because our variants' names are unique only within one."""

WVA_METRICS = {
    "wva_desired_replicas": "Replicas that there shall be. No sample while nobody may act on it.",
    "wva_current_replicas": "Replicas that exist and are not on their way out.",
    "wva_desired_ratio": "Desired over current replicas; over one where there are none, as they have it.",
    "wva_replica_scaling_total": "Changes that were carried out. By direction and reason.",
    "wva_saturation_utilization": "Share of the KV cache in use.",
    "wva_kv_cache_tokens_capacity": "Tokens that the KV caches hold.",
    "wva_saturation_metrics_up": "1 when every ready replica could be read.",
    "wva_errors_total": "Changes that failed.",
    "wva_optimization_duration_seconds": "How long the last pass took.",
}
"""Those of theirs that are told."""


class Wva:
    """Counts what passes changed, and tells the last one's levels."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._latest: PassResult | None = None
        self._namespaces: Mapping[Key, str] = {}
        self._names: Mapping[Key, str] = {}
        self._scaled: Counter[tuple[str, ...]] = Counter()
        self._failed: Counter[tuple[str, ...]] = Counter()

    def observe(self, result: PassResult) -> None:
        """Count one finished pass."""
        self._latest = result
        self._namespaces = {**self._namespaces, **namespaces_of(result)}
        self._names = {**self._names, **names_of(result)}
        decisions = {one.id: one for one in result.decisions}
        for outcome in result.outcomes:
            decision = decisions.get(outcome.decision_id)
            variant = self._wanted.find(outcome.service, outcome.variant)
            if decision is None or variant is None:
                continue
            if outcome.kind is OutcomeKind.DONE and decision.moves:
                direction = "up" if decision.desired > decision.current else "down"
                self._scaled[(*self._labels(variant), direction, decision.because.value)] += 1
            elif outcome.kind is OutcomeKind.FAILED:
                self._failed[self._labels(variant)] += 1

    def metrics(self) -> Iterator[Metric]:
        """Everything, for /metrics."""
        result = self._latest
        if result is None:
            return
        yield from self._replicas(result)
        yield from self._engines(result)
        yield _counted("wva_replica_scaling_total", (*LABELS, "direction", "reason"), self._scaled)
        yield _counted("wva_errors_total", LABELS, self._failed)
        yield GaugeMetricFamily(
            "wva_optimization_duration_seconds",
            WVA_METRICS["wva_optimization_duration_seconds"],
            value=result.duration_s,
        )

    def _replicas(self, result: PassResult) -> Iterator[Metric]:
        desired, current = _gauge("wva_desired_replicas"), _gauge("wva_current_replicas")
        ratio = _gauge("wva_desired_ratio")
        counts = {(one.service, one.variant): one.current for one in result.decisions}
        for variant in self._wanted.variants():
            key, labels = (variant.service, variant.name), self._labels(variant)
            if key in counts and not isinstance(result.observation.replicas.get(key), Missing):
                current.add_metric(labels, counts[key])
            told = Missing("replicas", "only said") if variant.actuator == "dry_run" else self._wanted.told(*key)
            if not isinstance(told, Missing):
                desired.add_metric(labels, told.replicas)
                ratio.add_metric(labels, told.replicas / max(1, counts.get(key, 0)))
        yield from (desired, current, ratio)

    def _engines(self, result: PassResult) -> Iterator[Metric]:
        """What the engines say of themselves, as far as they do."""
        utilization, up = _gauge("wva_saturation_utilization"), _gauge("wva_saturation_metrics_up")
        capacity = _gauge("wva_kv_cache_tokens_capacity")
        for variant in self._wanted.variants():
            seen = result.estimates.variants.get((variant.service, variant.name))
            if seen is None:
                continue
            labels = self._labels(variant)
            for family, value in ((utilization, seen.kv_cache_ratio), (capacity, seen.kv_capacity_tokens)):
                if not isinstance(value, Missing):
                    family.add_metric(labels, value)
            up.add_metric(labels, seen.replicas_read >= seen.replicas_ready > 0)
        yield from (utilization, capacity, up)

    def _labels(self, variant: Variant) -> tuple[str, ...]:
        """The values of LABELS. The name as llm-d has it, else the fleet file; the namespace as the fleet file has it,
        else as discovery does. What discovery said last stays when the pods are gone."""
        key, options = (variant.service, variant.name), variant.actuator_options
        namespace = options.namespace if isinstance(options, ExternalOptions | KubernetesOptions) else ""
        namespace = namespace or self._namespaces.get(key, "")
        return self._names.get(key, variant.name), namespace or UNKNOWN, variant.gpu.name or UNKNOWN, variant.service


def namespaces_of(result: PassResult) -> dict[Key, str]:
    """As discovery labels the targets."""
    named = (one for one in result.observation.targets if one.labels.get("namespace"))
    return {(one.service, one.variant): one.labels["namespace"] for one in named}


def names_of(result: PassResult) -> dict[Key, str]:
    """As llm-d's label on the pods says, where they all say the same: WVA takes that for the variant's name."""
    told: dict[Key, set[str]] = {}
    for one in result.observation.targets:
        told.setdefault((one.service, one.variant), set()).add(one.labels.get("llmd_variant", ""))
    return {key: name for key, names in told.items() if len(names) == 1 and (name := next(iter(names)))}


def _gauge(name: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, WVA_METRICS[name], labels=LABELS)


def _counted(name: str, labels: tuple[str, ...], values: Counter[tuple[str, ...]]) -> Metric:
    family = CounterMetricFamily(name, WVA_METRICS[name], labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family

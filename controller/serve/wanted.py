"""How many replicas others may scale to, as the last pass left it. Unknown is Missing, with its reason; never zero."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from controller.facts.actuators import ExternalOptions, Through
from controller.facts.decisions import Decision, Outcome, OutcomeKind
from controller.facts.fleet import Fleet, Mode, Variant
from controller.facts.missing import Missing
from controller.facts.passes import PassResult

METRIC = "pennyweight_replicas"
"""The name of the one external metric: KEDA's HPA and everybody else's ask for it."""

NOT_SAID = (OutcomeKind.REFUSED, OutcomeKind.FAILED, OutcomeKind.UNKNOWN)
"""What became of a decision that nobody may carry out."""

EXTERNAL_METRICS = {
    "pennyweight_external_replicas": "Replicas that another autoscaler is told. By service and variant; without a "
    "sample while that is not known.",
    "pennyweight_external_unfollowed_seconds": "For how long what was told has not been followed. By service and "
    "variant.",
    "pennyweight_external_requests_total": "Questions of other autoscalers. By who asked (through), method and code.",
}
"""What other autoscalers ask and are told."""

Key = tuple[str, str]
"""(service, variant)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What is told of one variant. ``at``: of the pass that it comes from."""

    replicas: int
    at: datetime


class Wanted:
    """The last pass, as other autoscalers may ask for it.

    latest      the last pass
    fleet       what exists now
    late_s      a pass older than that tells nothing any more
    standby     why this daemon decides nothing, such as another that leads; "" when it does
    """

    def __init__(
        self,
        *,
        latest: Callable[[], PassResult | None],
        fleet: Callable[[], Fleet],
        clock: Callable[[], datetime],
        late_s: Callable[[], float],
        standby: Callable[[], str] = str,
    ) -> None:
        self._latest = latest
        self._fleet = fleet
        self._clock = clock
        self._late_s = late_s
        self._standby = standby
        self._counts: tuple[PassResult | None, Mapping[Key, int | Missing]] = (None, {})

    def variants(self) -> tuple[Variant, ...]:
        """Everything that exists."""
        return self._fleet().variants()

    def find(self, service: str, variant: str) -> Variant | None:
        found = self._fleet().services.get(service)
        return found.variants.get(variant) if found is not None else None

    def asked(self, through: Through) -> tuple[Variant, ...]:
        """The variants whose count may be asked for so."""
        return tuple(variant for variant in self.variants() if may_ask(variant, through))

    def told(self, service: str, variant: str) -> Told | Missing:
        """How many replicas there shall be: the same until the next pass."""
        result, standby = self._latest(), self._standby()
        if standby:
            return Missing("replicas", standby)
        if result is None:
            return Missing("replicas", "no pass has finished yet")
        age_s = (self._clock() - result.at).total_seconds()
        if age_s > self._late_s():
            return Missing("replicas", f"the last pass was {age_s:.0f} s ago; its numbers are too old to act on")
        count = self._of(result).get((service, variant), Missing("replicas", "no policy decides about it"))
        return count if isinstance(count, Missing) else Told(replicas=count, at=result.at)

    def _of(self, result: PassResult) -> Mapping[Key, int | Missing]:
        """Worked out once a pass: thousands may ask."""
        known, counts = self._counts
        if known is not result:
            counts = told_of(result)
            self._counts = (result, counts)
        return counts


def told_of(result: PassResult) -> dict[Key, int | Missing]:
    """What one pass tells of every variant that it decided about.

    Where a decision was not let through, or nobody carried it out, the count that it found: hold.
    """
    if result.mode is not Mode.ACT:
        why = Missing("replicas", f"the mode is {result.mode}: what is decided is shown, and nobody may act on it")
        return {(one.service, one.variant): why for one in result.decisions}
    outcomes = {one.decision_id: one for one in result.outcomes}
    return {(one.service, one.variant): _told(one, outcomes.get(one.id), result) for one in result.decisions}


def _told(decision: Decision, outcome: Outcome | None, result: PassResult) -> int | Missing:
    counted = result.observation.replicas.get((decision.service, decision.variant))
    if counted is None or isinstance(counted, Missing):
        why = "nobody counted them" if counted is None else counted.why
        return Missing("replicas", f"it is not known how many there are: {why}")
    if decision.unseen:
        # Nothing at all was read of them: how many there were when it last was is no answer.
        return Missing("replicas", f"nothing is known of the {decision.ready} that should serve: {decision.detail}")
    if decision.holds or outcome is None or outcome.kind in NOT_SAID:
        return decision.current
    return decision.desired


def may_ask(variant: Variant, through: Through) -> bool:
    """Whether somebody else carries out the count of ``variant``, and asks for it ``through``."""
    options = variant.actuator_options
    return isinstance(options, ExternalOptions) and options.through is through


def refusal(variant: Variant, through: Through) -> str:
    """Why ``through`` may not ask for ``variant``; "" when it may."""
    if may_ask(variant, through):
        return ""
    options, where = variant.actuator_options, f"{variant.service}/{variant.name}"
    if isinstance(options, ExternalOptions):
        return f"{where} is scaled through {options.through}; a target has one writer"
    return f"{where} has the actuator {variant.actuator}; a target has one writer: `actuator: {{external: {{}}}}`"


class Asked:
    """Counts what others asked, in whatever thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def count(self, through: Through, method: str, code: str) -> None:
        with self._lock:
            self._counts[through.value, method, code] += 1

    def counts(self) -> dict[tuple[str, str, str], int]:
        with self._lock:
            return dict(self._counts)


def external_metrics(wanted: Wanted, asked: Asked, unfollowed_s: Mapping[Key, float] | None = None) -> Iterator[Metric]:
    """What is told to others, as /metrics shows it."""
    told = _family("pennyweight_external_replicas", ("service", "variant"))
    for variant in wanted.variants():
        if any(may_ask(variant, through) for through in Through):
            count = wanted.told(variant.service, variant.name)
            if not isinstance(count, Missing):
                told.add_metric((variant.service, variant.name), count.replicas)
    yield told
    waiting = _family("pennyweight_external_unfollowed_seconds", ("service", "variant"))
    for key, seconds in (unfollowed_s or {}).items():
        waiting.add_metric(key, seconds)
    yield waiting
    name = "pennyweight_external_requests_total"
    questions = CounterMetricFamily(name, EXTERNAL_METRICS[name], labels=("through", "method", "code"))
    for labels, number in asked.counts().items():
        questions.add_metric(labels, number)
    yield questions


def _family(name: str, labels: tuple[str, ...]) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, EXTERNAL_METRICS[name], labels=labels)

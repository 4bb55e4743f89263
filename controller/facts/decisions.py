"""What was wanted, attempted and achieved, and what the next pass must remember."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.facts.missing import Missing
from controller.facts.safety import SafetyMemory
from controller.facts.unguarded import unguarded


class Because(StrEnum):
    """Why a decision is what it is: the metric label, the ledger's column and a line of the glossary."""

    DEMAND = "demand"  # a signal asks for more, or all live signals agree to less
    FORECAST = "forecast"  # the demand expected when new replicas would be ready asks for more, or allows fewer
    STEADY = "steady"  # the wanted count is the current one, or within the tolerance
    BLIND = "blind"  # a required signal is missing or too young: hold, never shrink
    PAUSED = "paused"  # an operator paused the service
    OBSERVING = "observing"  # mode observe: measured, not decided
    STABILIZING = "stabilizing"  # wanted, but not yet for the whole stabilization window
    STEP_LIMIT = "step_limit"  # as much as at_most allows in its period
    BUDGET = "budget"  # a budget refuses what would be added beyond min_replicas
    LIMIT = "limit"  # cut to min_replicas or max_replicas, or brought back inside them; or what its group keeps
    HEADROOM = "headroom"  # one replica fewer would not hold the load with headroom
    STARTING = "starting"  # replicas already on their way are enough
    START_FAILED = "start_failed"  # starts failed: the late ones are removed, or the variant rests before the next try
    IDLE = "idle"  # proven without requests for the whole window: to the floor or to zero
    NOT_PROVEN_IDLE = "not_proven_idle"  # zero is allowed, but idleness is not proven
    INFEASIBLE = "infeasible"  # no count satisfies the policy, or means anything: hold and alert
    FOREIGN_CHANGE = "foreign_change"  # somebody else changed the target: stand down for a while
    STOPPED = "stopped"  # an operator stopped the service, or everything: decided all the same, and not done
    FROZEN = "frozen"  # the fleet file froze this direction at this time
    SPOT = "spot"  # spot comes beside dearer capacity, which goes once it serves; beside spot at risk; or as its spare
    STORM = "storm"  # spot is being taken: no more of it there, and launches are limited
    FLAPPING = "flapping"  # it went back and forth: nothing goes for a while
    ROLLOUT = "rollout"  # the fleet file starts its engines otherwise: they are replaced, or why they are not yet
    BLAST_LIMIT = "blast_limit"  # as much as may move in one pass or hour, in the whole fleet


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The wanted number of replicas of one variant, with the numbers that decided. ``str()`` of it is its log line.

    id               unique; the action and its outcome carry it
    current          replicas that exist and are not draining, ready or starting
    ready            of these, ready
    wanted           what the signals asked for before windows, steps and limits (the service's total)
    numbers          every number used, by name
    usd_per_hour_*   the variant's cost before and after
    victims          replicas to remove, first to go first; empty when growing or holding
    change           what its engines are to be started with instead, in short; "" when they stay as they are. It never
                     comes with another count
    """

    id: str
    at: datetime
    service: str
    variant: str
    current: int
    ready: int
    desired: int
    wanted: int
    because: Because
    detail: str
    signal: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    usd_per_hour_before: float | Missing
    usd_per_hour_after: float | Missing
    victims: tuple[str, ...] = ()
    change: str = ""

    @property
    def moves(self) -> bool:
        """Whether the count changes."""
        return self.desired != self.current

    @property
    def holds(self) -> bool:
        """Whether there is nothing to do."""
        return not self.moves and not self.change

    @property
    def unseen(self) -> bool:
        """Whether no signal at all could be read of replicas that should serve."""
        return self.because is Because.BLIND and self.ready > 0 and not self.signal

    @property
    def verb(self) -> str:
        """ "hold", "scale up", "scale down" or "change"."""
        if not self.moves:
            return "change" if self.change else "hold"
        return "scale up" if self.desired > self.current else "scale down"

    def __str__(self) -> str:
        where = f"{self.service}/{self.variant}"
        if self.holds:
            return f"{where}: hold at {self.current} ({self.because}): {self.detail}"
        if self.change:
            return f"{where}: change {self.current} to {self.change} ({self.because}): {self.detail}{self._money()}"
        return f"{where}: {self.verb} {self.current} -> {self.desired} ({self.because}): {self.detail}{self._money()}"

    def _money(self) -> str:
        before, after = self.usd_per_hour_before, self.usd_per_hour_after
        if isinstance(before, Missing) or isinstance(after, Missing):
            return "; cost unknown"
        return f"; ${before:.2f}/h -> ${after:.2f}/h"


class OutcomeKind(StrEnum):
    """What became of an action."""

    DONE = "done"  # the target now is as desired (or on its way: replicas are starting)
    ALREADY = "already"  # it was so before: nothing was touched
    ADVISED = "advised"  # mode is not act: only said
    REFUSED = "refused"  # the actuator stood down: nothing was touched
    FAILED = "failed"  # tried and failed
    UNKNOWN = "unknown"  # the daemon died between intent and outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What happened to one decision that did not hold."""

    decision_id: str
    service: str
    variant: str
    kind: OutcomeKind
    detail: str
    at: datetime

    @classmethod
    def of(cls, decision: Decision, kind: OutcomeKind, detail: str, at: datetime) -> Outcome:
        """What became of ``decision``."""
        return cls(
            decision_id=decision.id,
            service=decision.service,
            variant=decision.variant,
            kind=kind,
            detail=detail,
            at=at,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Recommendation:
    """What the signals wanted at one moment: the stabilization windows look back over these."""

    at: datetime
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleEvent:
    """A change that was acted on: the step limits and the foreign-change check look back over these."""

    at: datetime
    variant: str
    before: int
    after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SpotRecord:
    """How often spot of one variant was lost in one failure domain. Both counts fade.

    replica_h   hours that replicas served there
    losses      of them
    at          up to when it is counted
    lost_at     when one was lost last; None: none yet
    """

    replica_h: float = 0.0
    losses: float = 0.0
    at: datetime
    lost_at: datetime | None = None


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceMemory:
    """What one service's next decision needs from the past. Kept in the ledger, so that a restart changes nothing.
    Replicas are named "variant/replica".

    live_since        since when every required signal has been live without a break; None while one is missing
    idle_since        since when the service is proven idle (no running, no waiting, no new request); None otherwise
    given_up          starts that failed: missed the deadline, got no further, or ended before or soon after they were
                      ready -> when; what was long in failing counts from as much later, for its variant rests longer
    lost              replicas that had served and then ended by themselves -> when
    ready_since       the ready replicas -> since when
    foreign_until     stand down until then after somebody else's change
    spot              how often spot is lost, by (variant, domain)
    """

    recommendations: tuple[Recommendation, ...] = ()
    scale_events: tuple[ScaleEvent, ...] = ()
    live_since: datetime | None = None
    idle_since: datetime | None = None
    given_up: Mapping[str, datetime] = field(default_factory=dict)
    lost: Mapping[str, datetime] = field(default_factory=dict)
    ready_since: Mapping[str, datetime] = field(default_factory=dict)
    expected: Mapping[str, int] = field(default_factory=dict)
    foreign_until: datetime | None = None
    spot: Mapping[tuple[str, str], SpotRecord] = field(default_factory=dict)


class AlertPhase(StrEnum):
    """Prometheus' states, and resolved, which is told once."""

    INACTIVE = "inactive"
    PENDING = "pending"
    FIRING = "firing"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """Where one alert of one service is. Kept in the ledger.

    cleared_since   since when a firing alert's condition no longer holds (it may keep firing for a while)
    """

    service: str
    name: str
    phase: AlertPhase
    since: datetime
    last_sent: datetime | None = None
    cleared_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """A message for people: firing or resolved, with the numbers and the dollars in it."""

    service: str
    name: str
    phase: AlertPhase
    severity: str
    condition: str
    summary: str
    do: str
    since: datetime
    at: datetime
    numbers: Mapping[str, float | Missing] = field(default_factory=dict)
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """An operator's word: decide nothing for this service until resumed."""

    service: str
    since: datetime
    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Everything the next pass must remember, by service and by (service, alert), and of the whole fleet."""

    services: Mapping[str, ServiceMemory] = field(default_factory=dict)
    alerts: Mapping[tuple[str, str], AlertState] = field(default_factory=dict)
    safety: SafetyMemory = field(default_factory=SafetyMemory)

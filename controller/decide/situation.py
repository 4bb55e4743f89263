"""What a decision about one service looks at: its replicas, its signals and what capacity costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from controller.decide.alike import unlike
from controller.decide.rules import ServicePolicy
from controller.facts.budgets import Guard
from controller.facts.changes import Change
from controller.facts.demand import Outlook
from controller.facts.estimates import Estimate, Estimates
from controller.facts.fleet import Capacity, CapacityType, Mode, Service, Variant
from controller.facts.interruptions import Stuck
from controller.facts.missing import Missing, first_missing, known, mapped
from controller.facts.prices import Prices
from controller.facts.readings import Bounds, Observation, Phase, ReplicaState
from controller.facts.slo import LatencyTarget, Slo
from controller.facts.unguarded import unguarded

Number = float | Missing


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaView:
    """One replica as a candidate for keeping or removing. ``running`` Missing: it could not be read."""

    name: str
    phase: Phase
    since: datetime
    running: Number
    usd_per_hour: Number
    noticed: bool = False
    """A spot interruption notice has arrived for it."""
    stuck: Stuck | None = None
    """Why its start gets no further."""
    hinted: bool = False
    """Its machine may be taken back: nothing ends for that, but it is the first to go."""
    spot_domain: str | None = None
    """Of a replica on spot, its failure domain, "" when that is not known; None: it is not on spot, or nobody says."""
    doubtful: bool = False
    """It starts on spot that a storm takes: no supply before it is ready."""
    silent: bool = False
    """It counts as ready because nobody knows better: no actuator tells, and it could not be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CapacityPrice:
    """One way of buying replicas of a variant, in the fleet file's order. ``replicas`` None: no bound known.

    risk_usd_per_replica_hour   what losing it costs on top, see spot.py
    shunned                     the risk is not worth the saving: taken last
    placement_score             how likely it is to be had, 1 to 10; None: not asked
    """

    type: CapacityType
    usd_per_replica_hour: Number
    replicas: int | None = None
    risk_usd_per_replica_hour: float = 0.0
    shunned: bool = False
    placement_score: int | None = None


COUNTS_TARGETS = "dry_run"
"""The actuator that never knows more than the targets."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSituation:
    """One variant. ``counted``: the actuator knows its replicas; else their targets were counted. ``uncounted``:
    why an actuator that should know them does not; "" otherwise."""

    name: str
    replicas: tuple[ReplicaView, ...]
    capacity: tuple[CapacityPrice, ...] = ()
    counted: bool = True
    uncounted: str = ""
    change: Change | None = None
    """What its engines are to be started with instead."""
    bounds: Bounds | None = None
    """What its platform's owner allows; None: nothing is known of any limits."""
    current: int = field(init=False, repr=False, compare=False)
    """Replicas that exist and are not on their way out: Kubernetes' current count. A decision asks for it, and for
    ``ready``, dozens of times."""
    ready: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "current", len(self.in_phase(Phase.STARTING, Phase.READY)))
        object.__setattr__(self, "ready", len(self.in_phase(Phase.READY)))

    @property
    def least(self) -> int:
        """Fewer its platform's owner does not allow."""
        return 0 if self.bounds is None else self.bounds.least

    def in_phase(self, *phases: Phase) -> tuple[ReplicaView, ...]:
        return tuple([replica for replica in self.replicas if replica.phase in phases])


NO_GATEWAY = Missing("gateway_waiting", "the fleet file names no gateway")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signals:
    """Totals and means over the service's ready replicas.

    queue_depth               requests waiting for capacity, all replicas together
    kv_cache_ratio, gpu_utilization_ratio   means
    token_load_per_s          computed prompt + output tokens/s, all replicas together
    ttft_s, tpot_s            the SLO's quantiles; Missing when nothing finished
    requests_per_s, rejections_per_s, running   totals
    read_replicas             how many ready replicas these come from
    gateway_waiting           requests outside the engines, which no replica has yet
    """

    read_replicas: int
    queue_depth: Number
    kv_cache_ratio: Number
    token_load_per_s: Number
    gpu_utilization_ratio: Number
    ttft_s: Number
    tpot_s: Number
    running: Number
    requests_per_s: Number
    rejections_per_s: Number
    gateway_waiting: Number = NO_GATEWAY


NO_OUTLOOK = Missing("outlook", "nothing has been forecast")


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Everything one service's decision depends on, besides its rules and memory."""

    service: str
    at: datetime
    mode: Mode
    signals: Signals
    variants: Mapping[str, VariantSituation] = field(default_factory=dict)
    paused: str = ""
    """Why an operator paused the service; "" when it is not paused."""
    outlook: Outlook | Missing = NO_OUTLOOK
    guards: tuple[Guard, ...] = ()
    """What budgets hold back of its growth."""
    unlike: str = ""
    """Why its replicas are not of one kind; "" when they are."""
    current: int = field(init=False, repr=False, compare=False)
    """Over all variants, as is ``ready``."""
    ready: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "current", sum(variant.current for variant in self.variants.values()))
        object.__setattr__(self, "ready", sum(variant.ready for variant in self.variants.values()))


def situation_of(
    service: Service,
    policy: ServicePolicy,
    observation: Observation,
    estimates: Estimates,
    prices: Prices,
    *,
    mode: Mode,
    paused: str = "",
    outlook: Outlook | Missing = NO_OUTLOOK,
) -> Situation:
    """What this pass knows that matters for deciding about ``service``."""
    variants = {
        name: _variant(variant, observation, estimates, prices)
        for name, variant in service.variants.items()
        if not policy.variants or name in {rule.name for rule in policy.variants}
    }
    return Situation(
        service=service.name,
        at=observation.at,
        mode=mode,
        signals=_signals(
            estimates.services[service.name], policy.slo, observation.gateway.get(service.name, NO_GATEWAY)
        ),
        variants=variants,
        paused=paused,
        outlook=outlook,
        unlike=unlike(service.name, observation),
    )


def _signals(seen: Estimate, slo: Slo, gateway_waiting: Number) -> Signals:
    waiting = seen.queue_depth if isinstance(seen.queue_depth_capacity, Missing) else seen.queue_depth_capacity
    computed, output = seen.computed_prompt_tokens_per_s, seen.output_tokens_per_s
    load = first_missing(computed, output)
    return Signals(
        read_replicas=seen.replicas_read,
        queue_depth=waiting,
        kv_cache_ratio=seen.kv_cache_ratio,
        token_load_per_s=load if load is not None else sum(known([computed, output])),
        gpu_utilization_ratio=seen.gpu_utilization_ratio,
        ttft_s=_quantile(seen, "ttft", slo.ttft),
        tpot_s=_quantile(seen, "tpot", slo.tpot),
        running=seen.running,
        requests_per_s=seen.requests_per_s,
        rejections_per_s=seen.rejections_per_s,
        gateway_waiting=gateway_waiting,
    )


def _quantile(seen: Estimate, latency: str, target: LatencyTarget | None) -> Number:
    if target is None:
        return Missing(f"{latency}_s", "the policy sets no target for it")
    value: Number = getattr(seen, f"{latency}_p{target.quantile * 100:g}_s")
    return value


def _variant(
    variant: Variant,
    observation: Observation,
    estimates: Estimates,
    prices: Prices,
) -> VariantSituation:
    states = observation.replicas.get((variant.service, variant.name), Missing("replicas", "not asked for"))
    lost = isinstance(states, Missing) and variant.actuator != COUNTS_TARGETS
    rows = states if not isinstance(states, Missing) else tuple(_target_states(variant, observation))
    return VariantSituation(
        name=variant.name,
        replicas=tuple(_view(variant, state, estimates) for state in rows),
        capacity=tuple(_capacity(variant, capacity, prices) for capacity in variant.capacity),
        counted=not isinstance(states, Missing),
        uncounted=str(states) if lost else "",
        change=observation.changes.get((variant.service, variant.name)),
        bounds=observation.bounds.get((variant.service, variant.name)),
    )


def _target_states(variant: Variant, observation: Observation) -> Iterator[ReplicaState]:
    """Without an actuator that knows, every target is a replica: ready, unless its ``phase`` label says otherwise."""
    phases = {phase.value: phase for phase in Phase}
    for target in observation.targets:
        if (target.service, target.variant) == (variant.service, variant.name):
            phase = phases.get(target.labels.get("phase", ""), Phase.READY)
            yield ReplicaState(
                replica=target.replica, variant=variant.name, phase=phase, since=observation.at, url=target.url
            )


def _view(variant: Variant, state: ReplicaState, estimates: Estimates) -> ReplicaView:
    load = estimates.loads.get((variant.service, variant.name, state.replica))
    return ReplicaView(
        name=state.replica,
        phase=state.phase,
        since=state.since,
        running=load.running if load is not None else Missing("running", "the replica was not read"),
        usd_per_hour=load.usd_per_hour
        if load is not None
        else Missing("usd_per_hour", "the replica is in no estimate"),
        noticed=state.notice is not None and state.notice.ends,
        hinted=state.notice is not None and not state.notice.ends,
        spot_domain=state.domain if state.capacity_type is CapacityType.SPOT else None,
        stuck=state.stuck,
        silent=state.phase is Phase.READY and load is not None and not load.ready,
    )


def _capacity(variant: Variant, capacity: Capacity, prices: Prices) -> CapacityPrice:
    price = prices.get((variant.service, variant.name, capacity.type), Missing("price", "no source was asked"))
    return CapacityPrice(
        type=capacity.type,
        replicas=capacity.replicas,
        placement_score=None if isinstance(price, Missing) else price.placement_score,
        usd_per_replica_hour=mapped(price, lambda known_: known_.usd_per_gpu_hour * variant.gpus_per_replica),
    )

"""Looking ahead: what will be asked of a service, what a replica of it carries, how long a new one takes to start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from math import ceil

from controller.estimate.demand.arrivals import DemandMark, demand_of
from controller.estimate.demand.forecast import forecasts
from controller.estimate.demand.marginal import surges_of, unforeseeable
from controller.estimate.demand.observe import observed
from controller.estimate.demand.season import usual
from controller.estimate.demand.state import DemandState, empty_state
from controller.estimate.performance.capacity import capacity
from controller.estimate.performance.learning import band_of, learned, start, step_of, trusted
from controller.estimate.performance.prior import StepPrior, limits_of, step_prior
from controller.estimate.performance.samples import sample_of
from controller.estimate.performance.speculation import pace_of, token_step
from controller.estimate.phases import NOTHING_SEEN, phases_after
from controller.estimate.trim import Trim, histograms_of, trimmed
from controller.estimate.work import PhaseSeconds
from controller.facts.demand import Outlook
from controller.facts.estimates import Estimate
from controller.facts.fleet import Service, Variant
from controller.facts.missing import Missing, known
from controller.facts.performance import LearnedStep, ReplicaCapacity, RequestShape, StepModel
from controller.facts.readings import Counter, EngineReading, Gauge, Observation, Phase
from controller.facts.slo import Slo
from controller.facts.unguarded import unguarded

START_UP_S = 240.0
"""Before any start was seen: the middle of 180 to 300 s for a pod with cold caches (294 s, Tensorfuse, 2025-09)."""

START_UPS_KEPT = 12
"""A guess: enough to know the slow ones, few enough to follow a change of image or node."""

MODELLED_S = 60.0
"""Capacity is worked out again this often: shapes and step times change slowly, and it costs a millisecond."""

DISPERSION = 2.0
"""Of arrivals over seconds, around their local mean: 3.1 over 10 s in Azure's week of 2024, 1 if they were Poisson. A
guess between the two; what it is wrong by, the trim learns."""

PROFILE_BANDS = (0.10, 0.35, 0.15, 0.16, 1.0)
"""A measured profile is taken as uncertain as a prior that was fitted to its kind of engine: drivers and shapes
differ from the day it was made."""

HORIZONS = 4
"""Forecasts up to the start-up time, evenly spaced: what is given away now is missed at the earliest of them."""


MODELLED_PER_PASS = 50
"""Services whose capacity one pass works out, at most: a tenth of a second. Beyond 200 services, at 15 s, each waits
longer than MODELLED_S for its turn. A guess between the two."""

LEARNED_PER_PASS = 500
"""Replicas that one pass learns from, at most, in turns: a tenth of a second. All of a variant teach one step model,
which forgets by the hour; of 500 services each still has the one teacher a pass that a single replica would be."""


NOT_TOLD = Missing("kv_capacity_tokens", "no replica said it")


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A service's part in a pass that it shares with others. In a small fleet everybody has every turn.

    modelled_s   its capacity is worked out again this often
    early_s      by how much its second model comes early: services that begin together take turns then
    one_in       of so many replicas it learns from one
    number       of the pass: which of them
    """

    modelled_s: float = MODELLED_S
    early_s: float = 0.0
    one_in: int = 1
    number: int = 0

    def learns(self, place: int) -> bool:
        """Whether the replica at ``place`` of its variant teaches in this pass."""
        return (place + self.number) % self.one_in == 0


ALONE = Turn()


def turns(services: Sequence[str], replicas: int, interval_s: float, now: datetime) -> dict[str, Turn]:
    """Everybody's, of a fleet of so many ``replicas``: the work of a pass is bounded, and even from pass to pass."""
    modelled_s = max(MODELLED_S, interval_s * len(services) / MODELLED_PER_PASS)
    one_in = max(1, ceil(replicas / LEARNED_PER_PASS))
    passed = round(now.timestamp() / interval_s)
    return {
        name: Turn(
            modelled_s=modelled_s, early_s=place * modelled_s / len(services), one_in=one_in, number=passed + place
        )
        for place, name in enumerate(services)
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What is known of a variant's engine. ``pace``: tokens that a sequence gains in a step; 1 without speculation."""

    learned: LearnedStep | Missing
    kv_tokens: float | Missing = NOT_TOLD
    pace: float = 1.0


def token_step_of(learned: LearnedStep, pace: float) -> StepModel:
    """A token's time. Until enough was learned it is taken as it stands: a profile's is a token's, and the tables know
    no speculation."""
    step = step_of(learned)
    return token_step(step, pace) if trusted(learned) else step


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class Lookout:
    """What looking ahead remembers of one service.

    mark         what tells arrivals from completions
    starting     by replica: since when it has been seen starting
    start_ups_s  by variant: the latest start-up times, oldest first
    phases       by variant: what its requests spent in each phase lately
    before       by target url: its newest reading
    modelled     by variant: what a replica carries by the model alone, as of ``modelled_at``
    """

    demand: DemandState = field(default_factory=empty_state)
    mark: DemandMark = field(default_factory=DemandMark)
    starting: Mapping[str, datetime] = field(default_factory=dict)
    start_ups_s: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    trims: Mapping[str, Trim] = field(default_factory=dict)
    engines: Mapping[str, Engine] = field(default_factory=dict)
    phases: Mapping[str, PhaseSeconds] = field(default_factory=dict)
    before: Mapping[str, EngineReading] = field(default_factory=dict)
    modelled: Mapping[str, ReplicaCapacity | Missing] = field(default_factory=dict)
    modelled_at: datetime | None = None


def looked_ahead(
    service: Service,
    slo: Slo,
    observation: Observation,
    seen: Estimate,
    lookout: Lookout,
    interval_s: float,
    turn: Turn = ALONE,
) -> tuple[Outlook, Lookout]:
    """The outlook of one service, and what to remember for the next.

    interval_s   until the next look: a replica ordered then is ready so much later
    """
    now = observation.at
    readings = _readings(service, observation)
    demand, mark = demand_of(seen, [one for some in readings.values() for one in some], lookout.mark)
    demand_state = lookout.demand
    if not isinstance(demand.requests_per_s, Missing):
        demand_state = observed(demand_state, now, demand.requests_per_s)
    starting, start_ups = _start_ups(service, observation, lookout)
    engines = _engines(service, readings, lookout, turn)
    modelled, modelled_at = lookout.modelled, lookout.modelled_at
    if modelled_at is None or (now - modelled_at).total_seconds() >= turn.modelled_s or now < modelled_at:
        modelled_at = now if modelled else now - timedelta(seconds=turn.early_s)
        modelled = {
            name: _capacity(service, variant, slo, demand.shape, len(readings[name]), engines[name])
            for name, variant in service.variants.items()
        }
    foreseeable = not unforeseeable(demand_state)
    trims = _trims(service, slo, readings, modelled, lookout, foreseeable=foreseeable)
    start_up_s = {
        name: _typical(start_ups.get(name, ()), variant.start_up_s or START_UP_S) + interval_s
        for name, variant in service.variants.items()
    }
    longest_s = max(start_up_s.values(), default=START_UP_S)
    horizons = sorted({longest_s * part / HORIZONS for part in range(HORIZONS + 1)} | set(start_up_s.values()))
    outlook = Outlook(
        demand=demand,
        forecasts=forecasts(demand_state, now, horizons),
        capacity={name: _with_trim(one, trims.get(name)) for name, one in modelled.items()},
        start_up_s=start_up_s,
        usual_per_s=usual(demand_state.season),
        surges={} if foreseeable else surges_of(demand_state.record),
    )
    return outlook, Lookout(
        demand=demand_state,
        mark=mark,
        starting=starting,
        start_ups_s=start_ups,
        trims=trims,
        engines=engines,
        phases=_phases(readings, lookout, now),
        before={reading.target.url: reading for some in readings.values() for reading in some},
        modelled=modelled,
        modelled_at=modelled_at,
    )


def _capacity(
    service: Service, variant: Variant, slo: Slo, shape: RequestShape | Missing, replicas: int, engine: Engine
) -> ReplicaCapacity | Missing:
    """What one of ``replicas`` carries, by what is known of its engine."""
    if isinstance(shape, Missing):
        return shape
    limits = limits_of(variant, service.model, engine.kv_tokens)
    if isinstance(limits, Missing):
        return limits
    if isinstance(engine.learned, Missing):
        return engine.learned
    source = "learned" if trusted(engine.learned) else "profile" if variant.step is not None else "prior"
    return capacity(
        token_step_of(engine.learned, engine.pace),
        limits,
        shape,
        slo,
        dispersion=DISPERSION,
        replicas=max(1, replicas),
        source=source,
        band_ratio=band_of(engine.learned),
    )


def _engines(
    service: Service, readings: Mapping[str, Sequence[EngineReading]], lookout: Lookout, turn: Turn
) -> dict[str, Engine]:
    """What is known of every variant's engine after this look."""
    engines = {}
    for name, variant in service.variants.items():
        engine = lookout.engines.get(name) or Engine(learned=first_belief(service, variant))
        state, kv_tokens = engine.learned, engine.kv_tokens
        for place, reading in enumerate(readings[name]):
            told = reading.gauge(Gauge.KV_CAPACITY_TOKENS)
            kv_tokens = kv_tokens if isinstance(told, Missing) else told
            if not turn.learns(place):
                continue
            sample = sample_of(reading, lookout.before.get(reading.target.url))
            if not isinstance(state, Missing) and not isinstance(sample, Missing):
                state = learned(state, sample)
        engines[name] = Engine(learned=state, kv_tokens=kv_tokens, pace=pace_of(readings[name], engine.pace))
    return engines


def _phases(
    readings: Mapping[str, Sequence[EngineReading]], lookout: Lookout, now: datetime
) -> dict[str, PhaseSeconds]:
    spent_s = (now - lookout.mark.at).total_seconds() if lookout.mark.at is not None else 0.0
    return {
        name: phases_after(lookout.phases.get(name, NOTHING_SEEN), spent_s, some) for name, some in readings.items()
    }


def first_belief(service: Service, variant: Variant) -> LearnedStep | Missing:
    """What is believed before any reading: the variant's profile, else what the tables say."""
    if variant.step is not None:
        return start(StepPrior(step=variant.step, bands=PROFILE_BANDS))
    prior = step_prior(service.model, variant)
    return prior if isinstance(prior, Missing) else start(prior)


def _readings(service: Service, observation: Observation) -> dict[str, list[EngineReading]]:
    """By variant: what its replicas said in this pass."""
    said: dict[str, list[EngineReading]] = {name: [] for name in service.variants}
    for target in observation.targets:
        reading = observation.engines.get(target.url)
        if target.service == service.name and isinstance(reading, EngineReading) and target.variant in said:
            said[target.variant].append(reading)
    return said


def _start_ups(
    service: Service, observation: Observation, lookout: Lookout
) -> tuple[dict[str, datetime], dict[str, tuple[float, ...]]]:
    """Who is starting now, and how long those took that have become ready since the last look."""
    starting: dict[str, datetime] = {}
    took = dict(lookout.start_ups_s)
    for name in service.variants:
        states = observation.replicas.get((service.name, name), ())
        for state in () if isinstance(states, Missing) else states:
            key = f"{name}/{state.replica}"
            if state.phase is Phase.STARTING:
                starting[key] = state.since
            elif state.phase is Phase.READY and key in lookout.starting:
                seconds = (state.since - lookout.starting[key]).total_seconds()
                took[name] = (*took.get(name, ()), seconds)[-START_UPS_KEPT:]
    return starting, took


def _typical(seconds: Sequence[float], assumed_s: float) -> float:
    """The mean of those seen; the assumed one counts while they are few, so that a single odd start does not decide."""
    return (assumed_s + sum(seconds)) / (1 + len(seconds)) if len(seconds) < 3 else sum(seconds) / len(seconds)


def _trims(
    service: Service,
    slo: Slo,
    readings: Mapping[str, Sequence[EngineReading]],
    capacity: Mapping[str, ReplicaCapacity | Missing],
    lookout: Lookout,
    *,
    foreseeable: bool,
) -> dict[str, Trim]:
    trims = dict(lookout.trims)
    for name in service.variants:
        modelled = capacity.get(name)
        if not isinstance(modelled, ReplicaCapacity) or not readings[name]:
            continue
        trim = trims.get(name, Trim())
        finished = sum(known([one.counter(Counter.REQUESTS) for one in readings[name]]))
        seconds = sum(one.window_s for one in readings[name])
        carried = finished / seconds if seconds else 0.0
        trims[name] = trimmed(
            trim,
            histograms_of(readings[name]),
            slo,
            carried / (modelled.requests_per_s * trim.factor),
            foreseeable=foreseeable,
        )
    return trims


def _with_trim(one: ReplicaCapacity | Missing, trim: Trim | None) -> ReplicaCapacity | Missing:
    if isinstance(one, Missing) or trim is None:
        return one
    return replace(one, requests_per_s=one.requests_per_s * trim.factor)

"""From what was asked to everything that runs need, or to every mistake in it at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from pathlib import Path

from controller.backtest.asked import Asked
from controller.backtest.engines import BELIEF_RATIO, Engine, Settings, believed, engine_of, speed_of, speed_of_profile
from controller.backtest.ground import Ground, ground_in, ground_of, price_of, settings_at
from controller.backtest.mistakes import Mistakes
from controller.backtest.run import OURS, Entrant, Stage
from controller.backtest.trace import MINUTE_S, Played, played_of, whole_of
from controller.decide.rules import ServicePolicy
from controller.errors import ConfigError, Problem
from controller.estimate.performance.capacity import capacity
from controller.facts.fleet import Capacity, CapacityType, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price
from controller.facts.slo import LatencyTarget, Slo
from controller.policy.load import load_policies
from controller.settings.load import Settings as FleetSettings
from controller.simulate.opponents.catalogue import OPPONENTS
from controller.simulate.opponents.profile import ReplicaProfile, profile_engine
from controller.simulate.opponents.static import replicas_for_peak
from controller.simulate.shell import Seat
from controller.simulate.startup import PROFILES, StartUp
from controller.simulate.world import Case, Judge

INTERVAL_S = 15.0
STALENESS_S = 7.5
"""From a scrape to the moment at which the decision made on it takes effect, half an interval at most."""

INTERACTIVE_TTFT_S, INTERACTIVE_TPOT_S = 2.0, 0.05
INTERACTIVE = Slo(
    ttft=LatencyTarget(quantile=0.99, seconds=INTERACTIVE_TTFT_S),
    tpot=LatencyTarget(quantile=0.99, seconds=INTERACTIVE_TPOT_S),
)
"""What everybody is judged by where no policy names a latency: the first token within 2 s, 20 tokens/s after it."""

SIZING_LOAD = 0.75
"""Of what a replica carries in a steady closed loop: what is sized beforehand is sized for. A guess, because open-loop
arrivals queue."""

STATIC = "static"
START_UP = "cold_pod"
CHANNELS = ("log", "slack")

LIMITS = (
    "One variant is simulated, and every replica is bought alike: nothing is reserved or on spot.",
    "No replica fails, and no client gives up or asks again.",
    f"Our policy starts with step times that are wrong by up to {BELIEF_RATIO:.0%}, and learns from what it reads.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rented:
    """One replica: where it is found, how fast it is, what it costs."""

    ground: Ground
    engine: Engine
    price: Price

    @property
    def usd_per_replica_hour(self) -> float:
        return self.price.usd_per_gpu_hour * self.ground.variant.gpus_per_replica

    @property
    def variant(self) -> Variant:
        """As the policy's fleet file would have it, one way of buying, its engine's settings and a first belief of its
        speed."""
        usd, spec = self.price.usd_per_gpu_hour, self.engine.spec
        return replace(
            self.ground.variant,
            capacity=(Capacity(type=CapacityType.ON_DEMAND, usd_per_gpu_hour=usd),),
            step=believed(spec.step),
            token_budget=spec.token_budget,
            max_sequences=spec.max_sequences,
        )

    @property
    def price_told(self) -> str:
        gpus, usd = self.ground.variant.gpus_per_replica, self.price.usd_per_gpu_hour
        of = f" ({gpus} GPUs at ${usd:.2f})" if gpus > 1 else ""
        return f"${usd * gpus:.2f} per replica and hour{of}, billed by the second; {self.price.source}"

    @property
    def replica_told(self) -> str:
        variant = self.ground.variant
        kv = "" if variant.kv_cache_dtype == "auto" else f", KV cache in {variant.kv_cache_dtype}"
        gpus = f"{variant.gpus_per_replica} x {variant.gpu.name}"
        return f"{self.ground.model.name} in {variant.quantization}{kv} on {gpus}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that is needed to play and to tell about it. ``entrants``: the first one is what others are compared with."""

    asked: Asked
    stage: Stage
    played: Played
    entrants: tuple[Entrant, ...]
    slo: Slo
    rented: Rented
    notes: tuple[str, ...]

    @property
    def start_up_told(self) -> str:
        found = self.stage.case.start_up
        name = next((f", {name}" for name, one in PROFILES.items() if one == found), "")
        return f"{found.median_s:g} s ({found.min_s:g} to {found.max_s:g} s){name}"

    @property
    def fleet_told(self) -> str:
        limits, at_first = self.stage.policy.replicas, self.stage.case.initial_replicas
        counts = f"{limits.min_replicas} to {limits.max_replicas} replicas, {at_first} at first"
        return f"{self.rented.replica_told}; {counts}; {self.rented.ground.told}"


def prepared(asked: Asked, mistakes: Mistakes, now: datetime) -> Prepared:
    """Raises ConfigError with ``mistakes`` and every other."""
    file = asked.fleet
    settings = mistakes.tried(lambda: settings_at(file)) if file else None
    policies = _policies(asked, settings, mistakes)
    service = policies[0].service if policies else None
    ledger = asked.ledger or (settings.ledger_url if settings else None)
    played = mistakes.tried(lambda: played_of(whole_of(asked, service, ledger), asked))
    ground = mistakes.tried(lambda: _ground(asked, settings, policies)) if policies and (settings or not file) else None
    price = mistakes.tried(lambda: price_of(ground, asked.priced, now)) if ground else None
    slo = _slo(policies)
    engine = mistakes.tried(lambda: _engine(asked, ground, slo, played)) if ground and played else None
    mistakes.finish()
    assert ground is not None, "else there was a mistake"
    assert played is not None
    assert price is not None
    assert engine is not None
    judged = replace(policies[0], slo=slo)
    stage = _stage(asked, settings, judged, played, Rented(ground=ground, engine=engine, price=price))
    return Prepared(
        asked=asked,
        stage=stage,
        played=played,
        entrants=(*_ours(asked, policies, ground), *_rivals(asked, played, slo, stage.profile, engine)),
        slo=slo,
        rented=Rented(ground=ground, engine=engine, price=price),
        notes=(*played.notes, *_notes(asked, policies)),
    )


# --- policies --------------------------------------------------------------------------------------------------------


def _policies(asked: Asked, settings: FleetSettings | None, mistakes: Mistakes) -> list[ServicePolicy]:
    """One a file, all of one service; none when any is wrong."""
    fleet, channels = (settings.fleet, settings.channels) if settings else (None, CHANNELS)
    found: list[tuple[Path, ServicePolicy]] = []
    for path in dict.fromkeys(asked.policies):
        read = mistakes.tried(lambda path=path: load_policies([path], fleet, channels))  # type: ignore[misc]
        found += [(path, policy) for policy in (read or {}).values()]
        if read is not None and not read:
            mistakes.wrong(str(path), "is a policy test; name the policy itself")
    for path, policy in found[1:]:
        if policy.service != found[0][1].service:
            first = f"{found[0][0]} is about '{found[0][1].service}'"
            mistakes.wrong(
                str(path), f"is about the service '{policy.service}', {first}; expected policies of one service"
            )
    return [policy for _, policy in found] if len(found) == len(set(asked.policies)) else []


def _slo(policies: Sequence[ServicePolicy]) -> Slo:
    """The first one that names a latency; else INTERACTIVE."""
    named = (policy.slo for policy in policies if policy.slo.ttft or policy.slo.tpot)
    return next(named, INTERACTIVE)


def _playable(policy: ServicePolicy, ground: Ground) -> ServicePolicy:
    """``policy`` where there is one variant, bought in one way, and nobody to alert."""
    rules = tuple(replace(rule, capacity_types=None) for rule in policy.variants if rule.name == ground.variant.name)
    return replace(policy, variants=rules, alerts=())


# --- who plays -------------------------------------------------------------------------------------------------------


def _ours(asked: Asked, policies: Sequence[ServicePolicy], ground: Ground) -> list[Entrant]:
    """Called "pennyweight" alone, and by their files where they are several."""
    paths = list(dict.fromkeys(asked.policies))
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    labels = [f"{OURS} {name}" for name in names] if len(paths) > 1 else [""]
    return [
        Entrant(name=OURS, label=label, policy=_playable(policy, ground))
        for label, policy in zip(labels, policies, strict=True)
    ]


def _rivals(asked: Asked, played: Played, slo: Slo, profile: ReplicaProfile, engine: Engine) -> list[Entrant]:
    promised = Slo(ttft=_strict(slo.ttft, slo), tpot=_strict(slo.tpot, slo), attainment_ratio=slo.attainment_ratio)
    carried = capacity(engine.spec.step, engine.spec.limits, played.shape, promised)
    per_s = profile.requests_per_s if isinstance(carried, Missing) else carried.requests_per_s
    sized = {STATIC: {"replicas": float(replicas_for_peak(played.per_minute / MINUTE_S, per_s))}}
    return [Entrant(name=name, settings=sized.get(name, {})) for name in asked.against]


def _strict(target: LatencyTarget | None, slo: Slo) -> LatencyTarget | None:
    """For as many requests as must be served in time."""
    return replace(target, quantile=slo.attainment_ratio) if target else None


# --- the stage -------------------------------------------------------------------------------------------------------


def _ground(asked: Asked, settings: FleetSettings | None, policies: Sequence[ServicePolicy]) -> Ground:
    if settings is not None:
        return ground_in(settings, policies, asked.variant)
    if asked.variant is not None:
        message = "chooses one of a fleet file's variants; there is no fleet file here"
        raise ConfigError([Problem("--variant", 0, 0, "", message)])
    return ground_of(asked.described, policies)


def _engine(asked: Asked, ground: Ground, slo: Slo, played: Played) -> Engine:
    """Raises ConfigError."""
    model, variant = ground.model, ground.variant
    speed = speed_of_profile(asked.profile, model, variant) if asked.profile else speed_of(model, variant)
    if isinstance(speed, Missing):
        raise ConfigError([Problem(variant.name, 0, 0, "", f"its speed cannot be worked out: {speed.why}")])
    said = Settings(
        token_budget=asked.token_budget or variant.token_budget,
        max_sequences=asked.max_sequences or variant.max_sequences,
        tpot_s=slo.tpot.seconds if slo.tpot else None,
        prompt_tokens=played.shape.prompt_tokens,
    )
    return engine_of(model, variant, speed, said)


def _start_up(ground: Ground) -> StartUp:
    said = ground.variant.start_up_s
    return StartUp.around(said) if said is not None else PROFILES[START_UP]


def _stage(
    asked: Asked, settings: FleetSettings | None, policy: ServicePolicy, played: Played, rented: Rented
) -> Stage:
    engine, ground = rented.engine, rented.ground
    start_up = asked.start_up or _start_up(ground)
    variant = replace(rented.variant, start_up_s=ground.variant.start_up_s or start_up.median_s)
    interval_s = asked.interval_s or (settings.interval_s if settings else INTERVAL_S)
    profile = profile_engine(
        engine.spec.step,
        engine.spec.limits,
        played.shape,
        ttft_s=policy.slo.ttft.seconds if policy.slo.ttft else INTERACTIVE_TTFT_S,
        tpot_s=policy.slo.tpot.seconds if policy.slo.tpot else INTERACTIVE_TPOT_S,
    )
    limits = policy.replicas
    needed = 1 + ceil(played.first_per_s / (SIZING_LOAD * profile.requests_per_s))
    case = Case(
        name=played.name,
        spec=engine.spec,
        start_up=start_up,
        judge=Judge.of(policy.slo),
        usd_per_replica_hour=rented.usd_per_replica_hour,
        initial_replicas=min(max(needed, limits.min_replicas), limits.max_replicas),
        interval_s=interval_s,
        staleness_s=min(STALENESS_S, interval_s / 2),
    )
    return Stage(
        case=case,
        fleet=replace(ground, variant=variant).fleet(),
        seat=Seat(
            service=ground.service,
            variant=variant.name,
            gpus_per_replica=variant.gpus_per_replica,
            capacity_type=CapacityType.ON_DEMAND,
        ),
        policy=_playable(policy, ground),
        profile=profile,
        earlier=played.earlier,
        interval_s=interval_s,
    )


# --- what a reader must know -----------------------------------------------------------------------------------------


def _notes(asked: Asked, policies: Sequence[ServicePolicy]) -> Iterator[str]:
    if all(policy.slo.ttft is None and policy.slo.tpot is None for policy in policies):
        yield "No policy names a latency target: everybody is judged by those of interactive use."
    if len({policy.slo for policy in policies}) > 1:
        yield "The policies promise different things; everybody is judged by the first one that names a latency."
    if any(policy.replicas.targets.gpu_utilization_ratio is not None for policy in policies):
        yield "GPU utilization is not simulated: a policy with a target for it is blind there, and never shrinks."
    if len(policies) > 1 and asked.against:
        yield "The others keep the first policy's limits."
    if STATIC in asked.against:
        yield "static is sized for the busiest minute, which nobody knows beforehand."
    for name in asked.against:
        told = OPPONENTS[name].translation
        if told and name != STATIC:
            yield f"{name}, with its documented defaults: {told}."
    yield from LIMITS

"""From what was asked to everything that runs need, or to every mistake in it at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import ceil
from pathlib import Path

from controller.backtest.asked import Asked
from controller.backtest.choice import Rented, Rig, Wares, fleet_of, plain, wanted_others, wares_of
from controller.backtest.engines import BELIEF_RATIO, Engine, Settings, engine_of, speed_of, speed_of_profile
from controller.backtest.ground import Ground, ground_in, ground_of, price_of, settings_at
from controller.backtest.mistakes import Mistakes
from controller.backtest.perils import failures_told, market_of, spot_told
from controller.backtest.reach import Reach, reach_of, reach_told
from controller.backtest.run import OURS, Entrant, Stage
from controller.backtest.safety import safety_told
from controller.backtest.speculation import token_step_of
from controller.backtest.trace import MINUTE_S, Played, played_of, whole_of
from controller.decide.rules import ServicePolicy
from controller.errors import ConfigError, Problem
from controller.facts.fleet import CapacityType, Variant
from controller.facts.missing import Missing
from controller.facts.slo import LatencyTarget, Slo
from controller.policy.load import load_policies
from controller.safety.rules import SafetyRules
from controller.settings.load import Settings as FleetSettings
from controller.settings.load import seen_at
from controller.simulate.opponents.catalogue import OPPONENTS
from controller.simulate.opponents.profile import profile_engine
from controller.simulate.opponents.static import replicas_for_peak
from controller.simulate.shell import Seat
from controller.simulate.spot import SpotDraw, SpotMarket
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

BY_GPU = ("hpa-gpu", "hpa-reference")
BUSY = (
    "the share of time stands in which a simulated engine had any request: DCGM's counter says no more, for it counts"
    " a GPU as busy while any kernel runs. How full the GPU was is not simulated."
)

BRACKET_KNOWS = (
    "the bound and the schedule know one variant, bought on demand; give --usd-per-gpu-hour, which makes it so"
)
SPOT_SHARED = (
    "All variants find the same zones open. Who is warned takes no new request; what it has not finished"
    " by the deadline is lost and sent again."
)
OTHERS_RENT = (
    "The others rent the first variant only: what is reserved of it, then on demand, as much as they want. What is"
    " reserved is paid for by everybody, used or not."
)

LIMITS = (
    "No client gives up or asks again by itself.",
    f"Our policy starts with step times that are wrong by up to {BELIEF_RATIO:.0%}, and learns from what it reads.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All that is needed to play and to tell about it. ``entrants``: the first one is what others are compared with.
    ``reaches``: by variant, the first one first."""

    asked: Asked
    stage: Stage
    played: Played
    entrants: tuple[Entrant, ...]
    slo: Slo
    rented: Rented
    reaches: Mapping[str, Reach | Missing]
    notes: tuple[str, ...]

    @property
    def reach_told(self) -> str:
        """What each variant carries, and whether that is enough."""
        return reach_told(self.reaches, self.stage.policy.replicas.max_replicas)

    @property
    def start_up_told(self) -> str:
        """Of each variant, where they differ."""
        told = {rig.variant.name: _start_up_told(rig.start_up) for rig in self.rented.rigs}
        if len(set(told.values())) == 1:
            return next(iter(told.values()))
        return "; ".join(f"{name}: {words}" for name, words in told.items())

    @property
    def perils_told(self) -> dict[str, str]:
        """What may go wrong, by name; empty: nothing."""
        case = self.stage.case
        told = {"failures": failures_told(case.failures), "spot": spot_told(self.asked.spot, case.spot)}
        return {name: words for name, words in told.items() if words}

    @property
    def safety_told(self) -> str:
        """The rules of the kernel in front of our policy, and whose they are."""
        return safety_told(self.stage.safety, self.asked.fleet, dated=self.asked.ledger_s is not None)

    @property
    def fleet_told(self) -> str:
        limits, at_first = self.stage.policy.replicas, self.stage.case.initial_replicas
        static = next((one.at_first for one in self.entrants if one.at_first not in (None, at_first)), None)
        but = f" (static: {static} from beginning to end)" if static is not None else ""
        counts = f"{limits.min_replicas} to {limits.max_replicas} replicas, {at_first} at first{but}"
        return f"{self.rented.replica_told}; {counts}; {self.rented.ground.told}"


def _start_up_told(found: StartUp) -> str:
    name = next((f", {name}" for name, one in PROFILES.items() if one == found), "")
    return f"{found.median_s:g} s ({found.min_s:g} to {found.max_s:g} s){name}"


def prepared(asked: Asked, mistakes: Mistakes, now: datetime) -> Prepared:
    """Raises ConfigError with ``mistakes`` and every other."""
    file = asked.fleet
    settings = mistakes.tried(lambda: settings_at(file)) if file else None
    policies = _policies(asked, settings, mistakes)
    service = policies[0].service if policies else None
    ledger = asked.ledger or (settings.ledger_url if settings else None)
    # What is wrong with a policy, a fleet file or a URL is told: that it names no service or ledger follows from it.
    sourced = asked.sourced and (asked.ledger_s is None or (service is not None and (ledger or not mistakes.problems)))
    played = mistakes.tried(lambda: played_of(whole_of(asked, service, ledger), asked)) if sourced else None
    ground = mistakes.tried(lambda: _ground(asked, settings, policies)) if settings or not file else None
    price = mistakes.tried(lambda: price_of(ground, asked.priced, now)) if ground else None
    slo = _slo(policies)
    wares = (
        mistakes.tried(lambda: wares_of(ground, price, asked.priced, policies, now))
        if ground and price and policies
        else None
    )
    engines = _engines(asked, ground, policies, slo, played, mistakes) if ground and played else {}
    spot = mistakes.tried(lambda: market_of(asked.spot, wares, policies, played.span_s)) if wares and played else None
    if wares and asked.bracket and not plain(wares):
        mistakes.wrong("--bracket", BRACKET_KNOWS)
    mistakes.finish()
    assert ground is not None, "else there was a mistake"
    assert played is not None
    assert price is not None
    assert wares is not None
    rigs = tuple(_rig(asked, one, engines[one.variant.name]) for one in wares)
    rented = Rented(ground=ground, price=price, rigs=rigs)
    reaches = {rig.variant.name: reach_of(rig.engine.spec, played, slo) for rig in rigs}
    stage = _stage(asked, settings, replace(policies[0], slo=slo), played, rented, spot)
    return Prepared(
        asked=asked,
        stage=stage,
        played=played,
        entrants=(*_ours(asked, policies, rented), *_rivals(asked, stage, played, reaches[rented.first.variant.name])),
        slo=slo,
        rented=rented,
        reaches=reaches,
        notes=(*played.notes, *_notes(asked, policies), *_limits(asked, rented, spot)),
    )


# --- policies --------------------------------------------------------------------------------------------------------


def _policies(asked: Asked, settings: FleetSettings | None, mistakes: Mistakes) -> list[ServicePolicy]:
    """One a file, all of one service; none when any is wrong."""
    seen = seen_at(asked.fleet) if asked.fleet else None
    services, channels = (seen.services if seen else None), (settings.channels if settings else CHANNELS)
    found: list[tuple[Path, ServicePolicy]] = []
    for path in dict.fromkeys(asked.policies):
        read = mistakes.tried(lambda path=path: load_policies([path], services, channels))  # type: ignore[misc]
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


def _playable(policy: ServicePolicy, rented: Rented) -> ServicePolicy:
    """``policy`` where there are these variants only, and nobody to alert."""
    there = {rig.variant.name for rig in rented.rigs}
    rules = tuple(rule for rule in policy.variants if rule.name in there)
    if rented.plain:  # whatever the fleet file says of it, it is bought on demand here
        rules = tuple(replace(rule, capacity_types=None) for rule in rules)
    return replace(policy, variants=rules, alerts=())


# --- who plays -------------------------------------------------------------------------------------------------------


def _ours(asked: Asked, policies: Sequence[ServicePolicy], rented: Rented) -> list[Entrant]:
    """Called "pennyweight" alone, and by their files where they are several."""
    paths = list(dict.fromkeys(asked.policies))
    stems = [path.stem for path in paths]
    names = stems if len(set(stems)) == len(stems) else [str(path) for path in paths]
    labels = [f"{OURS} {name}" for name in names] if len(paths) > 1 else [""]
    return [
        Entrant(name=OURS, label=label, policy=_playable(policy, rented))
        for label, policy in zip(labels, policies, strict=True)
    ]


def _rivals(asked: Asked, stage: Stage, played: Played, reach: Reach | Missing) -> list[Entrant]:
    """A fleet that never changes has its size from the beginning."""
    limits = stage.policy.replicas
    wanted = _fullest(stage, played) if isinstance(reach, Missing) else reach.wanted
    sized = min(max(wanted, limits.min_replicas, 1), limits.max_replicas)
    return [
        Entrant(name=name, settings={"replicas": float(wanted)}, at_first=sized)
        if name == STATIC
        else Entrant(name=name)
        for name in asked.against
    ]


def _fullest(stage: Stage, played: Played) -> int:
    """Replicas for the busiest minute where none keeps the SLO: by what one carries at all."""
    return replicas_for_peak(played.per_minute / MINUTE_S, stage.profile.requests_per_s)


# --- the stage -------------------------------------------------------------------------------------------------------


def _ground(asked: Asked, settings: FleetSettings | None, policies: Sequence[ServicePolicy]) -> Ground | None:
    """Of the options, whatever is wrong with the policies; of a fleet file's variants the policies choose."""
    if settings is not None:
        return ground_in(settings, policies, asked.variant) if policies else None
    if asked.variant is not None:
        message = "chooses one of a fleet file's variants; there is no fleet file here"
        raise ConfigError([Problem("--variant", 0, 0, "", message)])
    return ground_of(asked.described, policies)


def _engines(
    asked: Asked, ground: Ground, policies: Sequence[ServicePolicy], slo: Slo, played: Played, mistakes: Mistakes
) -> dict[str, Engine]:
    """By variant; --profile is about the first."""
    variants = {one.name: one for one in (ground.variant, *wanted_others(ground, policies))}
    found = {
        name: mistakes.tried(lambda one=one: _engine(asked, ground, one, slo, played))  # type: ignore[misc]
        for name, one in variants.items()
    }
    known = {name: engine for name, engine in found.items() if engine is not None}
    if not mistakes.problems and all(engine.spec.draft_tokens == 0 for engine in known.values()):
        for option in asked.drafting.beside:
            mistakes.wrong(option, "means nothing: no engine here drafts tokens; --draft-tokens says how many")
    for name, engine in known.items():
        if played.longest > engine.spec.max_model_len:
            told = (
                f"has a request of {played.longest:,} tokens, a replica of {name} takes {engine.spec.max_model_len:,}"
            )
            mistakes.wrong(played.name, f"{told}; leave such requests out of the trace, or the variant with --variant")
    return known


def _engine(asked: Asked, ground: Ground, variant: Variant, slo: Slo, played: Played) -> Engine:
    """Raises ConfigError."""
    model, profile = ground.model, asked.profile if variant is ground.variant else None
    speed = speed_of_profile(profile, model, variant) if profile else speed_of(model, variant)
    if isinstance(speed, Missing):
        raise ConfigError([Problem(variant.name, 0, 0, "", f"its speed cannot be worked out: {speed.why}")])
    said = Settings(
        token_budget=asked.token_budget or variant.token_budget,
        max_sequences=asked.max_sequences or variant.max_sequences,
        tpot_s=slo.tpot.seconds if slo.tpot else None,
        prompt_tokens=played.shape.prompt_tokens,
        speculation=asked.drafting.of(variant),
    )
    return engine_of(model, variant, speed, said)


def _rig(asked: Asked, wares: Wares, engine: Engine) -> Rig:
    said = wares.variant.start_up_s
    usual = StartUp.around(said) if said is not None else PROFILES[START_UP]
    return Rig(wares=wares, engine=engine, start_up=asked.start_up or usual)


def _stage(
    asked: Asked,
    settings: FleetSettings | None,
    policy: ServicePolicy,
    played: Played,
    rented: Rented,
    spot: SpotMarket | SpotDraw | None,
) -> Stage:
    first = rented.first
    engine, variant = first.engine, first.variant
    interval_s = asked.interval_s or (settings.interval_s if settings else INTERVAL_S)
    profile = profile_engine(
        token_step_of(engine.spec),
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
        start_up=first.start_up,
        judge=Judge.of(policy.slo),
        usd_per_replica_hour=rented.usd_per_replica_hour,
        initial_replicas=min(max(needed, limits.min_replicas), limits.max_replicas),
        interval_s=interval_s,
        staleness_s=min(STALENESS_S, interval_s / 2),
        kinds=tuple(rig.kind for rig in rented.rigs),
        failures=asked.failures,
        spot=spot,
    )
    return Stage(
        case=case,
        fleet=fleet_of(rented.ground, rented.rigs),
        seat=Seat(
            service=policy.service,
            variant=variant.name,
            gpus_per_replica=variant.gpus_per_replica,
            capacity_type=CapacityType.ON_DEMAND,
        ),
        policy=_playable(policy, rented),
        profile=profile,
        earlier=played.earlier,
        interval_s=interval_s,
        safety=settings.safety if settings else SafetyRules(),
    )


# --- what a reader must know -----------------------------------------------------------------------------------------


def _notes(asked: Asked, policies: Sequence[ServicePolicy]) -> Iterator[str]:
    if all(policy.slo.ttft is None and policy.slo.tpot is None for policy in policies):
        yield "No policy names a latency target: everybody is judged by those of interactive use."
    if len({policy.slo for policy in policies}) > 1:
        yield "The policies promise different things; everybody is judged by the first one that names a latency."
    if any(policy.replicas.targets.gpu_utilization_ratio is not None for policy in policies):
        yield "Your policy reads no GPU utilization here: with a target for it, it is blind there, and never shrinks."
    if len(policies) > 1 and asked.against:
        yield "The others keep the first policy's limits."
    if STATIC in asked.against:
        yield "static has from the beginning what the busiest minute needs, which nobody knows beforehand."
    for name in asked.against:
        told = OPPONENTS[name].translation
        if told and name != STATIC:
            yield f"{name}, with its documented defaults: {told}."
    by_gpu = [name for name in asked.against if name in BY_GPU]
    if by_gpu:
        yield f"For the GPU utilization that {' and '.join(by_gpu)} {'go' if len(by_gpu) > 1 else 'goes'} by, {BUSY}"


def _limits(asked: Asked, rented: Rented, spot: SpotMarket | SpotDraw | None) -> Iterator[str]:
    if rented.plain:
        yield "One variant is simulated, and every replica is bought alike: nothing is reserved or on spot."
    elif asked.against:
        yield OTHERS_RENT
    yield "No replica fails." if asked.failures.none else f"Replicas fail: {failures_told(asked.failures)}."
    if spot is not None:
        yield f"Spot capacity: {spot_told(asked.spot, spot)}. {SPOT_SHARED}"
    yield from LIMITS

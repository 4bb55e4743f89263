"""One controller on one workload: ours with its policy, or an opponent with its settings. All meet the same case."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from statistics import fmean

from controller.backtest.choice import case_for, case_for_others
from controller.backtest.ours import rehearse_policy
from controller.decide.rules import ReplicaRule, ServicePolicy
from controller.estimate.demand.accuracy import accuracy
from controller.estimate.demand.history import state_from_history
from controller.estimate.outlook import Lookout
from controller.facts.fleet import Fleet
from controller.facts.missing import Missing
from controller.loop import Running
from controller.safety.rules import SafetyRules
from controller.simulate.opponents.catalogue import OPPONENTS
from controller.simulate.opponents.profile import ReplicaProfile
from controller.simulate.rivals import rehearse
from controller.simulate.score import Number, RunScore
from controller.simulate.scoring import scored
from controller.simulate.shell import EPOCH, Seat
from controller.simulate.workload.blocks import BlockWorkload, Floats
from controller.simulate.world import Case, World

OURS = "pennyweight"

FORECAST_HORIZON_S = 240.0
"""The horizon whose forecast error a score states: the middle of the start-up times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What all controllers of one comparison share.

    policy     ours; its limits hold for everybody
    profile    what a planner that wants one is told about a replica
    safety     the kernel's rules in front of ours
    earlier    requests per ``earlier_bin_s`` before the trace begins, as a ledger would have them; nan: nobody looked
    """

    case: Case
    fleet: Fleet
    seat: Seat
    policy: ServicePolicy
    profile: ReplicaProfile
    earlier: Floats | None = None
    earlier_bin_s: float = 60.0
    interval_s: float = 15.0
    safety: SafetyRules = field(default_factory=SafetyRules)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entrant:
    """Who plays. ``documented``: an opponent exactly with the numbers of its documentation.

    label    what the score is called; "": ``name``. Two of one name need different ones
    policy   ours: in place of the stage's
    at_first how many replicas it begins with; None: as many as everybody
    """

    name: str
    settings: Mapping[str, float] = field(default_factory=dict)
    documented: bool = False
    label: str = ""
    policy: ServicePolicy | None = None
    at_first: int | None = None

    @property
    def called(self) -> str:
        return self.label or self.name


def play(stage: Stage, workload: BlockWorkload, entrant: Entrant, seed: int) -> RunScore:
    """The score of ``entrant``. ``seed`` draws the start-up times; the workload has its own."""
    began = time.perf_counter()
    if entrant.name == OURS:
        world = World(case_for(stage.case, entrant.policy or stage.policy), workload.again(), seed)
        return _ours(stage, world, entrant, seed, began)
    case = case_for_others(stage.case)
    if entrant.at_first is not None:
        case = replace(case, initial_replicas=entrant.at_first)
    world = World(case, workload.again(), seed)
    limits = stage.policy.replicas
    low, high = max(1, limits.min_replicas), limits.max_replicas
    contender = OPPONENTS[entrant.name]
    if entrant.documented:
        opponent = contender.make_documented(min_replicas=low, max_replicas=high, profile=stage.profile)
    else:
        opponent = contender.make(entrant.settings, min_replicas=low, max_replicas=high, profile=stage.profile)
    rehearse(world, opponent, entrant.name)
    return scored(world, entrant.called, seed, settings=entrant.settings, wall_s=time.perf_counter() - began)


def _ours(stage: Stage, world: World, entrant: Entrant, seed: int, began: float) -> RunScore:
    policy = with_settings(entrant.policy or stage.policy, entrant.settings)
    played = rehearse_policy(
        world,
        stage.fleet,
        policy,
        stage.seat,
        interval_s=stage.interval_s,
        running=_warmed(stage, world.start_s),
        safety=stage.safety,
        elapsed_s=time.perf_counter,
    )
    lookout = played.running.lookouts[policy.service]
    return scored(
        world,
        entrant.called,
        seed,
        settings=entrant.settings,
        forecast_error_ratio=_forecast_error(lookout),
        pass_s=fmean(played.passes_s),
        held=played.held,
        wall_s=time.perf_counter() - began,
    )


SETTINGS: Mapping[str, Callable[[ReplicaRule, float], ReplicaRule]] = {
    "quantile": lambda rule, value: replace(rule, forecast=replace(rule.forecast, quantile=value)),
    "drain_s": lambda rule, value: replace(rule, forecast=replace(rule.forecast, drain_s=value)),
    "scale_up_s": lambda rule, value: replace(rule, scale_up=replace(rule.scale_up, stabilization_s=value)),
    "scale_down_s": lambda rule, value: replace(rule, scale_down=replace(rule.scale_down, stabilization_s=value)),
    "spare_s": lambda rule, value: replace(rule, scale_down=replace(rule.scale_down, spare_s=value)),
}
"""What may be swept or tuned of our policy beside its attainment, by name."""


def with_settings(policy: ServicePolicy, settings: Mapping[str, float]) -> ServicePolicy:
    """``policy`` with these of its numbers changed; ``attainment`` is the SLO's. ValueError names what is not known."""
    unknown = sorted(set(settings) - {*SETTINGS, "attainment"})
    if unknown:
        raise ValueError(f"no setting {', '.join(unknown)}; there are attainment, {', '.join(SETTINGS)}")
    rule = policy.replicas
    for name, value in settings.items():
        rule = SETTINGS[name](rule, value) if name in SETTINGS else rule
    attainment = settings.get("attainment", policy.slo.attainment_ratio)
    return replace(policy, replicas=rule, slo=replace(policy.slo, attainment_ratio=attainment))


def _warmed(stage: Stage, start_s: float) -> Running:
    """What a daemon would remember that has watched until now."""
    if stage.earlier is None:
        return Running()
    began = EPOCH + timedelta(seconds=start_s - len(stage.earlier) * stage.earlier_bin_s)
    demand = state_from_history(began, stage.earlier_bin_s, stage.earlier)
    return Running(lookouts={stage.policy.service: Lookout(demand=demand)})


def _forecast_error(lookout: Lookout) -> Number:
    found = [one for one in accuracy(lookout.demand, "") if one.horizon_s == FORECAST_HORIZON_S]
    return found[0].error_ratio if found else Missing("forecast error", "nothing was forecast")

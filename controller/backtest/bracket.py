"""What the best possible controller would have paid on a stage: no less than L; a schedule that was replayed pays U."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.backtest.run import Stage
from controller.facts.missing import Missing
from controller.simulate.bracket.bound import SHARES, load_of, lower_bound, tightest
from controller.simulate.bracket.clairvoyant import SLOT_S, Counts, Schedule, clairvoyant
from controller.simulate.rivals import rehearse
from controller.simulate.score import Number, RunScore
from controller.simulate.scoring import scored
from controller.simulate.workload.blocks import BlockWorkload, Floats
from controller.simulate.world import World

CLAIRVOYANT = "clairvoyant"
ROUNDS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Bracket:
    """USD: of the lower bound, the smallest of all seeds; of the clairvoyant schedule, with the first seed."""

    lower_usd: Number
    upper_usd: Number


def bracket_of(
    stage: Stage,
    workloads: Mapping[int, BlockWorkload],
    per_minute: Floats,
    alpha: float,
    told: Callable[[], None],
    *,
    least: int,
) -> Bracket:
    """``alpha``: the attainment that both keep; ``told`` is called before each replay; ``least``: replicas that no
    controller goes below. (Where replicas fail it does, for a while: then the bound knows of none.)"""
    first = min(workloads)
    different = {id(workload): workload for workload in workloads.values()}
    kept = least if stage.case.failures.none else 0
    return Bracket(
        lower_usd=min(lower_usd(stage, workload, alpha, least=kept) for workload in different.values()),
        upper_usd=upper_usd(stage, workloads[first], first, per_minute, alpha, told, least=least),
    )


def lower_usd(stage: Stage, workload: BlockWorkload, alpha: float, *, least: int = 0) -> float:
    """The largest of the bounds."""
    case, span = stage.case, (workload.start_s, workload.end_s)
    return tightest(
        lower_bound(
            load_of(workload.blocks(), case.spec, case.judge, alpha, span, shared_by),
            start_up_min_s=case.start_up.min_s,
            usd_per_replica_hour=case.usd_per_replica_hour,
            initial_replicas=case.initial_replicas,
            min_replicas=least,
            shared_by=shared_by,
        )
        for shared_by in SHARES
    ).usd


def upper_usd(
    stage: Stage,
    workload: BlockWorkload,
    seed: int,
    per_minute: Floats,
    alpha: float,
    told: Callable[[], None],
    *,
    least: int | None = None,
    rounds: int = ROUNDS,
) -> Number:
    """The best schedule that the search finds in ``rounds`` of at most five replays, after some ten; Missing
    when none reaches ``alpha``. ``least``: replicas that it keeps; None: the stage's policy's."""
    kept = stage.policy.replicas.min_replicas if least is None else least

    def replay(wanted: Counts) -> RunScore:
        told()
        world = World(stage.case, workload.again(), seed)
        schedule = Schedule(wanted, start_s=workload.start_s, lead_s=stage.case.start_up.max_s)
        rehearse(world, schedule, CLAIRVOYANT)
        return scored(world, CLAIRVOYANT, seed)

    try:
        found = clairvoyant(
            per_minute / SLOT_S,
            replay,
            alpha=alpha,
            capacity_per_s=stage.profile.requests_per_s,
            least=max(1, kept),
            rounds=rounds,
            lead_s=stage.case.start_up.max_s,
        )
    except ValueError as error:
        return Missing("clairvoyant schedule", str(error))
    return found.score.usd

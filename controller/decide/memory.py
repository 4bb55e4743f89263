"""What one service's decisions remember: advanced before each decision, and after its outcome."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from controller.decide.rules import ReplicaRule, ServicePolicy
from controller.decide.situation import ReplicaView, Situation, VariantSituation
from controller.facts.decisions import (
    Decision,
    Outcome,
    OutcomeKind,
    Recommendation,
    ScaleEvent,
    ServiceMemory,
)
from controller.facts.fleet import Mode
from controller.facts.interruptions import Stuck, StuckKind
from controller.facts.missing import Missing
from controller.facts.readings import Phase

FIRST_BENCH_S = 30.0
"""Wait this long after a failed start, doubled for each further failure, up to the start deadline. A guess: longer
than an engine takes to fail on a wrong argument, so that a crash loop never runs faster than a person can read it."""

SERVED_LONG_ENOUGH_S = 600.0
"""A replica that ends after serving for so long is replaced at once; one that ends earlier is a start that failed, so
that a replica that crashes again and again is waited for longer each time, and replaced every ten minutes at most.
Source: Kubernetes, whose back-off for crashing containers starts afresh after ten minutes without a crash."""

MAY_HEAL = frozenset({StuckKind.UNSCHEDULABLE, StuckKind.CAPACITY, StuckKind.QUOTA})
"""A machine may still come: an autoscaler brings one, or somebody gives one back. An image that cannot be pulled, an
engine that crashes again and again and a pod that is refused are as they are until a person does something."""

KEPT = timedelta(hours=1)
"""Failures and losses are forgotten after so long, unless the replica still lies there. A guess."""


def noticed(situation: Situation, policy: ServicePolicy, memory: ServiceMemory) -> ServiceMemory:
    """``memory`` brought up to what this pass sees: failed starts, losses, idleness, and foreign changes."""
    now = situation.at
    ready = _ready_since(situation, memory)
    ended = {
        f"{variant.name}/{replica.name}": replica
        for variant in situation.variants.values()
        for replica in (*variant.in_phase(Phase.FAILED), *overdue(variant.replicas, policy.replicas, now))
    }
    untold = tuple(f"{variant.name}/" for variant in situation.variants.values() if not variant.counted)
    fresh = {
        name: replica
        for name, replica in ended.items()
        if not _known(name, replica, memory, dated=not name.startswith(untold))
    }
    lost = {name for name in fresh if _served_long_enough(name, memory, now)}
    memory = _foreign(situation, policy, memory, fresh)
    failed = {name: _rests_from(replica, policy.replicas, now) for name, replica in fresh.items() if name not in lost}
    return replace(
        memory,
        given_up=_recent(_as_well_as(memory.given_up, failed), ended, now),
        lost=_recent({**memory.lost, **dict.fromkeys(lost, now)}, ended, now),
        ready_since=ready,
        idle_since=(memory.idle_since or now) if proven_idle(situation) else None,
    )


def _known(name: str, replica: ReplicaView, memory: ServiceMemory, *, dated: bool) -> bool:
    """Whether this very end was counted before. A name that comes back, as a StatefulSet's do, is another replica,
    where somebody tells since when it is (``dated``)."""
    times = [past[name] for past in (memory.given_up, memory.lost) if name in past]
    return bool(times) and (not dated or replica.since <= max(times))


def _rests_from(replica: ReplicaView, rule: ReplicaRule, now: datetime) -> datetime:
    """From when the rest after its failed start counts: what was long in failing rests for as much longer, or the next
    try would wait as long again while the second choice could serve."""
    waited_s = _patience_s(replica.stuck, rule) if replica.stuck is not None else 0.0
    return now + timedelta(seconds=waited_s)


def _as_well_as(before: Mapping[str, datetime], failed: Mapping[str, datetime]) -> dict[str, datetime]:
    """Both: where a name failed again, its failure before stays under another one, because each counts."""
    renamed = {f"{name} at {at.isoformat()}" if name in failed else name: at for name, at in before.items()}
    return {**renamed, **failed}


def _ready_since(situation: Situation, memory: ServiceMemory) -> dict[str, datetime]:
    """As first seen. Of a variant whose actuator cannot tell just now, who was ready before is kept."""
    seen = {
        f"{variant.name}/{replica.name}": replica.since
        for variant in situation.variants.values()
        for replica in variant.in_phase(Phase.READY)
    }
    untold = tuple(f"{variant.name}/" for variant in situation.variants.values() if not variant.counted)
    return seen | {name: at for name, at in memory.ready_since.items() if name in seen or name.startswith(untold)}


def _served_long_enough(name: str, memory: ServiceMemory, now: datetime) -> bool:
    since = memory.ready_since.get(name)
    return since is not None and (now - since).total_seconds() >= SERVED_LONG_ENOUGH_S


def overdue(replicas: Iterable[ReplicaView], rule: ReplicaRule, now: datetime) -> tuple[ReplicaView, ...]:
    """Replicas whose start is given up, so that they are no longer counted as supply: starting for longer than the
    start deadline, or stuck on what does not heal by itself."""
    deadline = timedelta(seconds=rule.start_deadline_s)
    return tuple(
        replica
        for replica in replicas
        if replica.phase is Phase.STARTING and (now - replica.since > deadline or hopeless(replica.stuck, rule, now))
    )


def still_trying(variant: VariantSituation) -> bool:
    """Whether a start of it is stuck: its platform goes on trying, so another one would only wait beside it. While a
    stock-out lasts no more than one step is out."""
    return any(replica.stuck is not None for replica in variant.in_phase(Phase.STARTING))


def hopeless(stuck: Stuck | None, rule: ReplicaRule, now: datetime) -> bool:
    """Whether a start that is stuck so is not waited for any longer."""
    return stuck is not None and now - stuck.since >= timedelta(seconds=_patience_s(stuck, rule))


def _patience_s(stuck: Stuck, rule: ReplicaRule) -> float:
    return rule.stuck_deadline_s if stuck.kind in MAY_HEAL else 0.0


def benched_until(variant: str, memory: ServiceMemory, rule: ReplicaRule) -> datetime | None:
    """Until when a variant is not grown because its starts failed: FIRST_BENCH_S x 2^(failures - 1) after the last.
    Starts that failed in the same pass are one failure: they were one try."""
    failures = {at for name, at in memory.given_up.items() if name.startswith(f"{variant}/")}
    if not failures:
        return None
    wait_s = min(rule.start_deadline_s, FIRST_BENCH_S * 2.0 ** (min(len(failures), 16) - 1))
    return max(failures) + timedelta(seconds=wait_s)


def proven_idle(situation: Situation) -> bool:
    """No request ran, waited, arrived or was refused, and every replica said so itself."""
    return next(against_idleness(situation), None) is None


def against_idleness(situation: Situation) -> Iterator[str]:
    """What shows that the service is not idle, or is not known: nothing, when it is proven."""
    seen = situation.signals
    if seen.read_replicas < situation.ready or not situation.ready:
        yield f"{seen.read_replicas} of {situation.ready} ready replicas were read"
    for name in ("running", "queue_depth", "requests_per_s", "token_load_per_s"):
        fact = getattr(seen, name)
        if fact != 0:
            yield str(fact) if isinstance(fact, Missing) else f"{name} is {fact:.3g}"
    for name in ("rejections_per_s", "gateway_waiting"):  # not everybody counts these
        fact = getattr(seen, name)
        if not isinstance(fact, Missing) and fact != 0:
            yield f"{name} is {fact:.3g}"


def remember(
    memory: ServiceMemory, decisions: Iterable[Decision], outcomes: Mapping[str, Outcome], now: datetime
) -> ServiceMemory:
    """``memory`` after acting: what was done counts for the step limits, and is what we expect to find next.

    After a failure nobody knows how much was done, so nothing is expected and the next count is taken as it is.
    """
    events, expected = list(memory.scale_events), dict(memory.expected)
    for decision in decisions:
        outcome = outcomes.get(decision.id)
        if decision.moves and outcome is not None and outcome.kind in (OutcomeKind.FAILED, OutcomeKind.UNKNOWN):
            expected.pop(decision.variant, None)
        if not decision.moves or outcome is None or outcome.kind not in (OutcomeKind.DONE, OutcomeKind.ALREADY):
            continue
        expected[decision.variant] = decision.desired
        events.append(ScaleEvent(at=now, variant=decision.variant, before=decision.current, after=decision.desired))
    return replace(memory, scale_events=tuple(events), expected=expected)


def recommended(memory: ServiceMemory, wanted: int, rule: ReplicaRule, now: datetime) -> ServiceMemory:
    """``memory`` with this pass's recommendation, and without what no window reaches any more."""
    reach = max(rule.scale_up.stabilization_s, rule.scale_down.stabilization_s, rule.scale_down.spare_s)
    past = [*_inside_runs_left_out(memory.recommendations, wanted), Recommendation(at=now, wanted=wanted)]
    start = now - timedelta(seconds=reach)
    first_inside = next(index for index, one in enumerate(past) if one.at >= start)
    periods = [step.per_s for step in (rule.scale_up.at_most, rule.scale_down.at_most) if step is not None]
    oldest_event = now - timedelta(seconds=max(periods, default=0.0))
    return replace(
        memory,
        recommendations=tuple(past[max(0, first_inside - 1) :]),
        scale_events=tuple(event for event in memory.scale_events if event.at > oldest_event),
    )


def _inside_runs_left_out(past: Sequence[Recommendation], wanted: int) -> Sequence[Recommendation]:
    """``past`` before ``wanted`` once more. Of many equal ones in a row the first and the last say all that a window
    asks, and what is remembered is written down at every pass."""
    return past[:-1] if [one.wanted for one in past[-2:]] == [wanted, wanted] else past


def lived(situation: Situation, lost: Collection[Missing], memory: ServiceMemory) -> ServiceMemory:
    """``memory`` with since when every signal of every replica has been live. ``lost``: the signals that are not."""
    uncounted = any(variant.uncounted for variant in situation.variants.values())
    live = not lost and not uncounted and situation.signals.read_replicas >= situation.ready
    return replace(memory, live_since=(memory.live_since or situation.at) if live else None)


def _recent(ended: Mapping[str, datetime], still: Collection[str], now: datetime) -> dict[str, datetime]:
    return {name: at for name, at in ended.items() if at > now - KEPT or name in still}


def _foreign(
    situation: Situation, policy: ServicePolicy, memory: ServiceMemory, fresh: Collection[str]
) -> ServiceMemory:
    """Compare each variant's count with what we left; a difference that nothing explains is somebody else's doing.

    What failed may be missing, or replaced by its platform already; what lies on a machine that goes is missing.
    Only in mode act: whoever follows our advice by hand is not an intruder.
    """
    expected, foreign = dict(memory.expected), False
    for variant in situation.variants.values():
        if not variant.counted:
            continue
        lost = {replica.name for replica in variant.in_phase(Phase.FAILED)}
        failed = sum(f"{variant.name}/{name}" in fresh for name in lost)
        going = sum(replica.noticed for replica in variant.in_phase(Phase.DRAINING))
        before = expected.get(variant.name)
        if situation.mode is Mode.ACT and before is not None:
            foreign = foreign or not before - failed - going <= variant.current <= before
        expected[variant.name] = variant.current
    until = memory.foreign_until
    if foreign:
        until = situation.at + timedelta(seconds=policy.replicas.foreign_hold_s)
    elif until is not None and until <= situation.at:
        until = None
    return replace(memory, expected=expected, foreign_until=until)

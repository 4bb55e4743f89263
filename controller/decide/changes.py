"""Other engines in the place of those that run: a decision of its own, made only where nothing else moves.

A rollout begins when all of its service's decisions hold, every replica of its variant is ready, no other rollout of
the service is under way, and there is room and budget for what stands beside the others meanwhile. While it lasts
nothing of its variant goes; growing is not held, for load does not wait.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from controller.decide.guards import grown_within
from controller.decide.placement import usd_per_hour
from controller.decide.rules import ServicePolicy
from controller.decide.situation import Situation, VariantSituation
from controller.facts.changes import Change, ChangeStage
from controller.facts.decisions import Because, Decision
from controller.facts.missing import Missing

SURGE = "surge_replicas"
"""Among the numbers of a decision to change engines: how many more there are while it lasts."""

SURGE_USD = "surge_usd_per_hour"
"""And what they cost; not there when nobody knows."""

CALM = frozenset({Because.STEADY, Because.LIMIT, Because.HEADROOM, Because.STABILIZING, Because.IDLE})
"""Reasons to hold beside which engines may be changed: every signal is there, and nobody objects."""


def with_changes(situation: Situation, policy: ServicePolicy, decisions: tuple[Decision, ...]) -> tuple[Decision, ...]:
    """``decisions``, of which at most one begins a rollout, and each tells of its variant's."""
    changes = {name: one.change for name, one in situation.variants.items() if one.change is not None}
    if not changes:
        return decisions
    why_not = {
        name: _why_not(situation, policy, situation.variants[name], change, decisions)
        for name, change in changes.items()
        if change.stage is ChangeStage.WANTED
    }
    begins = next((name for name, why in why_not.items() if not why), "")
    rolling = [name for name, change in changes.items() if change.stage is ChangeStage.ROLLING]
    made = []
    for one in decisions:
        change = changes.get(one.variant)
        if change is None:
            made.append(one)
        elif one.variant == begins and not rolling:
            made.append(_begun(one, change, situation.variants[begins], policy))
        else:
            other = next((name for name in (*rolling, begins) if name and name != one.variant), "")
            why = why_not.get(one.variant) or f"that of {other} comes first"
            made.append(_told(_nothing_goes(one, change), change, why))
    return tuple(made)


def _why_not(
    situation: Situation,
    policy: ServicePolicy,
    variant: VariantSituation,
    change: Change,
    decisions: Sequence[Decision],
) -> str:
    """Why a rollout of ``variant`` does not begin now; "" when it may."""
    unquiet = next((one for one in decisions if not one.holds or one.because not in CALM), None)
    if unquiet is not None:
        return f"first {unquiet.variant} comes to rest ({unquiet.because})"
    if variant.ready < variant.current:
        return f"only {variant.ready} of its {variant.current} replicas are ready"
    if not variant.counted:
        return "nobody knows how many replicas it has"
    room = grown_within(situation, policy, (variant,), change.surge) if change.surge else None
    if room is not None and room.gained.get(variant.name, 0) < change.surge:
        return room.told() or f"there is no room for {change.surge} beside the {variant.current} that run"
    return ""


def _begun(decision: Decision, change: Change, variant: VariantSituation, policy: ServicePolicy) -> Decision:
    numbers, cost = {SURGE: float(change.surge)}, "cost unknown"
    prices = [usd_per_hour(variant, policy, variant.current + more) for more in (0, change.surge)]
    known = [price for price in prices if not isinstance(price, Missing)]
    if len(known) == len(prices):
        numbers[SURGE_USD] = known[1] - known[0]
        cost = f"${numbers[SURGE_USD]:.2f}/h"
    detail = (
        f"the fleet file starts its engines otherwise ({change.what}): new ones come before old ones go, "
        f"{change.surge} more as long as it takes ({cost}); {decision.detail}"
    )
    return replace(
        decision,
        change=change.what,
        because=Because.ROLLOUT,
        detail=detail,
        numbers={**decision.numbers, **numbers},
    )


def _nothing_goes(decision: Decision, change: Change) -> Decision:
    """While new engines come, who of them would go is nobody's to choose."""
    if change.stage is not ChangeStage.ROLLING or decision.desired >= decision.current:
        return decision
    said = f"nothing goes before it is through. Decided: would {decision.verb} to {decision.desired} "
    return replace(
        decision,
        desired=decision.current,
        victims=(),
        because=Because.ROLLOUT,
        detail=f"{said}({decision.because}: {decision.detail})",
        usd_per_hour_after=decision.usd_per_hour_before,
    )


WORDS: Mapping[ChangeStage, str] = {
    ChangeStage.WANTED: "a rollout ({what}) waits: {why}",
    ChangeStage.BLOCKED: "a rollout ({what}) cannot begin: {detail}",
    ChangeStage.ROLLING: "a rollout ({what}) is under way: {detail}",
    ChangeStage.TAKEN_BACK: "the rollout ({what}) was taken back: {detail}; another template is tried again",
}


def _told(decision: Decision, change: Change, why: str) -> Decision:
    """With how far its change is: the reason itself, where nothing else is going on."""
    words = WORDS[change.stage].format(what=change.what, detail=change.detail, why=why)
    because = Because.ROLLOUT if decision.because is Because.STEADY else decision.because
    return replace(decision, because=because, detail=f"{words}; {decision.detail}")

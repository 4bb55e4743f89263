"""A decision told as a colleague would tell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from controller.decide.changes import SURGE_USD
from controller.decide.forecast_numbers import (
    AHEAD_S,
    CARRIED,
    GROWS_OVER_CARRIED,
    REST_CARRIES,
    SHRINKS_AFTER_S,
    SHRINKS_WITHIN_REST,
)
from controller.decide.forecast_numbers import SIGNAL as FORECAST
from controller.decide.guards import REFUSED, STORM_REFUSED
from controller.decide.plan import SILENT
from controller.decide.reach import NUMBER as REACH_NUMBER
from controller.decide.reach import REMEDY
from controller.facts.decisions import Because, Decision, Outcome, OutcomeKind
from controller.facts.missing import Missing

NEXT = {
    Because.DEMAND: "The next passes watch whether it helped; starting replicas count as supply until their deadline.",
    Because.FORECAST: "The forecast is scored when its time comes; its own errors set how much is kept in reserve.",
    Because.STEADY: "Nothing changes until a signal leaves its target by more than the tolerance.",
    Because.BLIND: "It holds until the missing signals are back and have been live for the whole window. "
    "Look at the targets named above; what can be read may still ask for more.",
    Because.PAUSED: "Nothing is decided until `pennyweight resume`.",
    Because.OBSERVING: "Set `mode: advise` to be told what to do, or `mode: act` to have it done.",
    Because.STABILIZING: "If it stays so for the whole window, the count changes.",
    Because.STEP_LIMIT: "More follows when the period of the step limit is over.",
    Because.BUDGET: "Nothing goes for it, and the minimum stands; more are added when the budget's next period begins "
    "or its limit is raised. `pennyweight report month --by team` says who spent it.",
    Because.LIMIT: "Only another limit in the policy lets it go beyond.",
    Because.HEADROOM: "A replica goes when the load is low enough for the others to carry it with headroom.",
    Because.STARTING: "The starting replicas get until their start deadline; then another way is tried.",
    Because.START_FAILED: "The variant rests, longer after each failure; the replica's log says what went wrong.",
    Because.IDLE: "A forecast of demand brings replicas back, and so do requests that wait at the gateway, where the "
    "fleet file names one.",
    Because.NOT_PROVEN_IDLE: "Zero follows once every replica has reported no request for the whole window.",
    Because.INFEASIBLE: "Nothing is changed until the policy's minimum and the fleet file's capacity agree, or, where "
    "replicas are of two kinds, until each kind is a service of its own.",
    Because.FOREIGN_CHANGE: "It stands down for a while; find out who else scales this target, or pause the service.",
    Because.STOPPED: "Nothing is touched until the stop is lifted; deciding goes on.",
    Because.FROZEN: "It is decided anew when the freeze is over; `safety.freeze` in the fleet file has its times.",
    Because.SPOT: "The dearer ones, or those at risk, go once the new ones serve; see `capacity_mix.spot`.",
    Because.STORM: "Spot of the struck domain is used again after half an hour without a loss there, or as long as "
    "`safety.storm.quiet` says; other ways of buying are used meanwhile.",
    Because.FLAPPING: "It grows when it must. Wider windows or a spare in the policy end the going back and forth.",
    Because.ROLLOUT: "New engines come before old ones go, and all goes back where they do not come up; the passes "
    "that follow tell how far it is.",
    Because.BLAST_LIMIT: "The rest follows in the next passes as far as the hour's limit lets it. If so much is really "
    "meant, raise the limit in the fleet file and reload.",
}
"""What happens next, by reason."""


NOBODY: Mapping[str, str] = {}

ADVISED = "Nothing was touched. Do it by hand if you agree, or set `mode: act` and give the variant an actuator."
"""What happens next where it was only said."""


def explain(
    decisions: Sequence[Decision],
    outcomes: Mapping[str, Outcome],
    now: datetime,
    leaders: Mapping[str, str] = NOBODY,
) -> str:
    """The latest decisions of one service, one variant after the other, in full sentences.

    leaders   by decision: which daemon made it, where that is known
    """
    return "\n\n".join(
        _told(decision, outcomes.get(decision.id), now, leaders.get(decision.id, "")) for decision in decisions
    )


UNTOLD = (Because.STEADY, Because.OBSERVING, Because.PAUSED)
"""At rest by choice: not worth a line of everybody's status, where the mode and pauses are told anyway."""


def briefly(decisions: Sequence[Decision]) -> list[str]:
    """One line for each decision but those in UNTOLD, in the words of ``explain``."""
    return [
        f"{one.service} on {one.variant}: {_verb(one)}; {_why(one)}" for one in decisions if one.because not in UNTOLD
    ]


def _ended(words: str) -> str:
    return words if words.endswith((".", "?", "!")) else f"{words}."


def _why(decision: Decision) -> str:
    return f"{decision.because}: {decision.detail}"


def _told(decision: Decision, outcome: Outcome | None, now: datetime, leader: str) -> str:
    ago_s = (now - decision.at).total_seconds()
    lines = [
        f"{decision.service} on {decision.variant}, at {decision.at:%Y-%m-%d %H:%M:%S} UTC ({_ago(ago_s)} ago):",
        f"  Decided   {_verb(decision)}.",
        f"  Because   {_ended(_why(decision))}",
        *_numbers(decision),
        f"  Money     {_money(decision)}.",
    ]
    if leader:
        lines.append(f"  Leader    {leader}.")
    if outcome is not None:
        lines.append(f"  Outcome   {outcome.kind}: {outcome.detail}.")
    lines.append(f"  Next      {_next(decision, outcome)}")
    return "\n".join(lines)


def _next(decision: Decision, outcome: Outcome | None) -> str:
    advised = outcome is not None and outcome.kind is OutcomeKind.ADVISED
    said = ADVISED if advised else NEXT[decision.because]
    if not advised and CARRIED in decision.numbers and decision.because in AT_REST:
        said = _thresholds(decision.numbers)
        said = f"{NEXT[decision.because]} {said}" if decision.because is Because.LIMIT else said
    for number, reason in ((REFUSED, Because.BUDGET), (STORM_REFUSED, Because.STORM)):
        if not advised and number in decision.numbers and decision.because is not reason:
            said = f"{said} {NEXT[reason]}"
    unfit = any(name.startswith(REACH_NUMBER) for name in decision.numbers)
    return f"{said} {REMEDY}" if unfit else said


AT_REST = (Because.STEADY, Because.LIMIT)
"""Reasons for which nothing is under way: the next change is the forecast's, where there is one."""


def _thresholds(numbers: Mapping[str, float]) -> str:
    """When the forecast will next move the service."""
    others = any(name.endswith("_wanted") and not name.startswith(FORECAST) for name in numbers)
    now, over = numbers[GROWS_OVER_CARRIED], numbers[CARRIED]
    grows = (
        "Within the policy's limits, more are ordered when the demand to be ready for in "
        f"{numbers[AHEAD_S]:.0f} s, now {now:.2f} requests/s, is over the {over:.2f} that the replicas carry"
        f"{', or when a live signal asks for more' if others else ''}."
    )
    if not numbers["service_current"]:
        return grows
    most, rest, for_s = numbers[SHRINKS_WITHIN_REST], numbers[REST_CARRIES], numbers.get(SHRINKS_AFTER_S, 0.0)
    return (
        f"{grows} One goes when the most to be ready for until then, now {most:.2f}, {'has been' if for_s else 'is'} "
        f"within the {rest:.2f} that the rest carry{f' for {for_s:g} s' if for_s else ''}"
        f"{' and no live signal objects' if others else ''}."
    )


def _verb(decision: Decision) -> str:
    silent = int(decision.numbers.get(SILENT, 0))
    parts = [f"{decision.ready - silent} ready", f"{decision.current - decision.ready} starting"]
    parts += [f"{silent} that could not be read"] if silent else []
    count = f"{decision.current} replicas ({', '.join(parts)})"
    if decision.holds:
        return f"hold at {count}"
    if decision.change:
        return f"change {count} to {decision.change}"
    victims = f"; first to go: {', '.join(decision.victims)}" if decision.victims else ""
    return f"{decision.verb} from {count} to {decision.desired}{victims}"


def _numbers(decision: Decision) -> list[str]:
    """Every signal with its target and what it wanted."""
    names = [name for name in decision.numbers if f"{name}_wanted" in decision.numbers]
    return [
        f"  {'Numbers' if index == 0 else '':<9} {name} {decision.numbers[name]:.4g}, target "
        f"{decision.numbers[f'{name}_target']:.4g}: wants {decision.numbers[f'{name}_wanted']:.0f}"
        for index, name in enumerate(names)
    ]


def _money(decision: Decision) -> str:
    before, after = decision.usd_per_hour_before, decision.usd_per_hour_after
    if isinstance(before, Missing):
        return f"unknown, {before}"
    if isinstance(after, Missing):
        return f"${before:.2f}/h now; after it unknown, {after}"
    if SURGE_USD in decision.numbers:
        return f"${before:.2f}/h, and ${decision.numbers[SURGE_USD]:.2f}/h more while it lasts"
    if not decision.moves:
        return f"${before:.2f}/h, unchanged"
    return f"${before:.2f}/h before, ${after:.2f}/h after ({after - before:+.2f})"


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"

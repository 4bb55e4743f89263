"""The ten invariants of the design, one function each, and what else must be so after any fault. Each gives what it finds
broken in a history; nothing here asks the program what it thinks of itself, but for its decisions and its ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from math import ceil

from controller.facts.decisions import Because, Decision
from controller.facts.missing import Missing
from tests.chaos import story as told
from tests.chaos.history import History, PassSeen
from tests.chaos.story import Story

DRAIN_SLACK = 1


def limits(history: History, story: Story) -> Iterator[str]:
    """1. No desired count outside the policy's limits; infeasible means hold, never zero."""
    for one in history.passes:
        for move in one.moves:
            if not told.MINIMUM <= move.desired <= told.MAXIMUM:
                yield f"pass {one.number}: desired {move.desired}"
        if one.after.staying > max(told.MAXIMUM, one.before.staying):
            yield f"pass {one.number}: {one.after.staying} replicas stay, max_replicas is {told.MAXIMUM}"
        if one.after.staying < min(told.MINIMUM, one.before.staying):
            yield f"pass {one.number}: {one.after.staying} replicas stay, min_replicas is {told.MINIMUM}"


def blind(history: History, story: Story) -> Iterator[str]:
    """2. Never shrink blind; after a restart hold until every signal has been live for its whole window."""
    for one in history.passes:
        for move in one.moves:
            if move.desired >= move.current or _gives_up(move):
                continue
            window = [seen for seen in _within(history, one, told.DOWN_S) if seen.life == one.life]
            if not all(seen.all_read for seen in window):
                yield f"pass {one.number}: shrinks to {move.desired}, though not all was read in its window"
            if (one.at - window[0].at).total_seconds() < told.DOWN_S:
                yield f"pass {one.number}: shrinks to {move.desired} in the life {one.life}, which is too young"


def stabilized(history: History, story: Story) -> Iterator[str]:
    """3. Never below the maximum wanted in the window, nor above the minimum wanted in its own."""
    for one in history.passes:
        for move in one.moves:
            if move.desired < move.current and not _gives_up(move):
                most = max(_wanted(seen) for seen in _within(history, one, told.DOWN_S) if seen.all_read)
                if move.desired < most:
                    yield f"pass {one.number}: shrinks to {move.desired}, {most} were wanted in the window"
            if move.desired > max(move.current, told.MINIMUM):
                least = min((_wanted(seen) for seen in _within(history, one, told.UP_S) if seen.all_read), default=0)
                late = sum(not each.ready for each in one.before.members.values())
                if move.desired > least + late:
                    yield f"pass {one.number}: grows to {move.desired}, {least} were wanted all through the window"


def holds_the_load(history: History, story: Story) -> Iterator[str]:
    """4. Shrink only if fewer still hold the load with headroom; drain, then remove."""
    for one in history.passes:
        for move in one.moves:
            left = min(move.desired, one.before.serving)
            if move.desired >= move.current or _gives_up(move) or left == one.before.serving:
                continue
            if not left or one.conditions.load / left > told.PER_REPLICA * (1 - told.HEADROOM):
                yield f"pass {one.number}: {left} replicas cannot carry {one.conditions.load}"
    for number, name in history.ended_busy:
        yield f"pass {number}: {name} ended with requests on it"


def counted_once(history: History, story: Story) -> Iterator[str]:
    """5. Starting replicas count as supply once, until their deadline; then they are given up."""
    most = story.starts
    for one in history.passes:
        most = max(most, min(told.MAXIMUM, _wanted(one)), one.conditions.foreign or 0)
        covered = sum(each.noticed and not each.leaving for each in one.after.members.values())
        replaced = sum(number <= one.number for number in history.replaced)
        if one.after.staying > most + covered + replaced:
            yield f"pass {one.number}: {one.after.staying} replicas stay, no more than {most} were ever wanted"
    for name, since, until in _starting(history):
        set_back = any(since <= one.at <= until and one.conditions.jump_s < 0 for one in history.passes)
        deadlines = 2 if set_back else 1  # then the wait begins again
        passes = 3 + sum(since <= one.at <= until and (one.died or _refused(one)) for one in history.passes)
        if until - since > timedelta(seconds=deadlines * told.START_DEADLINE_S + passes * told.INTERVAL_S):
            yield f"{name} was starting from {since:%H:%M:%S} to {until:%H:%M:%S}"


def once(history: History, story: Story) -> Iterator[str]:
    """6. Deciding twice is equal; acting twice is acting once. And nothing is done that was not recorded first."""
    for one in history.passes:
        if one.again is not None and [_essence(each) for each in one.again] != [
            _essence(each) for each in one.decisions
        ]:
            yield f"pass {one.number}: decided again it is {one.again}, was {one.decisions}"
        delta = one.after.staying - one.before.staying
        going = sum(each.noticed and not each.leaving for each in one.before.members.values())
        # What does not come up within the actuator's own time-out it ends by itself, and tells it as failed.
        going += sum(not each.ready and name not in one.after.members for name, each in one.before.members.items())
        span = [move.desired - move.current for move in one.moves] if one.recorded else []
        if delta > sum(each for each in span if each > 0):
            yield f"pass {one.number}: {delta} more are there, {span} were decided and recorded"
        if delta < sum(each for each in span if each < 0) - going:
            yield f"pass {one.number}: {-delta} fewer are there, {span} were decided and recorded"
    done: dict[str, int] = {}
    for act in history.done:
        if act.decision is None:
            if act.by > 0:
                yield f"pass {act.made}: {act.what} {act.by:+} without any decision"
            continue
        if not act.intended:
            yield f"pass {act.made}: {act.what} {act.by:+} before its intent was recorded"
        done[act.decision.id] = done.get(act.decision.id, 0) + act.by
        step = act.decision.desired - act.decision.current
        if not min(0, step) <= done[act.decision.id] <= max(0, step):
            yield f"pass {act.made}: {done[act.decision.id]:+} for a decision of {step:+}"


def one_writer(history: History, story: Story) -> Iterator[str]:
    """7. Somebody else changed the target, or another controller owns it: stand down and say so."""
    for one in history.passes:
        mine = [act for act in history.done if act.made == one.number and act.by]
        if one.conditions.owned and mine:
            yield f"pass {one.number}: {mine[0].what} on a target that another controller owns"
    for changed in (one for one in history.passes if one.conditions.foreign is not None):
        ends = changed.at + timedelta(seconds=told.FOREIGN_HOLD_S)
        held = [one for one in history.passes if changed.at <= one.at < ends]
        ours = changed.life == 1 or any(act.by for act in history.done if act.made < changed.number)
        if not ours:  # whoever begins takes what he finds for what is meant
            continue
        if len({one.life for one in held}) == 1 and any(one.after.wanted != changed.conditions.foreign for one in held):
            counts = [one.after.wanted for one in held]
            yield f"an operator's {changed.conditions.foreign} of pass {changed.number} became {counts}"
        said = [move for one in held for move in one.decisions if move.because is Because.FOREIGN_CHANGE]
        refused = [each for one in held for each in one.outcomes if each.kind == "refused"]
        if held and not said and not refused and any(one.decisions for one in held):
            yield f"nobody said that an operator changed the count in pass {changed.number}"
    yield from _accused(history)


def _accused(history: History) -> Iterator[str]:
    """Nobody else changes a count but by an event; or a platform, that made what it had lost anew while nobody could
    tell it not to; or systemd, of a unit that ended in good order."""
    changed = any(one.conditions.foreign is not None or one.conditions.owned for one in history.passes)
    for one in history.passes if not (changed or history.replaced or history.ended_in_order) else ():
        if any(move.because is Because.FOREIGN_CHANGE for move in one.decisions):
            yield f"pass {one.number}: says that somebody else changed the count, and nobody did"


def budgets(history: History, story: Story) -> Iterator[str]:
    """8. A budget may refuse growth; it never forces a shrink below the minimum."""
    for one in history.passes:
        if not one.conditions.refused:
            continue
        allowed = max(told.MINIMUM, one.before.staying)
        if one.after.staying > allowed:
            yield f"pass {one.number}: grew to {one.after.staying} though the budget is spent"
        for move in one.moves:
            if move.because is Because.BUDGET:
                yield f"pass {one.number}: {move} for a budget"


def priced(history: History, story: Story) -> Iterator[str]:
    """9. An unknown price moves no cost knob."""
    for one in history.passes:
        for move in one.moves if not one.conditions.priced else ():
            if move.because in (Because.SPOT, Because.BUDGET):
                yield f"pass {one.number}: {move} without a price"
            if not isinstance(move.usd_per_hour_after, Missing) and move.desired > 0:
                yield f"pass {one.number}: {move} claims to cost {move.usd_per_hour_after}, and nobody knows"


def balanced(history: History, story: Story) -> Iterator[str]:
    """10. The ledger balances exactly."""
    yield from history.unbalanced


def stopped(history: History, story: Story) -> Iterator[str]:
    """What an operator stopped is not touched."""
    stops = {one.number for one in history.passes if one.conditions.stopped}
    for act in history.done:
        if act.made in stops and act.decision is not None:
            yield f"pass {act.made}: {act.what} {act.by:+} though an operator stopped everything"


def kept(history: History, story: Story) -> Iterator[str]:
    """No more of those that serve are sent away than a disruption budget allows."""
    for one in history.passes:
        if one.after.serving < min(one.conditions.kept, one.before.serving):
            least = one.conditions.kept
            yield f"pass {one.number}: {one.after.serving} go on serving, a disruption budget says {least}"


def led(history: History, story: Story) -> Iterator[str]:
    """Who lost the lead changes nothing any more, in the midst of an action as well."""
    yield from (f"{what}, after the lead was lost" for what in history.after_lead)


def goes_on(history: History, story: Story) -> Iterator[str]:
    """No fault ends a pass; after it, all comes to where it should be, and nothing is left over."""
    for one in history.passes:
        if one.failed:
            yield f"pass {one.number} failed: {one.failed}"
    final = history.final
    assert final is not None
    ends = {end + more for end in story.ends for more in range(len(history.replaced) + 1)}
    if final.serving not in ends or final.staying not in ends:
        yield f"it ends with {final.serving} that serve of {final.staying}, not {sorted(ends)}"
    left = [one.name for one in final.members.values() if one.leaving or not one.ready]
    if left:
        yield f"never gone, or never ready: {', '.join(left)}"
    for name in history.strays:
        yield f"{name} runs, and nobody knows of it"
    for decision in history.unsettled:
        yield f"{decision} has an intent and no outcome"


INVARIANTS: Sequence[Callable[[History, Story], Iterator[str]]] = (
    limits,
    blind,
    stabilized,
    holds_the_load,
    counted_once,
    once,
    one_writer,
    budgets,
    priced,
    balanced,
    stopped,
    kept,
    led,
    goes_on,
)


def broken(history: History, story: Story) -> list[str]:
    """All that does not hold."""
    return [f"{check.__name__}: {found}" for check in INVARIANTS for found in check(history, story)]


def _gives_up(move: Decision) -> bool:
    return move.because is Because.START_FAILED


def _refused(one: PassSeen) -> bool:
    """Whether the platform did not do what it was asked for, so that the next pass asks again."""
    return any(each.kind == "failed" for each in one.outcomes)


def _wanted(one: PassSeen) -> int:
    return min(told.MAXIMUM, max(told.MINIMUM, ceil(one.conditions.load / told.PER_REPLICA)))


def _within(history: History, one: PassSeen, window_s: float) -> list[PassSeen]:
    """The passes up to ``one`` of so long before it that were made, the oldest of them at the window's beginning."""
    start = one.at - timedelta(seconds=window_s)
    return [seen for seen in history.passes[: one.number + 1] if seen.at >= start and (seen.decisions or seen is one)]


def _essence(decision: Decision) -> tuple[object, ...]:
    return decision.id, decision.current, decision.desired, decision.because, decision.victims


def _starting(history: History) -> Iterator[tuple[str, datetime, datetime]]:
    """Each start that was waited for, from when to when, while somebody could have given it up."""
    since: dict[str, PassSeen] = {}
    for one in history.passes:
        said = one.conditions
        free = not (said.stopped or said.away or said.owned or said.ill or said.deaf_to)
        waiting = {
            name
            for name, each in one.after.members.items()
            if not each.ready and not each.leaving and free and one.all_read
        }
        for name in list(since):
            if name not in waiting:
                yield name, since.pop(name).at, one.at
        for name in waiting:
            since.setdefault(name, one)

"""How much a service goes back and forth, and for how long it does not shrink because of that."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from controller.facts.safety import Damping, Move, SafetyMemory
from controller.safety.rules import FlapRule


def turned(moves: Iterable[Move], size: int) -> float:
    """How often a service of ``size`` replicas turned round as a whole: at each change of direction the smaller of what
    went one way before and the other way after it, summed, as a share of the service. Three up and three down again is
    one turn of a service of three, and half a turn of one of six.

    ``moves``: of one service, oldest first. Starts that were given up are no shrinks.
    """
    signed = [one.replicas for one in moves if not one.unwound]
    runs = [abs(sum(run)) for _, run in groupby(signed, key=lambda replicas: replicas > 0)]
    return sum(min(one, after) for one, after in pairwise(runs)) / max([size, 1, *runs])


def flaps(memory: SafetyMemory, rule: FlapRule, sizes: Mapping[str, int], now: datetime) -> dict[str, float]:
    """``turned`` of each service of ``sizes`` (its replicas) within the window."""
    found = _by_service(memory.moves, now - timedelta(seconds=rule.window_s))
    return {service: turned(found.get(service, ()), size) for service, size in sizes.items()}


def with_damping(memory: SafetyMemory, rule: FlapRule, sizes: Mapping[str, int], now: datetime) -> SafetyMemory:
    """``memory`` with who does not shrink for a while. What had turned before a hold does not lengthen it: going on
    does, and each time doubles it."""
    if not memory.moves and not memory.damped:
        return memory
    forgotten = timedelta(seconds=rule.window_s)
    after = {service: one for service, one in memory.damped.items() if service in sizes and now < one.until + forgotten}
    for service, moves in _by_service(memory.moves, now - forgotten).items():
        held = after.get(service)
        if service not in sizes or (held is not None and now < held.until):
            continue
        fresh = moves if held is None else [one for one in moves if one.at > held.since]
        if turned(fresh, sizes[service]) >= rule.limit:
            hold_s = rule.hold_s if held is None else min(2 * held.hold_s, rule.hold_most_s)
            after[service] = Damping(since=now, until=now + timedelta(seconds=hold_s), hold_s=hold_s)
    return replace(memory, damped=after)


def _by_service(moves: Iterable[Move], start: datetime) -> dict[str, list[Move]]:
    found: dict[str, list[Move]] = {}
    for move in moves:
        if move.at > start:
            found.setdefault(move.service, []).append(move)
    return found

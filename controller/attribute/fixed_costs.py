"""Fixed monthly costs by the hour, exactly additive: the hours of a month add up to it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from controller.facts.account_reader import HOUR
from controller.facts.accounts import SHARED
from controller.facts.fixed_costs import SharedCost
from controller.facts.fleet import CapacityType

Place = tuple[str, str, str, str, str]
"""service, variant, replica, capacity type, node, as a seat is named."""

Costs = tuple[int, int, int, int]
"""list, contracted, effective, billed nanodollars: nothing is off a fixed cost."""

MICROSECOND = timedelta(microseconds=1)


def fixed_costs(items: Iterable[SharedCost], hour: datetime) -> dict[Place, Costs]:
    """By the seat that stands for each: of the variant "__shared__", with the cost's name for a replica."""
    found: dict[Place, Costs] = {}
    for one in items:
        cost = accrued(one, hour, hour + HOUR)
        if cost:
            place = (one.service, SHARED.team, one.name, CapacityType.ON_DEMAND.value, "")
            found[place] = (cost, cost, cost, cost)
    return found


def accrued(one: SharedCost, start: datetime, end: datetime) -> int:
    """What ``one`` costs in [start, end), of one month:

    cost = G(end) - G(start),  G(t) = floor(month's cost x us from the month's start to t / us of the month)
    """
    first = start.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    month = (first + timedelta(days=32)).replace(day=1) - first
    since, until = one.since or start, one.until or end
    start, end = max(start, since), min(end, until)
    if end <= start:
        return 0

    def until_then(at: datetime) -> int:
        return one.nanousd_per_month * ((at - first) // MICROSECOND) // (month // MICROSECOND)

    return until_then(end) - until_then(start)

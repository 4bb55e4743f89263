"""What commitments are worth: how much of them is used, how much of the usage they cover, and what they save."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.attribute.commitments import CoveredLine, amortised, units
from controller.facts.commitments import Commitment, CommitmentHour
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing, mapped, ratio
from controller.facts.money import MICROSECONDS_PER_HOUR

EXPIRY_DAYS = (60, 30, 7)
"""Days before the end of a term at which people want to know: two to renegotiate, one to move the load."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Uncovered:
    """Usage that commitments could have covered and did not: on demand. None: some price is unknown."""

    list_nanousd: int | None = 0
    effective_nanousd: int | None = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentKpis:
    """Of one or more commitments over some hours, as FinOps defines them. Missing where nobody can say.

    utilisation      used / committed; of several commitments weighed by what they cost
    coverage         covered usage / all usage that could be, both at list prices
    effective_savings_rate   (list - effective) / list of all that usage, unused commitments in the effective cost
    net_savings_nanousd      covered usage at list prices - all that the commitments cost; below zero: they lost money
    """

    amortised_nanousd: int
    used_nanousd: int
    unused_nanousd: int
    utilisation: float | Missing
    coverage: float | Missing
    effective_savings_rate: float | Missing
    net_savings_nanousd: int | Missing


def kpis(hours: Iterable[CommitmentHour], uncovered: Uncovered) -> CommitmentKpis:
    """The measures of these hours. ``uncovered``: the on-demand usage of the same hours that nothing covered."""
    rows = list(hours)
    cost = sum(row.amortised_nanousd for row in rows)
    used = sum(row.used_nanousd for row in rows)
    covered = _list_price("covered usage", [row.covered_on_demand_nanousd for row in rows])
    left = _list_price("uncovered usage", [uncovered.list_nanousd])
    paid = _list_price("uncovered usage", [uncovered.effective_nanousd])
    every = covered if isinstance(covered, Missing) else mapped(left, lambda known: covered + known)
    saved = every if isinstance(every, Missing) else mapped(paid, lambda known: every - cost - known)
    return CommitmentKpis(
        amortised_nanousd=cost,
        used_nanousd=used,
        unused_nanousd=cost - used,
        utilisation=_utilisation(rows),
        coverage=ratio("coverage", covered, every),
        effective_savings_rate=ratio("effective savings rate", saved, every),
        net_savings_nanousd=mapped(covered, lambda known: known - cost),
    )


def uncovered(lines: Iterable[CoveredLine]) -> Uncovered:
    """What is on demand in these lines and covered by nothing."""
    left = [line for line in lines if line.usage.capacity_type is not CapacityType.SPOT]
    lists = [line.rest.list_ for line in left]
    paid = [line.rest.effective for line in left]
    return Uncovered(
        list_nanousd=None if None in lists else sum(one for one in lists if one is not None),
        effective_nanousd=None if None in paid else sum(one for one in paid if one is not None),
    )


def break_even(commitment: Commitment, alternative_nanousd_per_gpu_hour: float) -> float | Missing:
    """The share of its time for which one more GPU must be used to pay: its price / the price of the alternative.

    Above 1 it never pays. The alternative is what one would buy instead: on demand, or spot with its lost work.
    """
    return ratio("break-even", _nanousd_per_gpu_hour(commitment), alternative_nanousd_per_gpu_hour)


def worth_committing(gpus_in_use: Sequence[float], pays_from: float) -> int:
    """The most GPUs k of which even the last is used at least ``pays_from`` of the time.

    The share of hours with usage >= k falls as k grows, so this k costs least in these hours (the newsvendor's rule).
    """
    if not gpus_in_use or pays_from > 1:
        return 0
    ranked = sorted((int(gpus) for gpus in gpus_in_use), reverse=True)
    k, hours = ranked[0], 0
    while k > 0:
        while hours < len(ranked) and ranked[hours] >= k:
            hours += 1
        if hours / len(ranked) >= pays_from:
            break
        k -= 1
    return max(k, 0)


def expiring(commitments: Iterable[Commitment], now: datetime) -> tuple[tuple[Commitment, int], ...]:
    """Commitments in force that end within 60, 30 or 7 days, the soonest first, with the tightest of the three."""
    found = [
        (one, days)
        for one in commitments
        if one.start <= now < one.end
        for days in [min((d for d in EXPIRY_DAYS if one.end - now <= timedelta(days=d)), default=0)]
        if days
    ]
    return tuple(sorted(found, key=lambda pair: (pair[0].end, pair[0].id)))


def _utilisation(rows: Sequence[CommitmentHour]) -> float | Missing:
    by_id: dict[str, tuple[int, int, int]] = {}
    for row in rows:
        cost, used, whole = by_id.get(row.commitment, (0, 0, 0))
        by_id[row.commitment] = (cost + row.amortised_nanousd, used + row.used_units, whole + row.units)
    if len(by_id) == 1:
        ((_, used, whole),) = by_id.values()
        return ratio("utilisation", used, whole)
    weighed = sum(cost * used / whole for cost, used, whole in by_id.values() if whole)
    return ratio("utilisation", weighed, sum(cost for cost, _, whole in by_id.values() if whole))


def _nanousd_per_gpu_hour(one: Commitment) -> float | Missing:
    if one.spends:
        rates = set(one.rates_nanousd_per_gpu_hour.values())
        if len(rates) == 1:
            return float(rates.pop())
        return Missing("break-even", f"savings plan {one.id} has {len(rates)} rates: ask for one offer at a time")
    return amortised(one, one.start, one.end) * MICROSECONDS_PER_HOUR / units(one, one.start, one.end)


def _list_price(what: str, costs: Sequence[int | None]) -> int | Missing:
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return Missing(what, f"the list price of {what} is unknown in part")
    return sum(known)

"""Cost that the same hours of other weeks do not know: since when, what it cost so far, and what drives it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

from controller.attribute.bridge import DRIVERS, Bridge, PoolUse, bridge
from controller.attribute.spending import Spending
from controller.attribute.unit_costs import Amounts, by_kind, reference, work_units
from controller.facts.account_reader import HOUR, AllocationRow, SeatRow, added_tokens
from controller.facts.accounts import Pool, Tokens
from controller.facts.budgets import Anomaly
from controller.facts.missing import Missing
from controller.facts.money import NANOUSD_PER_USD

WEEKS, LEAST_WEEKS = 8, 3
DAYS, LEAST_DAYS = 14, 5
"""The same hour of the last weeks; before there are three of them, the same hour of the last days."""

MAD_TO_SIGMA = 1.4826
"""Of the normal distribution: sigma / median absolute deviation."""

LEAST_SCALE_RATIO = 0.05
"""Hours that were always alike still differ by so much of what is expected. A guess."""

LEAST_NANOUSD = 5 * NANOUSD_PER_USD
"""What an hour must differ by to count one: nobody looks after less."""

OPENS_Z, OPENS_HOURS, OF_HOURS = 4.0, 2, 3
CLOSES_Z, CLOSES_HOURS = 2.0, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """Of one hour. ``like``: the hours that it is held against."""

    nanousd: int
    scale_nanousd: int
    like: tuple[datetime, ...]


def expected(spending: Spending, hour: datetime, least_nanousd: int = LEAST_NANOUSD) -> Expected | Missing:
    """The median of the hours like this one, and how far they usually are from it."""
    like = [hour - back * 7 * 24 * HOUR for back in range(1, WEEKS + 1)]
    like = [one for one in like if one >= spending.known_from]
    if len(like) < LEAST_WEEKS:
        like = [hour - back * 24 * HOUR for back in range(1, DAYS + 1)]
        like = [one for one in like if one >= spending.known_from]
        if len(like) < LEAST_DAYS:
            why = f"{len(like)} days of accounts before it; it takes {LEAST_DAYS}"
            return Missing("expected cost of an hour", why)
    costs = [spending.hours.get(one, 0) for one in like]
    middle = median(costs)
    deviation = median(abs(cost - middle) for cost in costs)
    scale = max(MAD_TO_SIGMA * deviation, LEAST_SCALE_RATIO * middle, least_nanousd, 1)
    return Expected(nanousd=round(middle), scale_nanousd=round(scale), like=tuple(like))


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """One scope, watched hour by hour: give it back with the next hours.

    last     the hour looked at last
    recent   of the last hours until then: (hour, how many scales above the expected, expected, actual)
    open     the anomaly that goes on
    """

    scope: str
    last: datetime | None = None
    recent: tuple[tuple[datetime, float, int, int], ...] = ()
    open: Anomaly | None = None


def watched(
    watch: Watch, spending: Spending, until: datetime, least_nanousd: int = LEAST_NANOUSD
) -> tuple[Watch, tuple[Anomaly, ...]]:
    """Every settled hour before ``until`` that was not looked at yet; and what opened, went on or ended, as it is now.

    One opens when 2 of 3 hours are more than 4 scales above the expected, and ends after 3 hours below 2. Hours
    of which nothing can be expected are passed over.
    """
    changed: dict[datetime, Anomaly] = {}
    hour = spending.known_from if watch.last is None else max(watch.last + HOUR, spending.known_from)
    while hour + HOUR <= min(until, spending.known_until):
        wanted = expected(spending, hour, least_nanousd)
        if isinstance(wanted, Missing):
            watch = replace(watch, last=hour)
        else:
            watch, anomaly = _next(watch, hour, wanted, spending.hours.get(hour, 0))
            if anomaly is not None:
                changed[anomaly.began] = anomaly
        hour += HOUR
    return watch, tuple(changed.values())


def _next(watch: Watch, hour: datetime, wanted: Expected, actual: int) -> tuple[Watch, Anomaly | None]:
    seen = (hour, (actual - wanted.nanousd) / wanted.scale_nanousd, wanted.nanousd, actual)
    recent = (*watch.recent, seen)[-OF_HOURS:]
    watch = replace(watch, last=hour, recent=recent)
    if watch.open is None:
        begun = _begun(watch)
        return replace(watch, open=begun), begun
    grown = replace(
        watch.open,
        last=hour,
        expected_nanousd=watch.open.expected_nanousd + wanted.nanousd,
        actual_nanousd=watch.open.actual_nanousd + actual,
    )
    calm = [one for one in recent[-CLOSES_HOURS:] if one[1] < CLOSES_Z]
    if len(calm) < CLOSES_HOURS:
        return replace(watch, open=grown), grown
    over = replace(grown, ended=hour + HOUR)
    return replace(watch, open=None, recent=()), over


def _begun(watch: Watch) -> Anomaly | None:
    """It began with the first of the hours that were too dear."""
    dear = [one[0] for one in watch.recent if one[1] > OPENS_Z]
    if len(dear) < OPENS_HOURS:
        return None
    hours = [one for one in watch.recent if one[0] >= dear[0]]
    return Anomaly(
        scope=watch.scope,
        began=dear[0],
        last=hours[-1][0],
        expected_nanousd=sum(one[2] for one in hours),
        actual_nanousd=sum(one[3] for one in hours),
    )


def like_hours(spending: Spending, anomaly: Anomaly) -> tuple[tuple[datetime, ...], ...]:
    """Of each of its hours, the hours that it is held against: what ``explained`` needs the rows of."""
    hours = [anomaly.began + index * HOUR for index in range(anomaly.hours)]
    found = [expected(spending, hour) for hour in hours]
    return tuple(one.like for one in found if not isinstance(one, Missing))


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of some hours: the scope's lines by pool, and the seats of the whole fleet."""

    lines: Sequence[AllocationRow]
    seats: Sequence[SeatRow]


def explained(anomaly: Anomaly, during: Usage, before: Usage, times: float) -> Anomaly:
    """With its driver: the greatest term of the bridge from the hours ``before`` to those of the anomaly.

    ``times``: how many times as many hours ``before`` has, 8 with eight weeks of each; its sums are divided by it.
    """
    at = reference((_tokens_of(before), _tokens_of(during)))

    def uses(of: Usage, by: float) -> dict[Hashable, PoolUse]:
        pools, worked = _gpu_us(of), dict[Pool, tuple[int, Tokens]]()
        for line in of.lines:
            if line.pool is not None:
                cost, tokens = worked.get(line.pool, (0, Tokens()))
                worked[line.pool] = (cost + sum(line.parts), added_tokens(tokens, line.tokens))
        return {
            pool: PoolUse(
                cost_nanousd=round(cost / by),
                gpu_us=round(_share(pools.get(pool, (0, 0)), cost) / by),
                work=round(work_units(pool.service, tokens, at) / by),
            )
            for pool, (cost, tokens) in worked.items()
        }

    found = bridge(uses(before, times), uses(during, 1.0))
    return replace(anomaly, driver=_driver(found), by_driver={name: getattr(found, name) for name in DRIVERS})


def _driver(found: Bridge) -> str:
    """The greatest of those that made it dearer."""
    return max(DRIVERS, key=lambda name: getattr(found, name)) if found.change else ""


def _tokens_of(of: Usage) -> Iterable[tuple[Hashable, Amounts, Tokens]]:
    return [(line.pool.service, by_kind(line.parts), line.tokens) for line in of.lines if line.pool is not None]


def _gpu_us(of: Usage) -> Mapping[Pool, tuple[int, int]]:
    """Of each pool its cost and its GPU time."""
    found: dict[Pool, tuple[int, int]] = {}
    for seat in of.seats:
        cost, gpu_us = found.get(seat.pool, (0, 0))
        found[seat.pool] = (cost + seat.effective_nanousd, gpu_us + seat.gpu_us)
    return found


def _share(pool: tuple[int, int], cost: int) -> int:
    """A line has the share of its pool's GPU time that it has of the pool's cost."""
    whole, gpu_us = pool
    return gpu_us * cost // whole if whole > 0 else 0

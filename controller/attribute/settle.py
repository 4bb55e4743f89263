"""One hour, from what it cost and did to lines that add up to it: pure, so that it can be done again and be the same.

costs of the seats (bills and commitments applied) -> parts by replica-minute -> pool-minutes -> identities -> rules
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np

from controller.attribute.apportion import Floats, Ints, largest_remainder, summed
from controller.attribute.identities import added, explained, hour_lines, paired, placed, split, unlogged, unpaired
from controller.attribute.parts import Asked, parts
from controller.attribute.rules import Rules, described
from controller.attribute.sharing import handed_on
from controller.attribute.tables import (
    COSTS,
    EFFECTIVE,
    MICROSECONDS_PER_MINUTE,
    MINUTES_PER_HOUR,
    UNATTRIBUTED_ID,
    Book,
    HourLines,
    MinuteLines,
    PoolHours,
    PoolMinutes,
    ReplicaMinuteSeen,
    SeatHours,
    UsageSeen,
)
from controller.facts.accounts import PARTS, Tokens, WorkRate

METHOD = "work-v1"
"""Changes when the same inputs would be split otherwise."""

SeatCosts = tuple[int | None, int | None, int | None, int | None]
"""A seat's hour in nanodollars, by COSTS. None: not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HourSeen:
    """Everything that an hour is settled from. ``hour``: whole hours since 1970.

    rates     by pool; absent where no capacity is known
    applied   by seat: what replaces the costs that accrued, after commitments. A seat without minutes (a commitment
              that nobody used, a fixed shared cost) gets the hour's, evenly
    """

    hour: int
    seen: ReplicaMinuteSeen
    usage: UsageSeen
    book: Book
    rates: Mapping[int, WorkRate] = field(default_factory=dict)
    asked: Asked = field(default_factory=dict)
    rules: Rules = field(default_factory=dict)
    applied: Mapping[int, SeatCosts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """An hour's facts for ever, and what they were made of.

    minutes    by pool; ``by_minute`` the same by identity, before the rules
    explained  logged tokens by pool of ``pools`` (n x 4): over the engines' own there, records are of another fleet
    unplaced   logged for services that had no pool
    method     METHOD and the rules that were not "own line"
    """

    hour: int
    seats: SeatHours
    minutes: PoolMinutes
    by_minute: MinuteLines
    pools: PoolHours
    explained: Ints
    lines: HourLines
    engine: Tokens
    logged: Tokens
    unplaced: Tokens
    method: str


def settled(inputs: HourSeen) -> Settled:
    """The hour, attributed. ArithmeticError when anything does not add up: nothing of it may be kept then."""
    _of_the_hour(inputs.hour, inputs.seen.minute, inputs.usage.minute)
    seen = charged(inputs.seen, inputs.applied, inputs.book, inputs.hour)
    seat_minutes = parts(seen, inputs.book, inputs.rates, inputs.asked)
    minutes = pool_minutes(seen, seat_minutes)
    pools = pool_hours(minutes)
    where = placed(inputs.usage, pools, inputs.book.pools, inputs.rates)
    by_minute = split(minutes, pools, inputs.book.pools, where)
    watched_us = len(np.unique(minutes.minute)) * MICROSECONDS_PER_MINUTE
    tokens = added(where.tokens, unlogged(pools, where.tokens))
    lines = handed_on(hour_lines(by_minute, tokens), inputs.rules, inputs.book, pools, watched_us)
    result = Settled(
        hour=inputs.hour,
        seats=seat_hours(seen, seat_minutes),
        minutes=minutes,
        by_minute=by_minute,
        pools=pools,
        explained=explained(pools, where.tokens),
        lines=lines,
        engine=_tokens(pools.tokens),
        logged=_tokens(inputs.usage.tokens),
        unplaced=_tokens(np.array([where.unplaced], dtype=np.int64)),
        method="; ".join(filter(None, (METHOD, described(inputs.rules)))),
    )
    wrong = (*_uncharged(seen, seat_minutes), *unbalanced(result, inputs.book))
    if wrong:
        raise ArithmeticError(f"hour {inputs.hour} does not add up: {'; '.join(wrong)}")
    return result


def correction(before: HourLines, after: HourLines) -> HourLines:
    """What to append to ``before`` so that it becomes ``after``."""
    return added(after, replace(before, parts=-before.parts, tokens=-before.tokens))


def charged(seen: ReplicaMinuteSeen, applied: Mapping[int, SeatCosts], book: Book, hour: int) -> ReplicaMinuteSeen:
    """``seen`` with the costs of the ``applied`` seats: each over its minutes by what accrued in them, else by the time
    watched, else evenly."""
    if not applied:
        return seen
    absent = sorted(set(applied) - set(seen.seat.tolist()))
    whole = _with_rows(seen, absent, book, hour)
    costs, known, unpriced = whole.costs.copy(), whole.known.copy(), whole.unpriced_us.copy()
    for seat, amounts in applied.items():
        rows = np.flatnonzero(whole.seat == seat)
        weights = _first_with_weight(whole.cost[rows].tolist(), whole.covered_us[rows].tolist(), [1] * len(rows))
        for place, amount in enumerate(amounts):
            costs[rows, place] = largest_remainder(amount or 0, weights)
            known[rows, place] = amount is not None
        if amounts[EFFECTIVE] is not None:
            unpriced[rows] = 0
    return replace(whole, costs=costs, known=known, unpriced_us=unpriced)


def seat_hours(seen: ReplicaMinuteSeen, seat_minutes: Ints) -> SeatHours:
    """The minutes summed by seat. A cost is known when it is known in each."""
    covered = seen.covered_us
    times = np.column_stack((seen.gpus * covered, covered, seen.unpriced_us))
    tokens = _whole(seen.tokens)
    seat, sums = summed(seen.seat, np.hstack((seat_minutes, seen.costs, times, tokens)))
    split_parts, costs, spent, counted = np.split(sums, np.cumsum([len(PARTS), len(COSTS), 3]), axis=1)
    _, unknown = summed(seen.seat, (~seen.known).astype(np.int64))
    _, energy = summed(seen.seat, np.column_stack((np.nan_to_num(seen.energy_j), ~np.isnan(seen.energy_j))))
    return SeatHours(
        seat=seat,
        parts=split_parts,
        costs=costs,
        known=unknown == 0,
        gpu_us=spent[:, 0],
        covered_us=spent[:, 1],
        unpriced_us=spent[:, 2],
        energy_j=np.where(energy[:, 1] > 0, energy[:, 0], np.nan),
        tokens=counted,
    )


def pool_minutes(seen: ReplicaMinuteSeen, seat_minutes: Ints) -> PoolMinutes:
    """The seats' minutes summed by pool."""
    values = np.hstack((seat_minutes, _whole(seen.tokens), seen.covered_us[:, None], seen.unpriced_us[:, None]))
    keys, sums = summed(paired(seen.pool, seen.minute), values)
    pool, minute = unpaired(keys)
    return PoolMinutes(pool=pool, minute=minute, **_pooled(sums))


def pool_hours(minutes: PoolMinutes) -> PoolHours:
    """The pools' minutes summed."""
    values = np.hstack((minutes.parts, minutes.tokens, minutes.covered_us[:, None], minutes.unpriced_us[:, None]))
    pool, sums = summed(minutes.pool, values)
    return PoolHours(pool=pool, **_pooled(sums))


def unbalanced(result: Settled, book: Book) -> tuple[str, ...]:
    """Sentences about sums that differ, none when everything balances: by pool and part, seats = minutes = minutes'
    lines = hour's lines; by pool, minute and part, minutes = minutes' lines; tokens told = tokens on lines of
    whoever told them."""
    seat_pool = np.array([book.seats[seat].pool for seat in result.seats.seat.tolist()], dtype=np.int64)
    wrong = _differing("seats", summed(seat_pool, result.seats.parts), result.pools)
    wrong += _differing("lines", summed(result.lines.pool, result.lines.parts), result.pools)
    lines = np.zeros_like(result.minutes.parts)
    known = paired(result.minutes.pool, result.minutes.minute)
    at = np.searchsorted(known, paired(result.by_minute.pool, result.by_minute.minute))
    np.add.at(lines, (at, result.by_minute.part), result.by_minute.nanousd)
    if (lines != result.minutes.parts).any():
        wrong.append("the lines of a minute are not its parts")
    somebodys = result.lines.identity != UNATTRIBUTED_ID
    told = result.lines.tokens[somebodys].sum(axis=0) + _row(result.unplaced)
    if (told != _row(result.logged)).any():
        wrong.append(f"{told.tolist()} tokens on lines, {_row(result.logged).tolist()} told")
    return tuple(wrong)


def _differing(what: str, found: tuple[Ints, Ints], pools: PoolHours) -> list[str]:
    """Pools whose sums are not those of ``pools``; a pool that is not there is all zero."""
    sums = np.zeros_like(pools.parts)
    sums[pools.places(found[0])] = found[1]
    wrong = np.argwhere(sums != pools.parts)
    return [
        f"pool {pools.pool[row]}, {PARTS[part]}: {sums[row, part]} nanodollars on {what} of {pools.parts[row, part]}"
        for row, part in wrong[:3].tolist()
    ]


def _uncharged(seen: ReplicaMinuteSeen, seat_minutes: Ints) -> tuple[str, ...]:
    rows = np.flatnonzero(seat_minutes.sum(axis=1) != seen.cost)
    return tuple(
        f"the parts of seat {seen.seat[row]} are not its cost of {seen.cost[row]}" for row in rows[:3].tolist()
    )


def _of_the_hour(hour: int, *minutes: Ints) -> None:
    for column in minutes:
        if len(column) and (column // MINUTES_PER_HOUR != hour).any():
            raise ValueError(f"minutes {column.min()} to {column.max()} are not all of hour {hour}")


def _with_rows(seen: ReplicaMinuteSeen, seats: Sequence[int], book: Book, hour: int) -> ReplicaMinuteSeen:
    """A row a minute for seats that had none, without time and without cost yet."""
    if not seats:
        return seen
    rows = len(seats) * MINUTES_PER_HOUR
    columns = {}
    for one in fields(ReplicaMinuteSeen):
        column = getattr(seen, one.name)
        columns[one.name] = np.concatenate((column, np.zeros((rows, *column.shape[1:]), dtype=column.dtype)))
    new = slice(len(seen.seat), None)
    columns["seat"][new] = np.repeat(seats, MINUTES_PER_HOUR)
    columns["pool"][new] = np.repeat([book.seats[seat].pool for seat in seats], MINUTES_PER_HOUR)
    columns["minute"][new] = np.tile(np.arange(MINUTES_PER_HOUR) + hour * MINUTES_PER_HOUR, len(seats))
    columns["energy_j"][new] = np.nan
    return ReplicaMinuteSeen(**columns)


def _first_with_weight(*choices: list[int]) -> list[int]:
    return next(weights for weights in choices if sum(weights) > 0)


def _pooled(sums: Ints) -> Mapping[str, Ints]:
    split_parts, tokens, times = np.split(sums, [len(PARTS), len(PARTS) + 4], axis=1)
    return {"parts": split_parts, "tokens": tokens, "covered_us": times[:, 0], "unpriced_us": times[:, 1]}


def _whole(tokens: Floats) -> Ints:
    whole: Ints = np.rint(np.nan_to_num(tokens)).astype(np.int64)
    return whole


def _tokens(rows: Ints) -> Tokens:
    uncached, cached, output, requests = rows.sum(axis=0).tolist()
    return Tokens(uncached=uncached, cached=cached, output=output, requests=requests)


def _row(tokens: Tokens) -> Ints:
    return np.array([tokens.uncached, tokens.cached, tokens.output, tokens.requests], dtype=np.int64)

"""Whose the work of a pool's minutes was: by the engine time that each identity's recorded tokens take.

What the records do not explain stays ``__unattributed__``: the share of each kind of token that the engines counted in
the hour and nobody told. By the hour, because a request is recorded when it ends and counted while it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from controller.attribute.apportion import Floats, Ints, largest_remainder_groups, scaled, summed
from controller.attribute.tables import (
    IDLE_ID,
    IDLED,
    MEASURED,
    OVERHEAD_ID,
    OVERHEADS,
    SHARED_ID,
    TOKENS,
    UNATTRIBUTED_ID,
    Columns,
    HourLines,
    MinuteLines,
    PoolHours,
    PoolMinutes,
    UsageSeen,
)
from controller.facts.accounts import PARTS, SHARED, Part, Pool, WorkRate

KINDS = len(MEASURED)
PREFILL, CACHED = MEASURED.index(Part.PREFILL), MEASURED.index(Part.CACHED)

BY_TOKENS = (1e-6, 0.0, 0.0, 1e-6, 1e-6, 0.0)
"""In the place of a work rate's coefficients where there is none: inside one kind of token, tokens will do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageWeights(Columns):
    """Usage placed in pools. work: n x 3 (MEASURED), nanoseconds of engine time."""

    pool: Ints
    minute: Ints
    identity: Ints
    work: Ints


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """weights    by minute
    tokens     what was logged, by pool and identity: lines without money
    unplaced   what was logged (TOKENS) of services that had no pool in the hour
    """

    weights: UsageWeights
    tokens: HourLines
    unplaced: tuple[int, ...]


def placed(usage: UsageSeen, hours: PoolHours, pools: Mapping[int, Pool], rates: Mapping[int, WorkRate]) -> Placed:
    """Records go to the pools of their service and variant (of the service, where the variant is not known or had no
    pool), in proportion to the tokens of each kind that the engines counted there in the hour."""
    spread = _Spread.of(usage.places, hours, pools)
    rows, pool, shares = spread.over(usage.place)
    work = _work_ns(usage.taken(rows), pool, rates) * shares[:, :KINDS]
    weights = UsageWeights(
        pool=pool,
        minute=usage.minute[rows],
        identity=usage.identity[rows],
        work=np.rint(work).astype(np.int64),
    )
    lost = spread.counts[usage.place] == 0
    return Placed(
        weights=weights,
        tokens=_logged(usage, spread),
        unplaced=tuple(usage.tokens[lost].sum(axis=0).tolist()),
    )


def split(minutes: PoolMinutes, hours: PoolHours, pools: Mapping[int, Pool], placed: Placed) -> MinuteLines:
    """Every part of every pool-minute over identities, exactly.

    prefill, cached, decode   in each minute ``coverage`` of it by the weights of the minute's records (the hour's,
                              where the minute has none), the rest ``__unattributed__``
    unmeasured                ``__unattributed__`` (of a shared cost: ``__shared__``)
    idle, overhead            ``__idle__``, ``__overhead__``: the rules hand them on by the hour (sharing.py)
    """
    weighed = _Weighed.of(minutes, _prompts_for_cached(placed))
    covered = coverage(hours, placed.tokens)[hours.places(minutes.pool)]
    lines = [_measured(kind, minutes, weighed, covered[:, kind]) for kind in range(KINDS)]
    shared = np.isin(minutes.pool, [pool for pool, name in pools.items() if name.variant == SHARED.team])
    for part in range(KINDS, len(PARTS)):
        rows = np.flatnonzero(minutes.parts[:, part])
        own = OVERHEAD_ID if part in OVERHEADS else IDLE_ID if part in IDLED else UNATTRIBUTED_ID
        owners = np.where(shared[rows], SHARED_ID, own)
        lines.append(_lines(minutes, rows, owners, part, minutes.parts[rows, part]))
    names = MinuteLines.__dataclass_fields__
    return MinuteLines(**{name: np.concatenate([getattr(one, name) for one in lines]) for name in names})


def coverage(hours: PoolHours, logged: HourLines) -> Floats:
    """By pool of ``hours`` and MEASURED part: the share of the engines' tokens that records explain, at most 1.

    Where no record tells cached tokens, prompts are compared as wholes. What the engines did not count is explained.
    """
    said = explained(hours, logged)[:, :KINDS].astype(np.float64)
    counted = hours.tokens[:, :KINDS].astype(np.float64)
    silent = said[:, CACHED] == 0
    for table in (said, counted):
        prompts = table[:, PREFILL] + table[:, CACHED]
        table[silent, PREFILL] = table[silent, CACHED] = prompts[silent]
    share: Floats = np.minimum(np.divide(said, counted, out=np.ones_like(said), where=counted > 0), 1.0)
    return share


def explained(hours: PoolHours, logged: HourLines) -> Ints:
    """By pool of ``hours``: the logged tokens (n x 4)."""
    found, sums = summed(logged.pool, logged.tokens)
    result = np.zeros((len(hours.pool), len(TOKENS)), dtype=np.int64)
    result[hours.places(found)] = sums
    return result


def unlogged(hours: PoolHours, logged: HourLines) -> HourLines:
    """What the engines counted and no record tells, as ``__unattributed__``'s: so a pool's lines have all its tokens.

    Where no record tells cached tokens, those that are logged as computed may have been cached: none are left over.
    """
    said = explained(hours, logged)
    left = np.maximum(hours.tokens - said, 0)
    silent = (said[:, CACHED] == 0) & (said[:, PREFILL] > 0)
    prompts = np.maximum(hours.tokens[:, [PREFILL, CACHED]].sum(axis=1) - said[:, PREFILL], 0)
    left[silent, PREFILL], left[silent, CACHED] = prompts[silent], 0
    rows = left.any(axis=1)
    count = int(rows.sum())
    return HourLines(
        pool=hours.pool[rows],
        identity=np.full(count, UNATTRIBUTED_ID, dtype=np.int64),
        parts=np.zeros((count, len(PARTS)), dtype=np.int64),
        tokens=left[rows],
    )


def hour_lines(lines: MinuteLines, tokens: HourLines) -> HourLines:
    """The minutes' lines and the tokens, by pool and identity."""
    keys = paired(lines.pool, lines.identity)
    different, places = np.unique(keys, return_inverse=True)
    parts = np.zeros((len(different), len(PARTS)), dtype=np.int64)
    np.add.at(parts, (places, lines.part), lines.nanousd)
    pool, identity = unpaired(different)
    money = HourLines(pool=pool, identity=identity, parts=parts, tokens=np.zeros((len(pool), 4), dtype=np.int64))
    return added(money, tokens)


def added(*tables: HourLines) -> HourLines:
    """Their sums by pool and identity; what is all zero is left out."""
    keys = np.concatenate([paired(one.pool, one.identity) for one in tables])
    values = np.concatenate([np.hstack((one.parts, one.tokens)) for one in tables])
    different, sums = summed(keys, values)
    kept = sums.any(axis=1)
    pool, identity = unpaired(different[kept])
    parts, tokens = np.split(sums[kept], [len(PARTS)], axis=1)
    return HourLines(pool=pool, identity=identity, parts=parts, tokens=tokens)


def paired(high: Ints, low: Ints) -> Ints:
    """One key of two ids below 2^31, in their order."""
    return high << 32 | low


def unpaired(keys: Ints) -> tuple[Ints, Ints]:
    return keys >> 32, keys & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class _Spread:
    """Where each of a table's places can have been served: ``counts`` pools of ``pools``, from ``starts`` on, each with
    its share of what was served there (by TOKENS; a place's shares add up to 1)."""

    counts: Ints
    starts: Ints
    pools: Ints
    shares: Floats

    @classmethod
    def of(cls, places: Sequence[tuple[str, str]], hours: PoolHours, names: Mapping[int, Pool]) -> _Spread:
        rows = [_candidates(place, hours, names) for place in places]
        counts = np.array([len(one) for one in rows], dtype=np.int64)
        every = np.array([row for one in rows for row in one], dtype=np.int64)
        shares = [_shares(hours, one) for one in rows if one]
        return cls(
            counts=counts,
            starts=np.cumsum(counts) - counts,
            pools=hours.pool[every],
            shares=np.concatenate(shares) if shares else np.zeros((0, len(TOKENS))),
        )

    def over(self, places: Ints) -> tuple[Ints, Ints, Floats]:
        """Each row of a table once for every pool of its place: the row, the pool, the shares."""
        counts = self.counts[places]
        rows = np.repeat(np.arange(len(places), dtype=np.int64), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        at = self.starts[places][rows] + within
        return rows, self.pools[at], self.shares[at]


def _candidates(place: tuple[str, str], hours: PoolHours, names: Mapping[int, Pool]) -> list[int]:
    service = [row for row, pool in enumerate(hours.pool.tolist()) if names[pool].service == place[0]]
    exact = [row for row in service if names[int(hours.pool[row])].variant == place[1]]
    return exact or service


def _shares(hours: PoolHours, rows: Sequence[int]) -> Floats:
    """By the tokens of the kind, else by all tokens, else by the time watched, else evenly."""
    tokens = hours.tokens[rows].astype(np.float64)
    fallback = np.ones(len(rows))
    for better in (hours.covered_us[rows].astype(np.float64), tokens[:, :KINDS].sum(axis=1)):
        fallback = better if better.sum() > 0 else fallback
    sums = tokens.sum(axis=0)
    shares: Floats = np.where(sums > 0, tokens / np.maximum(sums, 1), (fallback / fallback.sum())[:, None])
    return shares


def _logged(usage: UsageSeen, spread: _Spread) -> HourLines:
    """Logged tokens by pool and identity: whole ones, shared out by the hour."""
    keys, tokens = summed(paired(usage.place, usage.identity), usage.tokens)
    place, identity = unpaired(keys)
    there = spread.counts[place] > 0
    rows, pool, shares = spread.over(place[there])
    each = [largest_remainder_groups(tokens[there, kind], rows, scaled(shares[:, kind])) for kind in range(len(TOKENS))]
    return added(
        HourLines(
            pool=pool,
            identity=identity[there][rows],
            parts=np.zeros((len(rows), len(PARTS)), dtype=np.int64),
            tokens=np.column_stack(each),
        )
    )


def _work_ns(usage: UsageSeen, pool: Ints, rates: Mapping[int, WorkRate]) -> Floats:
    """n x 3 (MEASURED): what each row's tokens take of an engine of its pool."""
    ids, places = np.unique(pool, return_inverse=True)
    known = [_coefficients(rates[one]) if one in rates else BY_TOKENS for one in ids.tolist()]
    token, square, cross, cached, output, context = 1e9 * np.array(known).reshape(-1, 6)[places].T
    work: Floats = np.column_stack(
        (
            token * usage.uncached + square * usage.uncached_sq,
            cross * usage.cached_cross + cached * usage.cached,
            output * usage.output + context * usage.output_context,
        )
    )
    return work


def _coefficients(rate: WorkRate) -> tuple[float, ...]:
    return (
        rate.prefill_s_per_token,
        rate.prefill_s_per_square,
        rate.cached_s_per_cross,
        rate.cached_s_per_token,
        rate.decode_s_per_token,
        rate.decode_s_per_context,
    )


def _prompts_for_cached(placed: Placed) -> UsageWeights:
    """In pools where no record tells cached tokens, whoever sent the prompts is taken for who hit the cache."""
    weights = placed.weights
    telling = np.unique(placed.tokens.pool[placed.tokens.tokens[:, CACHED] > 0])
    silent = ~np.isin(weights.pool, telling)
    work = weights.work.copy()
    work[silent, CACHED] = work[silent, PREFILL]
    return UsageWeights(pool=weights.pool, minute=weights.minute, identity=weights.identity, work=work)


@dataclass(frozen=True, slots=True)
class _Weighed:
    """Weights by identity (n x 3): of the pool-minutes ``minute`` (rows of PoolMinutes), and of whole hours by pool."""

    minute: Ints
    identity: Ints
    work: Ints
    hour_pool: Ints
    hour_identity: Ints
    hour_work: Ints

    @classmethod
    def of(cls, minutes: PoolMinutes, weights: UsageWeights) -> _Weighed:
        known = paired(minutes.pool, minutes.minute)
        keys = paired(weights.pool, weights.minute)
        row = np.searchsorted(known, keys)
        there = np.flatnonzero(np.append(known, -1)[row] == keys)
        by_minute, work = summed(paired(row[there], weights.identity[there]), weights.work[there])
        by_hour, hour_work = summed(paired(weights.pool, weights.identity), weights.work)
        return cls(*unpaired(by_minute), work, *unpaired(by_hour), hour_work)

    def of_kind(self, kind: int, wanted: NDArray[np.bool_], pools: Ints) -> tuple[Ints, Ints, Ints]:
        """Pool-minutes that are ``wanted``, with the identities that weigh there, or else in the hour of the pool."""
        own = (self.work[:, kind] > 0) & wanted[self.minute]
        lacking = wanted.copy()
        lacking[self.minute[own]] = False
        hour = self.hour_work[:, kind] > 0
        hour_pool, hour_identity, hour_work = self.hour_pool[hour], self.hour_identity[hour], self.hour_work[hour, kind]
        minutes = np.flatnonzero(lacking)
        first = np.searchsorted(hour_pool, pools[minutes])
        counts = np.searchsorted(hour_pool, pools[minutes], side="right") - first
        at = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        return (
            np.concatenate((self.minute[own], np.repeat(minutes, counts))),
            np.concatenate((self.identity[own], hour_identity[at])),
            np.concatenate((self.work[own, kind], hour_work[at])),
        )


def _measured(kind: int, minutes: PoolMinutes, weighed: _Weighed, covered: Floats) -> MinuteLines:
    totals = minutes.parts[:, kind]
    wanted = totals != 0
    row, identity, work = weighed.of_kind(kind, wanted, minutes.pool)
    whole = np.zeros(len(totals), dtype=np.int64)
    np.add.at(whole, row, work)
    told = np.where(whole > 0, covered, 0.0)
    nobody = np.flatnonzero(wanted)
    rows = np.concatenate((row, nobody))
    shares = np.concatenate((work / whole[row] * told[row], 1 - told[nobody]))
    owners = np.concatenate((identity, np.full(len(nobody), UNATTRIBUTED_ID, dtype=np.int64)))
    order = np.lexsort((owners, rows))
    rows, owners = rows[order], owners[order]
    return _lines(minutes, rows, owners, kind, largest_remainder_groups(totals, rows, scaled(shares[order])))


def _lines(minutes: PoolMinutes, rows: Ints, identity: Ints, part: int, nanousd: Ints) -> MinuteLines:
    some = nanousd != 0
    return MinuteLines(
        pool=minutes.pool[rows[some]],
        minute=minutes.minute[rows[some]],
        identity=identity[some],
        part=np.full(int(some.sum()), part, dtype=np.int64),
        nanousd=nanousd[some],
    )

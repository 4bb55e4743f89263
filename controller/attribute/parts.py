"""What each replica-minute's cost went into: work by kind of token, idle by kind, overhead by kind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from controller.attribute.apportion import LIMIT, Floats, Ints, largest_remainder_rows, summed
from controller.attribute.tables import (
    AT,
    MICROSECONDS_PER_MINUTE,
    Book,
    Flags,
    ReplicaMinuteSeen,
    SeatKind,
)
from controller.estimate.work import seconds_per_token
from controller.facts.accounts import PARTS, Part, WorkRate
from controller.facts.fleet import CapacityType

Asked = Mapping[tuple[str, str, int], float]
"""Replicas that the decisions wanted, by service, variant and minute. Absent: nobody asked for any."""

WHOLLY = {
    SeatKind.UNUSED: Part.IDLE_UNSCHEDULED,
    SeatKind.STRANDED: Part.IDLE_STRANDED,
    SeatKind.SHARED: Part.UNMEASURED,
}
"""Seats that are no replica have one part only."""


def parts(seen: ReplicaMinuteSeen, book: Book, rates: Mapping[int, WorkRate], asked: Asked) -> Ints:
    """Nanodollars, n x 12 (PARTS): the largest remainder of each minute's cost by where its time went (``times``)."""
    return largest_remainder_rows(seen.cost, _enough(times(seen, book, rates, asked)))


def times(seen: ReplicaMinuteSeen, book: Book, rates: Mapping[int, WorkRate], asked: Asked) -> Ints:
    """Microseconds, n x 12 (PARTS).

    starting      overhead_swapping where another variant makes room, else overhead_interrupted where it stands in for
                  an interrupted replica, else overhead_starting
    failed        spot: overhead_interrupted, else idle_stuck
    ready and draining, in this order:
      unmeasured  could not be read, or did something of which neither the work nor the seconds are known
      work        engine-seconds of the tokens; cut to the time that is left when they are more
      the rest    in proportion draining: overhead_draining. The ready part is idle_stuck when requests were there and
                  neither a token nor a request came of them in the minute; else idle, warm as far as the policy asked
                  for the time (``_warm``), else unscheduled
    Seats that are no replica have one part only (WHOLLY).
    """
    us = np.zeros((len(seen.seat), len(PARTS)), dtype=np.int64)
    _overheads(us, seen, book)
    serving = seen.ready_us + seen.draining_us
    worked, known = _work(seen, rates)
    unread = np.clip(seen.missing_us - seen.starting_us - seen.failed_us, 0, serving)
    us[:, AT[Part.UNMEASURED]] = np.where(known, unread, serving)
    room = serving - us[:, AT[Part.UNMEASURED]]
    us[:, : AT[Part.UNMEASURED]] = _cut(worked, room)
    rest = room - us[:, : AT[Part.UNMEASURED]].sum(axis=1)
    draining = _share(rest, seen.draining_us, serving)
    us[:, AT[Part.OVERHEAD_DRAINING]] += draining
    stuck = _stuck(seen)
    us[:, AT[Part.IDLE_STUCK]] += np.where(stuck, rest - draining, 0)
    idle = np.where(stuck, 0, rest - draining)
    us[:, AT[Part.IDLE_UNSCHEDULED]] = idle
    us = _wholly(us, seen, book)
    replicas = np.flatnonzero(_of_kind(seen, book, SeatKind.REPLICA))
    warm = _warm(seen.taken(replicas), idle[replicas], us[replicas, : AT[Part.UNMEASURED] + 1].sum(axis=1), book, asked)
    us[replicas, AT[Part.IDLE_WARM]] = warm
    us[replicas, AT[Part.IDLE_UNSCHEDULED]] -= warm
    return us


def _overheads(us: Ints, seen: ReplicaMinuteSeen, book: Book) -> None:
    spots = [seat for seat, one in book.seats.items() if one.capacity_type is CapacityType.SPOT]
    spot = np.isin(seen.seat, spots)
    interrupted = seen.replaces_interrupted & ~seen.swapping
    us[:, AT[Part.OVERHEAD_SWAPPING]] = np.where(seen.swapping, seen.starting_us, 0)
    us[:, AT[Part.OVERHEAD_STARTING]] = np.where(seen.swapping | interrupted, 0, seen.starting_us)
    us[:, AT[Part.OVERHEAD_INTERRUPTED]] = np.where(interrupted, seen.starting_us, 0) + np.where(
        spot, seen.failed_us, 0
    )
    us[:, AT[Part.IDLE_STUCK]] = np.where(spot, 0, seen.failed_us)


def _work(seen: ReplicaMinuteSeen, rates: Mapping[int, WorkRate]) -> tuple[Floats, Flags]:
    """Engine-microseconds by MEASURED part, and whether they are known.

    First match wins:
      rate      tokens x engine-seconds a token (a cached count that the engine lacks is none)
      quiet     counters that did not move: no work, whatever a token takes
      seconds   no rate: the engine's phase seconds, each divided by how many requests were in the phase at a time
    Tokens alone say nothing.
    """
    tokens = np.column_stack((seen.uncached, np.nan_to_num(seen.cached), seen.output))
    worked = 1e6 * tokens * _seconds_per_token(seen.pool, rates)
    seconds = 1e6 * np.column_stack((seen.prefill_s, np.zeros(len(seen.seat)), seen.decode_s))
    without = np.isnan(worked.sum(axis=1))[:, None]
    worked = np.where(without, np.minimum(seconds, seen.covered_us[:, None]), worked)
    worked = np.where((tokens == 0).all(axis=1, keepdims=True), 0.0, worked)
    known: Flags = ~np.isnan(worked.sum(axis=1))
    return np.maximum(np.nan_to_num(worked, posinf=float(LIMIT)), 0.0), known


def _seconds_per_token(pools: Ints, rates: Mapping[int, WorkRate]) -> Floats:
    """n x 3 by the row's pool; NaN without a rate."""
    ids, places = np.unique(pools, return_inverse=True)
    nothing = (np.nan,) * 3
    table = np.array([seconds_per_token(rates[pool]) if pool in rates else nothing for pool in ids.tolist()])
    each: Floats = table.reshape(-1, 3)[places]
    return each


def _cut(worked: Floats, room: Ints) -> Ints:
    """Whole microseconds of work; scaled down to ``room`` where they are more."""
    whole = np.rint(np.minimum(worked, LIMIT // 4)).astype(np.int64)
    total = whole.sum(axis=1)
    full = total > room
    whole[full] = largest_remainder_rows(room[full], whole[full])
    return whole


def _stuck(seen: ReplicaMinuteSeen) -> Flags:
    there = np.nan_to_num(seen.running) + np.nan_to_num(seen.queue_depth)
    tokens = np.nan_to_num(seen.cached) + seen.uncached + seen.output + seen.requests
    stuck: Flags = np.greater(there, 0) & np.equal(tokens, 0)
    return stuck


def _warm(seen: ReplicaMinuteSeen, idle: Ints, busy: Ints, book: Book, asked: Asked) -> Ints:
    """How much of each row's idle time the policy asked for: the same share on every replica of a variant.

    warm of the variant = asked replicas x time watched - time that worked or could not be read, within 0 … idle
    """
    pools = {(pool.service, pool.variant): place for place, pool in enumerate(book.pools.values())}
    variants = {pool: pools[one.service, one.variant] for pool, one in book.pools.items()}
    names = {place: key for key, place in pools.items()}
    ids, places = np.unique(seen.pool, return_inverse=True)
    variant = np.array([variants[pool] for pool in ids.tolist()], dtype=np.int64)[places]
    keys = variant << 32 | seen.minute
    groups, sums = summed(keys, np.column_stack((idle, busy)))
    watched = np.zeros(len(groups), dtype=np.int64)
    place = np.searchsorted(groups, keys)
    np.maximum.at(watched, place, np.minimum(seen.covered_us, MICROSECONDS_PER_MINUTE))
    wanted = np.array([asked.get((*names[key >> 32], key & 0xFFFFFFFF), 0.0) for key in groups.tolist()])
    sums = sums.reshape(-1, 2)
    warm = np.clip(wanted * watched - sums[:, 1], 0, sums[:, 0])
    share = (warm / np.maximum(sums[:, 0], 1))[place]
    whole: Ints = np.minimum(np.rint(idle * share).astype(np.int64), idle)
    return whole


def _wholly(us: Ints, seen: ReplicaMinuteSeen, book: Book) -> Ints:
    for kind, part in WHOLLY.items():
        rows = _of_kind(seen, book, kind)
        us[rows] = 0
        us[rows, AT[part]] = np.maximum(seen.covered_us[rows], 1)
    return us


def _of_kind(seen: ReplicaMinuteSeen, book: Book, kind: SeatKind) -> Flags:
    return np.isin(seen.seat, [seat for seat, one in book.seats.items() if one.kind is kind])


def _enough(us: Ints) -> Ints:
    """A cost without any time is of something nobody watched."""
    us = us.copy()
    us[us.sum(axis=1) == 0, AT[Part.UNMEASURED]] = 1
    return us


def _share(whole: Ints, part: Ints, of: Ints) -> Ints:
    """whole x part / of, rounded down; both are of a minute, so the product stays far below 2^63."""
    share: Ints = whole * part // np.maximum(of, 1)
    return share

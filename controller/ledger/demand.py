"""What arrived at a service, minute by minute, from the replicas' minutes: unseen minutes say so and are not zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, RowMapping, case, func, select

from controller.ledger.fleets import watching
from controller.ledger.queries import between
from controller.ledger.rollup import MINUTE, minute_of
from controller.ledger.rows import DemandMinute
from controller.ledger.tables import GapRow, PassRow, ReplicaMinuteRow, table

LEAST_SEEN = 0.5
"""A minute's requests are known when so much of it was watched and of its replicas' ready time was read. A guess."""

NOT_WATCHED = "no pass looked back on this minute"
NO_REPLICA = "no replica was ready, and what arrives then is not seen here"
NOT_READ = "the replicas' request counters could not be read"

SUMS = ("requests", "rejections", "prompt_tokens", "cached_prompt_tokens", "output_tokens", "ready_s")


def demand_minutes(connection: Connection, service: str, start: datetime, end: datetime) -> tuple[DemandMinute, ...]:
    """Every minute from the one of ``start`` to before ``end``, without holes."""
    found = _summed(connection, service, minute_of(start), end)
    unwatched = _unwatched(connection, service, start, end)
    passes = _looked_back_on(connection, service, start, end) if len(found) * MINUTE < end - start else frozenset()
    return tuple(_minute(at, found.get(at), unwatched.get(at, ""), at in passes) for at in _each(minute_of(start), end))


def _each(start: datetime, end: datetime) -> Iterator[datetime]:
    at = start
    while at < end:
        yield at
        at += MINUTE


def _summed(connection: Connection, service: str, start: datetime, end: datetime) -> Mapping[datetime, RowMapping]:
    """By minute: sums over the replicas; ``read_s`` of their ready seconds were read, ``watched_s`` is the longest."""
    one = table(ReplicaMinuteRow).c
    read_s = one.covered_s - one.missing_s
    read = case((one.requests.is_(None), 0.0), (read_s < one.ready_s, read_s), else_=one.ready_s)
    query = (
        select(
            one.minute,
            *(func.sum(one[name]).label(name) for name in SUMS),
            func.sum(read).label("read_s"),
            func.max(one.covered_s).label("watched_s"),
            func.max(one.missing_why).label("missing_why"),
        )
        .where(one.service == service, one.replica != "", *between(one.minute, start, end))
        .group_by(one.minute)
    )
    return {row["minute"]: row for row in connection.execute(query).mappings()}


def _unwatched(connection: Connection, service: str, start: datetime, end: datetime) -> Mapping[datetime, str]:
    """The minutes that lie in recorded gaps by more than half: what was counted over a gap says nothing of when."""
    gaps = table(GapRow).c
    there = (gaps.started_at < end, gaps.ended_at > start, watching(gaps.fleet, service))
    rows = connection.execute(select(table(GapRow)).where(*there)).mappings()
    said: dict[datetime, str] = {}
    for row in rows:
        first = minute_of(max(row["started_at"], start))
        for minute in _each(first, min(row["ended_at"], end)):
            inside = min(row["ended_at"], minute + MINUTE) - max(row["started_at"], minute)
            if inside > LEAST_SEEN * MINUTE:
                said[minute] = row["why"]
    return said


def _looked_back_on(connection: Connection, service: str, start: datetime, end: datetime) -> frozenset[datetime]:
    """The minutes that a pass saw the end or more than half of: without a row then, a service had no replica."""
    passes, late = table(PassRow).c, LEAST_SEEN * MINUTE
    there = (*between(passes.at, start, end + late), watching(passes.fleet, service))
    moments: Sequence[datetime] = connection.scalars(select(passes.at).where(*there)).all()
    return frozenset(minute_of(moment - late) for moment in moments)


def _minute(at: datetime, row: RowMapping | None, gap: str, passed: bool) -> DemandMinute:
    why = gap or _why_unknown(row, passed)
    if row is None or why:
        return DemandMinute(minute=at, watched_s=0.0, unknown_why=why)
    requests = float(row["requests"])
    return DemandMinute(
        minute=at,
        watched_s=float(row["watched_s"]),
        requests=requests,
        rejections=row["rejections"],
        mean_prompt_tokens=_mean(row["prompt_tokens"], requests),
        mean_cached_prompt_tokens=_mean(row["cached_prompt_tokens"], requests),
        mean_output_tokens=_mean(row["output_tokens"], requests),
    )


def _why_unknown(row: RowMapping | None, passed: bool) -> str:
    if row is None:
        return NO_REPLICA if passed else NOT_WATCHED
    if not row["ready_s"]:
        return NO_REPLICA
    if row["requests"] is None or row["read_s"] < LEAST_SEEN * row["ready_s"]:
        return row["missing_why"] or NOT_READ
    return "" if row["watched_s"] >= LEAST_SEEN * MINUTE.total_seconds() else NOT_WATCHED


def _mean(tokens: float | None, requests: float) -> float | None:
    return None if tokens is None or requests <= 0 else tokens / requests

"""What a cell cost, settled hour by hour as the daemon's accountant does it, and whether it adds up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta

from controller.ledger.accounts.settle import Settler
from controller.ledger.accounts.verify import verify
from tests.chaos.platforms.base import USD_PER_HOUR

HOUR = timedelta(hours=1)
NANOUSD_PER_S = USD_PER_HOUR * 1e9 / 3600

ROUNDED_NANOUSD = 8
"""A pass's cost is rounded once, and split between the minutes that it touches; a minute has no more than so many."""


def unbalanced(path: str) -> tuple[str, ...]:
    """All that does not add up in the ledger at ``path`` once all of its hours are settled."""
    rows = _minutes(path)
    return (*_minutes_of_replicas(rows), *_settled(f"sqlite:///{path}", rows))


Row = tuple[str, str, float, float, float, int | None]
"""Minute, replica, seconds by their phases, those that passes looked back on, unpriced ones, cost."""


def _minutes(path: str) -> list[Row]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(
            "SELECT minute, replica, ready_s + starting_s + draining_s + failed_s, covered_s, unpriced_s, cost_nanousd"
            " FROM replica_minute"
        ).fetchall()


def _minutes_of_replicas(rows: list[Row]) -> Iterator[str]:
    """No second of a replica is paid twice, or for nothing, and each at its price."""
    for minute, replica, phases_s, covered_s, unpriced_s, nanousd in rows:
        where = f"{replica} in the minute {minute}"
        if covered_s > 60.0 + 1e-6:
            yield f"{where}: {covered_s:.3f} s"
        if abs(phases_s - covered_s) > 1e-6:
            yield f"{where}: {covered_s:.3f} s, of which phases know {phases_s:.3f}"
        expected = (covered_s - unpriced_s) * NANOUSD_PER_S
        if abs((nanousd or 0) - expected) > ROUNDED_NANOUSD:
            yield f"{where}: {nanousd} nanodollars for {covered_s - unpriced_s:.3f} s, expected {expected:.0f}"


def _hour(minute: str) -> datetime:
    return datetime.fromisoformat(minute).replace(minute=0, tzinfo=UTC)


def _settled(url: str, rows: list[Row]) -> Iterator[str]:
    if not rows:
        return
    first, last = (_hour(pick(minute for minute, *_ in rows)) for pick in (min, max))
    settler = Settler(url, settle_after=timedelta(0))
    try:
        done = settler.settle(last + HOUR, at_once=(last - first) // HOUR + 1)
    finally:
        settler.close()
    proof = verify(url)
    yield from (*done.problems, *map(str, proof.differences))
    paid = sum(nanousd or 0 for *_, nanousd in rows)
    if proof.cost_nanousd != paid:
        yield f"settled hours cost {proof.cost_nanousd:,} nanodollars, replicas {paid:,}"

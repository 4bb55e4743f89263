"""What a cell cost, settled hour by hour as the daemon's accountant does it, and whether it adds up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

from controller.ledger.accounts.settle import Settler
from controller.ledger.accounts.verify import verify
from tests.chaos.books import rows
from tests.chaos.platforms.base import USD_PER_HOUR

HOUR = timedelta(hours=1)
NANOUSD_PER_S = USD_PER_HOUR * 1e9 / 3600

ROUNDED_NANOUSD = 8
"""A pass's cost is rounded once, and split between the minutes that it touches; a minute has no more than so many."""


def unbalanced(url: str) -> tuple[str, ...]:
    """All that does not add up in the ledger once all of its hours are settled."""
    minutes = rows(url, MINUTES)
    return (*_minutes_of_replicas(minutes), *_settled(url, minutes))


MINUTES = (
    "SELECT minute, replica, ready_s + starting_s + draining_s + failed_s, covered_s, unpriced_s, cost_nanousd"
    " FROM replica_minute"
)
Row = tuple[str | datetime, str, float, float, float, int | None]
"""Minute, replica, seconds by their phases, those that passes looked back on, unpriced ones, cost."""


def _minutes_of_replicas(minutes: Sequence[Row]) -> Iterator[str]:
    """No second of a replica is paid twice, or for nothing, and each at its price."""
    for minute, replica, phases_s, covered_s, unpriced_s, nanousd in minutes:
        where = f"{replica} in the minute {minute}"
        if covered_s > 60.0 + 1e-6:
            yield f"{where}: {covered_s:.3f} s"
        if abs(phases_s - covered_s) > 1e-6:
            yield f"{where}: {covered_s:.3f} s, of which phases know {phases_s:.3f}"
        expected = (covered_s - unpriced_s) * NANOUSD_PER_S
        if abs((nanousd or 0) - expected) > ROUNDED_NANOUSD:
            yield f"{where}: {nanousd} nanodollars for {covered_s - unpriced_s:.3f} s, expected {expected:.0f}"


def _hour(minute: str | datetime) -> datetime:
    """SQLite has no times, only their text."""
    return datetime.fromisoformat(str(minute)).replace(minute=0, tzinfo=UTC)


def _settled(url: str, minutes: Sequence[Row]) -> Iterator[str]:
    if not minutes:
        return
    hours = [_hour(minute) for minute, *_ in minutes]
    first, last = min(hours), max(hours)
    settler = Settler(url, settle_after=timedelta(0))
    try:
        done = settler.settle(last + HOUR, at_once=(last - first) // HOUR + 1)
    finally:
        settler.close()
    proof = verify(url)
    yield from (*done.problems, *map(str, proof.differences))
    paid = sum(nanousd or 0 for *_, nanousd in minutes)
    if proof.cost_nanousd != paid:
        yield f"settled hours cost {proof.cost_nanousd:,} nanodollars, replicas {paid:,}"

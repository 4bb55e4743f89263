"""What must be what else in the accounts: two queries a check, over the same keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.ledger.accounts.hours import DAY, SHIFT, WEEK
from controller.ledger.accounts.states import SETTLED
from controller.ledger.accounts.tables import LINE_COLUMNS, PART_COLUMNS, HourStateRow
from controller.ledger.tables import table


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Two queries with the same keys and columns. A key that one of them lacks is all zero there.

    keys   what the key's places are: "hour", "start", "pool", "identity", "team", "seat", "revision"
    """

    one: str
    other: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]
    one_query: str = ""
    other_query: str = ""


def _sum(columns: Sequence[str]) -> str:
    return ", ".join(f"SUM({name})" for name in columns)


def _renamed(columns: Sequence[str], prefix: str) -> str:
    return ", ".join(f"SUM({prefix}.{name})" for name in columns)


PARTS = _sum(PART_COLUMNS)
SEAT_PARTS = _renamed(PART_COLUMNS, "cost_hour")
COST = " + ".join(PART_COLUMNS)
HOURS = "hour >= :first AND hour < :last"
STARTS = "start >= :first AND start < :last"

CLOSED = table(HourStateRow).c.state == SETTLED
MEASURED = Check(one="replica minutes", other="what was settled of them", keys=("hour",), columns=("cost",))

HOUR_CHECKS = (
    Check(
        one="lines",
        other="seats",
        keys=("hour", "pool"),
        columns=PART_COLUMNS,
        one_query=f"SELECT hour, pool, {PARTS} FROM allocation_hour WHERE {HOURS} GROUP BY hour, pool",
        other_query=(
            f"SELECT hour, pool, {SEAT_PARTS} FROM cost_hour JOIN seat ON seat.id = cost_hour.seat "
            f"WHERE {HOURS} GROUP BY hour, pool"
        ),
    ),
    Check(
        one="seats",
        other="the hour's cost with its corrections",
        keys=("hour",),
        columns=("cost",),
        one_query=f"SELECT hour, SUM({COST}) FROM cost_hour WHERE {HOURS} GROUP BY hour",
        other_query=(
            "SELECT hour, cost_nanousd + (SELECT COALESCE(SUM(cost_nanousd), 0) FROM allocation_revision "
            f"WHERE allocation_revision.hour = hour_state.hour) FROM hour_state WHERE {HOURS}"
        ),
    ),
    Check(
        one="lines of the correction",
        other="what it says it changed",
        keys=("hour", "revision"),
        columns=("cost",),
        one_query=(
            f"SELECT hour, revision, SUM({COST}) FROM allocation_hour WHERE {HOURS} AND revision > 0 "
            "GROUP BY hour, revision"
        ),
        other_query=f"SELECT hour, revision, cost_nanousd FROM allocation_revision WHERE {HOURS}",
    ),
    Check(
        one="its seats",
        other="its amortised cost, and what of it was used",
        keys=("hour", "commitment"),
        columns=("cost", "used"),
        one_query=(
            f"SELECT hour, commitment, SUM({COST}), SUM(CASE WHEN service = '' THEN 0 ELSE {COST} END) "
            f"FROM cost_hour JOIN seat ON seat.id = cost_hour.seat WHERE {HOURS} AND commitment <> '' "
            "GROUP BY hour, commitment"
        ),
        other_query=(
            "SELECT hour, commitment, SUM(amortised_nanousd), SUM(used_nanousd) "
            f"FROM commitment_hour WHERE {HOURS} GROUP BY hour, commitment"
        ),
    ),
    Check(
        one="the hour over all identities",
        other="lines",
        keys=("start", "pool"),
        columns=LINE_COLUMNS,
        one_query=(
            f"SELECT start, pool, {_sum(LINE_COLUMNS)} FROM spend "
            f"WHERE grain = 1 AND scope = 2 AND {STARTS} GROUP BY start, pool"
        ),
        other_query=f"SELECT hour, pool, {_sum(LINE_COLUMNS)} FROM allocation_hour WHERE {HOURS} GROUP BY hour, pool",
    ),
    Check(
        one="the hour over all pools",
        other="lines",
        keys=("start", "identity"),
        columns=LINE_COLUMNS,
        one_query=(
            f"SELECT start, identity, {_sum(LINE_COLUMNS)} FROM spend "
            f"WHERE grain = 1 AND scope = 0 AND {STARTS} GROUP BY start, identity"
        ),
        other_query=(
            f"SELECT hour, identity, {_sum(LINE_COLUMNS)} FROM allocation_hour WHERE {HOURS} GROUP BY hour, identity"
        ),
    ),
)
MINUTES_CHECK = Check(
    one="minutes",
    other="seats before corrections",
    keys=("hour", "pool"),
    columns=PART_COLUMNS,
    one_query=(
        f"SELECT minute / 60, pool, {PARTS} FROM cost_minute "
        "WHERE minute >= :first * 60 AND minute < :last * 60 GROUP BY minute / 60, pool"
    ),
    other_query=(
        f"SELECT hour, pool, {SEAT_PARTS} FROM cost_hour JOIN seat ON seat.id = cost_hour.seat "
        f"WHERE {HOURS} AND revision = 0 GROUP BY hour, pool"
    ),
)
"""Minutes are not corrected: they show the hour as it was settled."""


def _coarser(grain: int, one: str, fine: str, fine_name: str) -> tuple[Check, ...]:
    """A shift or a day against its hours, a week against its days: lines by pool and identity, seats by seat."""
    spend = (
        f"allocation_hour WHERE {HOURS}" if fine == "1" else f"spend WHERE grain = {fine} AND scope = 1 AND {STARTS}"
    )
    seats = f"cost_hour WHERE {HOURS}" if fine == "1" else f"capacity_spend WHERE grain = {fine} AND {STARTS}"
    kept = ("gpu_us", "covered_us", "unpriced_us", "list_nanousd", "contracted_nanousd", "billed_nanousd")
    return (
        Check(
            one=one,
            other=fine_name,
            keys=("start", "pool", "identity"),
            columns=LINE_COLUMNS,
            one_query=(
                f"SELECT start, pool, identity, {', '.join(LINE_COLUMNS)} FROM spend "
                f"WHERE grain = {grain} AND scope = 1 AND start = :first"
            ),
            other_query=f"SELECT :first, pool, identity, {_sum(LINE_COLUMNS)} FROM {spend} GROUP BY pool, identity",
        ),
        Check(
            one=one,
            other=fine_name,
            keys=("start", "seat"),
            columns=(*PART_COLUMNS, *kept),
            one_query=(
                f"SELECT start, seat, {', '.join((*PART_COLUMNS, *kept))} FROM capacity_spend "
                f"WHERE grain = {grain} AND start = :first"
            ),
            other_query=f"SELECT :first, seat, {_sum((*PART_COLUMNS, *kept))} FROM {seats} GROUP BY seat",
        ),
    )


SHIFT_CHECKS = _coarser(SHIFT, "the shift", "1", "its hours")
DAY_CHECKS = _coarser(DAY, "the day", "1", "its hours")
WEEK_CHECKS = _coarser(WEEK, "the week", str(DAY), "its days")


def _teams(scope: int) -> str:
    """By name: several numbers may be of one team."""
    return (
        f"SELECT start, pool, team, {_sum(LINE_COLUMNS)} FROM spend JOIN identity ON identity.id = spend.identity "
        f"WHERE grain = :grain AND scope = {scope} AND start = :first GROUP BY start, pool, team"
    )


CUBE_CHECKS = (
    Check(
        one="over all identities",
        other="by identity",
        keys=("start", "pool"),
        columns=LINE_COLUMNS,
        one_query=(
            f"SELECT start, pool, {', '.join(LINE_COLUMNS)} FROM spend "
            "WHERE grain = :grain AND scope = 2 AND start = :first"
        ),
        other_query=(
            f"SELECT start, pool, {_sum(LINE_COLUMNS)} FROM spend "
            "WHERE grain = :grain AND scope = 1 AND start = :first GROUP BY start, pool"
        ),
    ),
    Check(
        one="over all pools",
        other="by pool",
        keys=("start", "identity"),
        columns=LINE_COLUMNS,
        one_query=(
            f"SELECT start, identity, {', '.join(LINE_COLUMNS)} FROM spend "
            "WHERE grain = :grain AND scope = 0 AND start = :first"
        ),
        other_query=(
            f"SELECT start, identity, {_sum(LINE_COLUMNS)} FROM spend "
            "WHERE grain = :grain AND scope = 1 AND start = :first GROUP BY start, identity"
        ),
    ),
    Check(
        one="by team",
        other="by identity",
        keys=("start", "pool", "team"),
        columns=LINE_COLUMNS,
        one_query=_teams(3),
        other_query=_teams(1),
    ),
    Check(
        one="lines",
        other="seats",
        keys=("start", "pool"),
        columns=PART_COLUMNS,
        one_query=(
            f"SELECT start, pool, {PARTS} FROM spend "
            "WHERE grain = :grain AND scope = 1 AND start = :first GROUP BY start, pool"
        ),
        other_query=(
            f"SELECT start, pool, {_renamed(PART_COLUMNS, 'capacity_spend')} FROM capacity_spend "
            "JOIN seat ON seat.id = capacity_spend.seat WHERE grain = :grain AND start = :first GROUP BY start, pool"
        ),
    ),
)
"""Of shifts, days and weeks. Days and weeks are kept for ever, and so proven for ever."""

ADJUSTED = Check(
    one="lines of the adjustment",
    other="its amount",
    keys=("adjustment",),
    columns=("cost",),
    one_query="SELECT adjustment, SUM(amount_nanousd) FROM adjustment_line GROUP BY adjustment",
    other_query="SELECT id, amount_nanousd FROM adjustment",
)
"""Of all bills, whatever their days."""

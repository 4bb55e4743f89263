"""Commitments by the hour: what they cost, what of it was used, and the fees that they are billed by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Select, delete, func, select

from controller.facts.account_reader import HOUR, CommitmentUse, Purchase
from controller.facts.commitments import CommitmentKind
from controller.ledger.accounts import lines
from controller.ledger.accounts.billed_tables import COMMITMENT_SUMS, CommitmentHourRow, CommitmentRow
from controller.ledger.accounts.costing import CommitmentSums
from controller.ledger.accounts.hours import DAY, midnight, time_of
from controller.ledger.tables import table
from controller.ledger.upsert import replaced, upsert

NULLABLE = ("covered_on_demand_nanousd", "eligible_on_demand_nanousd")
SOLD = (CommitmentKind.RESERVED_INSTANCE, CommitmentKind.SAVINGS_PLAN, CommitmentKind.CAPACITY_BLOCK)
"""By a provider, who bills a fee. Hardware of one's own bills what it costs, hour by hour."""


def replace_hour(connection: Connection, hour: int, sums: Sequence[CommitmentSums]) -> None:
    """The hour's rows, in the place of those it had while it was open."""
    rows = table(CommitmentHourRow)
    connection.execute(delete(rows).where(rows.c.hour == hour))
    _know(connection, sums)
    _insert(connection, hour, 0, {one.commitment.id: _values(one) for one in sums})


def correct_hour(connection: Connection, hour: int, revision: int, sums: Sequence[CommitmentSums]) -> bool:
    """Appends what changed; whether anything did."""
    now = {one.commitment.id: _values(one) for one in sums}
    changes = lines.changes(_hour(connection, hour), now, COMMITMENT_SUMS, NULLABLE)
    _know(connection, sums)
    _insert(connection, hour, revision, changes)
    return bool(changes)


def uses(connection: Connection, first: int, last: int) -> list[CommitmentUse]:
    """What became of every commitment in the hours from ``first`` to ``last``, without ``last``."""
    names = _known(connection)
    return [
        CommitmentUse(
            id=name,
            kind=CommitmentKind(names[name]["kind"]),
            start=names[name]["starts_at"],
            end=names[name]["ends_at"],
            offer=names[name]["offer"],
            amortised_nanousd=sums["amortised_nanousd"],
            used_nanousd=sums["used_nanousd"],
            unused_nanousd=sums["amortised_nanousd"] - sums["used_nanousd"],
            covered_on_demand_nanousd=sums["covered_on_demand_nanousd"],
            eligible_on_demand_nanousd=sums["eligible_on_demand_nanousd"],
        )
        for name, sums in sorted(_sums(connection, first, last).items())
    ]


def purchases(connection: Connection, day: date) -> list[Purchase]:
    """Fees of the day: those paid once for the whole term, the others hour by hour."""
    names, first = _known(connection), midnight(day)
    found = []
    for hour, name, sums in sorted(_by_hour(connection, first, first + DAY), key=lambda row: row[:2]):
        if CommitmentKind(names[name]["kind"]) in SOLD:
            found += _fees(name, names[name], time_of(hour), sums)
    return found


def _fees(name: str, known: Mapping[str, Any], hour: datetime, sums: Mapping[str, Any]) -> list[Purchase]:
    start, end, gpus = known["starts_at"], known["ends_at"], known["gpus"]
    once, recurring = sums["upfront_nanousd"], sums["billed_nanousd"] - sums["upfront_nanousd"]
    term = gpus * _us(start, end)
    made = []
    if once:
        made.append(_fee(name, start, end, once, term, True, hour))
    if recurring:
        units = sums["units"] if gpus else 0
        made.append(_fee(name, max(hour, start), min(hour + HOUR, end), recurring, units, False, hour))
    return made


def _fee(name: str, start: datetime, end: datetime, fee: int, gpu_us: int, once: bool, posted: datetime) -> Purchase:
    return Purchase(
        commitment=name,
        start=start,
        end=end,
        billed_nanousd=fee,
        quantity_gpu_us=gpu_us,
        one_time=once,
        posted_at=posted,
    )


def _us(start: datetime, end: datetime) -> int:
    span = end - start
    return (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds


def _values(one: CommitmentSums) -> tuple[Any, ...]:
    """By COMMITMENT_SUMS."""
    hour = one.hour
    values = {
        "amortised_nanousd": hour.amortised_nanousd,
        "used_nanousd": hour.used_nanousd,
        "billed_nanousd": hour.billed_nanousd,
        "upfront_nanousd": one.upfront_nanousd,
        "covered_on_demand_nanousd": hour.covered_on_demand_nanousd,
        "eligible_on_demand_nanousd": one.eligible_on_demand_nanousd,
        "units": hour.units,
        "used_units": hour.used_units,
        "used_gpu_us": hour.used_gpu_us,
    }
    return tuple(values[name] for name in COMMITMENT_SUMS)


def _know(connection: Connection, sums: Sequence[CommitmentSums]) -> None:
    """What a commitment is, for when the fleet file does not name it any more."""
    rows = [
        {
            "id": one.commitment.id,
            "kind": one.commitment.kind.value,
            "offer": next(iter((*one.commitment.offers, *sorted(one.commitment.rates_nanousd_per_gpu_hour))), ""),
            "reference": one.commitment.reference,
            "starts_at": one.commitment.start,
            "ends_at": one.commitment.end,
            "gpus": one.commitment.gpus,
        }
        for one in sums
    ]
    merge = dict.fromkeys(("kind", "offer", "reference", "starts_at", "ends_at", "gpus"), replaced)
    upsert(connection, CommitmentRow, rows, merge)


def _known(connection: Connection) -> dict[str, Mapping[str, Any]]:
    return {row["id"]: dict(row) for row in connection.execute(select(table(CommitmentRow))).mappings()}


def _insert(connection: Connection, hour: int, revision: int, rows: Mapping[str, Sequence[Any]]) -> None:
    made = [
        {"hour": hour, "commitment": name, "revision": revision, **dict(zip(COMMITMENT_SUMS, values, strict=True))}
        for name, values in sorted(rows.items())
    ]
    upsert(connection, CommitmentHourRow, made, {})


def _hour(connection: Connection, hour: int) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(sums.values()) for _, name, sums in _by_hour(connection, hour, hour + 1)}


def _by_hour(connection: Connection, first: int, last: int) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Hour, commitment and sums, corrections added."""
    for hour, name, *sums in connection.execute(_hours(first, last)):
        whole = (None if one is None else int(one) for one in sums)
        yield hour, name, dict(zip(COMMITMENT_SUMS, whole, strict=True))


def _hours(first: int, last: int) -> Select[Any]:
    rows = table(CommitmentHourRow).c
    sums = (func.sum(rows[name]).label(name) for name in COMMITMENT_SUMS)
    inside = select(rows.hour, rows.commitment, *sums).where(rows.hour >= first, rows.hour < last)
    return inside.group_by(rows.hour, rows.commitment)


def _sums(connection: Connection, first: int, last: int) -> dict[str, dict[str, Any]]:
    """By commitment, corrections added; a cost that is unknown in one hour is unknown."""
    hours = _hours(first, last).subquery().c
    query = select(
        hours.commitment,
        func.count(),
        *(func.count(hours[name]) for name in COMMITMENT_SUMS),
        *(func.sum(hours[name]) for name in COMMITMENT_SUMS),
    ).group_by(hours.commitment)
    found = {}
    for name, count, *values in connection.execute(query):
        known, sums = values[: len(COMMITMENT_SUMS)], values[len(COMMITMENT_SUMS) :]
        pairs = zip(COMMITMENT_SUMS, known, sums, strict=True)
        found[name] = {column: int(total) if there == count else None for column, there, total in pairs}
    return found

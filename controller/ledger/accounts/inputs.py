"""What an hour is settled from, read at one moment: minutes of replicas, usage, work rates, what was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, Engine, select

from controller.attribute.apportion import Floats, Ints
from controller.attribute.batch import SUMS
from controller.attribute.parts import Asked
from controller.attribute.rules import Rules
from controller.attribute.settle import HourSeen, SeatCosts
from controller.attribute.tables import MINUTES_PER_HOUR, Book, Flags, ReplicaMinuteSeen, Seat, UsageSeen
from controller.facts.accounts import Identity, Pool, WorkRate
from controller.facts.fleet import CapacityType
from controller.facts.money import EPOCH
from controller.ledger.accounts import dictionaries
from controller.ledger.accounts.hours import HOUR, time_of
from controller.ledger.accounts.rates import known_rates
from controller.ledger.accounts.tables import HourStateRow, UsageHourRow, UsageMinuteRow
from controller.ledger.tables import ReplicaMinuteRow, ServiceMinuteRow, table

SeatName = tuple[str, str, str, str, str]
"""service, variant, replica, capacity type, node"""

INTERRUPTED_BEFORE = timedelta(minutes=15)
"""A replica that starts so soon after a spot replica of its service was lost stands in for it."""

WANTED_FOR = timedelta(minutes=15)
"""What a pass wanted holds until the next one, but not for ever. A guess: far above any usual interval."""

COST_NAMES = ("list_nanousd", "contracted_nanousd", "cost_nanousd", "billed_nanousd")
"""In the order of ``attribute.tables.COSTS``."""

TIMES = {
    "starting_us": "starting_s",
    "ready_us": "ready_s",
    "draining_us": "draining_s",
    "failed_us": "failed_s",
    "missing_us": "missing_s",
    "unpriced_us": "unpriced_s",
}
FLOATS = ("prompt_tokens", "cached_prompt_tokens", "output_tokens", "requests", "prefill_s", "decode_s", "energy_j")
LEVELS = ("running", "queue_depth")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An hour's rows, as one moment had them. ``state``: None when it was never worked out.

    records   by source: how many usage records touch the hour
    fresh     how many of these its newest revision has not seen
    """

    hour: int
    state: Mapping[str, Any] | None
    records: Mapping[str, int]
    fresh: Mapping[str, int]
    replicas: Mapping[str, Sequence[Any]]
    usage: Sequence[Sequence[Any]]
    rates: Mapping[tuple[str, str], WorkRate]
    asked: Asked


class Names:
    """The ledger's numbers for pools, seats and identities, remembered."""

    def __init__(self, engine: Engine, reading: Engine) -> None:
        self._engine = engine
        self._reading = reading
        self._pools = dictionaries.pools()
        self._seats = dictionaries.seats()
        self._identities = dictionaries.identities(most=2**31)

    def seats(self, names: Sequence[SeatName], commitments: Sequence[str] = ()) -> tuple[list[int], list[int]]:
        """The seat and the pool of each; with ``commitments``: of what these cover of each."""
        pools = self._pools.ids(self._engine, [(name[0], name[1], name[3]) for name in names])
        under = commitments or [""] * len(names)
        keys = [(*name, one, pool) for name, one, pool in zip(names, under, pools, strict=True)]
        return self._seats.ids(self._engine, keys), pools

    def teams(self, names: Sequence[str]) -> None:
        """There is an identity of only its name for each team."""
        self._identities.ids(self._engine, [dictionaries.identity_key(Identity(team=name)) for name in names])

    def book(self) -> Book:
        """Everything that has a number."""
        with self._reading.begin() as connection:
            seats, pools = dictionaries.seats_by_id(connection), dictionaries.pools_by_id(connection)
            who = dictionaries.identities_by_id(connection)
        numbers = {pool: number for number, pool in pools.items()}
        return Book(
            seats={number: _seat(one, numbers) for number, one in seats.items()},
            pools=pools,
            identities=who,
        )


def _seat(one: dictionaries.SeatNamed, numbers: Mapping[Pool, int]) -> Seat:
    return Seat(
        service=one.pool.service,
        variant=one.pool.variant,
        replica=one.replica,
        capacity_type=one.pool.capacity_type,
        pool=numbers[one.pool],
        node=one.node,
    )


def found(connection: Connection, hour: int) -> Found:
    """Everything of ``hour`` that the ledger has; ``connection`` must see one moment."""
    states = table(HourStateRow)
    state = connection.execute(select(states).where(states.c.hour == hour)).mappings().first()
    hours = table(UsageHourRow).c
    counted = list(
        connection.execute(select(hours.source, hours.records, hours.settled_records).where(hours.hour == hour))
    )
    return Found(
        hour=hour,
        state=None if state is None else dict(state),
        records={source: records for source, records, _ in counted},
        fresh={source: records - known for source, records, known in counted if records != known},
        replicas=_replica_minutes(connection, time_of(hour)),
        usage=_usage(connection, hour),
        rates=known_rates(connection, time_of(hour + 1)),
        asked=_asked(connection, time_of(hour)),
    )


def hour_seen(
    found: Found,
    names: Names,
    rules: Rules,
    applied: Mapping[tuple[SeatName, str], SeatCosts],
    without: Set[SeatName] = frozenset(),
) -> HourSeen:
    """``found`` in the ledger's numbers. ``applied``: by place and commitment; ``without``: places left out."""
    names.teams(sorted({team for rule in rules.values() for team in rule.teams}))
    rows = _without(found.replicas, without) if without else found.replicas
    seats, pools = names.seats(_seat_names(rows))
    extra, _ = names.seats([place for place, _ in applied], [commitment for _, commitment in applied])
    usage_places, usage = _usage_seen(found.usage)
    book = names.book()
    return HourSeen(
        hour=found.hour,
        seen=_seen(rows, seats, pools, found.hour),
        usage=UsageSeen(places=usage_places, **usage),
        book=book,
        rates={
            number: found.rates[pool.service, pool.variant]
            for number, pool in book.pools.items()
            if (pool.service, pool.variant) in found.rates
        },
        asked=found.asked,
        rules=rules,
        applied=dict(zip(extra, applied.values(), strict=True)),
    )


REPLICA_COLUMNS = (
    *("minute", "service", "variant", "replica", "capacity_type", "node", "gpus"),
    *COST_NAMES,
    *TIMES.values(),
    *FLOATS,
    *(f"{level}_{end}" for level in LEVELS for end in ("integral", "s")),
)


def _without(rows: Mapping[str, Sequence[Any]], places: Set[SeatName]) -> Mapping[str, Sequence[Any]]:
    kept = [at for at, place in enumerate(_seat_names(rows)) if place not in places]
    return {name: [column[at] for at in kept] for name, column in rows.items()}


def _replica_minutes(connection: Connection, start: datetime) -> Mapping[str, Sequence[Any]]:
    """By column; with the quarter of an hour before ``start``, in which a spot replica may have been lost."""
    columns = table(ReplicaMinuteRow).c
    query = select(*(columns[name] for name in REPLICA_COLUMNS)).where(
        columns.minute >= start - INTERRUPTED_BEFORE, columns.minute < start + HOUR
    )
    rows = connection.execute(query).all()
    return {name: [row[place] for row in rows] for place, name in enumerate(REPLICA_COLUMNS)}


def _usage(connection: Connection, hour: int) -> Sequence[Sequence[Any]]:
    columns = table(UsageMinuteRow).c
    key = (columns.minute, columns.service, columns.variant, columns.identity)
    first = hour * MINUTES_PER_HOUR
    query = select(*key, *(columns[name] for name in SUMS[:-1])).where(
        columns.minute >= first, columns.minute < first + MINUTES_PER_HOUR
    )
    return connection.execute(query.order_by(*key)).all()


def _usage_seen(rows: Sequence[Sequence[Any]]) -> tuple[Sequence[tuple[str, str]], Mapping[str, Ints]]:
    """Answers from a gateway's own cache alone leave rows of nothing."""
    some = [row for row in rows if any(row[4:])]
    places: dict[tuple[str, str], int] = {}
    place = [places.setdefault((row[1], row[2]), len(places)) for row in some]
    names = ("minute", "identity", *SUMS[:-1])
    whole = np.array([(row[0], row[3], *row[4:]) for row in some], dtype=np.int64).reshape(len(some), len(names))
    columns = {name: whole[:, at] for at, name in enumerate(names)}
    return list(places), {"place": np.array(place, dtype=np.int64), **columns}


def _asked(connection: Connection, start: datetime) -> Asked:
    """Every minute of the hour; one without a pass of its own has what the pass before it wanted."""
    columns = table(ServiceMinuteRow).c
    query = select(columns.service, columns.variant, columns.minute, columns.replicas_desired).where(
        columns.minute >= start - WANTED_FOR,
        columns.minute < start + HOUR,
        columns.variant != "",
        columns.replicas_desired.is_not(None),
    )
    minute = timedelta(minutes=1)
    first, holds = (start - EPOCH) // minute, WANTED_FOR // minute
    asked: dict[tuple[str, str, int], float] = {}
    for service, variant, at, replicas in connection.execute(query.order_by(columns.minute)):
        since = (at - EPOCH) // minute
        for one in range(max(since, first), min(since + holds, first + MINUTES_PER_HOUR)):
            asked[service, variant, one] = float(replicas)
    return asked


def _seat_names(rows: Mapping[str, Sequence[Any]]) -> list[SeatName]:
    names = ("service", "variant", "replica", "capacity_type", "node")
    return list(zip(*(rows[name] for name in names), strict=True))


def _seen(rows: Mapping[str, Sequence[Any]], seats: list[int], pools: list[int], hour: int) -> ReplicaMinuteSeen:
    minute = np.array([(at - EPOCH) // timedelta(minutes=1) for at in rows["minute"]], dtype=np.int64)
    times = {name: np.rint(_floats(rows[column]) * 1e6).astype(np.int64) for name, column in TIMES.items()}
    numbers = {name: _floats(rows[name]) for name in FLOATS}
    levels = {name: _level(rows, name) for name in LEVELS}
    costs = [[value or 0 for value in rows[name]] for name in COST_NAMES]
    known = [[value is not None for value in rows[name]] for name in COST_NAMES]
    service = np.array(rows["service"], dtype=object)
    cached = numbers["cached_prompt_tokens"]
    whole = ReplicaMinuteSeen(
        seat=np.array(seats, dtype=np.int64),
        pool=np.array(pools, dtype=np.int64),
        minute=minute,
        costs=np.array(costs, dtype=np.int64).T.reshape(-1, len(COST_NAMES)),
        known=np.array(known, dtype=np.bool_).T.reshape(-1, len(COST_NAMES)),
        **times,
        uncached=np.maximum(numbers["prompt_tokens"] - np.nan_to_num(cached), 0.0),
        cached=cached,
        output=numbers["output_tokens"],
        requests=numbers["requests"],
        running=levels["running"],
        queue_depth=levels["queue_depth"],
        prefill_s=numbers["prefill_s"],
        decode_s=numbers["decode_s"],
        energy_j=numbers["energy_j"],
        gpus=np.array(rows["gpus"], dtype=np.int64),
        swapping=_swapping(service, np.array(rows["variant"], dtype=object), times),
        replaces_interrupted=_standing_in(service, np.array(rows["capacity_type"], dtype=object), minute, times),
    )
    return whole.taken(minute >= hour * MINUTES_PER_HOUR)


def _floats(values: Sequence[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def _level(rows: Mapping[str, Sequence[Any]], name: str) -> Floats:
    seconds = _floats(rows[f"{name}_s"])
    level: Floats = np.divide(
        _floats(rows[f"{name}_integral"]), seconds, out=np.full(len(seconds), np.nan), where=seconds > 0
    )
    return level


def _swapping(service: Any, variant: Any, times: Mapping[str, Ints]) -> Flags:
    """It starts, and another variant of its service drained in the hour."""
    flags = np.zeros(len(service), dtype=np.bool_)
    for name in set(service.tolist()):
        mine = service == name
        drained = set(variant[mine & (times["draining_us"] > 0)].tolist())
        for one in set(variant[mine].tolist()):
            if drained - {one}:
                flags |= mine & (variant == one) & (times["starting_us"] > 0)
    return flags


def _standing_in(service: Any, capacity_type: Any, minute: Ints, times: Mapping[str, Ints]) -> Flags:
    """It starts, and a spot replica of its service failed shortly before."""
    flags = np.zeros(len(service), dtype=np.bool_)
    lost = (capacity_type == CapacityType.SPOT.value) & (times["failed_us"] > 0)
    for name in set(service[lost].tolist()):
        mine = service == name
        failed = np.unique(minute[mine & lost])
        last = failed[np.maximum(np.searchsorted(failed, minute, side="right") - 1, 0)]
        near = (minute >= last) & (minute - last <= INTERRUPTED_BEFORE // timedelta(minutes=1))
        flags |= mine & near & (times["starting_us"] > 0)
    return flags

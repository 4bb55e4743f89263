"""Questions about money: answered from the fewest rows that hold the answer, by readers that cannot write."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
from sqlalchemy import Connection, RowMapping, func, select, text

from controller.attribute.apportion import Ints, summed
from controller.errors import LedgerError
from controller.facts.accounts import PARTS, Identity, Pool
from controller.facts.money import EPOCH
from controller.ledger.accounts import bulk, cubes, dictionaries, refusals
from controller.ledger.accounts.dictionaries import SeatNamed
from controller.ledger.accounts.hours import DAY, HOUR, WEEK, begin, hour_of, midnight, shown, time_of, up
from controller.ledger.accounts.lines import whole_numbers
from controller.ledger.accounts.question import DIMENSIONS, POOL_DIMENSIONS, read_sums, scope_of, wanted_ids
from controller.ledger.accounts.rows import (
    AllocationTable,
    Filter,
    HourLine,
    HourState,
    Revision,
    SeatSum,
    SourceState,
    tokens,
)
from controller.ledger.accounts.states import OPEN, closed_months, is_after_close, settled_through
from controller.ledger.accounts.tables import (
    CAPACITY_COLUMNS,
    LINE_COLUMNS,
    PART_COLUMNS,
    AllocationHourRow,
    AllocationRevisionRow,
    CostHourRow,
    HourStateRow,
    UsageSourceRow,
)
from controller.ledger.accounts.tiling import Pieces, Summed, Tile, all_tiled, steps
from controller.ledger.engine import reader_engine
from controller.ledger.tables import table


class AccountReader:
    """The accounts. Every failure is a LedgerError; each call sees one moment. Windows are start <= t < end, widened
    to whole hours."""

    def __init__(self, url: str) -> None:
        """Opens nothing yet; ``url`` as in the fleet file."""
        self._engine = reader_engine(url)

    def close(self) -> None:
        self._engine.dispose()

    def lines(
        self,
        start: datetime,
        end: datetime,
        by: Sequence[str] = (),
        where: Filter | None = None,
        step: timedelta | None = None,
    ) -> AllocationTable:
        """Sums over the window, or over each ``step`` of it (whole hours; days from midnight, weeks from Monday), by
        any of DIMENSIONS. Corrections are in it.

        LedgerError when the window begins or ends within a day whose hours are forgotten.
        """
        _known((), step)
        return self.pieces(steps(hour_of(start), up(end), None if step is None else step // HOUR), by, where)

    def pieces(self, pieces: Pieces, by: Sequence[str] = (), where: Filter | None = None) -> AllocationTable:
        """``lines`` of each piece."""
        wanted = dict(where or {})
        _known((*by, *wanted), None)
        scope = scope_of((*by, *wanted))
        with self._read() as connection:
            first, tiles = _tiles(connection, pieces)
            who = dictionaries.identities_by_id(connection)
            pools = dictionaries.pools_by_id(connection)
            ids = wanted_ids(who, pools, wanted, scope)
            found = read_sums(connection, tiles, scope, pieces, by, ids)
        found[:, 0] = np.maximum(found[:, 0], max(first, pieces[0][0]))
        return _table(found, pieces, tuple(by), who, pools)

    def seats(self, start: datetime, end: datetime) -> tuple[SeatSum, ...]:
        """What every seat cost in the window, by seat. Corrections are in it."""
        first, last = hour_of(start), up(end)
        with self._read() as connection:
            _, tiles = _tiles(connection, [(first, last)])
            if not tiles:
                return ()
            names = dictionaries.seats_by_id(connection)
            query, values = _seat_query(tiles)
            rows = connection.execute(text(query), values).all()
        return tuple(_seat_sum(time_of(first), time_of(last), names[row[0]], row[1:]) for row in rows)

    def hour_lines(self, day: date) -> Iterator[HourLine]:
        """The day by hour, pool, identity and revision, in that order."""
        first = midnight(day)
        with self._read() as connection:
            who, pools = dictionaries.identities_by_id(connection), dictionaries.pools_by_id(connection)
            closed = closed_months(connection)
            posted = {(one.hour, one.revision): one.posted_at for one in _revisions(connection, first, first + DAY)}
            source = table(AllocationHourRow)
            key = (source.c.hour, source.c.pool, source.c.identity, source.c.revision)
            for hour in range(first, first + DAY):
                rows = connection.execute(
                    select(*key, *(source.c[name] for name in LINE_COLUMNS)).where(source.c.hour == hour).order_by(*key)
                ).all()
                for _, pool, identity, revision, *values in rows:
                    at = posted.get((time_of(hour), revision))
                    yield HourLine(
                        start=time_of(hour),
                        end=time_of(hour + 1),
                        pool=pools[pool],
                        identity=who[identity],
                        revision=revision,
                        parts=tuple(values[: len(PARTS)]),
                        tokens=tokens(values[len(PARTS) :]),
                        posted_at=at,
                        after_close=at is not None and is_after_close(closed, day, at),
                    )

    def seat_hours(self, day: date) -> Iterator[SeatSum]:
        """The day by hour and seat, corrections added."""
        first = midnight(day)
        source = table(CostHourRow).c
        sums = [func.sum(source[name]) for name in CAPACITY_COLUMNS]
        with self._read() as connection:
            names = dictionaries.seats_by_id(connection)
            for hour in range(first, first + DAY):
                query = select(source.seat, *sums).where(source.hour == hour).group_by(source.seat)
                for seat, *values in connection.execute(query.order_by(source.seat)).all():
                    yield _seat_sum(time_of(hour), time_of(hour + 1), names[seat], values)

    def minutes(self, start: datetime, end: datetime) -> AllocationTable:
        """By pool, minute by minute, while minutes are kept: parts alone, no tokens."""
        first, last = (start - EPOCH) // MINUTE, (end - EPOCH) // MINUTE
        names = ", ".join(PART_COLUMNS)
        with self._read() as connection:
            pools = dictionaries.pools_by_id(connection)
            rows = connection.execute(
                text(f"SELECT minute, pool, {names} FROM cost_minute WHERE {MINUTES_INSIDE} ORDER BY minute, pool"),
                {"first": first, "last": last},
            ).all()
        whole = whole_numbers(rows, 2 + len(PARTS))
        ids = sorted(set(whole[:, 1].tolist()))
        return AllocationTable(
            by=POOL_DIMENSIONS,
            steps=[(EPOCH + at * MINUTE, EPOCH + (at + 1) * MINUTE) for at in range(first, last)],
            keys=[_values(pools[number], POOL_DIMENSIONS) for number in ids],
            step=whole[:, 0] - first,
            key=np.searchsorted(np.array(ids, dtype=np.int64), whole[:, 1]),
            sums=np.hstack((whole[:, 2:], np.zeros((len(whole), 4), dtype=np.int64))),
        )

    def hours(self, start: datetime, end: datetime) -> tuple[HourState, ...]:
        """How far each hour is, oldest first; one that was never worked out is not there."""
        states = table(HourStateRow)
        inside = (states.c.hour >= hour_of(start)) & (states.c.hour < up(end))
        with self._read() as connection:
            rows = connection.execute(select(states).where(inside).order_by(states.c.hour)).mappings().all()
        return tuple(_hour_state(row) for row in rows)

    def open_hours(self, start: datetime, end: datetime) -> int:
        """Hours of the window that were worked out and are not settled: their numbers may still change."""
        return sum(one.state == OPEN for one in self.hours(start, end))

    def revisions(self, start: datetime, end: datetime) -> tuple[Revision, ...]:
        """Corrections of the hours of the window, by hour."""
        with self._read() as connection:
            return _revisions(connection, hour_of(start), up(end))

    def sources(self) -> tuple[SourceState, ...]:
        """Where usage records come from, by name."""
        source = table(UsageSourceRow)
        with self._read() as connection:
            rows = connection.execute(select(source).order_by(source.c.source)).mappings().all()
            why = refusals.by_source(connection)
        return tuple(SourceState(**row, refused_for=why.get(row["source"], ())) for row in rows)

    def _read(self) -> AbstractContextManager[Connection]:
        return bulk.reading(self._engine)


MINUTE = timedelta(minutes=1)
MINUTES_INSIDE = "minute >= :first AND minute < :last"


def _known(names: Sequence[str], step: timedelta | None) -> None:
    strange = sorted(set(names) - set(DIMENSIONS))
    if strange:
        raise LedgerError(f"unknown dimension {', '.join(strange)}; expected some of {', '.join(DIMENSIONS)}")
    if step is not None and (step < HOUR or step % HOUR):
        raise LedgerError(f"steps are whole hours, found {step}")


def _tiles(connection: Connection, pieces: Pieces) -> tuple[int, list[Tile]]:
    """The first hour of all, and what makes up ``pieces``. Before that hour there is nothing, so that a window which
    begins before it takes its week whole."""
    states = table(HourStateRow).c
    first = connection.scalar(select(func.min(states.hour)))
    if first is None:
        return 0, []
    begun = [(begin(first, WEEK) if start <= first else start, end) for start, end in pieces if end > first]
    through = settled_through(connection)
    tiles = all_tiled(begun, Summed(-1 if through is None else through, cubes.shifts_from(connection)))
    _kept(connection, tiles)
    return first, tiles


def _kept(connection: Connection, tiles: Sequence[Tile]) -> None:
    """Hours that were forgotten after their day was summed cannot be told apart any more."""
    first = connection.scalar(text("SELECT MIN(start) FROM spend WHERE grain = 1 AND scope = 0"))
    states = table(HourStateRow).c
    for tile in tiles:
        if tile.grain != 1 or (first is not None and tile.start >= first):
            continue
        end = tile.end if first is None else min(tile.end, first)
        lost = select(func.count()).where(states.hour >= tile.start, states.hour < end, states.cost_nanousd != 0)
        if connection.scalar(lost):
            raise LedgerError(
                f"hours before {shown(end)} are kept as days only, and the window from {shown(tile.start)} "
                "does not hold whole days; ask from midnight to midnight UTC"
            )


def _table(
    found: Ints,
    pieces: Pieces,
    by: tuple[str, ...],
    who: Mapping[int, Identity],
    pools: Mapping[int, Pool],
) -> AllocationTable:
    """``found`` by step and by the values of ``by``."""
    starts = np.array([start for start, _ in pieces], dtype=np.int64)
    step = np.searchsorted(starts, found[:, 0], side="right") - 1 if len(pieces) > 1 else np.zeros(len(found), np.int64)
    pairs, place = np.unique(found[:, 1] << 32 | found[:, 2], return_inverse=True)
    names = _keys(pairs.tolist(), by, who, pools)
    keys = sorted(set(names))
    numbers = {key: number for number, key in enumerate(keys)}
    key = np.array([numbers[name] for name in names], dtype=np.int64)[place]
    groups, sums = summed(step << 32 | key, found[:, 3:])
    return AllocationTable(
        by=by,
        steps=[(time_of(start), time_of(end)) for start, end in pieces],
        keys=keys,
        step=groups >> 32,
        key=groups & 0xFFFFFFFF,
        sums=sums.reshape(-1, len(LINE_COLUMNS)),
    )


def _keys(
    pairs: Sequence[int], by: Sequence[str], who: Mapping[int, Identity], pools: Mapping[int, Pool]
) -> list[tuple[str, ...]]:
    """The values of ``by`` of each pair of pool and identity: there are many pairs, of few pools and identities."""
    joined = sorted(by, key=lambda name: name in POOL_DIMENSIONS)
    of_identity = [name for name in joined if name not in POOL_DIMENSIONS]
    people = _told((pair & 0xFFFFFFFF for pair in pairs), who, of_identity)
    places = _told((pair >> 32 for pair in pairs), pools, joined[len(of_identity) :])
    keys = [people[pair & 0xFFFFFFFF] + places[pair >> 32] for pair in pairs]
    if joined == list(by):
        return keys
    order = [joined.index(name) for name in by]
    return [tuple([key[place] for place in order]) for key in keys]


def _told(
    numbers: Iterable[int], among: Mapping[int, Identity] | Mapping[int, Pool], names: Sequence[str]
) -> dict[int, tuple[str, ...]]:
    """Where nothing is asked of them, the number may be nobody's."""
    return {number: _values(among[number], names) if names else () for number in set(numbers)}


def _values(one: Identity | Pool, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(getattr(one, name)) for name in names)


def _seat_query(tiles: Sequence[Tile]) -> tuple[str, dict[str, int]]:
    names = ", ".join(CAPACITY_COLUMNS)
    parts: list[str] = []
    values: dict[str, int] = {}
    for place, tile in enumerate(tiles):
        values |= {f"a{place}": tile.start, f"b{place}": tile.end}
        parts.append(
            f"SELECT seat, {names} FROM cost_hour WHERE hour >= :a{place} AND hour < :b{place}"
            if tile.grain == 1
            else f"SELECT seat, {names} FROM capacity_spend "
            f"WHERE grain = {tile.grain} AND start >= :a{place} AND start < :b{place}"
        )
    sums = ", ".join(f"SUM({name})" for name in CAPACITY_COLUMNS)
    return f"SELECT seat, {sums} FROM ({' UNION ALL '.join(parts)}) AS tiles GROUP BY seat ORDER BY seat", values


def _seat_sum(start: datetime, end: datetime, name: SeatNamed, values: Sequence[Any]) -> SeatSum:
    named = dict(zip(CAPACITY_COLUMNS, values, strict=True))
    unused = not name.pool.service and not name.pool.variant

    def whole(column: str) -> int | None:
        return None if named[column] is None else int(named[column])

    return SeatSum(
        start=start,
        end=end,
        pool=name.pool,
        replica=name.replica,
        node=name.node,
        parts=tuple(int(named[column]) for column in PART_COLUMNS),
        list_nanousd=whole("list_nanousd"),
        contracted_nanousd=whole("contracted_nanousd"),
        billed_nanousd=whole("billed_nanousd"),
        gpu_us=int(named["gpu_us"]),
        covered_us=int(named["covered_us"]),
        unpriced_us=int(named["unpriced_us"]),
        energy_j=named["energy_j"],
        tokens=tokens([int(named[column]) for column in ("uncached", "cached", "output", "requests")]),
        commitment=name.replica if unused else name.commitment,
    )


def _hour_state(row: RowMapping) -> HourState:
    return HourState(
        hour=time_of(row["hour"]),
        state=row["state"],
        revision=row["revision"],
        settled_at=row["settled_at"],
        method=row["method"],
        note=row["note"],
        cost_nanousd=row["cost_nanousd"],
        engine=tokens([row[f"engine_{name}"] for name in ("uncached", "cached", "output", "requests")]),
        logged=tokens([row[f"logged_{name}"] for name in ("uncached", "cached", "output", "requests")]),
    )


def _revisions(connection: Connection, first: int, last: int) -> tuple[Revision, ...]:
    source = table(AllocationRevisionRow)
    inside = (source.c.hour >= first) & (source.c.hour < last)
    rows = connection.execute(select(source).where(inside).order_by(source.c.hour, source.c.revision)).mappings()
    return tuple(Revision(**{**row, "hour": time_of(row["hour"])}) for row in rows)

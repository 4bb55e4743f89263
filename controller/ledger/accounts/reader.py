"""The accounts as reports, exports and answers over HTTP read them, on a real ledger."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date, datetime, timedelta
from itertools import groupby

from sqlalchemy import Connection

from controller.errors import LedgerError
from controller.facts.account_reader import (
    HOUR,
    NO_PARTS,
    OF_IDENTITY,
    OF_POOL,
    AdjustmentRow,
    AllocationRow,
    BudgetState,
    CommitmentUse,
    Dimension,
    Effects,
    Purchase,
    SeatRow,
    Statics,
    Window,
    added_parts,
    added_tokens,
)
from controller.facts.accounts import PARTS, Identity, Pool, Tokens
from controller.facts.budgets import Anomaly
from controller.facts.fleet import CapacityType
from controller.ledger.accounts import bills, budgets, bulk, commitments
from controller.ledger.accounts.effects import baselines
from controller.ledger.accounts.hours import hour_of, time_of, up
from controller.ledger.accounts.places import Seen, seat_row, seen_in
from controller.ledger.accounts.quotes import price_dates
from controller.ledger.accounts.rates import known_rates
from controller.ledger.accounts.read import AccountReader
from controller.ledger.accounts.rows import AllocationTable, HourLine, tokens
from controller.ledger.accounts.states import open_hours
from controller.ledger.engine import reader_engine


class LedgerAccounts:
    """``facts.account_reader.AccountReader`` on one ledger. Every failure is a LedgerError; windows are widened to
    whole hours."""

    def __init__(self, url: str, static: Statics) -> None:
        """Opens nothing yet; ``url`` as in the fleet file."""
        self._accounts = AccountReader(url)
        self._engine = reader_engine(url)
        self._static = static

    def close(self) -> None:
        self._accounts.close()
        self._engine.dispose()

    def lines(
        self,
        window: Window,
        by: Sequence[Dimension],
        where: Mapping[Dimension, str],
        step: timedelta | None = None,
    ) -> Sequence[AllocationRow]:
        """Steps count from the start of the window's first hour. Where one dimension of pools is asked for, rows tell
        all three."""
        windows = _cut(_widened(window), step)
        names = [dim for dim in OF_IDENTITY if dim in by]
        names += OF_POOL if any(dim in OF_POOL for dim in by) else []
        _answered(by)
        asked = {str(dim): value for dim, value in where.items()}
        table = self._accounts.pieces([(hour_of(one.start), hour_of(one.end)) for one in windows], names, asked)
        spans = {start: one for (start, _), one in zip(table.steps, windows, strict=True)}
        return _rows(table, [spans[start] for start, _ in table.steps])

    def seats(self, window: Window) -> Sequence[SeatRow]:
        """What is told by the hour alone (``mfu``, ``decision``) is in ``seat_hours``."""
        with self._read() as connection:
            seen = Seen(priced=price_dates(connection, window.end))
        return [seat_row(one, self._static, seen) for one in self._accounts.seats(window.start, window.end)]

    def hour_lines(self, day: date) -> Iterable[AllocationRow]:
        for _, same in groupby(self._accounts.hour_lines(day), key=lambda one: (one.start, one.pool, one.identity)):
            yield from _line_and_corrections(list(same))

    def seat_hours(self, day: date) -> Iterable[SeatRow]:
        for hour, seats in groupby(self._accounts.seat_hours(day), key=lambda one: one.start):
            with self._read() as connection:
                seen = seen_in(connection, hour)
            yield from (seat_row(one, self._static, seen) for one in seats)

    def commitments(self, window: Window) -> Sequence[CommitmentUse]:
        with self._read() as connection:
            return commitments.uses(connection, hour_of(window.start), up(window.end))

    def purchases(self, day: date) -> Sequence[Purchase]:
        with self._read() as connection:
            return commitments.purchases(connection, day)

    def adjustments(self, day: date) -> Sequence[AdjustmentRow]:
        with self._read() as connection:
            return bills.adjustments_of(connection, day, self._static)

    def budgets(self, at: datetime) -> Sequence[BudgetState]:
        """Those whose period ``at`` is in; at the end of a period, that one's."""
        with self._read() as connection:
            return budgets.states_at(connection, at)

    def anomalies(self, window: Window) -> Sequence[Anomaly]:
        """Those of which an hour is in ``window``, the oldest first."""
        with self._read() as connection:
            return budgets.anomalies_in(connection, window)

    def effects(self, window: Window) -> Effects:
        """Rates as they were known at the window's end."""
        with self._read() as connection:
            rates = known_rates(connection, window.end)
        return Effects(rates=rates, baselines=baselines(rates, self._static), speculation=self._static.speculation)

    def open_hours(self, window: Window) -> int:
        with self._read() as connection:
            return open_hours(connection, hour_of(window.start), up(window.end))

    def _read(self) -> AbstractContextManager[Connection]:
        return bulk.reading(self._engine)


def _answered(by: Sequence[Dimension]) -> None:
    others = sorted(set(by) - {*OF_IDENTITY, *OF_POOL})
    if others:
        expected = ", ".join((*OF_IDENTITY, *OF_POOL))
        raise LedgerError(f"whose a cost was is not told by {', '.join(others)}; expected some of {expected}")


def _widened(window: Window) -> Window:
    """To whole hours, before it is cut: steps that were widened one by one would share hours."""
    return Window(start=time_of(hour_of(window.start)), end=time_of(up(window.end)))


def _cut(window: Window, step: timedelta | None) -> list[Window]:
    if step is None:
        return [window]
    if step < HOUR or step % HOUR:
        raise LedgerError(f"steps are whole hours, found {step}")
    count = -((window.start - window.end) // step)
    starts = [window.start + place * step for place in range(count)]
    return [Window(start=start, end=min(start + step, window.end)) for start in starts]


def _rows(table: AllocationTable, windows: Sequence[Window]) -> list[AllocationRow]:
    """Of each step's window. An identity or a pool is made once: there are many rows, of few of them."""
    people, pools = _named(table)
    columns = (table.step.tolist(), table.key.tolist(), table.sums.tolist())
    return [
        AllocationRow(
            start=windows[step].start,
            end=windows[step].end,
            identity=people[key],
            pool=pools[key],
            parts=tuple(sums[: len(PARTS)]),
            tokens=tokens(sums[len(PARTS) :]),
        )
        for step, key, sums in zip(*columns, strict=True)
    ]


def _named(table: AllocationTable) -> tuple[list[Identity], list[Pool | None]]:
    """Of each key of ``table``, by some of OF_IDENTITY and then by none or all of OF_POOL."""
    of_identity = [name for name in table.by if name in OF_IDENTITY]
    width = len(of_identity)
    identities = {
        key: Identity(**dict(zip(of_identity, key, strict=True))) for key in {one[:width] for one in table.keys}
    }
    pools = {key: _pool(key) for key in {one[width:] for one in table.keys}}
    return [identities[key[:width]] for key in table.keys], [pools[key[width:]] for key in table.keys]


def _pool(key: Sequence[str]) -> Pool | None:
    if not key:
        return None
    service, variant, capacity_type = key
    return Pool(service=service, variant=variant, capacity_type=CapacityType(capacity_type))


def _line_and_corrections(same: Sequence[HourLine]) -> Iterator[AllocationRow]:
    """``same``: one line of an hour with all of its corrections, the first first."""
    parts, tokens = NO_PARTS, Tokens()
    for one in same:
        if one.after_close:
            continue
        parts, tokens = added_parts(parts, one.parts), added_tokens(tokens, one.tokens)
    if any(parts) or tokens != Tokens():
        yield _row(same[0], parts, tokens, None)
    yield from (_row(one, one.parts, one.tokens, one.posted_at) for one in same if one.after_close)


def _row(line: HourLine, parts: tuple[int, ...], tokens: Tokens, posted_at: datetime | None) -> AllocationRow:
    return AllocationRow(
        start=line.start,
        end=line.end,
        identity=line.identity,
        pool=line.pool,
        parts=parts,
        tokens=tokens,
        posted_at=posted_at,
    )

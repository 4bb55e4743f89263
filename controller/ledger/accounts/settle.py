"""Hours become lines: worked out again while they are open, settled once, corrected by lines that are added."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import Connection, func, insert, select, text, update

from controller.attribute import settle as pure
from controller.attribute.rules import Rules
from controller.attribute.settle import Settled
from controller.facts.accounts import Pool, Tokens
from controller.facts.commitments import Bought, Commitment
from controller.ledger.accounts import bulk, commitments, costing, cubes, lines
from controller.ledger.accounts.costing import BuyingOf, Charges, Costing
from controller.ledger.accounts.hours import HOUR, hour_of, shown, time_of
from controller.ledger.accounts.inputs import Found, Names, found, hour_seen
from controller.ledger.accounts.retention import Keep, prune
from controller.ledger.accounts.states import MONTH, OPEN, SETTLED, closed_months, settled_through
from controller.ledger.accounts.tables import (
    AllocationRevisionRow,
    HourStateRow,
    UsageHourRow,
    UsageSourceRow,
)
from controller.ledger.accounts.unpriced import Filled, PricesAt, fill, hours_without_price
from controller.ledger.engine import ledger_errors, reader_engine, writer_engine
from controller.ledger.engine import shown as shown_url
from controller.ledger.migrate import migrate, require_current
from controller.ledger.tables import ReplicaMinuteRow, table
from controller.ledger.upsert import replaced, upsert

SETTLE_KEY = 7_345_209_882
"""Of PostgreSQL's advisory lock: hours are written one after the other, whoever settles."""

SETTLE_AFTER = timedelta(hours=2)
"""How long after its end an hour is settled. A guess: gateways write their records within minutes."""

WAIT_FOR_SOURCES = timedelta(hours=6)
"""How much longer an hour waits for a source that was not read beyond it."""

QUIET_AFTER = timedelta(minutes=5)
"""After so long no pass adds to an hour any more: without new records it is not worked out again until it is due."""

AT_ONCE = 12
"""Hours worked out in one round: 1 to 2 s each for 200 replicas, so that old hours are caught up with, half a day a
round, and nothing else waits for long."""

UNCHANGED = "the hours stay as they are and are tried again"


def _plainly(_pool: Pool) -> Bought:
    """As where the fleet file names neither offers nor commitments."""
    return Bought()


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What a round did. ``problems``: hours that could not be settled, in words."""

    worked: int = 0
    settled: tuple[int, ...] = ()
    corrected: tuple[int, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(slots=True)
class _Tally:
    worked: int = 0
    settled: list[int] = field(default_factory=list)
    corrected: list[int] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def round(self) -> Round:
        return Round(
            worked=self.worked,
            settled=tuple(self.settled),
            corrected=tuple(self.corrected),
            problems=tuple(self.problems),
        )


class Settler:
    """Settles the hours of one ledger. Several may: what another one has done in between is left as it is."""

    def __init__(
        self,
        url: str,
        *,
        rules: Callable[[datetime], Rules] = lambda _hour: {},
        charges: Charges = lambda _found: {},
        commitments: Callable[[], Sequence[Commitment]] = tuple,
        bought: BuyingOf = _plainly,
        settle_after: timedelta = SETTLE_AFTER,
    ) -> None:
        """Opens nothing yet; ``url`` as in the fleet file. ``rules`` … ``commitments`` are asked for each hour.

        charges       fixed costs, by seat
        commitments   what capacity is committed to, and ``bought``: which pool's capacity is bought how
        """
        self._where = shown_url(url)
        self._engine = writer_engine(url)
        self._reading = reader_engine(url)
        self._names = Names(self._engine, self._reading)
        self._rules = rules
        self._charges = charges
        self._commitments = commitments
        self._bought = bought
        self._settle_after = settle_after

    @classmethod
    def open(cls, url: str, **settings: Any) -> Self:
        """A settler of the ledger at ``url``, which is made or migrated to this program's schema."""
        settler = cls(url, **settings)
        with ledger_errors("open the ledger", settler._where, "nothing is settled without it"):
            migrate(settler._engine)
        return settler

    def close(self) -> None:
        self._engine.dispose()
        self._reading.dispose()

    def forget(self, now: datetime, keep: Keep) -> int:
        """What is kept no longer; how many rows went."""
        return prune(self._engine, now, keep)

    def settle(self, now: datetime, at_once: int = AT_ONCE) -> Round:
        """One round: corrections of settled hours first, then every hour since the last settled one."""
        tally = _Tally()
        with self._read() as connection:
            late = _late_hours(connection)
            hours = _open_hours(connection, now, at_once)
            behind = _behind(connection)
        for hour in late:
            self._guarded(tally, hour, self._correct, now, False)
        for hour in hours:
            if not self._guarded(tally, hour, self._work, now, behind):
                break  # hours are settled in order: cubes hold nothing open
        return tally.round()

    def fill(self, start: datetime, end: datetime, prices: PricesAt) -> Filled:
        """Price the minutes that had no price, but for those of closed months; ``reprice`` then accounts for them."""
        with self._read() as connection:
            closed = closed_months(connection)
        hours = [one for one in hours_without_price(self._reading, start, end) if _month(one) not in closed]
        return sum((fill(self._engine, hour, prices(time_of(hour))) for hour in hours), Filled())

    def reprice(self, start: datetime, end: datetime, now: datetime) -> Round:
        """Works settled hours out again, after a price became known or was wrong; what changes is added to them.

        Hours of closed months keep their costs: what a bill says beyond them is posted as adjustments.
        """
        tally = _Tally()
        with self._read() as connection:
            through, closed = settled_through(connection), closed_months(connection)
        last = hour_of(end) if through is None else min(hour_of(end), through + 1)
        kept = sorted({month for hour in range(hour_of(start), last) if (month := _month(hour)) in closed})
        tally.problems += [f"{month} is closed: its costs stay; import its bill to adjust them" for month in kept]
        for hour in range(hour_of(start), last):
            if _month(hour) not in closed:
                self._guarded(tally, hour, self._correct, now, True)
        return tally.round()

    def _guarded(self, tally: _Tally, hour: int, do: Callable[..., None], *given: Any) -> bool:
        """An hour that does not add up is told and left as it was. LedgerError goes through: nothing can be done."""
        try:
            do(tally, hour, *given)
        except ArithmeticError as error:
            tally.problems.append(f"{shown(hour)}: {error}; it stays as it is")
            return False
        return True

    def _work(self, tally: _Tally, hour: int, now: datetime, behind: Sequence[tuple[str, datetime]]) -> None:
        with self._read() as connection:
            seen = found(connection, hour)
        if seen.state is not None and seen.state["state"] == SETTLED:
            return
        end = time_of(hour + 1)
        late = [source for source, at in behind if at < end]
        due = now >= end + self._settle_after and (not late or now >= end + self._settle_after + WAIT_FOR_SOURCES)
        if not due and _is_quiet(seen, end):
            return
        costs = self._fresh(seen)
        result = self._worked_out(seen, costs)
        note = f"not waited for any longer: {', '.join(late)}" if due and late else ""
        if self._write(seen, result, costs, now, SETTLED if due else OPEN, note):
            tally.worked += 1
            tally.settled += [hour] if due else []

    def _fresh(self, seen: Found) -> Costing:
        return costing.fresh(seen, self._commitments(), self._bought, self._charges)

    def _worked_out(self, seen: Found, costs: Costing) -> Settled:
        result = pure.settled(hour_seen(seen, self._names, self._rules(time_of(seen.hour)), costs.applied, costs.empty))
        return replace(result, seats=costing.placed(result.seats, costs, self._names))

    def _write(self, seen: Found, result: Settled, costs: Costing, now: datetime, state: str, note: str) -> bool:
        """The hour's rows in the place of those it had while it was open. False: somebody else was faster."""
        rows = lines.seat_rows(result.seats)
        with self._writing("write an hour") as connection:
            if not _is_as_seen(connection, seen):
                return False
            lines.forget_open(connection, seen.hour)
            lines.insert_minutes(connection, result.minutes)
            lines.insert_seats(connection, seen.hour, 0, rows)
            lines.insert_lines(connection, seen.hour, 0, result.lines)
            cubes.replace_hour(connection, seen.hour, result.lines)
            commitments.replace_hour(connection, seen.hour, costs.sums or ())
            row = _state_row(seen, result, now, state, note)
            upsert(connection, HourStateRow, [row], dict.fromkeys(row.keys() - {"hour"}, replaced))
            _mark_seen(connection, seen)
            if state == SETTLED:
                cubes.close(connection, seen.hour)
        return True

    def _correct(self, tally: _Tally, hour: int, now: datetime, anew: bool) -> None:
        """``anew``: with the costs worked out again too; else they stay as they were settled."""
        with self._read() as connection:
            seen = found(connection, hour)
            forgotten = _forgotten(connection, hour)
            costs = Costing() if anew else costing.kept(connection, seen)
        if seen.state is None or seen.state["state"] != SETTLED:
            return
        if forgotten and _was_measured(seen.state):
            tally.problems.append(f"{shown(hour)}: its minutes are forgotten already; it stays as it is")
            return
        costs = self._fresh(seen) if anew else costs
        if self._append(seen, self._worked_out(seen, costs), costs, now):
            tally.corrected.append(hour)

    def _append(self, seen: Found, result: Settled, costs: Costing, now: datetime) -> bool:
        """What changed, as lines of the next revision. Nothing that is there is touched."""
        hour = seen.hour
        with self._writing("correct an hour") as connection:
            if not _is_as_seen(connection, seen):
                return False
            change = pure.correction(lines.lines_of(connection, hour), result.lines)
            seats = lines.seat_changes(lines.seat_rows_of(connection, hour), lines.seat_rows(result.seats))
            revision = int((seen.state or {})["revision"]) + 1
            _mark_seen(connection, seen)
            moved = costs.sums is not None and commitments.correct_hour(connection, hour, revision, costs.sums)
            if not (len(change.pool) or seats or moved):
                return False
            lines.insert_lines(connection, hour, revision, change)
            lines.insert_seats(connection, hour, revision, seats)
            cubes.correct(connection, hour, change, seats, settled_through(connection) or hour)
            _add_revision(connection, seen, result, revision, int(change.parts.sum()), now)
            if costs.sums is not None:
                _say_measured(connection, seen)
        return True

    def _read(self) -> AbstractContextManager[Connection]:
        return bulk.writing(self._reading, "read the hours", UNCHANGED)

    @contextmanager
    def _writing(self, what: str) -> Iterator[Connection]:
        """Not on a ledger that a newer program has brought to its schema meanwhile: it keeps sums that we do not."""
        with bulk.writing(self._engine, what, UNCHANGED) as connection:
            require_current(connection, self._where)
            if bulk.on_postgresql(connection):
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": SETTLE_KEY})
            yield connection


def _open_hours(connection: Connection, now: datetime, at_once: int) -> range:
    """Every hour after the last settled one, or from the first that anything is known of."""
    through = settled_through(connection)
    first = _first_hour(connection) if through is None else through + 1
    return range(0) if first is None else range(first, min(first + at_once, hour_of(now) + 1))


def _first_hour(connection: Connection) -> int | None:
    minute = connection.scalar(select(func.min(table(ReplicaMinuteRow).c.minute)))
    used = connection.scalar(select(func.min(table(UsageHourRow).c.hour)))
    return min(
        [*([hour_of(minute)] if minute is not None else []), *([used] if used is not None else [])], default=None
    )


def _late_hours(connection: Connection) -> list[int]:
    """Settled hours that got records since."""
    hours, states = table(UsageHourRow), table(HourStateRow)
    query = (
        select(hours.c.hour)
        .join(states, states.c.hour == hours.c.hour)
        .where(states.c.state == SETTLED, hours.c.records != hours.c.settled_records)
    )
    return sorted(connection.scalars(query.distinct()))


def _behind(connection: Connection) -> list[tuple[str, datetime]]:
    """How far the sources that are polled were read."""
    sources = table(UsageSourceRow).c
    query = select(sources.source, sources.watermark_at).where(sources.watermark_at.is_not(None))
    return [(source, at) for source, at in connection.execute(query)]


def _forgotten(connection: Connection, hour: int) -> bool:
    """Whether minutes so old are not kept any more."""
    oldest = connection.scalar(select(func.min(table(ReplicaMinuteRow).c.minute)))
    return oldest is None or oldest >= time_of(hour) + HOUR


def _was_measured(state: Mapping[str, Any]) -> bool:
    """Whether there were minutes when it was settled; an hour of nothing but commitments and fixed costs needs none."""
    said = ("measured_nanousd", "engine_uncached", "engine_cached", "engine_output", "engine_requests")
    return any(state[name] for name in said)


def _is_quiet(seen: Found, end: datetime) -> bool:
    """It was worked out after its end, and nothing came since."""
    return seen.state is not None and seen.state["worked_at"] >= end + QUIET_AFTER and not seen.fresh


def _is_as_seen(connection: Connection, seen: Found) -> bool:
    """Nobody settled or corrected it since it was read."""
    states = table(HourStateRow).c
    row = connection.execute(select(states.state, states.revision).where(states.hour == seen.hour)).first()
    known = (OPEN, 0) if seen.state is None else (seen.state["state"], seen.state["revision"])
    return known == ((OPEN, 0) if row is None else tuple(row))


def _mark_seen(connection: Connection, seen: Found) -> None:
    """The records that this revision has seen; more may have come since."""
    hours = table(UsageHourRow)
    for source in sorted(seen.fresh):
        mine = (hours.c.hour == seen.hour) & (hours.c.source == source)
        connection.execute(update(hours).where(mine).values(settled_records=seen.records[source]))


def _state_row(seen: Found, result: Settled, now: datetime, state: str, note: str) -> dict[str, Any]:
    return {
        "hour": seen.hour,
        "state": state,
        "revision": 0,
        "worked_at": now,
        "settled_at": now if state == SETTLED else None,
        "method": result.method,
        "note": note,
        "measured_nanousd": _measured(seen),
        "cost_nanousd": int(result.lines.parts.sum()),
        **_tokens("engine", result.engine),
        **_tokens("logged", result.logged),
    }


def _tokens(who: str, tokens: Tokens) -> dict[str, int]:
    return {f"{who}_{name}": getattr(tokens, name) for name in ("uncached", "cached", "output", "requests")}


def _measured(seen: Found) -> int:
    start = time_of(seen.hour)
    rows = zip(seen.replicas["minute"], seen.replicas["cost_nanousd"], strict=True)
    return sum(cost or 0 for minute, cost in rows if minute >= start)


def _add_revision(
    connection: Connection, seen: Found, result: Settled, revision: int, cost: int, now: datetime
) -> None:
    row = {
        "hour": seen.hour,
        "revision": revision,
        "posted_at": now,
        "why": _why(seen, cost),
        "source": ",".join(sorted(seen.fresh)),
        "cost_nanousd": cost,
    }
    connection.execute(insert(table(AllocationRevisionRow)), [row])
    states = table(HourStateRow)
    changes = {"revision": revision, **_tokens("logged", result.logged)}
    connection.execute(update(states).where(states.c.hour == seen.hour).values(changes))


def _say_measured(connection: Connection, seen: Found) -> None:
    states = table(HourStateRow)
    mine = update(states).where(states.c.hour == seen.hour)
    connection.execute(mine.values(measured_nanousd=_measured(seen)))


def _month(hour: int) -> str:
    return f"{time_of(hour):{MONTH}}"


def _why(seen: Found, cost: int) -> str:
    late = [f"{count:,} late records from {source}" for source, count in sorted(seen.fresh.items())]
    return "; ".join([*late, *([f"costs changed by {cost:,} nanodollars"] if cost or not late else [])])

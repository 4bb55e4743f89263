"""Locks that die with their process, whatever kills it: one daemon a fleet decides and acts, one of all settles, one
of those that name a usage source reads it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from threading import Lock

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from controller.errors import LedgerError
from controller.ledger.engine import ledger_errors, shown, writer_engine

ADVISORY_KEY = 7_345_209_881
"""PostgreSQL's advisory locks are named by a number: any that no other program of the database uses."""

SETTLING = "/settling"
"""The name of the lock of who settles; no fleet can have it, for a fleet's name has no slash."""

READING = "/reading/"
"""Before a usage source's name: the lock of who reads it."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A lock that is held. ``alive`` asks whether it still is; ``release`` gives it back."""

    release: Callable[[], None]
    alive: Callable[[], bool]


def claimed(engine: Engine, where: str, fleet: str = "", *, shared: bool = False) -> Claim:
    """Be the one process that works for ``fleet``, or raise LedgerError at once when another process is.

    shared   be one of several that stand for election, so that none comes beside them that does not
    """
    claim, owner = _taken(engine, fleet, shared=shared)
    if claim is None:
        whose = f" for the fleet {fleet}" if fleet else ""
        told = ALONE if shared else BOTH
        raise LedgerError(f"another pennyweight{owner} already works on {where}{whose}{told}")
    return claim


BOTH = (
    "; two would act against each other, so this one stops. `pennyweight status` and `explain` work beside it. To have "
    "one stand by for the other give both the same `leader:`"
)
ALONE = (
    " and stands for no election, so this one stops: it has no `leader:` in its fleet file, or is a `pennyweight once`"
)


def is_claimed(engine: Engine, fleet: str) -> bool:
    """Whether a process works for ``fleet`` now. It is found out by trying, so that none can begin in that moment."""
    claim, _ = _taken(engine, fleet)
    if claim is not None:
        claim.release()
    return claim is None


class Lead:
    """To be the one daemon of all that work on a ledger which does something. What has the usual name is to settle its
    hours and to forget old rows.

    Whoever asks first is, as long as it lives; the next one who asks after that follows.
    """

    def __init__(self, url: str, name: str = SETTLING) -> None:
        """Opens nothing yet; ``url`` as in the fleet file."""
        self._name = name
        self._where = shown(url)
        self._engine = writer_engine(url)
        self._claim: Claim | None = None
        self._one_at_a_time = Lock()

    def held(self) -> bool:
        """Whether this one leads, from now on if nobody did. A lock that the database lost is asked for again."""
        told = ledger_errors("see which daemon it is to do", self._where, "it is asked again in the next round")
        with self._one_at_a_time, told:
            if self._claim is not None and not self._claim.alive():
                self._release()
            if self._claim is None:
                self._claim, _ = _taken(self._engine, self._name)
            return self._claim is not None

    def release(self) -> None:
        """Follow, until it is asked for again."""
        with self._one_at_a_time:
            self._release()

    def close(self) -> None:
        self.release()
        self._engine.dispose()

    def _release(self) -> None:
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.release()


def _taken(engine: Engine, name: str, *, shared: bool = False) -> tuple[Claim | None, str]:
    """The lock of that name; or None, and in words who has it where that is known."""
    if engine.url.get_backend_name() == "sqlite":
        return _file_lock(Path(f"{engine.url.database}{_suffix(name)}"), shared)
    return _advisory_lock(engine, lock_number(name), "_shared" if shared else ""), ""


def beside(engine: Engine, fleet: str, ending: str) -> Path:
    """A file of ``fleet`` beside its SQLite ledger."""
    return Path(f"{engine.url.database}{f'.{fleet}' if fleet else ''}{ending}")


def _suffix(name: str) -> str:
    """Of the file beside a SQLite ledger."""
    if name == SETTLING:
        return ".settling"  # no fleet's ends so
    if name.startswith(READING):
        return f".{blake2b(name.encode(), digest_size=8).hexdigest()}.reading"
    return f".{name}.lock" if name else ".lock"


def lock_number(name: str) -> int:
    """A lock's number on PostgreSQL: a signed integer of 64 bits; that of "" is what it always was."""
    digest = blake2b(f"{ADVISORY_KEY}/{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True) if name else ADVISORY_KEY


def _file_lock(path: Path, shared: bool) -> tuple[Claim | None, str]:
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        said = f"could not lock {path}: {error.strerror}; without that nobody knows who else works on the ledger"
        raise LedgerError(said) from error
    try:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(handle, 32).decode(errors="replace").strip()
        os.close(handle)
        return None, f" (process {owner})" if owner else ""
    with suppress(OSError):  # a full disk: the lock is ours all the same, and must not be lost without being let go
        os.ftruncate(handle, 0)
        if not shared:  # of several there is no one to name
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return Claim(release=lambda: os.close(handle), alive=lambda: True), ""


def _advisory_lock(engine: Engine, number: int, kind: str) -> Claim | None:
    """Held by a connection of its own: PostgreSQL frees it when that connection ends. ``kind``: "" or "_shared"."""
    with ExitStack() as undo:
        connection = undo.enter_context(engine.connect()).execution_options(isolation_level="AUTOCOMMIT")
        if not connection.execute(text(f"SELECT pg_try_advisory_lock{kind}(:key)"), {"key": number}).scalar():
            return None
        undo.pop_all()
    return Claim(release=lambda: _let_go(connection, number, kind), alive=lambda: _answers(connection))


def _let_go(connection: Connection, number: int, kind: str) -> None:
    """A connection that cannot give its lock back must not go back to the pool; the lock ends with its session."""
    try:
        connection.execute(text(f"SELECT pg_advisory_unlock{kind}(:key)"), {"key": number})
    except SQLAlchemyError:
        connection.invalidate()
    connection.close()


def _answers(connection: Connection) -> bool:
    try:
        connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True

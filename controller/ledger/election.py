"""Elections without Kubernetes, by a lock of the ledger's own database. One thread calls each, round after round.

A lock that its process holds as long as it lives is free at once when that process is killed. One that is stopped, or
cut off, keeps it, and does not know that anything is wrong: so both kinds also end when they are not renewed.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from controller.errors import LedgerError
from controller.facts.leadership import LeaderTimes, Round, Term
from controller.ledger.claim import beside, lock_number
from controller.ledger.engine import CONNECT_TIMEOUT_S, give_up_the_silent, ledger_errors, shown, writer_engine
from controller.ledger.leadership import enter_next, newest_term

LEADER = "/leader"
"""The name of the lock; no fleet can have it, for a fleet's name has no slash."""

LONGEST = 512
"""Bytes of the file: a host's name has 255 at most."""

THEN = "nobody begins to lead until it can be seen who does"


class AdvisoryElection:
    """On PostgreSQL: an advisory lock of a session that the server ends when it was silent for ``duration_s``.

    The leader asks something every ``retry_s``. Whoever is stopped, or is cut off, is silent: the server ends its
    session, and the lock is free, later than it has itself stopped to act at its deadline.
    """

    def __init__(self, url: str, fleet: str, *, me: str, times: LeaderTimes, utc: Callable[[], datetime]) -> None:
        """Opens nothing yet; ``url`` and the fleet's name as in the fleet file."""
        self._where = shown(url)
        usual = writer_engine(url)
        # Of its own and not pooled: to close it is to give the lock back.
        self._engine = create_engine(
            usual.url, hide_parameters=True, poolclass=NullPool, connect_args=_connecting(times)
        )
        usual.dispose()
        give_up_the_silent(self._engine)
        self._fleet, self._me, self._times, self._utc = fleet, me, times, utc
        self._session: Connection | None = None
        self._backend = 0
        self._term: Term | None = None

    def round(self, now_s: float) -> Round:
        del now_s  # the server counts
        try:
            with ledger_errors("see who leads", self._where, THEN):
                return self._round()
        except BaseException:
            self._drop()
            raise

    def resign(self) -> None:
        self._drop()
        self._engine.dispose()

    def _round(self) -> Round:
        session = self._session or self._open()
        with session.begin():
            if session.scalar(text("SELECT pg_backend_pid()")) != self._backend:
                raise LedgerError(
                    f"{self._where} answers from another session than it was asked in: an advisory lock needs a "
                    f"session of its own; give `ledger:` an address without a pooler, or pool sessions. {THEN}"
                )
            if self._term is None and not self._locked(session):
                return Round(term=newest_term(session, self._fleet))
            entered = self._term or enter_next(session, self._fleet, self._next())
        self._term = entered  # only what is committed
        return Round(ours=True, term=entered)

    def _locked(self, session: Connection) -> bool:
        """Not given back when a transaction fails, but with the session, which we drop then."""
        key = {"key": lock_number(self._fleet + LEADER)}
        return bool(session.scalar(text("SELECT pg_try_advisory_lock(:key)"), key))

    def _next(self) -> Term:
        return Term(epoch=0, holder=self._me, since=self._utc())

    def _open(self) -> Connection:
        self._session = session = self._engine.connect()
        silent_ms = int(self._times.duration_s * 1000)
        for setting in (
            f"idle_session_timeout = {silent_ms}",  # PostgreSQL 14; older ones refuse it, and say so
            f"idle_in_transaction_session_timeout = {silent_ms}",
            f"statement_timeout = {int(self._times.renew_deadline_s * 500)}",
            f"tcp_user_timeout = {silent_ms}",  # a host that is gone sends nothing: its session ends too
        ):
            session.execute(text(f"SET {setting}"))
        self._backend = int(session.scalar(text("SELECT pg_backend_pid()")) or 0)
        session.commit()
        return session

    def _drop(self) -> None:
        session, self._session, self._term = self._session, None, None
        if session is not None:
            try:
                session.close()
            except SQLAlchemyError:  # it was broken already
                session.invalidate()


def _connecting(times: LeaderTimes) -> dict[str, int]:
    """What libpq waits for: no answer may take longer than we may lead without one."""
    return {
        "connect_timeout": CONNECT_TIMEOUT_S,
        "tcp_user_timeout": int(times.renew_deadline_s * 1000),
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
    }


class FileElection:
    """On SQLite: a locked file beside the ledger, which its holder writes into at every round.

    A holder whose file has not changed for ``duration_s`` on our own clock was stopped: another file takes the place of
    its own, in a transaction that lets only one do so.
    """

    def __init__(self, url: str, fleet: str, *, me: str, times: LeaderTimes, utc: Callable[[], datetime]) -> None:
        """Opens nothing yet; ``url`` and the fleet's name as in the fleet file."""
        self._where = shown(url)
        self._engine: Engine = writer_engine(url)
        self._path = beside(self._engine, fleet, ".leader")
        self._fleet, self._me, self._times, self._utc = fleet, me, times, utc
        self._handle: int | None = None
        self._term: Term | None = None
        self._beat = 0
        self._seen: tuple[bytes, float] = (b"", 0.0)

    def round(self, now_s: float) -> Round:
        try:
            with _file_errors(self._path), ledger_errors("see who leads", self._where, THEN):
                return self._renewed() if self._still_ours() else self._looked(now_s)
        except BaseException:
            self._drop()
            raise

    def resign(self) -> None:
        self._drop()
        self._engine.dispose()

    def _still_ours(self) -> bool:
        """Whether our file stands there: another may have taken its place while we were stopped."""
        if self._handle is not None and not _is_at(self._handle, self._path):
            self._drop()
        return self._handle is not None

    def _renewed(self) -> Round:
        assert self._handle is not None
        assert self._term is not None
        self._beat += 1
        told = {"holder": self._me, "epoch": self._term.epoch, "since": str(self._term.since), "renewed": self._beat}
        os.pwrite(self._handle, f"{json.dumps(told)}\n".ljust(LONGEST).encode(), 0)
        return Round(ours=True, term=self._term)

    def _looked(self, now_s: float) -> Round:
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            if _locks(handle) and _is_at(handle, self._path):
                with self._engine.begin() as connection:
                    self._took(connection, handle)
                return self._renewed()
            return self._followed(handle, now_s)
        finally:
            if handle != self._handle:
                os.close(handle)

    def _followed(self, handle: int, now_s: float) -> Round:
        """Another one holds it. While its file changes it is there."""
        said = os.pread(handle, LONGEST, 0)
        if said != self._seen[0]:
            self._seen = (said, now_s)
        over_s = self._seen[1] + self._times.duration_s
        if now_s < over_s:
            return Round(term=_told(said), free_in_s=over_s - now_s)
        with self._engine.begin() as connection:
            if not _is_at(handle, self._path) or os.pread(handle, LONGEST, 0) != said:
                return Round(term=_told(said))  # another candidate was first, or the holder woke up
            self._replace(connection)
        return self._renewed()

    def _replace(self, connection: Connection) -> None:
        """In a transaction that has SQLite's write lock, so that of several candidates one does."""
        fresh = self._path.with_name(f"{self._path.name}.{self._me}")
        handle = os.open(fresh, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._took(connection, handle)
            os.replace(fresh, self._path)
        except BaseException:
            self._handle = self._term = None
            os.close(handle)
            fresh.unlink(missing_ok=True)
            raise

    def _took(self, connection: Connection, handle: int) -> None:
        self._term = enter_next(connection, self._fleet, Term(epoch=0, holder=self._me, since=self._utc()))
        self._handle = handle

    def _drop(self) -> None:
        handle, self._handle, self._term = self._handle, None, None
        if handle is not None:
            os.close(handle)


def _told(said: bytes) -> Term | None:
    """What the holder wrote; None while it has not."""
    try:
        told = json.loads(said)
        return Term(epoch=told["epoch"], holder=told["holder"], since=datetime.fromisoformat(told["since"]))
    except (ValueError, TypeError, KeyError):
        return None


@contextmanager
def _file_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LedgerError(f"could not see who leads in {path}: {error.strerror or error}; {THEN}") from error


def _locks(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(handle: int, path: Path) -> bool:
    """Whether what ``handle`` opened is what stands at ``path`` now."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(handle)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)

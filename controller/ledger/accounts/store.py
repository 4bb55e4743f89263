"""What the stores of the accounts have in common: a ledger opened for writing, and each question in a moment of it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Self

from sqlalchemy import Connection

from controller.ledger.accounts import bulk
from controller.ledger.engine import ledger_errors, reader_engine, shown, writer_engine
from controller.ledger.migrate import migrate


class Store:
    """Threads may share one. Every failure is a LedgerError."""

    def __init__(self, url: str) -> None:
        """Opens nothing yet; ``url`` as in the fleet file."""
        self._where = shown(url)
        self._engine = writer_engine(url)
        self._readers = reader_engine(url)

    @classmethod
    def open(cls, url: str) -> Self:
        """On the ledger at ``url``, which is made or migrated to this program's schema."""
        store = cls(url)
        with ledger_errors("open the ledger", store._where, "nothing is kept without it"):
            migrate(store._engine)
        return store

    def close(self) -> None:
        self._engine.dispose()
        self._readers.dispose()

    def _reading(self, what: str) -> AbstractContextManager[Connection]:
        return bulk.writing(self._readers, what, "nothing was changed")

    def _writing(self, what: str, then: str) -> AbstractContextManager[Connection]:
        return bulk.writing(self._engine, what, then)

"""Ledgers with their accounts, a fleet that costs, and usage records to send."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from controller.attribute.batch import batch_of
from controller.facts.accounts import Identity
from controller.facts.usage import Receipt, UsageRecord
from controller.ledger.accounts.ingest import Intake
from controller.ledger.accounts.read import AccountReader
from controller.ledger.accounts.settle import Settler
from controller.ledger.engine import writer_engine
from controller.ledger.migrate import migrate
from controller.ledger.tables import DecisionRow, ReplicaMinuteRow
from controller.ledger.upsert import added, upsert
from tests.postgres import url_of

MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
"""A Monday."""


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    made = writer_engine(url)
    migrate(made)
    yield made
    made.dispose()


@dataclass(frozen=True)
class Books:
    """A ledger and everything that works on it."""

    url: str
    engine: Engine
    intake: Intake
    settler: Settler
    reader: AccountReader
    midnight: datetime = MIDNIGHT

    def at(self, hours: float) -> datetime:
        return self.midnight + timedelta(hours=hours)

    def minute(self, hours: float, **given: Any) -> None:
        """Adds a minute of a replica, at ``hours`` after midnight."""
        self._add([self._minute(hours, given)])

    def minutes(self, given: list[dict[str, Any]]) -> None:
        """The same of many at once; of each, ``hours`` says when."""
        named = [{name: value for name, value in one.items() if name != "hours"} for one in given]
        self._add([self._minute(one["hours"], rest) for one, rest in zip(given, named, strict=True)])

    def whole_hour(self, hour: int, **given: Any) -> None:
        """Its sixty minutes, all alike."""
        self._add([self._minute(hour + minute / 60, given) for minute in range(60)])

    def _minute(self, hours: float, given: dict[str, Any]) -> dict[str, Any]:
        usual: dict[str, Any] = {
            "minute": self.at(hours),
            "service": "chat",
            "variant": "h100",
            "replica": "chat-0",
            "capacity_type": "on_demand",
            "gpus": 2,
            "node": "",
            **dict.fromkeys(("ready_s", "covered_s"), 60.0),
            **dict.fromkeys(("starting_s", "draining_s", "failed_s", "missing_s", "unpriced_s"), 0.0),
            "missing_why": "",
            **dict.fromkeys(("prompt_tokens", "output_tokens", "requests"), 0.0),
            **dict.fromkeys(("running_s", "queue_depth_s", "kv_cache_ratio_s", "mfu_ratio_s"), 60.0),
            **dict.fromkeys(("running_integral", "queue_depth_integral"), 0.0),
            "cost_nanousd": 166_666_667,
        }
        return usual | given

    def _add(self, minutes: list[dict[str, Any]]) -> None:
        with self.engine.begin() as connection:
            upsert(connection, ReplicaMinuteRow, minutes, {"cost_nanousd": added})

    def hour(self, hour: int, **given: Any) -> None:
        """Three busy minutes of it: enough to be split."""
        for minute in (0, 7, 59):
            self.minute(hour + minute / 60, **given)

    def send(self, *records: UsageRecord, source: str = "gateway") -> Receipt:
        return self.intake.add(source, batch_of(records, source))

    def record(self, name: str, hours: float, **given: Any) -> UsageRecord:
        usual: dict[str, Any] = {
            "id": name,
            "service": "chat",
            "started_at": self.at(hours),
            "ended_at": self.at(hours) + timedelta(seconds=3),
            "prompt_tokens": 100,
            "cached_tokens": 40,
            "output_tokens": 20,
            "identity": Identity(team="search"),
        }
        return UsageRecord(**usual | given)

    def scalar(self, sql: str, **values: Any) -> int:
        with self.engine.begin() as connection:
            return int(connection.scalar(text(sql), values) or 0)

    def run(self, sql: str, **values: Any) -> None:
        with self.engine.begin() as connection:
            connection.execute(text(sql), values)

    def decided(self, name: str, hours: float) -> None:
        """A decision of chat/h100 to stay as it is."""
        row = {
            "id": name,
            "at": self.at(hours),
            "mode": "act",
            "service": "chat",
            "variant": "h100",
            **dict.fromkeys(("replicas_current", "replicas_ready", "replicas_desired", "replicas_wanted"), 1),
            **dict.fromkeys(("because", "detail", "signal"), ""),
        }
        with self.engine.begin() as connection:
            upsert(connection, DecisionRow, [row], {})

    def all(self, sql: str) -> list[tuple[Any, ...]]:
        with self.engine.begin() as connection:
            return [tuple(row) for row in connection.execute(text(sql))]


@contextmanager
def opened(url: str, midnight: datetime = MIDNIGHT) -> Iterator[Books]:
    """Books in an empty place, or those that are there."""
    engine = writer_engine(url)
    with (
        closing(Intake(url)) as intake,
        closing(Settler(url)) as settler,
        closing(AccountReader(url)) as reader,
    ):
        try:
            migrate(engine)
            yield Books(url=url, engine=engine, intake=intake, settler=settler, reader=reader, midnight=midnight)
        finally:
            engine.dispose()


@pytest.fixture
def books(url: str) -> Iterator[Books]:
    with opened(url) as made:
        yield made


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_books(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    """Books that tests of one file share: one fixture fills them, and whoever asks for them does nothing but read."""
    if request.param == "sqlite":
        migrated = request.getfixturevalue("migrated_sqlite")
        with opened(f"sqlite:///{shutil.copy(migrated, tmp_path_factory.mktemp('shared'))}") as made:
            yield made
    else:
        copies = request.getfixturevalue("migrated_postgres")
        name = copies.lend()
        with opened(url_of(request.getfixturevalue("postgres_folder"), name)) as made:
            yield made
        copies.take_back(name)


BUSY = {"prompt_tokens": 3000.0, "output_tokens": 1000.0, "requests": 10.0, "running_integral": 120.0}

"""Ledgers on SQLite and on a real PostgreSQL, and passes to write into them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from controller.facts.decisions import Because, Decision, Memory
from controller.facts.estimates import Estimate, Estimates
from controller.facts.fleet import CapacityType, Mode
from controller.facts.missing import Missing
from controller.facts.passes import PassRecord, PassResult, ReplicaUse
from controller.facts.readings import Observation, Phase
from controller.ledger.engine import writer_engine
from controller.ledger.migrate import migrate
from controller.ledger.read import LedgerReader
from controller.ledger.write import Ledger
from tests.postgres import Copies, new_database, run, url_of

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with this program's tables and no rows, to be copied: to make them takes a tenth of a second."""
    path = tmp_path_factory.mktemp("ledger") / "migrated.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_postgres(postgres_folder: str) -> Copies:
    """Databases with this program's tables and no rows."""
    name = new_database(postgres_folder)
    _migrate(url_of(postgres_folder, name))
    return Copies(postgres_folder, name)


def _migrate(url: str) -> None:
    engine = writer_engine(url)
    migrate(engine)
    engine.dispose()


@pytest.fixture
def fresh_postgres(request: pytest.FixtureRequest, migrates: bool) -> Iterator[Callable[[], str]]:
    """Makes a database and gives its URL; the one before it is gone then."""
    with ExitStack() as lent:

        def fresh() -> str:
            lent.close()
            folder = request.getfixturevalue("postgres_folder")
            if migrates:
                name = new_database(folder)
                lent.callback(run, folder, f'DROP DATABASE "{name}" WITH (FORCE)')
            else:
                copies = request.getfixturevalue("migrated_postgres")
                name = copies.lend()
                lent.callback(copies.take_back, name)
            return url_of(folder, name)

        yield fresh


@pytest.fixture
def fresh_sqlite(request: pytest.FixtureRequest, migrates: bool, tmp_path: Path) -> Callable[[], str]:
    """Makes a file, or its name where the test itself migrates, and gives its URL."""

    def fresh() -> str:
        path = tmp_path / f"{uuid4().hex}.db"
        if not migrates:
            shutil.copy(request.getfixturevalue("migrated_sqlite"), path)
        return f"sqlite:///{path}"

    return fresh


@pytest.fixture
def migrates() -> bool:
    """Whether the test is about an empty place that becomes a ledger; all others get one with tables."""
    return False


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(
    request: pytest.FixtureRequest, fresh_sqlite: Callable[[], str], fresh_postgres: Callable[[], str]
) -> Callable[[], str]:
    """Makes a place for a ledger on each engine in turn and gives its URL."""
    return fresh_sqlite if request.param == "sqlite" else fresh_postgres


@pytest.fixture
def url(fresh_url: Callable[[], str]) -> str:
    return fresh_url()


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    opened = Ledger.open(url)
    yield opened
    opened.close()


@pytest.fixture
def reader(url: str, ledger: Ledger) -> Iterator[LedgerReader]:
    """Of ``ledger``."""
    opened = LedgerReader(url)
    yield opened
    opened.close()


@dataclass(frozen=True)
class Make:
    """Facts with everything but what a test is about filled in."""

    noon: datetime = NOON

    def at(self, seconds: float) -> datetime:
        return self.noon + timedelta(seconds=seconds)

    def use(self, start_s: float, end_s: float, **given: Any) -> ReplicaUse:
        usual: dict[str, Any] = {
            "service": "chat",
            "variant": "h100",
            "replica": "chat-0",
            "capacity_type": CapacityType.ON_DEMAND,
            "phase": Phase.READY,
            "gpus": 2,
        }
        return ReplicaUse(**usual | given, start=self.at(start_s), end=self.at(end_s))

    def estimate(self, seconds: float, **given: Any) -> Estimate:
        unknown = {field.name: Missing(field.name, "this test does not say") for field in fields(Estimate)}
        usual: dict[str, Any] = {
            "at": self.at(seconds),
            "window_s": 60.0,
            "service": "chat",
            "variant": "",
            "replica": "",
            "replicas_current": 2,
            "replicas_ready": 1,
            "replicas_read": 1,
            "gpus": 4,
            "mfu_source": "",
            "mbu_source": "",
        }
        return Estimate(**unknown | usual | given)

    def estimates(self, seconds: float, **given: Any) -> Estimates:
        return Estimates(
            at=self.at(seconds),
            fleet=self.estimate(seconds, **given | {"service": ""}),
            services={"chat": self.estimate(seconds, **given)},
            variants={("chat", "h100"): self.estimate(seconds, **given | {"variant": "h100"})},
            replicas={},
            costs=(),
            findings=(),
        )

    def decision(self, seconds: float, **given: Any) -> Decision:
        usual: dict[str, Any] = {
            "id": uuid4().hex,
            "service": "chat",
            "variant": "h100",
            "current": 1,
            "ready": 1,
            "desired": 3,
            "wanted": 3,
            "because": Because.DEMAND,
            "detail": "queue_depth 120 of 50",
            "signal": "queue_depth",
            "numbers": {"queue_depth": 120.0, "target": 50.0},
            "usd_per_hour_before": 8.0,
            "usd_per_hour_after": Missing("price", "no offer for spot"),
        }
        return Decision(**usual | given, at=self.at(seconds))

    def record(self, seconds: float, **given: Any) -> PassRecord:
        usual: dict[str, Any] = {
            "mode": Mode.ACT,
            "estimates": self.estimates(seconds),
            "uses": (),
            "decisions": (),
            "marks": (),
            "memory": Memory(),
        }
        return PassRecord(**usual | given, at=self.at(seconds))

    def result(self, seconds: float, **given: Any) -> PassResult:
        at = self.at(seconds)
        usual: dict[str, Any] = {
            "mode": Mode.ACT,
            "duration_s": 0.25,
            "observation": Observation(at=at, targets=(), engines={}, gpus={}, replicas={}),
            "estimates": self.estimates(seconds),
            "decisions": (),
            "outcomes": (),
            "alerts": (),
            "sent": (),
            "pauses": {},
        }
        return PassResult(**usual | given, at=at)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()

"""Ledgers on SQLite and on a real PostgreSQL, and passes to write into them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from controller.facts.decisions import Because, Decision, Memory
from controller.facts.estimates import Estimate, Estimates
from controller.facts.fleet import CapacityType, Mode
from controller.facts.missing import Missing
from controller.facts.passes import PassRecord, PassResult, ReplicaUse
from controller.facts.readings import Observation, Phase
from controller.ledger.read import LedgerReader
from controller.ledger.write import Ledger
from tests.postgres import postgres_server

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def postgres_folder() -> Iterator[str]:
    """The socket's folder of a PostgreSQL server that all tests of the room share."""
    with postgres_server() as folder:
        yield folder


@pytest.fixture
def fresh_postgres(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Makes an empty database and gives its URL. What is dropped need not be written when the server stops."""
    made: list[str] = []

    def run(command: str) -> None:
        folder = request.getfixturevalue("postgres_folder")
        with psycopg.connect(host=folder, user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(command.encode())

    def fresh() -> str:
        made.append(f"ledger_{uuid4().hex}")
        run(f'CREATE DATABASE "{made[-1]}"')
        return f"postgresql+psycopg://postgres@/{made[-1]}?host={request.getfixturevalue('postgres_folder')}"

    yield fresh
    for name in made:
        run(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture(params=["sqlite", "postgresql"])
def fresh_url(request: pytest.FixtureRequest, tmp_path: Path, fresh_postgres: Callable[[], str]) -> Callable[[], str]:
    """Makes an empty place for a ledger on each engine in turn and gives its URL."""
    if request.param == "postgresql":
        return fresh_postgres
    return lambda: f"sqlite:///{tmp_path / uuid4().hex}.db"


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
    """Of ``ledger``, which made the tables."""
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

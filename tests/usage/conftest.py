"""Records of a small fleet, and a PostgreSQL for LiteLLM's tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from controller.attribute.batch import Batch
from controller.facts.accounts import Identity
from controller.usage.batch import Rules
from controller.usage.decode import read_usage
from controller.usage.directory import Directory, plain_base
from controller.usage.identity import hashed_key
from tests.postgres import new_database

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = "sk-one-of-search"


@dataclass(frozen=True)
class Made:
    """What tests are about, with everything else filled in."""

    now: datetime
    rules: Rules
    key: str = KEY

    def record(self, **given: Any) -> dict[str, Any]:
        """As a gateway sends it. None leaves a field out."""
        usual = {
            "id": "r1",
            "service": "chat",
            "prompt_tokens": 100,
            "output_tokens": 20,
            "ended_at": "2026-11-21T11:59:00Z",
        }
        return {name: value for name, value in (usual | given).items() if value is not None}

    def body(self, *records: dict[str, Any]) -> bytes:
        return "\n".join(map(json.dumps, records)).encode()

    def read(self, body: bytes, *, encoding: str = "", trusted: bool = True, source: str = "gateway") -> Batch:
        return read_usage(body, encoding, self.rules, source=source, trusted=trusted, now=self.now)

    def one(self, *, trusted: bool = True, **given: Any) -> Batch:
        return self.read(self.body(self.record(**given)), trusted=trusted)

    def why(self, **given: Any) -> str:
        """Why a record is refused."""
        batch = self.one(**given)
        assert len(batch) == 0
        return batch.refused[0].why


@pytest.fixture(scope="session")
def made() -> Made:
    directory = Directory(
        services={"chat": ("h100", "l4"), "search": ("h100",)},
        models={"llama-3.1-70b": "chat", "meta-llama/Llama-3.1-8B": "search"},
        bases={plain_base("http://10.0.0.5:8000/v1"): ("chat", "h100")},
    )
    keys = {hashed_key(KEY): Identity(team="search", tenant="acme", environment="production")}
    return Made(now=NOON, rules=Rules(directory=directory, keys=keys))


@pytest.fixture
def database(postgres_folder: str) -> str:
    """The URL of an empty database."""
    return f"postgresql://postgres@/{new_database(postgres_folder)}?host={postgres_folder}"


@pytest.fixture
def execute(database: str) -> Callable[..., None]:
    """Run a statement in ``database``."""

    def run(statement: str, *rows: tuple[Any, ...]) -> None:
        with psycopg.connect(database, autocommit=True) as connection:
            for row in rows or ((),):
                connection.execute(statement.encode(), row or None)

    return run

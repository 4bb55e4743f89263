from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from controller.__main__ import main
from controller.daemon import utc_now
from controller.facts.accounts import Identity
from tests.ledger.accounts.conftest import BUSY, Books, opened
from tests.small_fleet import SmallFleet

ASSISTANT = Identity(team="chat", feature="assistant")
WORKED = BUSY | {"prefill_s": 6.0, "decode_s": 21.0}
"""A busy minute whose work the engine told the seconds of."""


@dataclass(frozen=True)
class Said:
    """What one command left on the screen."""

    code: int
    out: str
    err: str


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[SmallFleet]:
    made = SmallFleet(tmp_path)
    made.write()
    yield made
    made.close()


@pytest.fixture
def pennyweight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Said]:
    """Types a command in the fleet's folder, on a terminal of 80 columns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("PENNYWEIGHT_LEDGER", raising=False)
    monkeypatch.delenv("PENNYWEIGHT_MODE", raising=False)

    def typed(*arguments: str) -> Said:
        try:
            code = main(arguments)
        except SystemExit as ended:  # argparse's own way out
            code = int(ended.code or 0)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return typed


@pytest.fixture(scope="session")
def midnight() -> datetime:
    """Of yesterday: late enough for records to be taken, early enough for its hours to be settled."""
    return utc_now().replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, midnight: datetime) -> Path:
    """24 settled hours, and six that are not: two teams whose requests explain some of the work of two replicas."""
    file = tmp_path_factory.mktemp("filled") / "pennyweight.db"
    with opened(f"sqlite:///{file}", midnight) as books:
        for hour in range(30):
            books.hour(hour, **WORKED)
            books.hour(hour, replica="chat-1", capacity_type="spot", cost_nanousd=50_000_001, **WORKED)
            books.send(
                books.record(f"s{hour}", hour, prompt_tokens=9000, output_tokens=4000),
                books.record(f"c{hour}", hour, identity=ASSISTANT, prompt_tokens=6000, output_tokens=1500),
            )
        books.settler.settle(books.at(26), at_once=40)
    return file


@pytest.fixture
def books(fleet: SmallFleet, midnight: datetime) -> Iterator[Books]:
    """The accounts of the fleet's ledger, where nothing happened yet."""
    with opened(f"sqlite:///{fleet.ledger}", midnight) as books:
        yield books


@pytest.fixture
def spent(fleet: SmallFleet, filled: Path, midnight: datetime) -> Iterator[Books]:
    """The accounts of the fleet's ledger, ``filled``."""
    shutil.copy(filled, fleet.ledger)
    with opened(f"sqlite:///{fleet.ledger}", midnight) as books:
        yield books

"""The emulated demo ends by itself, moves virtual time and the world on together, and leaves files to look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import yaml

from controller.attribute.batch import Batch
from controller.demo.accounts import Accounts
from controller.demo.actuator import EmulatedActuator
from controller.demo.emulated import Program, run_emulated
from controller.demo.files import INTERVAL_S, DemoFiles, write_files
from controller.facts.passes import PassResult
from controller.facts.usage import Receipt
from tests.accounts_in_memory import InMemoryAccounts


class Ledger:
    """Stands where the accounts stand: notes what was sent and when hours were settled."""

    url = "sqlite:////nowhere/pennyweight.db"

    def __init__(self) -> None:
        self.records = 0
        self.settled: list[datetime] = []

    def take(self, source: str, batch: Batch) -> Receipt:
        self.records += len(batch)
        return Receipt(accepted=len(batch))

    def settle(self, now: datetime) -> None:
        self.settled.append(now)


class Looker:
    """Stands where the daemon stands, and notes when it was asked."""

    def __init__(self, clock: Callable[[], datetime], result: Callable[..., PassResult]) -> None:
        self.asked: list[datetime] = []
        self._clock = clock
        self._result = result

    def step(self) -> PassResult:
        self.asked.append(self._clock())
        return self._result(3, self._clock())


@pytest.fixture
def lookers() -> list[Looker]:
    return []


def test_it_ends_after_its_passes_with_the_closing_words(
    tmp_path: Path, result: Callable[..., PassResult], lookers: list[Looker], capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger()

    @contextmanager
    def build(files: DemoFiles, *, actuator: EmulatedActuator, clock: Callable[[], datetime]) -> Iterator[Program]:
        assert actuator.name == "emulated"
        assert files.targets.exists()
        lookers.append(Looker(clock, result))
        accounts = Accounts(take=ledger.take, settle=ledger.settle, reader=InMemoryAccounts(), url=ledger.url)
        yield Program(daemon=lookers[0], accounts=accounts)

    assert run_emulated(120, False, 0, tmp_path, 1, build=build) == 0
    asked = lookers[0].asked
    assert [one - asked[0] for one in asked] == [timedelta(seconds=INTERVAL_S * number) for number in range(120)]
    assert ledger.records > 0
    assert [one - asked[0] for one in ledger.settled] == [timedelta(minutes=71)]
    out = capsys.readouterr().out
    said = " ".join(out.split())
    assert "120 passes" in said
    assert "within the SLO; 0 dropped" in said
    assert "Spend by team could not be read: there is no ledger at /nowhere/pennyweight.db yet" in said
    assert str(tmp_path) in out


def test_a_second_run_in_the_same_directory_keeps_what_the_reader_changed(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    assert yaml.safe_load(files.fleet.read_text())["services"]["chat"]["variants"]["h100-fp8"]["gpus_per_replica"] == 2
    changed = files.fleet.read_text().replace("interval: 30s", "interval: 15s")
    files.fleet.write_text(changed)
    assert write_files(tmp_path).fleet.read_text() == changed


def test_the_files_written_are_plain_yaml_with_the_ledger_in_them(tmp_path: Path) -> None:
    files = write_files(tmp_path)
    assert yaml.safe_load(files.fleet.read_text())["ledger"] == files.ledger_url
    policy = yaml.safe_load((files.policies / "chat.yaml").read_text())
    assert (policy["scaling"]["min_replicas"], policy["scaling"]["max_replicas"]) == (2, 8)

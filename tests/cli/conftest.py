from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.__main__ import main
from tests.small_fleet import SmallFleet


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

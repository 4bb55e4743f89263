"""`pennyweight status` over a ledger that two fleets share."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest

from controller.daemon import utc_now
from controller.facts.passes import PassResult
from controller.settings.load import load_settings
from controller.wiring import built
from tests.small_fleet import SmallFleet


@dataclass
class Fleet:
    """A daemon's files, in a folder of their own; its service has the fleet's name."""

    files: SmallFleet

    @contextmanager
    def daemon(self, ago: timedelta):
        now = utc_now() - ago
        with built(load_settings(self.files.file, {}), clock=lambda: now) as everything:
            yield everything.daemon


@pytest.fixture
def fleet_named(tmp_path, monkeypatch):
    monkeypatch.delenv("PENNYWEIGHT_LEDGER", raising=False)
    with ExitStack() as stack:

        def write(name: str) -> Fleet:
            (tmp_path / name).mkdir()
            files = SmallFleet(tmp_path / name)
            stack.callback(files.close)
            files.write()
            ledger = f"fleet: {name}\nledger: sqlite:///{tmp_path / 'shared.db'}"
            told = files.file.read_text().replace("ledger: sqlite:///ledger/pennyweight.db", ledger)
            files.file.write_text(told.replace("  chat:", f"  {name}:"))
            files.policy.write_text(files.policy.read_text().replace("service: chat", f"service: {name}"))
            return Fleet(files)

        yield write


def passed(fleet: Fleet, ago: timedelta) -> PassResult:
    with fleet.daemon(ago) as daemon:
        return daemon.step()


def test_every_fleet_s_last_pass_is_told_and_the_total_is_their_sum(pennyweight, fleet_named):
    eu, us = fleet_named("eu"), fleet_named("us")
    passed(eu, timedelta(minutes=30))
    passed(us, timedelta())
    said = pennyweight("status", "--fleet", str(us.files.file))
    assert (said.code, said.err) == (0, "")
    text = " ".join(said.out.split())
    assert "last pass of the fleet us " in text
    assert "last pass of the fleet eu " in text
    assert "30 min ago, mode advise" in text
    assert "a pass is due every 15 s: is the daemon of the fleet eu running?" in text
    assert "is the daemon of the fleet us running?" not in text
    rows = [line.split() for line in said.out.splitlines()]
    assert [[*row[:2], row[3]] for row in rows if row and row[0] in ("eu", "us", "fleet") and "/" in row[3]] == [
        ["eu", "4.00", "2/2"],
        ["us", "4.00", "2/2"],
        ["fleet", "8.00", "4/4"],
    ]

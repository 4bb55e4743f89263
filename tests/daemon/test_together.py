"""Daemons of several fleets over one ledger, each a process of its own: all of them decide, one of them settles."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controller.ledger.accounts.read import AccountReader
from controller.ledger.accounts.verify import verify
from controller.ledger.read import LedgerReader
from tests.postgres import new_database, url_of
from tests.small_fleet import SmallFleet, until

START = datetime(2026, 3, 2, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'shared.db'}"
    folder = request.getfixturevalue("postgres_folder")
    return url_of(folder, new_database(folder))


class Daemon:
    """One that does what it is told."""

    def __init__(self, fleet: SmallFleet, repository: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.daemon.commanded", str(fleet.file), START.isoformat()],
            cwd=repository,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self) -> str:
        return self.process.stdout.readline().strip()

    def tell(self, command: str) -> None:
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()

    def told(self, command: str) -> str:
        self.tell(command)
        return self.said()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def fleet_named(tmp_path, url):
    """Writes the files of a fleet of that name, whose one service has it too."""
    made = []

    def write(name: str, service: str) -> SmallFleet:
        folder = tmp_path / name
        folder.mkdir()
        fleet = SmallFleet(folder)
        made.append(fleet)
        fleet.write()
        told = fleet.file.read_text().replace(
            "ledger: sqlite:///ledger/pennyweight.db", f"fleet: {name}\nledger: {url}"
        )
        fleet.file.write_text(told.replace("  chat:", f"  {service}:"))
        fleet.policy.write_text(fleet.policy.read_text().replace("service: chat", f"service: {service}"))
        return fleet

    yield write
    for one in made:
        one.close()


@pytest.fixture
def start(repository):
    started = []

    def run(fleet: SmallFleet) -> Daemon:
        started.append(Daemon(fleet, repository))
        return started[-1]

    yield run
    for one in started:
        one.kill()


def test_two_daemons_pass_at_once_and_one_of_them_settles_until_it_dies(url, fleet_named, start):
    eu, us = start(fleet_named("eu", "chat")), start(fleet_named("us", "code"))
    assert [eu.said(), us.said()] == ["ready", "ready"]
    for _ in range(8):
        for one in (eu, us):  # both at the same time, of the same moment
            one.tell("pass")
        assert [eu.said(), us.said()] == ["0", "0"]

    assert [eu.told("account 3"), us.told("account 3")] == ["leads", "follows"]
    with closing(LedgerReader(url)) as reader, closing(AccountReader(url)) as accounts:
        now = reader.fleet_now()
        assert {one.fleet: one.at for one in now.passes} == dict.fromkeys(("eu", "us"), START + timedelta(minutes=2))
        assert (now.owners, now.fleet.replicas_ready, now.fleet.usd_per_hour) == ({"chat": "eu", "code": "us"}, 4, 8.0)
        day = (START, START + timedelta(hours=1))
        assert {one.pool.service for one in accounts.seats(*day)} == {"chat", "code"}, "one settles for both"
        paid = sum(one.cost_nanousd for one in reader.cost(*day))
        assert paid == sum(one.effective_nanousd for one in accounts.seats(*day)) > 0
    assert verify(url).balances

    eu.kill()
    until(lambda: us.told("account 0.1") == "leads", "the other one to follow")
    assert us.told("pass") == "0"


def test_a_daemon_is_refused_a_service_that_another_fleet_s_daemon_has(fleet_named, start, repository):
    first = start(fleet_named("eu", "chat"))
    assert first.said() == "ready"
    other = fleet_named("us", "chat")
    refused = subprocess.run(
        [sys.executable, "-m", "controller", "run", "--fleet", str(other.file)],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    told = "services.chat: the running daemon of the fleet 'eu' on the same ledger has it already"
    assert told in refused.stderr
    assert "nothing was started or changed" in refused.stderr
    assert first.told("pass") == "0"


def test_a_reload_that_names_another_s_service_leaves_everything_as_it_is(fleet_named, start, repository, tmp_path):
    assert start(fleet_named("eu", "chat")).said() == "ready"
    us, log = fleet_named("us", "code"), tmp_path / "us.log"
    with log.open("w") as sink:
        command = [sys.executable, "-m", "controller", "run", "--fleet", str(us.file)]
        daemon = subprocess.Popen(command, cwd=repository, stdout=sink, stderr=sink)
    try:
        until(lambda: "listening on" in log.read_text(), "the daemon to listen")
        us.file.write_text(us.file.read_text().replace("  code:", "  chat:"))
        us.policy.write_text(us.policy.read_text().replace("service: code", "service: chat"))
        daemon.send_signal(signal.SIGHUP)
        until(lambda: "reload refused, everything stays as it was" in log.read_text(), "the reload to be refused")
        assert (
            "services.chat: the running daemon of the fleet 'eu' on the same ledger has it already" in log.read_text()
        )
        assert daemon.poll() is None
    finally:
        daemon.terminate()
        daemon.wait(30)

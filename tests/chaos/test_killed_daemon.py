"""A real daemon, killed for real, again and again in the midst of its first growth: nothing is started twice or lost."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from tests.small_fleet import free_ports, until

pytestmark = pytest.mark.live  # four starts of a daemon: played by `make chaos` and `make live`

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "tests" / "counted_engine.py"
WANTED = 3

FLEET = """\
mode: act
interval: 1s
rate_window: 10s
ledger: {ledger}
policies: [policies/*.yaml]
serve: {{port: 0}}
services:
  {service}:
    model: llama-3.1-8b
    variants:
      h100:
        gpu: H100-SXM
        actuator:
          process:
            command: [{python}, {engine}, "{{port}}", "{{replica}}", {starts}]
            ports: {ports}
            start_timeout: 60s
        capacity:
          - {{type: on_demand, usd_per_gpu_hour: 2.00}}
"""
POLICY = "service: {service}\nscaling: {{min_replicas: 3, max_replicas: 3, targets: {{queue_depth: 1000}}}}\n"


@dataclass
class Killed:
    """One fleet, and whoever runs it."""

    folder: Path
    service: str
    daemons: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def write(self) -> None:
        (self.folder / "policies").mkdir()
        (self.folder / "policies" / "it.yaml").write_text(POLICY.format(service=self.service))
        text = FLEET.format(
            service=self.service,
            ledger=json.dumps(f"sqlite:///{self.folder}/ledger.db"),
            python=json.dumps(sys.executable),
            engine=json.dumps(str(ENGINE)),
            starts=json.dumps(str(self.folder / "starts")),
            ports=free_ports(WANTED + 2, first=15_000),
        )
        (self.folder / "fleet.yaml").write_text(text)

    def start(self) -> None:
        command = [sys.executable, "-m", "controller", "run", "--fleet", str(self.folder / "fleet.yaml")]
        with (self.folder / f"log-{len(self.daemons)}").open("wb") as log:
            self.daemons.append(subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log))

    def kill(self) -> None:
        self.daemons[-1].send_signal(signal.SIGKILL)
        self.daemons[-1].wait()

    @property
    def starts(self) -> list[list[str]]:
        """[pid, replica, port] of every engine that was ever started."""
        file = self.folder / "starts"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def ask(self, question: str) -> list[tuple[object, ...]]:
        path = self.folder / "ledger.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            try:
                return connection.execute(question).fetchall()
            except sqlite3.OperationalError:  # not made yet
                return []

    def intents(self) -> int:
        return len(self.ask("SELECT decision_id FROM action"))

    def ready(self) -> int:
        return len(
            [
                one
                for one in self.ask("SELECT replicas_ready FROM decision ORDER BY at DESC LIMIT 1")
                if one[0] == WANTED
            ]
        )

    def close(self) -> None:
        for one in self.daemons:
            one.kill()
            one.wait()
        for pid, _, _ in self.starts:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[Killed]:
    made = Killed(tmp_path, f"killed-{os.getpid()}")
    made.write()
    yield made
    made.close()


def test_a_daemon_that_is_killed_three_times_while_it_grows_starts_nothing_twice(killed: Killed) -> None:
    killed.start()
    until(killed.intents, "the intent of the first growth", deadline_s=180)
    killed.kill()  # before, in the midst of or after the first start: as it comes
    for engines in (1, WANTED):
        killed.start()
        until(lambda engines=engines: len(killed.starts) >= engines, f"{engines} engines", deadline_s=180)
        killed.kill()
    killed.start()
    until(killed.ready, "all of them to be ready", deadline_s=180)
    alive = [pid for pid, _, _ in killed.starts if psutil.pid_exists(int(pid))]
    assert len(killed.starts) == len(alive) == WANTED, killed.starts
    assert len({port for _, _, port in killed.starts}) == WANTED
    unsettled = "SELECT decision_id FROM action WHERE decision_id NOT IN (SELECT decision_id FROM outcome)"
    until(lambda: not killed.ask(unsettled), "every intent to have an outcome", deadline_s=60)

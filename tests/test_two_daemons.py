"""Two real daemons of one fleet: one works, one stands by; one is killed, stopped, told to end. Nothing is done twice.

Each way to elect has the same story: a lock of SQLite's, of PostgreSQL's, and a Lease. SQLite's is told with short times;
PostgreSQL's, and a Lease's with the usual ones of 15, 10 and 2 s, are `live` (`make live`).
"""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from controller.errors import LedgerError
from controller.ledger.read import LedgerReader
from tests.acceptance.cluster_stage import account
from tests.cluster.fixtures import world_for
from tests.postgres import new_database, url_of
from tests.small_fleet import free_ports
from tests.small_fleet import until as wait

ENGINE = Path(__file__).with_name("counted_engine.py")

SHORT = "{duration: 5s, renew_deadline: 4s, retry: 500ms%s}"
USUAL = "{duration: 15s, renew_deadline: 10s, retry: 2s%s}"
MOST_S = {SHORT: 15.0, USUAL: 20.0}
"""A take-over must not take longer. With the short times most of it is for a machine that has other things to do."""

FLEET = """\
mode: act
interval: 1s
rate_window: 10s
ledger: {ledger}
leader: {leader}
policies: [policies/*.yaml]
serve: {{port: 0}}
services:
  chat:
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

POLICY = "service: chat\nscaling: {min_replicas: 3, max_replicas: 3, targets: {queue_depth: 1000}}\n"


def until(
    condition: Callable[[], object], said: Callable[[], str], deadline_s: float = 60.0, every_s: float = 0.02
) -> None:
    """Wait; what the daemon said is told when it fails."""
    try:
        wait(condition, "it", deadline_s, every_s)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{said()}") from None


@dataclass
class Daemon:
    process: subprocess.Popen
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    @property
    def url(self) -> str:
        until(lambda: "listening on" in self.said() or self.process.poll() is not None, self.said, deadline_s=180)
        return re.search(r"listening on (\S+):", self.said())[1]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def ready(self) -> dict:
        return json.loads(self.get("/readyz")[1])

    def metric(self, name: str) -> float | None:
        found = re.search(rf"(?m)^{name} (\S+)$", self.get("/metrics")[1])
        return float(found[1]) if found else None

    def tell(self, number: int) -> None:
        self.process.send_signal(number)


@dataclass
class Pair:
    """The daemons of one fleet, and what they did."""

    folder: Path
    ledger: str
    environment: dict[str, str]
    times: str
    daemons: list[Daemon] = field(default_factory=list)

    @property
    def starts(self) -> list[list[str]]:
        """[pid, replica, port] of every engine that was ever started."""
        file = self.folder / "starts"
        return [line.split() for line in file.read_text().splitlines()] if file.exists() else []

    def start(self) -> Daemon:
        log = self.folder / f"daemon-{len(self.daemons)}.log"
        with log.open("w") as sink:
            command = [sys.executable, "-m", "controller", "run", "--fleet", str(self.folder / "fleet.yaml")]
            process = subprocess.Popen(
                command,
                cwd=ENGINE.parents[1],
                env={**os.environ, **self.environment, "POD_NAME": f"pod-{len(self.daemons)}"},
                stdout=sink,
                stderr=sink,
            )
        self.daemons.append(Daemon(process, log))
        return self.daemons[-1]

    def decided(self) -> list[tuple[int, bool]]:
        """Of every decision in the order of time its epoch, and whether it was acted on."""
        try:
            with closing(LedgerReader(self.ledger)) as reader:
                found = reader.decisions("chat", limit=2000)
        except LedgerError:
            return []
        return [(one.epoch, not one.decision.holds) for one in reversed(found)]

    def said(self) -> str:
        return "\n".join(one.said() for one in self.daemons)

    def newest(self) -> int:
        return max((epoch for epoch, _ in self.decided()), default=-1)

    def taken_over(self, before: int) -> float:
        """Seconds until a pass of a later term is recorded."""
        began = time.monotonic()
        until(lambda: self.newest() > before, self.said, deadline_s=180, every_s=0.2)
        took_s = time.monotonic() - began
        assert took_s < MOST_S[self.times]
        return took_s

    def stop(self, daemon: Daemon) -> None:
        """Anywhere but in the midst of a write on SQLite, which would keep everybody from writing until it goes on."""
        daemon.tell(signal.SIGSTOP)
        while self.ledger.startswith("sqlite") and self._is_locked():
            daemon.tell(signal.SIGCONT)
            time.sleep(0.02)
            daemon.tell(signal.SIGSTOP)

    def _is_locked(self) -> bool:
        with closing(sqlite3.connect(self.ledger.removeprefix("sqlite:///"), timeout=0.05)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
        return False

    def close(self) -> None:
        for one in self.daemons:
            with suppress(ProcessLookupError):
                one.process.kill()
            one.process.wait()
        for pid, _, _ in self.starts:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    way, times = request.param
    ledger, environment, more = f"sqlite:///{tmp_path}/pennyweight.db", {}, ""
    if way == "postgresql":
        folder = request.getfixturevalue("postgres_folder")
        ledger = url_of(folder, new_database(folder))
    with world_for(request) as world:
        if way == "lease":
            real = request.getfixturevalue("real_cluster")
            namespace = "llm" if real is None else "pennyweight"
            config = (
                world.server.kubeconfig(tmp_path / "kubeconfig", namespace=namespace)
                if real is None
                else account(real, tmp_path, "high-availability")
            )
            environment, more = {"KUBECONFIG": str(config)}, f", lease: {{namespace: {namespace}}}"
        text = FLEET.format(
            ledger=json.dumps(ledger),
            leader=times % more,
            python=json.dumps(sys.executable),
            engine=json.dumps(str(ENGINE)),
            starts=json.dumps(str(tmp_path / "starts")),
            ports=free_ports(4, first=10_000),
        )
        (tmp_path / "policies").mkdir()
        (tmp_path / "policies" / "chat.yaml").write_text(POLICY)
        (tmp_path / "fleet.yaml").write_text(text)
        made = Pair(tmp_path, ledger, environment, times)
        yield made
        made.close()


STORIES = [
    pytest.param(("sqlite", SHORT), id="sqlite"),
    pytest.param(("postgresql", SHORT), id="postgresql", marks=pytest.mark.live),
    pytest.param(("lease", USUAL), id="lease-15-10-2", marks=[pytest.mark.live, pytest.mark.cluster]),
]


@pytest.mark.parametrize("pair", STORIES, indirect=True)
def test_one_works_at_a_time_whatever_happens_to_it(pair, record_property):
    first = pair.start()
    until(lambda: pair.starts, first.said, deadline_s=180)
    second = pair.start()
    until(lambda: second.ready().get("standing_by"), second.said, deadline_s=180)
    assert re.match(r"standing by, pod-0_\w+ leads since .* \(epoch 0\)", second.ready()["standing_by"])
    assert second.get("/readyz")[0] == second.get("/livez")[0] == 200
    assert (first.metric("pennyweight_leading"), second.metric("pennyweight_leading")) == (1, 0)
    assert second.metric("pennyweight_last_pass_timestamp_seconds") is None, "two would be summed up"
    told = json.loads(second.get("/api/v1/decisions")[1])
    assert told["decisions"][0]["service"] == "chat", "what it knows of the last pass is the ledger's"

    before = pair.newest()
    first.process.kill()  # kill -9
    killed_s = pair.taken_over(before)
    until(lambda: len({port for _, _, port in pair.starts}) == 3, second.said)
    until(lambda: second.metric("pennyweight_leading") == 1, second.said)
    assert second.metric("pennyweight_leader_epoch") == pair.newest()

    third = pair.start()
    until(lambda: third.ready().get("standing_by"), third.said, deadline_s=180)
    started, before = pair.starts, pair.newest()
    pair.stop(second)
    stopped_s = pair.taken_over(before)
    second.tell(signal.SIGCONT)
    until(lambda: "leading no longer" in second.said(), second.said)
    until(lambda: second.ready().get("standing_by", "").startswith("standing by, pod-2_"), second.said)

    before = pair.newest()
    third.tell(signal.SIGTERM)
    ended_s = pair.taken_over(before)
    assert third.process.wait(30) == 0
    until(lambda: second.ready()["ready"] and not second.ready().get("standing_by"), second.said)

    assert pair.starts == started, "no engine was started again by anybody"
    assert len(started) == len({port for _, _, port in started}) == 3
    epochs = [epoch for epoch, _ in pair.decided()]
    assert epochs == sorted(epochs), "after another one had begun, nobody wrote as an earlier one"
    assert [one for one in (first, second, third) if "Traceback" in one.said()] == []
    record_property("seconds to take over: killed, stopped, ended", (killed_s, stopped_s, ended_s))
    print(f"took over after kill -9: {killed_s:.1f} s, SIGSTOP: {stopped_s:.1f} s, SIGTERM: {ended_s:.1f} s")


@pytest.mark.parametrize("pair", [pytest.param(("sqlite", SHORT), id="sqlite")], indirect=True)
def test_without_leader_a_second_daemon_stops_and_beside_those_that_stand_by_none_begins(pair):
    file = pair.folder / "fleet.yaml"
    electing = file.read_text()
    first = pair.start()
    until(lambda: pair.newest() >= 0, first.said, deadline_s=180)
    file.write_text(re.sub("(?m)^leader: .*\n", "", electing))
    second = pair.start()
    assert second.process.wait(60) == 1
    assert "another pennyweight already works on" in second.said()
    assert "give both the same `leader:`" in second.said()
    assert first.process.poll() is None

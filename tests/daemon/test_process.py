"""`pennyweight run` as a process of its own: signals, HTTP, exit codes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.ledger.read import LedgerReader
from tests.small_fleet import until


@dataclass
class Running:
    process: subprocess.Popen
    log: Path

    def said(self) -> str:
        return self.log.read_text()

    @property
    def url(self) -> str:
        until(lambda: "listening on" in self.said() or self.process.poll() is not None, "the daemon to listen")
        return re.search(r"listening on (\S+):", self.said())[1]

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.url + path, timeout=60) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code, refused.read().decode()

    def metric(self, name: str) -> float:
        return float(re.search(rf"(?m)^{name} (\S+)$", self.get("/metrics")[1])[1])


@pytest.fixture
def start(fleet, repository) -> Iterator:
    started: list[Running] = []

    def run() -> Running:
        log = fleet.folder / f"daemon-{len(started)}.log"
        with log.open("w") as sink:
            process = subprocess.Popen(
                [sys.executable, "-m", "controller", "run", "--fleet", str(fleet.file)],
                cwd=repository,
                env={name: value for name, value in os.environ.items() if not name.startswith("PENNYWEIGHT_")},
                stderr=sink,
                stdout=sink,
            )
        started.append(Running(process, log))
        return started[-1]

    yield run
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()


def test_the_life_of_a_daemon(fleet, start):
    fleet.write(interval="200ms")
    first = start()
    until(lambda: first.get("/readyz")[0] == 200, "the first pass")
    assert first.metric("pennyweight_config_last_reload_successful") == 1

    second = start()
    assert second.process.wait(30) == 1
    assert "already works on" in second.said()
    assert f"process {first.process.pid}" in second.said()
    assert "Traceback" not in second.said()

    good_fleet, good_policy = fleet.file.read_text(), fleet.policy.read_text()
    fleet.file.write_text(good_fleet.replace("mode: advise", "mode: adwise"))
    first.process.send_signal(signal.SIGHUP)
    until(lambda: "reload refused" in first.said(), "the refusal")
    assert "adwise" in first.said()
    fleet.file.write_text(good_fleet)
    fleet.policy.write_text(
        good_policy.replace("max_replicas: 8", "max_replicas: 0").replace("severity: warning", "severity: warnin")
    )
    first.process.send_signal(signal.SIGHUP)
    until(lambda: first.said().count("reload refused") == 2, "the second refusal")
    assert "max_replicas" in first.said()
    assert "warnin" in first.said()
    assert first.metric("pennyweight_config_last_reload_successful") == 0
    passes = len(json.loads(first.get("/api/v1/decisions")[1])["decisions"])
    assert passes == 1, "the old policy still decides"

    fleet.policy.write_text(good_policy.replace("min_replicas: 1", "min_replicas: 3"))
    first.process.send_signal(signal.SIGHUP)
    until(lambda: "reloaded: 1 services" in first.said(), "the reload")
    assert first.metric("pennyweight_config_last_reload_successful") == 1
    until(lambda: "2 -> 3" in first.get("/api/v1/decisions")[1], "a decision by the new policy")

    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(30) == 0
    assert "stopped after the last pass ended" in first.said()
    assert "Traceback" not in first.said()
    reader = LedgerReader(f"sqlite:///{fleet.ledger}")
    assert reader.last_pass().duration_s is not None, "the last pass's outcome is recorded"
    assert all(one.outcome is not None for one in reader.decisions("chat", moves_only=True))
    reader.close()


SIGNALLED = """
import os, signal, sys
from contextlib import contextmanager
from controller.__main__ import main
from controller.cli import run

@contextmanager
def served(*settings):
    os.kill(os.getpid(), signal.SIGTERM)
    yield

run.served = served
sys.exit(main(["run", "--fleet", sys.argv[1]]))
"""


def test_a_signal_that_comes_as_soon_as_it_listens_waits_for_it(fleet, repository):
    fleet.write()
    command = [sys.executable, "-c", SIGNALLED, str(fleet.file)]
    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "stopped after the last pass ended" in ended.stderr


def test_readyz_says_why_not(fleet, start):
    fleet.write(interval="1h")
    limits = "scrape_limits: {deadline: 60s, target_timeout: 60s}"  # the first pass does not end by itself
    fleet.file.write_text(fleet.file.read_text().replace("rate_window: 60s", f"rate_window: 2h\n{limits}"))
    for engine in fleet.engines:
        engine.hold.clear()
    daemon = start()
    status, body = daemon.get("/readyz")
    assert status == 503
    assert json.loads(body) == {"ready": False, "reasons": ["no pass has finished yet"]}
    assert daemon.get("/healthz")[0] == 200
    assert daemon.get("/api/v1/fleet")[0] == 503
    for engine in fleet.engines:
        engine.hold.set()
    until(lambda: daemon.get("/readyz")[0] == 200, "the pass to finish")


def test_a_port_that_is_taken_is_one_sentence_and_exit_code_1(fleet, start):
    port = fleet.engines[0].server_port
    fleet.file.write_text(fleet.file.read_text().replace("port: 0", f"port: {port}"))
    daemon = start()
    assert daemon.process.wait(30) == 1
    assert f"cannot listen on 127.0.0.1:{port}" in daemon.said()
    assert "Traceback" not in daemon.said()

"""The systemd actuator over a systemctl that keeps its units in files; health and drain are asked over real HTTP."""

from __future__ import annotations

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from controller.act.systemd import SystemdActuator
from controller.errors import ActError
from controller.facts.actuators import SystemdOptions
from controller.facts.decisions import OutcomeKind
from controller.facts.missing import Missing
from controller.facts.readings import Phase


class Engine(BaseHTTPRequestHandler):
    """Healthy and idle."""

    page = b"vllm:num_requests_running 0.0\nvllm:num_requests_waiting 0.0\n"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.page)))
        self.end_headers()
        self.wfile.write(self.page)

    def log_message(self, *arguments: object) -> None:
        del arguments


@pytest.fixture
def engine_port():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Engine)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def units(tmp_path, monkeypatch, engine_port, make_hand, patient_probes):
    """A hand over units 1-3, all at the same fake engine, and the folder of their states."""
    folder, tools = tmp_path / "units", tmp_path / "bin"
    folder.mkdir()
    tools.mkdir()
    tool = tools / "systemctl"
    tool.write_text(f'#!/bin/sh\nexec {sys.executable} {Path(__file__).with_name("fake_systemctl.py")} "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tools))
    monkeypatch.setenv("FAKE_UNITS", str(folder))
    options = SystemdOptions(
        unit="vllm-chat@{n}.service",
        numbers=(1, 3),
        state_directory=str(tmp_path / "run"),
        targets_file=str(tmp_path / "run" / "targets.json"),
        url=f"http://127.0.0.1:{engine_port}",
        user=True,
    )
    hand = make_hand(SystemdActuator(), options, "systemd")
    hand.folder = folder
    return hand


def running(units):
    return sorted(path.name for path in units.folder.glob("*.service"))


def test_the_lowest_free_numbers_are_started_first(units):
    units.grown(2)
    assert running(units) == ["vllm-chat@1.service", "vllm-chat@2.service"]
    assert "--user" in (units.folder / "calls").read_text()
    assert "start --no-block vllm-chat@1.service" in (units.folder / "calls").read_text()
    assert set(units.targets().values()) == {"ready"}


def test_acting_twice_is_acting_once(units):
    units.scale(0, 2)
    assert units.scale(0, 2).kind is OutcomeKind.ALREADY


def test_a_restarted_daemon_finds_the_same_replicas(units):
    before = units.grown(2)
    units.actuator = SystemdActuator()
    assert units.look() == before


def test_a_victim_drains_then_its_unit_is_stopped(units):
    first, second = units.grown(2)
    units.scale(2, 1, first.replica)
    units.look()
    assert units.targets() == {first.replica: "draining", second.replica: "ready"}
    assert len(running(units)) == 2
    units.look()
    assert running(units) == ["vllm-chat@2.service"]
    assert [one.replica for one in units.look()] == [second.replica]


def test_a_failed_unit_is_told_once_and_reset(units):
    units.grown(1)
    failed = {"ActiveState": "failed", "Result": "exit-code", "ExecMainStatus": "1"}
    (units.folder / "vllm-chat@1.service").write_text(json.dumps(failed))
    (state,) = units.look()
    assert state.phase is Phase.FAILED
    assert state.detail == "vllm-chat@1.service failed: exit-code, exit status 1"
    assert units.look() == ()
    assert running(units) == []


def test_a_start_is_not_waited_for_longer_because_our_clock_was_set_back(units, monkeypatch):
    monkeypatch.setattr(Engine, "do_GET", lambda engine: engine.send_error(503))
    units.scale(0, 1)
    (state,) = units.look(-3600.0)
    assert (state.phase, state.since) == (Phase.STARTING, units.now)
    assert units.look(15.0)[0].since == state.since


def test_a_unit_stopped_by_somebody_is_gone_without_a_failure(units):
    units.grown(2)
    (units.folder / "vllm-chat@2.service").unlink()
    assert [one.phase for one in units.look()] == [Phase.READY]


def test_a_unit_started_by_somebody_is_counted(units):
    units.grown(1)
    active = {"ActiveState": "active", "InvocationID": "abcdef0123"}
    (units.folder / "vllm-chat@3.service").write_text(json.dumps(active))
    assert "l4-3-abcdef" in [one.replica for one in units.phases(Phase.READY, Phase.READY)]


def test_a_systemctl_that_says_nothing_of_a_unit_is_missing_and_nothing_is_ended(units):
    before = units.grown(2)
    (units.folder / "mute").touch()
    found = units.actuator.replicas(units.variant, units.now)
    assert isinstance(found, Missing)
    assert "vllm-chat@1.service" in found.why
    (units.folder / "mute").unlink()
    assert units.look() == before


def test_no_systemd_is_missing_not_zero(units):
    (units.folder / "down").touch()
    found = units.actuator.replicas(units.variant, units.now)
    assert isinstance(found, Missing)
    assert "not been booted with systemd" in found.why
    with pytest.raises(ActError, match="did not scale"):
        units.scale(0, 1)


def test_no_systemctl_is_missing_not_zero(units, monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = units.actuator.replicas(units.variant, units.now)
    assert isinstance(found, Missing)
    assert "no systemctl on this host" in found.why


def test_a_unit_that_systemd_would_restart_by_itself_is_told_as_failed_and_stopped(units):
    units.grown(1)
    waiting = {"ActiveState": "activating", "SubState": "auto-restart", "Result": "exit-code", "ExecMainStatus": "1"}
    (units.folder / "vllm-chat@1.service").write_text(json.dumps(waiting))
    assert [one.phase for one in units.look()] == [Phase.FAILED]
    assert units.look() == ()
    assert running(units) == []


def test_a_stop_that_was_lost_is_asked_for_again(units):
    units.grown(1)
    units.scale(1, 0)
    units.look()
    units.look()
    assert running(units) == []
    again = {"ActiveState": "active", "InvocationID": "abcdef0123"}
    (units.folder / "vllm-chat@1.service").write_text(json.dumps(again))
    units.until(lambda states: bool(states))
    units.look(after_s=121.0)
    assert units.look() == ()
    assert running(units) == []

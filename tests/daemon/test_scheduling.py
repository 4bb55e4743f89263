"""The daemon around fake passes: never two at once, none of its failures is the end, signals and health."""

from __future__ import annotations

import os
import signal
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.daemon import Daemon
from controller.errors import ConfigError, Problem
from controller.facts.decisions import Memory, ServiceMemory
from controller.facts.fleet import Fleet
from controller.loop import Running
from tests.small_fleet import until

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def quick(plan):
    return replace(plan, interval_s=0.05)


@pytest.fixture
def gate(world):
    """Holds each look at the world until opened, and counts who looks at once."""

    class Gate:
        def __init__(self):
            self.open = threading.Event()
            self.inside = self.most = self.entered = 0
            self._observe = world.observe
            world.observe = self.observe

        def observe(self, now):
            self.inside += 1
            self.entered += 1
            self.most = max(self.most, self.inside)
            self.open.wait(20)
            try:
                return self._observe(now)
            finally:
                self.inside -= 1

    return Gate()


def test_a_pass_that_overruns_is_counted_and_never_overlapped(world, quick, gate, while_running, caplog):
    daemon = Daemon(world, quick, Running())

    def beside():
        until(lambda: daemon.overruns >= 3, "three skipped passes")
        assert gate.entered == 1
        gate.open.set()
        until(lambda: len(world.results) >= 3, "passes after the long one")

    while_running(daemon, beside)
    assert gate.most == 1
    assert "a pass took longer than the interval of 0.05 s" in caplog.text
    ats = [result.at for result in world.results]
    assert ats == sorted(set(ats))


def test_a_failing_pass_does_not_end_the_daemon_and_shows_in_health(world, quick, while_running, caplog):
    daemon = Daemon(world, quick, Running())
    prices, broken = world.prices, True

    def break_or_answer(now):
        if broken:
            raise RuntimeError("the price book burned")
        return prices(now)

    world.prices = break_or_answer

    def beside():
        nonlocal broken
        until(lambda: daemon.failed_passes >= 2, "two failed passes")
        assert "the last pass failed: RuntimeError: the price book burned" in daemon.health().reasons
        broken = False
        until(lambda: daemon.health().ready, "health to recover by itself")

    while_running(daemon, beside)
    assert world.results
    assert "the pass failed" in caplog.text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_pass_finish(world, quick, gate, while_running, number):
    handler_before = signal.getsignal(number)
    daemon = Daemon(world, quick, Running())

    def beside():
        until(lambda: gate.inside, "a pass to be under way")
        os.kill(os.getpid(), number)
        gate.open.set()

    while_running(daemon, beside)
    assert len(world.results) == gate.entered
    assert signal.getsignal(number) is handler_before


def test_many_reload_signals_at_once_are_survived(world, quick, while_running):
    reloads = []
    daemon = Daemon(world, quick, Running(), reload=lambda: reloads.append(1) or quick)

    def beside():
        for _ in range(300):
            os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: reloads, "a reload")

    while_running(daemon, beside)
    assert daemon.reload_ok


def test_a_good_reload_is_in_force_from_the_next_pass_on(world, quick, while_running):
    slower = replace(quick, interval_s=0.1, policies={})
    daemon = Daemon(world, quick, Running(), reload=lambda: slower)

    def beside():
        until(lambda: world.records, "the first pass")
        assert world.records[0].decisions
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: not world.records[-1].decisions, "a pass without policies")

    while_running(daemon, beside)
    assert daemon.reload_ok
    assert daemon.reloaded_at is not None


def test_a_bad_reload_changes_nothing_and_tells_every_mistake(world, quick, while_running, caplog):
    def reload():
        raise ConfigError([Problem("fleet.yaml", 3, 1, "mode", "is wrong"), Problem("chat.yaml", 9, 2, "", "is too")])

    daemon = Daemon(world, quick, Running(), reload=reload)

    def beside():
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: not daemon.reload_ok, "the refusal")
        seen = len(world.records)
        until(lambda: len(world.records) > seen, "another pass")

    while_running(daemon, beside)
    assert world.records[-1].decisions
    assert "fleet.yaml:3:1: mode: is wrong" in caplog.text
    assert "chat.yaml:9:2: is too" in caplog.text


def test_a_reload_that_breaks_unexpectedly_does_not_end_the_daemon(world, quick, while_running, caplog):
    def reload():
        raise OSError("the disk is gone")

    daemon = Daemon(world, quick, Running(), reload=reload)

    def beside():
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: not daemon.reload_ok, "the refusal")

    while_running(daemon, beside)
    assert "the disk is gone" in caplog.text


def test_a_service_that_a_reload_removes_is_forgotten(world, quick, while_running):
    memory = Memory(services={"chat": ServiceMemory(), "gone": ServiceMemory()})
    emptied = replace(quick, fleet=Fleet(services=quick.fleet.services))
    daemon = Daemon(world, quick, Running(memory=memory), reload=lambda: emptied)

    def beside():
        os.kill(os.getpid(), signal.SIGHUP)
        until(lambda: daemon.reloaded_at and "gone" not in world.memories[-1].services, "the service to go")

    while_running(daemon, beside)


def test_health_says_what_is_wrong(world, plan):
    now = NOON
    daemon = Daemon(world, plan, Running(), clock=lambda: now)
    assert daemon.health().reasons == ("no pass has finished yet",)
    daemon.step()
    assert daemon.health().ready
    now += timedelta(seconds=45)
    assert daemon.health().ready
    now += timedelta(seconds=1)
    assert daemon.health().reasons == ("the last pass was 46 s ago; one is due every 15 s",)
    world.ledger_down = True
    daemon.step()
    assert daemon.health().reasons == ("nothing was acted on: the ledger cannot be written: disk full",)
    world.ledger_down = False
    daemon.step()
    assert daemon.health().ready

"""The whole loop on real vLLM: it follows the load, counts every token, and survives its own death."""

import os
import signal
from datetime import timedelta
from itertools import pairwise

import pytest

from controller.demo.real import INTERVAL_S

pytestmark = pytest.mark.live

START_S = 420
"""Two engines that start at once beside a busy third, on two cores that CI may share."""

SHRINK_S = 300
"""Two scale-down windows, two drains, on the same cores."""

ANSWER_S = 420
"""A few requests of everybody's, on the same cores."""

RUSH, QUIET = 14, 1
"""Clients: four fit one engine, so that a rush wants three; one fits one."""


def settled(fleet):
    """No client waits, and a pass has counted what came last."""
    fleet.load.set_clients(0)
    fleet.until("the clients got their answers", lambda: fleet.load.in_flight == 0, ANSWER_S)
    seen = len(fleet.passes())
    fleet.until("two more passes", lambda: len(fleet.passes()) >= seen + 2, ANSWER_S)


def assert_tokens_agree(fleet):
    """What the daemon counted is what the clients received, within 1 %."""
    prompt, output = fleet.counted()
    received = fleet.load.received
    assert received.output_tokens > 10_000
    assert prompt == pytest.approx(received.prompt_tokens, rel=0.01)
    assert output == pytest.approx(received.output_tokens, rel=0.01)
    print(f"tokens counted {prompt:.0f} + {output:.0f}, received {received.prompt_tokens} + {received.output_tokens}")


def test_replicas_follow_the_load_and_every_token_is_counted_through_restarts_and_a_killed_daemon(fleet):
    fleet.start_daemon()
    fleet.until("the first engine is ready", lambda: len(fleet.replicas("ready")) == 1, START_S)

    # A rush: three are wanted. The daemon is killed while two of them start.
    fleet.load.set_clients(RUSH)
    fleet.until("two more engines are starting", lambda: len(fleet.engines()) == 3, ANSWER_S)
    passed = len(fleet.passes())  # the last pass of the daemon that dies saw them start: the next must count them whole
    fleet.until("two more passes", lambda: len(fleet.passes()) >= passed + 2, ANSWER_S)
    fleet.end_daemon(signal.SIGKILL)
    before = fleet.engines()
    fleet.start_daemon()
    fleet.until("three engines are ready", lambda: len(fleet.replicas("ready")) == 3, START_S)
    assert fleet.engines() == before, "an engine was started twice, or lost"

    # Quiet again: back to one, without a request lost.
    fleet.load.set_clients(QUIET)
    fleet.until("one engine is left", lambda: len(fleet.engines()) == 1, SHRINK_S)
    assert fleet.load.received.failed == 0
    settled(fleet)
    assert_tokens_agree(fleet)

    # The last engine dies. It is replaced, its counters start again from zero, and still every token is counted.
    (dead,) = fleet.engines().values()
    os.killpg(dead, signal.SIGKILL)
    fleet.until(
        "a new engine is ready", lambda: fleet.replicas("ready") != [] and dead not in fleet.engines().values(), START_S
    )
    fleet.load.set_clients(4)
    wanted = fleet.load.received.output_tokens + 5_000
    fleet.until("5,000 more tokens", lambda: fleet.load.received.output_tokens >= wanted, ANSWER_S)
    settled(fleet)
    assert_tokens_agree(fleet)

    # The ledger has no gap that it does not name, and it names the kill if that was one.
    named = {(gap.start, gap.end): gap.why for gap in fleet.gaps()}
    silences = [
        (earlier, later)
        for earlier, later in pairwise(fleet.passes())
        if later - earlier > timedelta(seconds=2 * INTERVAL_S)
    ]
    assert [silence for silence in silences if silence not in named] == []

    # A polite end leaves the engines running.
    left = fleet.engines()
    assert fleet.end_daemon(signal.SIGTERM) == 0
    assert fleet.engines() == left

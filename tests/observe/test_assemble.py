"""A page that cannot be believed gives Missing, each time with a reason of its own, never a zero."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import Counter, EngineReading, Gauge, Target
from controller.observe.assemble import FROZEN_AFTER_S, Assembler

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TARGET = Target(service="chat", variant="h100", replica="r1", url="http://127.0.0.1:8000")


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "empty page"),
        (b"<!doctype html><html></html>\n", "HTML"),
        (b"vllm:num_requests_running 1\nvllm:num_req", "cut off"),
        (b'{"detail": "Not Found"}\n', "not metrics"),
        (b"process_start_time_seconds 1.7e9\npython_info 1\n", "--disable-log-stats"),
    ],
)
def test_a_page_without_engine_metrics_says_why(body: bytes, why: str) -> None:
    found = Assembler().text(body, TARGET, EngineKind.VLLM, NOON)
    assert isinstance(found, Missing)
    assert why in found.why
    assert f"{TARGET.url}/metrics" in found.why, "the address that was asked"


def test_a_gauge_that_is_not_a_number_is_missing_and_the_others_are_read() -> None:
    body = b"vllm:num_requests_running NaN\nvllm:num_requests_waiting 2\n"
    reading = Assembler().text(body, TARGET, EngineKind.VLLM, NOON)
    assert isinstance(reading, EngineReading)
    why = reading.gauge(Gauge.RUNNING)
    assert isinstance(why, Missing)
    assert "NaN" in why.why
    assert reading.gauge(Gauge.QUEUE_DEPTH) == 2


def again(running: int, later_s: float, more: bytes = b"") -> EngineReading:
    """The second reading of an unchanged page."""
    assembler = Assembler()
    page = b"vllm:num_requests_running %d\nvllm:kv_cache_usage_perc 0.5\nvllm:generation_tokens_total 9\n" % running
    page += more
    assembler.text(page, TARGET, EngineKind.VLLM, NOON)
    reading = assembler.text(page, TARGET, EngineKind.VLLM, NOON + timedelta(seconds=later_s))
    assert isinstance(reading, EngineReading)
    return reading


@pytest.mark.parametrize("more", [b"", b"vllm:num_requests_waiting NaN\n"])
def test_gauges_of_an_engine_that_runs_but_does_not_move_are_frozen(more: bytes) -> None:
    reading = again(running=3, later_s=FROZEN_AFTER_S, more=more)
    why = reading.gauge(Gauge.KV_CACHE_RATIO)
    assert isinstance(why, Missing)
    assert "frozen" in why.why
    assert (reading.gauge(Gauge.RUNNING), reading.counter(Counter.OUTPUT_TOKENS)) == (3, 0)


@pytest.mark.parametrize(("running", "later_s"), [(0, 10 * FROZEN_AFTER_S), (3, FROZEN_AFTER_S - 1)])
def test_an_idle_engine_or_a_short_pause_is_not_frozen(running: int, later_s: float) -> None:
    assert again(running, later_s).gauge(Gauge.KV_CACHE_RATIO) == 0.5

"""The Prometheus server that everything is read from dies under load, while KEDA asks how many there shall be."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from controller.facts.decisions import Because
from controller.scalers import scalers_of
from controller.settings.load import load_settings
from controller.wiring import built
from tests.answering import AnsweringQueries

SCALER = "/externalscaler.ExternalScaler/GetMetrics"
ASK = b"\x0a\x04chat\x12\x03llm\x1a\x0f\x0a\x07service\x12\x04chat\x1a\x0f\x0a\x07variant\x12\x04h100"
REPLICAS, WAITING_EACH = 3, 8.0

FLEET = """\
mode: act
interval: 15s
rate_window: 60s
ledger: sqlite:///pennyweight.db
policies: [policies/*.yaml]
serve: {{port: 0, keda: {{port: 0}}}}
services:
  chat:
    model: llama-3.1-8b
    variants:
      h100:
        gpu: H100-SXM
        scrape: {{prometheus: {{url: "{url}", selector: 'job="vllm"'}}}}
        actuator: {{external: {{}}}}
        capacity: [{{type: on_demand, usd_per_gpu_hour: 2.00}}]
"""

POLICY = """\
service: chat
scaling:
  min_replicas: 1
  max_replicas: 8
  method: reactive
  targets: {queue_depth: 10}
  scale_down: {stabilization: 30s, spare: 0s}
"""


class Prometheus(AnsweringQueries):
    """Scrapes three engines, ``waiting`` requests before each."""

    def __init__(self) -> None:
        self.now, self.waiting = datetime(2026, 11, 21, 12, tzinfo=UTC), WAITING_EACH
        super().__init__()

    def rows(self, query: str) -> list[dict[str, Any]]:
        recent = "timestamp(" in query
        at_s, rows = self.now.timestamp(), []
        for number in range(REPLICAS):
            own = {"job": "vllm", "instance": f"10.0.0.{number}:8000", "pod": f"chat-{number}"}
            gauges = {"vllm:num_requests_running": 4.0, "vllm:num_requests_waiting": self.waiting}
            for name, value in gauges.items():
                told = {"pennyweight_max_of": name} if recent else {"__name__": name}
                rows.append({"metric": {**told, "engine": "0", **own}, "value": [at_s, str(value)]})
            up = {"pennyweight_time_of": "up"} if recent else {"__name__": "up"}
            rows.append({"metric": {**up, **own}, "value": [at_s, str(at_s - 1) if recent else "1"]})
        return rows


@pytest.fixture
def prometheus() -> Iterator[Prometheus]:
    with Prometheus() as made:
        yield made


def test_nothing_shrinks_one_line_tells_it_and_keda_hears_that_it_is_unknown(
    prometheus: Prometheus, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "chat.yaml").write_text(POLICY, encoding="utf-8")
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(FLEET.format(url=prometheus.url), encoding="utf-8")
    settings = load_settings(fleet, {})
    caplog.set_level(logging.WARNING, "pennyweight")
    with (
        built(settings, clock=lambda: prometheus.now) as everything,
        scalers_of(everything.daemon, everything.external, lambda: settings, everything.dispatcher.post) as scalers,
        grpc.insecure_channel(f"127.0.0.1:{scalers.keda_port}") as channel,
    ):

        def told() -> str:
            try:
                return str(channel.unary_unary(SCALER)(b"\x0a" + bytes([len(ASK)]) + ASK, timeout=60.0))
            except grpc.RpcError as error:
                return error.code().name

        def passes(number: int) -> list:
            results = []
            for _ in range(number):
                prometheus.now += timedelta(seconds=15)
                results.append(everything.daemon.step())
            return results

        before = passes(4)[-1].decisions[0]
        assert (before.current, before.ready, before.holds) == (REPLICAS, REPLICAS, True)
        assert "UNAVAILABLE" not in told()
        caplog.clear()
        prometheus.close()
        after = passes(20)
        assert all(one.desired >= one.current for result in after for one in result.decisions)
        assert {one.because for result in after for one in result.decisions} == {Because.BLIND}
        assert all(not result.outcomes for result in after)
        assert told() == "UNAVAILABLE"
        lines = [record.message for record in caplog.records if record.message.startswith("targets of chat/h100")]
        assert len(lines) == 1, "in every pass after the other it would hide all else"
        alerts = [alert for result in after for alert in result.sent]
        assert [(alert.name, alert.phase.value) for alert in alerts] == [("blind", "firing")]

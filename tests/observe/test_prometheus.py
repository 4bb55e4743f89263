"""A Prometheus server stands in for scraping: the same facts, with the age of its samples and its own ways to fail."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from controller.facts.fleet import Gateway, PrometheusServer
from controller.facts.missing import Missing
from controller.observe.prometheus import (
    PrometheusReader,
    ServedTarget,
    raw_query,
    recent_query,
)

RUNNING, WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
TOKENS, TTFT = "vllm:generation_tokens", "vllm:time_to_first_token_seconds"
NAMES = (RUNNING, WAITING, TOKENS, TTFT)
GAUGES = (RUNNING, WAITING)


@pytest.fixture
def reader() -> Iterator[PrometheusReader]:
    made = PrometheusReader(timeout_s=60.0)
    yield made
    made.close()


# The server's ways to fail, spoken by a little server of our own.


class Api(ThreadingHTTPServer):
    """Speaks the query API: ``raw`` for the first query, ``recent`` for the second; or ``body``, with ``status``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), ApiHandler)
        self.raw: list[object] = []
        self.recent: list[object] = []
        self.status, self.body = 200, b""
        self.queries: list[str] = []
        self.free = threading.Event()
        self.free.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has given up is no news."""

    def says(self, now_s: float, up: str = "1", age_s: float = 5.0) -> None:
        own = {"job": "vllm", "instance": "h:8000", "pod": "chat-0"}
        self.raw = [
            {"metric": {"__name__": "up", **own}, "value": [now_s, up]},
            {"metric": {"__name__": RUNNING, "engine": "0", **own}, "value": [now_s, "2"]},
            {"metric": {"__name__": f"{TOKENS}_total", "engine": "0", **own}, "value": [now_s, "700"]},
        ]
        self.recent = [
            {"metric": {"pennyweight_max_of": RUNNING, "engine": "0", **own}, "value": [now_s, "9"]},
            {"metric": {"pennyweight_time_of": "up", **own}, "value": [now_s, str(now_s - age_s)]},
        ]


class ApiHandler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        self.server.free.wait(10)
        query = parse_qs(urlsplit(self.path).query)["query"][0]
        self.server.queries.append(query)
        result = self.server.recent if "timestamp(" in query else self.server.raw
        body = self.server.body or json.dumps({"status": "success", "data": {"result": result}}).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def api() -> Iterator[Api]:
    server = Api()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.free.set()
    server.shutdown()
    thread.join()
    server.server_close()


def ask(reader: PrometheusReader, url: str, selector: str = 'job="vllm"') -> tuple[ServedTarget, ...] | Missing:
    return reader.read(PrometheusServer(url=url, selector=selector), NAMES, GAUGES, GAUGES)


def test_gauges_are_the_largest_of_the_window_and_counters_the_raw_value(api: Api, reader: PrometheusReader) -> None:
    api.says(now_s=1_000_000.0)
    found = ask(reader, api.url)
    assert not isinstance(found, Missing)
    (target,) = found
    assert (target.url, target.labels["pod"], target.why) == ("http://h:8000", "chat-0", "")
    assert target.at == datetime.fromtimestamp(999_995.0, UTC)
    assert {name: value for name, _, value in target.samples} == {RUNNING: 9.0, f"{TOKENS}_total": 700.0}
    assert len(api.queries) == 2


@pytest.mark.parametrize(
    ("up", "age_s", "why"),
    [
        ("0", 5.0, "Prometheus cannot scrape it: up is 0"),
        ("1", 500.0, "Prometheus' newest sample is 500 s old, more than 120 s"),
    ],
)
def test_a_target_that_is_down_or_old_says_why(
    api: Api, reader: PrometheusReader, up: str, age_s: float, why: str
) -> None:
    api.says(now_s=1_000_000.0, up=up, age_s=age_s)
    found = ask(reader, api.url)
    assert not isinstance(found, Missing)
    assert found[0].why == why


def test_a_target_without_engine_metrics_is_not_a_target_without_load(api: Api, reader: PrometheusReader) -> None:
    api.says(now_s=1_000_000.0)
    api.raw = api.raw[:1]
    found = ask(reader, api.url)
    assert not isinstance(found, Missing)
    assert "exports none of the engine's metrics" in found[0].why


def test_samples_whose_age_nobody_tells_are_not_used(api: Api, reader: PrometheusReader) -> None:
    api.says(now_s=1_000_000.0)
    api.raw, api.recent = api.raw[1:], api.recent[:1]
    found = ask(reader, api.url)
    assert not isinstance(found, Missing)
    assert "does not tell how old its samples are" in found[0].why


@pytest.mark.parametrize(
    ("status", "body", "why"),
    [
        (200, b"<html>login</html>", "does not answer like Prometheus' query API"),
        (200, b'{"status": "success"}', "does not answer like Prometheus' query API"),
        (200, b'{"data": {"result": "x"}}', "the result is not a list"),
        (200, b'{"data": {"result": [{"metric": {}}]}}', "not with an instant vector"),
        (400, b'{"error": "parse error"}', "refused the query: HTTP Status Code 400"),
        (503, b"overloaded", "refused the query: HTTP Status Code 503"),
        (200, b"", "has no series for {job="),
    ],
)
def test_each_way_to_fail_has_its_own_reason(
    api: Api, reader: PrometheusReader, status: int, body: bytes, why: str
) -> None:
    api.status, api.body = status, body
    found = ask(reader, api.url)
    assert isinstance(found, Missing)
    assert why in found.why


def test_a_server_that_is_not_there_or_hangs_is_missing_and_its_password_stays_secret(api: Api) -> None:
    reader = PrometheusReader(timeout_s=0.2)
    absent = ask(reader, "http://user:secret@127.0.0.1:1")
    assert isinstance(absent, Missing)
    assert "http://127.0.0.1:1: cannot be reached" in absent.why
    assert "secret" not in absent.why
    api.free.clear()
    hanging = ask(reader, api.url)
    assert isinstance(hanging, Missing)
    assert "no answer within 0.2 s" in hanging.why
    reader.close()


def test_a_selector_may_be_written_with_or_without_braces() -> None:
    assert raw_query('{job="a"}', NAMES) == raw_query('job="a"', NAMES)
    assert recent_query('{job="a"}', GAUGES, (), 60) == recent_query('job="a"', GAUGES, (), 60)


@pytest.mark.parametrize(("values", "total"), [(["3", "4.5"], 7.5), (["0"], 0.0), ([], None), (["NaN"], None)], ids=str)
def test_what_waits_at_a_gateway_is_the_sum_of_its_query_and_no_answer_is_not_none_waiting(
    api: Api, reader: PrometheusReader, values: list[str], total: float | None
) -> None:
    api.raw = [{"metric": {"pod": str(place)}, "value": [1.0, value]} for place, value in enumerate(values)]
    found = reader.total(Gateway(url=api.url, query="gateway_pending_requests"))
    if total is None:
        assert isinstance(found, Missing)
        assert "has no number for gateway_pending_requests" in found.why
    else:
        assert found == total
    assert api.queries == ["gateway_pending_requests"]

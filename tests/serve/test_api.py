"""Health and the JSON API, over a real server."""

import json
import urllib.error
import urllib.request
from dataclasses import replace

import pytest

from controller.errors import PennyweightError
from controller.serve.api import create_app
from controller.serve.exporter import Exporter
from controller.serve.server import Server


@pytest.fixture
def ask(view):
    """Ask a real server: (status, decoded body)."""
    with Server(create_app(view, Exporter(view)), "127.0.0.1", 0) as server:
        yield lambda path, method="GET": _asked(f"{server.url}{path}", method)


def _asked(url, method):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_alive_and_ready_are_two_questions(ask, view):
    assert ask("/healthz") == (200, '{"status":"alive"}')
    assert ask("/readyz")[0] == 200
    view.reasons = ("the last pass was 120 s ago; one is due every 15 s",)
    status, body = ask("/readyz")
    assert (status, json.loads(body)["reasons"]) == (503, ["the last pass was 120 s ago; one is due every 15 s"])
    assert ask("/healthz")[0] == 200


def test_metrics_are_text_0_0_4(ask):
    status, body = ask("/metrics")
    assert status == 200
    assert "# TYPE pennyweight_cost_usd_per_hour gauge" in body


@pytest.mark.parametrize(
    "path",
    ["/api/v1/fleet", "/api/v1/services", "/api/v1/decisions", "/api/v1/findings", "/api/v1/alerts"],
)
def test_every_view_of_the_last_pass_is_json_with_its_time(ask, path):
    status, body = ask(path)
    assert status == 200
    assert json.loads(body)["at"] == "2026-11-21T12:00:15+00:00"


def test_a_number_is_a_number_and_what_is_missing_says_why(ask):
    service = json.loads(ask("/api/v1/services/chat")[1])["service"]
    assert isinstance(service["usd_per_hour"], float)
    assert set(service["power_w"]) == {"missing", "why"}


def test_how_each_target_was_read_is_told(ask):
    read = json.loads(ask("/api/v1/services/chat")[1])["read"]
    assert {one["replica"] for one in read} >= {"r0", "r1"}
    assert all(one["source"] == "scrape" for one in read)


def test_a_decision_comes_with_its_sentence(ask):
    decisions = json.loads(ask("/api/v1/decisions")[1])["decisions"]
    assert decisions[0]["sentence"].startswith("chat/h100: ")


def test_an_unknown_service_is_404_and_names_the_known_ones(ask):
    status, body = ask("/api/v1/services/chta")
    assert (status, json.loads(body)["detail"]) == (404, "no service 'chta'; there are chat")


def test_what_is_expected_of_a_service_is_told_with_what_a_replica_carries(learned_view):
    with Server(create_app(learned_view, Exporter(learned_view)), "127.0.0.1", 0) as server:
        status, body = _asked(f"{server.url}/api/v1/services/chat/forecast", "GET")
    told = json.loads(body)
    assert status == 200
    assert told["demand"]["requests_per_s"] == 11.5
    assert [(one["horizon_s"], one["quantiles"]["0.95"]) for one in told["forecasts"]] == [(240.0, 16.0), (900.0, 16.0)]
    assert told["accuracy"][0]["error_ratio"] == 0.08
    assert told["accuracy"][1]["error_ratio"]["why"] == "no forecast at this horizon has come due yet"
    assert told["capacity"]["h100"]["binding"] == "ttft"
    assert told["capacity"]["h100"]["at"]["tpot_s"] == {"missing": "number", "why": "it is inf"}
    assert told["capacity"]["l4"] == {"missing": "capacity", "why": "the model is in no table"}


def test_before_anything_was_worked_out_the_forecast_says_so(view, ask):
    view.result = replace(view.result, learned=None)
    told = json.loads(ask("/api/v1/services/chat/forecast")[1])
    assert (told["forecasts"], told["accuracy"], told["capacity"]) == ([], [], {})
    assert "nothing has been worked out for this service yet" in told["demand"]["why"]
    assert ask("/api/v1/services/chta/forecast")[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_changed(ask, method):
    assert ask("/api/v1/services/chat", method)[0] == 405


def test_before_the_first_pass_the_api_says_to_wait(starting_view):
    with Server(create_app(starting_view, Exporter(starting_view)), "127.0.0.1", 0) as server:
        status, body = _asked(f"{server.url}/api/v1/fleet", "GET")
    assert (status, "no pass has finished yet" in body) == (503, True)


def test_the_openapi_document_names_every_endpoint(ask):
    paths = json.loads(ask("/openapi.json")[1])["paths"]
    assert {"/healthz", "/readyz", "/metrics", "/api/v1/fleet", "/api/v1/services/{service}"} <= set(paths)


def test_a_taken_port_is_said_with_what_to_do(view):
    app = create_app(view, Exporter(view))
    with (
        Server(app, "127.0.0.1", 0) as server,
        pytest.raises(PennyweightError, match=f"cannot listen on .*{server.port}"),
    ):
        Server(app, "127.0.0.1", server.port)

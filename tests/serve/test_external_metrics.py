"""The API that HPAs ask, over real connections; and what an HPA makes of the answers, by its documented arithmetic."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from contextlib import contextmanager
from datetime import timedelta
from math import ceil
from urllib.parse import quote

import pytest

from controller.errors import PennyweightError
from controller.facts.actuators import ExternalOptions, Through
from controller.facts.doors import Door, Tls
from controller.serve.external_metrics import ExternalMetrics
from controller.serve.wanted import METRIC, Asked
from controller.simulate.opponents.hpa import replicas_for_total
from tests.serve.pki import Authority
from tests.serve.stages import Stage, decision, passed

GROUP = "/apis/external.metrics.k8s.io"
BASE = f"{GROUP}/v1beta1"


@pytest.fixture
def stage(plan):
    made = Stage(plan.fleet)
    made.with_options(ExternalOptions(through=Through.HPA), "external", "h100", "l4")
    made.result = passed(decision(2, 5), decision(7, 7, "l4"))
    return made


@pytest.fixture
def asked():
    return Asked()


@pytest.fixture
def serve(stage, asked):
    @contextmanager
    def served(**door):
        with ExternalMetrics(stage.wanted, Door(host="127.0.0.1", port=0, **door), asked) as server:
            yield server

    return served


@pytest.fixture
def get(serve):
    """(status, body) of a path."""
    with serve() as server:
        yield lambda path: fetched(f"http://127.0.0.1:{server.port}{path}")


def fetched(url, context=None):
    try:
        with urllib.request.urlopen(url, timeout=60.0, context=context) as answer:
            body = answer.read().decode()
            return answer.status, json.loads(body) if body.startswith("{") else body
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.fixture
def value(get):
    def asked_for(selector="service=chat,variant=h100", namespace="llm", metric=METRIC):
        return get(f"{BASE}/namespaces/{namespace}/{metric}?labelSelector={quote(selector)}")

    return asked_for


def test_one_variant_is_one_item_with_the_desired_count(value):
    status, body = value()
    assert status == 200
    assert body == {
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [
            {
                "metricName": METRIC,
                "metricLabels": {"service": "chat", "variant": "h100"},
                "timestamp": "2026-11-21T12:00:00Z",
                "value": "5",
            }
        ],
    }


@pytest.mark.parametrize(
    ("selector", "values"),
    [
        ("variant=l4", ["7"]),
        ("variant in (h100,l4),service==chat", ["5", "7"]),
        ("variant!=h100", ["7"]),
        ("", ["5", "7"]),
    ],
)
def test_a_selector_picks_variants_and_each_is_one_item(value, selector, values):
    status, body = value(selector)
    assert (status, [one["value"] for one in body["items"]]) == (200, values)


def too_old(stage):
    stage.now += timedelta(seconds=46)


def no_pass(stage):
    stage.result = None


def stands_by(stage):
    stage.standby = "another daemon leads"


@pytest.mark.parametrize(
    ("happens", "words"), [(too_old, "46 s ago"), (no_pass, "no pass"), (stands_by, "another daemon leads")]
)
def test_what_is_not_known_is_503_so_that_the_hpa_holds(stage, value, happens, words):
    happens(stage)
    status, body = value()
    assert (status, body["kind"], body["reason"]) == (503, "Status", "ServiceUnavailable")
    assert words in body["message"]


@pytest.mark.parametrize(
    ("question", "status", "words"),
    [
        ({"selector": "variant=h200"}, 404, "there is service=chat,variant=h100, service=chat,variant=l4"),
        ({"metric": "queue"}, 404, f"the only one is {METRIC}"),
        ({"selector": "variant=("}, 400, "is no selector term"),
    ],
)
def test_what_does_not_exist_is_told_with_what_does(value, question, status, words):
    found, body = value(**question)
    assert found == status
    assert words in body["message"]


def test_only_those_that_an_hpa_scales_are_there_and_only_in_their_namespace(stage, value):
    stage.with_options(ExternalOptions(through=Through.KEDA))
    assert value()[0] == 404
    stage.with_options(ExternalOptions(through=Through.HPA, namespace="prod"))
    assert (value()[0], value(namespace="prod")[0]) == (404, 200)


def test_the_aggregation_layer_discovers_the_one_metric(get):
    status, body = get(BASE)
    assert (status, body["kind"], body["groupVersion"]) == (200, "APIResourceList", "external.metrics.k8s.io/v1beta1")
    assert [(one["name"], one["namespaced"], one["verbs"]) for one in body["resources"]] == [(METRIC, True, ["get"])]
    assert get("/apis")[1]["groups"][0]["preferredVersion"]["version"] == "v1beta1"
    assert get(GROUP)[1]["kind"] == "APIGroup"
    assert get("/healthz") == (200, "ok")
    assert get("/openapi/v2")[0] == 404


def test_questions_are_counted(value, get, asked):
    value()
    value(metric="queue")
    get("/nothing")
    assert asked.counts() == {("hpa", "metric", "200"): 1, ("hpa", "metric", "404"): 1, ("hpa", "other", "404"): 1}


def test_only_the_front_proxy_may_ask_and_by_its_name_and_certificates_are_renewed(serve, tmp_path):
    proxy, stranger = Authority(tmp_path, "front-proxy-ca"), Authority(tmp_path, "stranger")
    certificate, key = proxy.issue("pennyweight")
    tls = Tls(certificate=str(certificate), key=str(key), client_ca=str(proxy.file))
    with serve(tls=tls, allowed_names=("front-proxy-client",)) as server:
        url = f"https://127.0.0.1:{server.port}{BASE}"

        def status(root, *shown):
            context = ssl.create_default_context(cafile=str(root.file))
            if shown:
                context.load_cert_chain(*map(str, shown))
            try:
                return fetched(url, context)[0]
            except (urllib.error.URLError, OSError):
                return "refused"

        client = proxy.issue("front-proxy-client")
        assert status(proxy, *client) == 200
        assert status(proxy, *proxy.issue("somebody")) == 403
        assert status(proxy) == status(proxy, *stranger.issue("front-proxy-client", "strangers")) == "refused"
        stranger.issue("pennyweight")  # renewed by another CA: clients that trust the old one alone turn away
        assert (status(stranger, *client), status(proxy, *client)) == (200, "refused")


def test_a_port_that_is_taken_names_the_key(serve, stage, asked):
    with serve() as server, pytest.raises(PennyweightError, match=r"see `serve: \{external_metrics"):
        ExternalMetrics(stage.wanted, Door(host="127.0.0.1", port=server.port), asked).__enter__()


# what an HPA does with the number


def hpa(value: float, current: int, *, up: float = 0.1, down: float = 0.1) -> int:
    """An External metric with target AverageValue 1, as Kubernetes documents it: the ratio of the value to what the pods
    that exist should carry; within the tolerance nothing happens, else ceil(value / target)."""
    ratio = value / current
    return current if 1 - down <= ratio <= 1 + up else ceil(value)


def test_with_a_tolerance_of_zero_every_step_lands_exactly():
    steps = [(current, current + step) for current in range(1, 500) for step in (1, -1)]
    assert [hpa(wanted, current, up=0, down=0) for current, wanted in steps] == [wanted for _, wanted in steps]


@pytest.mark.parametrize(
    ("current", "wanted", "lands"),
    [
        (9, 10, True),
        (9, 8, True),
        (11, 12, False),
        (20, 21, False),
        (20, 19, False),
        (20, 23, True),
        (20, 17, True),
    ],
)
def test_with_the_usual_tolerance_a_small_step_of_many_replicas_is_ignored(current, wanted, lands):
    """So our manifests set behavior.*.tolerance to 0, and what is not followed is told."""
    assert hpa(wanted, current) == (wanted if lands else current)
    assert replicas_for_total(wanted, target=1, current=current, tolerance_ratio=0.1) == (wanted if lands else current)


@pytest.mark.parametrize("current", [11, 20, 50])
def test_no_value_at_all_would_make_an_hpa_with_the_usual_tolerance_take_a_step_of_one(current):
    """Why nothing else than the tolerance helps: whatever number we said, one more is never what comes out."""
    assert all(hpa(value / 100, current) != current + 1 for value in range(100 * 3 * current))

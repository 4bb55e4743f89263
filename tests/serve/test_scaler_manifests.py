"""The examples for other autoscalers say what the daemon answers to."""

from __future__ import annotations

import re

import kubernetes_validate
import pytest
import yaml

from controller.serve.keda.answers import Answers
from controller.serve.keda.messages import ScaledObjectRef
from controller.serve.wanted import METRIC
from controller.serve.wva import WVA_METRICS
from controller.settings.scaler_shapes import KedaShape
from tests.serve.stages import Stage

KUBERNETES = "1.35"
"""The oldest release whose schema must know everything in the examples: the tolerance of an HPA is there unasked."""


@pytest.fixture
def manifests(repository):
    def read(name):
        text = (repository / "deploy" / "kubernetes" / "examples" / name).read_text(encoding="utf-8")
        return list(yaml.safe_load_all(text))

    return read


@pytest.mark.parametrize("name", ["hpa.yaml", "apiservice.yaml"])
def test_kubernetes_knows_every_field(manifests, name):
    for one in manifests(name):
        kubernetes_validate.validate(one, KUBERNETES, strict=True)


def test_the_trigger_names_a_variant_as_the_daemon_wants_it(manifests, plan):
    scaled, credentials = manifests("scaledobject.yaml")
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["metricType"] == "AverageValue"
    assert trigger["authenticationRef"]["name"] == credentials["metadata"]["name"]
    assert int(trigger["metadata"]["scalerAddress"].rpartition(":")[2]) == KedaShape.model_fields["port"].default
    ref = ScaledObjectRef(name="vllm-chat", namespace="llm", metadata=trigger["metadata"])
    assert Answers(wanted=Stage(plan.fleet).wanted).replicas(ref) == 5


def test_unavailable_never_shrinks_what_is_there(manifests):
    fallback = manifests("scaledobject.yaml")[0]["spec"]["fallback"]
    assert fallback["behavior"] == "currentReplicasIfHigher"


def behaviors(manifests):
    scaled, hpa = manifests("scaledobject.yaml")[0]["spec"], manifests("hpa.yaml")[0]["spec"]
    return scaled["advanced"]["horizontalPodAutoscalerConfig"]["behavior"], hpa["behavior"]


def test_the_hpa_neither_waits_nor_tolerates_nor_limits(manifests):
    for behavior in behaviors(manifests):
        for direction in ("scaleUp", "scaleDown"):
            rules = behavior[direction]
            assert (rules["stabilizationWindowSeconds"], rules["tolerance"]) == (0, "0")
            assert rules["policies"][0]["value"] >= 1000


def test_the_hpa_asks_for_one_variant_and_takes_its_count_as_it_is(manifests):
    (metric,) = manifests("hpa.yaml")[0]["spec"]["metrics"]
    asked = metric["external"]
    assert asked["metric"] == {"name": METRIC, "selector": {"matchLabels": {"service": "chat", "variant": "h100"}}}
    assert asked["target"] == {"type": "AverageValue", "averageValue": "1"}


def test_hpas_may_only_read_the_one_metric(manifests):
    (role,) = [one for one in manifests("apiservice.yaml") if one["kind"] == "ClusterRole"]
    assert role["rules"] == [
        {"apiGroups": ["external.metrics.k8s.io"], "resources": [METRIC], "verbs": ["get", "list"]}
    ]


def test_the_page_about_it_names_every_metric_of_the_other_autoscaler(repository):
    page = (repository / "docs" / "keda.md").read_text(encoding="utf-8")
    told = page.partition("Not told")[0]
    assert set(re.findall(r"`(wva_[a-z_]+)`", told)) - {"wva_names"} == set(WVA_METRICS)

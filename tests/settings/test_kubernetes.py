"""The blocks about Kubernetes: what they mean, and what is wrong with them."""

import pytest

from controller.facts.actuators import KubernetesOptions
from controller.facts.fleet import KubernetesPods, PrometheusServer
from tests.settings.small import SCRAPE, SMALL


def with_lines(*lines: str) -> str:
    return SMALL.replace(SCRAPE, "".join(f"        {line}\n" for line in lines))


def only(settings):
    return settings.fleet.services["chat"].variants["l40s"]


def test_a_target_is_all_that_has_to_be_named(load):
    variant = only(load(with_lines("actuator: {kubernetes: {namespace: llm, deployment: vllm-chat, port: 8000}}")))
    assert variant.actuator == "kubernetes"
    assert variant.actuator_options == KubernetesOptions(
        kind="Deployment", namespace="llm", name="vllm-chat", port=8000
    )
    assert variant.discovery == (
        KubernetesPods(namespace="llm", kind="Deployment", name="vllm-chat", port=8000, model="llama-3.1-8b"),
    )


@pytest.mark.parametrize(
    ("key", "kind"),
    [("deployment", "Deployment"), ("stateful_set", "StatefulSet"), ("leader_worker_set", "LeaderWorkerSet")],
)
def test_every_kind_has_its_key(load, key, kind):
    variant = only(load(with_lines(f"actuator: {{kubernetes: {{namespace: llm, {key}: one}}}}")))
    assert variant.actuator_options.kind == kind


@pytest.mark.parametrize(
    ("more", "kind"),
    [("", "Deployment"), (", kind: leader_worker_set", "LeaderWorkerSet"), (", kind: deployment", "Deployment")],
)
def test_a_target_is_named_by_its_labels_as_well(load, more, kind):
    block = f"actuator: {{kubernetes: {{namespace: llm, selector: 'app=vllm-chat,tier in (a,b)'{more}}}}}"
    variant = only(load(with_lines(block)))
    labels = "app=vllm-chat,tier in (a,b)"
    assert variant.actuator_options == KubernetesOptions(kind=kind, namespace="llm", selector=labels)
    assert variant.discovery == (KubernetesPods(namespace="llm", kind=kind, target=labels, model="llama-3.1-8b"),)


def test_pods_are_found_by_selector_beside_other_sources(load):
    variant = only(
        load(
            with_lines(
                "scrape:",
                "  prometheus: {url: http://prometheus:9090, selector: 'job=\"chat\"'}",
                "  kubernetes: {namespace: llm, selector: 'app=chat', port_name: http, variant_cost: usd_per_replica_hour}",
                "dcgm: {kubernetes: {}}",
            )
        )
    )
    assert isinstance(variant.discovery[0], PrometheusServer)
    assert variant.discovery[1] == KubernetesPods(
        namespace="llm",
        selector="app=chat",
        port_name="http",
        model="llama-3.1-8b",
        cost_unit="usd_per_replica_hour",
    )
    assert variant.gpu_discovery == (
        KubernetesPods(namespace="gpu-operator", selector="app=nvidia-dcgm-exporter", port=9400),
    )


def test_another_way_to_the_metrics_is_enough_beside_the_actuator(load):
    variant = only(
        load(
            with_lines(
                "actuator: {kubernetes: {namespace: llm, deployment: chat}}",
                "scrape: {prometheus: {url: http://prometheus:9090, selector: 'job=\"chat\"'}}",
            )
        )
    )
    assert [type(one) for one in variant.discovery] == [PrometheusServer]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("scrape: {kubernetes: {namespace: llm}}", "nothing says which pods: expected `selector`"),
        ("scrape: {kubernetes: {selector: 'app==='}}", "'app===' is no selector term"),
        ("scrape: {kubernetes: {selector: a=b, port: 1, port_name: http}}", "one of them is enough"),
        ("scrape: {kubernetes: {selectr: a=b}}", "unknown key 'selectr'; did you mean 'selector'?"),
        ("actuator: {kubernetes: {namespace: llm}}", "expected exactly one of deployment, stateful_set"),
        ("actuator: {kubernetes: {namespace: llm, deployment: a, stateful_set: b}}", "found 2"),
        ("actuator: {kubernetes: {namespace: llm, deployment: a, selector: a=b}}", "found 2"),
        ("actuator: {kubernetes: {namespace: llm, deployment: a, kind: deployment}}", "kind goes with selector"),
        ("actuator: {kubernetes: {namespace: llm, selector: 'app==='}}", "'app===' is no selector term"),
        ("actuator: {kubernetes: {namespace: llm, selector: ''}}", "selector"),
        ("actuator: {kubernetes: {deployment: a}}", "the key 'namespace' is missing"),
        ("actuator: {kubernetes: {namespace: llm, deployment: Not_A_Name}}", "deployment"),
    ],
)
def test_a_mistake_is_told(problems, line, said):
    assert any(said in problem for problem in problems(with_lines(line))), problems(with_lines(line))


@pytest.mark.parametrize("named", ["deployment: chat", "selector: app=chat"])
def test_two_variants_cannot_scale_one_target(problems, named):
    block = f"actuator: {{kubernetes: {{namespace: llm, {named}}}}}"
    other = f"\n      other:\n        gpu: L40S\n        {block}\n"
    found = problems(with_lines(block).rstrip() + other)
    assert any("chat/l40s scales the same Deployment; one variant a target" in problem for problem in found), found

"""The chart: what it makes of values, and what it says of those that cannot work."""

from __future__ import annotations

import subprocess

import pytest
import yaml

from controller.__main__ import main
from controller.kubernetes.access import Use
from controller.policy.load import load_policies
from controller.prices.book import offers
from controller.settings.load import load_settings
from tests.deploy.rendered import (
    CHART,
    check_found,
    check_probed,
    check_restricted,
    check_valid,
    daemon_of,
    example,
    kinds,
    lay_out,
    named,
    namespaces_of,
    needed,
    pod_of,
    rights_of,
    shipped,
    templated,
)

CHAT, KEDA, HPA = example("chat"), example("keda"), example("hpa")
PAIR = "replicas=2,ledger.secret=database,fleet.leader.lease.name=pennyweight,mode=act"
TWO = (*CHAT, "--set", PAIR)
WATCHED = (*CHAT, "--set", "serviceMonitor.enabled=true,prometheusRule.enabled=true,board.enabled=true")
ASKED = (*HPA, "--set", "externalMetrics.apiService.enabled=true")


@pytest.mark.parametrize(
    "settings", [CHAT, TWO, WATCHED, KEDA, ASKED], ids=["one", "two", "watched", "keda", "external metrics"]
)
def test_the_chart_is_valid_and_restricted_and_may_what_it_must(tool, settings):
    documents = templated(tool("helm"), *settings)
    check_valid(documents)
    check_restricted(pod_of(documents))
    check_probed(daemon_of(documents))
    check_found(documents)
    uses = (Use.SEE, Use.ACT, Use.LEAD) if settings == TWO else (Use.SEE,)
    nodes, pods = (
        {("", "nodes", verb) for verb in ("list", "watch")},
        {("", "pods", verb) for verb in ("list", "watch")},
    )
    only_read = settings in (KEDA, ASKED)
    assert rights_of(documents) == (nodes | pods if only_read else needed(*uses))
    assert bool(kinds(documents, "PersistentVolumeClaim")) == (settings != TWO)


def test_the_chart_passes_its_own_linter(tool):
    helm = tool("helm")
    for settings in ((), CHAT, KEDA, HPA):
        subprocess.run([helm, "lint", "--strict", str(CHART), *settings], capture_output=True, check=True)


def refused(helm: str, *settings: str) -> str:
    done = subprocess.run([helm, "template", "pw", str(CHART), *settings], capture_output=True, text=True)
    assert done.returncode != 0
    return done.stderr


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ((), "set fleet.services, and policies with a file for each of them"),
        ((*CHAT, "--set", "replicas=2"), "ledger.secret"),
        ((*CHAT, "--set", "replicas=2,ledger.secret=database"), "fleet.leader"),
        ((*KEDA, "--set", "keda.secret="), "set keda.secret"),
        ((*HPA, "--set", "externalMetrics.secret="), "set externalMetrics.secret"),
        ((*CHAT, "--set", "externalMetrics.apiService.enabled=true"), "leads to nobody"),
    ],
    ids=["no services", "no database", "no leader", "no certificate", "none for HPAs either", "nobody listens"],
)
def test_values_that_cannot_work_are_refused_with_what_to_set(tool, settings, told):
    assert told in refused(tool("helm"), *settings)


def test_an_api_server_that_cannot_know_who_signed_is_told_before_it_is_asked(tool):
    command = (*ASKED, "--set-json", "externalMetrics.apiService.annotations=null")
    assert "caBundle" in refused(tool("helm"), *command)
    found = templated(tool("helm"), *command, "--set", "externalMetrics.apiService.caBundle=TFMw")
    assert kinds(found, "APIService")[0]["spec"]["caBundle"] == "TFMw"


def test_the_chart_s_examples_are_read_by_the_daemon(tool, tmp_path):
    for name, settings in (("chat", CHAT), ("two", TWO), ("keda", KEDA), ("hpa", HPA)):
        file = lay_out(templated(tool("helm"), *settings), tmp_path / name)
        found = load_settings(file, {}, offers=offers())
        assert set(load_policies(found.policy_files, found.services, found.channels)) == {"chat"}
        assert (found.keda is not None, found.external_metrics is not None) == (name == "keda", name == "hpa")
        assert main(["check", "--fleet", str(file)]) == 0


def test_your_services_are_the_only_ones(tool, tmp_path):
    values = yaml.safe_load((CHART / "examples" / "chat.yaml").read_text(encoding="utf-8"))
    values["fleet"]["services"]["search"] = values["fleet"]["services"].pop("chat")
    values["policies"] = {"search.yaml": {**values["policies"]["chat.yaml"], "service": "search"}}
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    documents = templated(tool("helm"), "--values", str(tmp_path / "values.yaml"))
    found = load_settings(lay_out(documents, tmp_path / "pod"), {}, offers=offers())
    assert set(found.fleet.services) == {"search"}
    assert [path.name for path in found.policy_files] == ["search.yaml"]


# --- rights -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [(*CHAT, "--set", "mode=act"), KEDA, HPA], ids=["ours", "keda", "hpa"])
def test_an_example_may_act_where_it_scales_and_read_pods_where_it_reads_and_nothing_elsewhere(
    tool, tmp_path, settings
):
    documents = templated(tool("helm"), *settings)
    scaled, read = namespaces_of(yaml.safe_load(lay_out(documents, tmp_path).read_text()))
    for role in kinds(documents, "Role"):
        may = rights_of([role])
        place = role["metadata"]["namespace"]
        assert may == (
            needed(Use.SEE, Use.ACT) - {("", "nodes", "list"), ("", "nodes", "watch")}
            if place in scaled
            else {("", "pods", "list"), ("", "pods", "watch")}
        ), place
    assert {one["metadata"]["namespace"] for one in kinds(documents, "RoleBinding")} == scaled | read


def test_of_all_leases_the_chart_s_daemons_may_touch_the_one_of_the_fleet(tool):
    helm = tool("helm")
    documents = templated(helm, *TWO, "--set", "fleet.leader.lease.name=chat-fleet,fleet.leader.lease.namespace=leases")
    lead = named(documents, "Role", "pennyweight-lead")
    allowed = {verb: rule.get("resourceNames") for rule in lead["rules"] for verb in rule["verbs"]}
    assert allowed == {"create": None, "get": ["chat-fleet"], "update": ["chat-fleet"]}
    assert lead["metadata"]["namespace"] == "leases"
    by_the_database = templated(helm, *CHAT, "--set-json", "fleet.leader={}")
    assert "leases" not in str(kinds(by_the_database, "Role"))


# --- those who ask how many there shall be ----------------------------------------------------------------------------


def ports_of(documents) -> set[str]:
    return {one["name"] for one in daemon_of(documents)["ports"]}


def test_there_is_a_port_for_whoever_the_fleet_lets_ask(tool):
    helm = tool("helm")
    assert ports_of(templated(helm, *CHAT)) == {"http"}
    assert ports_of(templated(helm, *KEDA)) == {"http", "keda"}
    assert ports_of(templated(helm, *HPA)) == {"http", "metrics-api"}


def test_another_port_of_the_fleet_is_the_container_s(tool):
    documents = templated(tool("helm"), *KEDA, "--set", "fleet.serve.keda.port=9999")
    assert {"name": "keda", "containerPort": 9999} in daemon_of(documents)["ports"]
    service = named(documents, "Service", "pennyweight")
    assert {"name": "keda", "port": 9190, "targetPort": "keda"} in service["spec"]["ports"]


def test_the_chart_s_api_service_is_the_one_that_is_shipped(tool):
    helm = tool("helm")
    assert kinds(templated(helm, *HPA), "APIService") == [], "not before the daemon is ready"
    documents = templated(helm, *ASKED)
    (ours,), (theirs,) = kinds(documents, "APIService"), kinds(shipped("apiservice.yaml"), "APIService")
    assert ours["spec"] == theirs["spec"]
    assert ours["metadata"]["annotations"] == theirs["metadata"]["annotations"]
    reader = named(shipped("apiservice.yaml"), "ClusterRole", "pennyweight-external-metrics-reader")
    assert named(documents, "ClusterRole", "pennyweight-external-metrics-reader")["rules"] == reader["rules"]


def test_who_may_reach_the_api_of_external_metrics_can_be_narrowed(tool):
    ranges = 'networkPolicy.externalMetricsFrom=[{"ipBlock":{"cidr":"10.0.0.0/28"}}]'
    documents = templated(tool("helm"), *HPA, "--set-json", ranges)
    (door,) = [one for one in kinds(documents, "NetworkPolicy")[0]["spec"]["ingress"] if "metrics-api" in str(one)]
    assert door["from"] == [{"ipBlock": {"cidr": "10.0.0.0/28"}}]


def test_what_else_the_daemon_needs_comes_into_its_pod(tool, tmp_path):
    values = {
        "extraEnv": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
        "extraVolumes": [{"name": "own", "secret": {"secretName": "own"}}],
        "extraVolumeMounts": [{"name": "own", "mountPath": "/etc/pennyweight/own", "readOnly": True}],
    }
    (tmp_path / "extra.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    documents = templated(tool("helm"), *CHAT, "--values", str(tmp_path / "extra.yaml"))
    check_valid(documents)
    check_found(documents)
    container = daemon_of(documents)
    assert values["extraEnv"][0] in container["env"]
    assert values["extraVolumeMounts"][0] in container["volumeMounts"]
    assert values["extraVolumes"][0] in pod_of(documents)["volumes"]

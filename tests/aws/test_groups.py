"""Groups as AWS answers them: pages, mixed instances, what is missing, and clients that call only what is allowed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.stub import ANY, Stubber

from controller.aws.clients import Aws, asked
from controller.aws.groups import GroupBook, Mix, Wanted, read_groups
from controller.errors import AwsError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEYS = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}


def group(name: str = "chat", *instances: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "AutoScalingGroupName": name,
        "MinSize": 0,
        "MaxSize": 9,
        "DesiredCapacity": len(instances),
        "DefaultCooldown": 300,
        "AvailabilityZones": ["us-east-1a"],
        "HealthCheckType": "EC2",
        "CreatedTime": NOW,
        "Instances": list(instances),
        **more,
    }


def instance(name: str, state: str = "InService", **more: Any) -> dict[str, Any]:
    return {
        "InstanceId": name,
        "AvailabilityZone": "us-east-1a",
        "LifecycleState": state,
        "HealthStatus": "Healthy",
        "ProtectedFromScaleIn": False,
        "InstanceType": "p5.48xlarge",
        **more,
    }


def detail(name: str, **more: Any) -> dict[str, Any]:
    return {"InstanceId": name, "PrivateIpAddress": "10.0.0.1", "LaunchTime": NOW, **more}


class Answers:
    """Both clients, with the answers that a test gives them."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.groups = Stubber(self.aws.client("autoscaling", "us-east-1"))
        self.machines = Stubber(self.aws.client("ec2", "us-east-1"))
        self.groups.activate()
        self.machines.activate()

    def said(self, *rows: dict[str, Any], token: str = "", **question: Any) -> None:
        answer = {"AutoScalingGroups": list(rows)} | ({"NextToken": token} if token else {})
        self.groups.add_response("describe_auto_scaling_groups", answer, {"MaxRecords": 100, **question})

    def knew(self, *rows: dict[str, Any], token: str = "", **question: Any) -> None:
        answer = {"Reservations": [{"Instances": list(rows)}]} | ({"NextToken": token} if token else {})
        self.machines.add_response("describe_instances", answer, {"Filters": ANY, "MaxResults": 1000, **question})

    def read(self, *wanted: Wanted) -> Any:
        found = read_groups(self.aws, "us-east-1", wanted)
        self.groups.assert_no_pending_responses()
        self.machines.assert_no_pending_responses()
        return found


@pytest.fixture(scope="module")
def aws() -> Aws:
    """Its clients take a while to make."""
    return Aws(**KEYS)


@pytest.fixture
def answers(aws: Aws) -> Iterator[Answers]:
    made = Answers(aws)
    yield made
    made.groups.deactivate()
    made.machines.deactivate()


class Between(ThreadingHTTPServer):
    """Somebody in between, who has one answer to everything."""

    page = b""


class _Answer(BaseHTTPRequestHandler):
    server: Between

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.page)))
        self.end_headers()
        self.wfile.write(self.server.page)

    def log_message(self, *arguments: object) -> None:
        del arguments


@pytest.fixture(scope="module")
def between() -> Iterator[tuple[Between, Aws]]:
    server = Between(("127.0.0.1", 0), _Answer)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server, Aws(**KEYS, endpoint_url=f"http://127.0.0.1:{server.server_port}")
    server.shutdown()
    server.server_close()


CHAT = Wanted(name="chat", region="us-east-1")


def test_every_page_of_groups_and_of_instances_is_read(answers):
    other = Wanted(name="search", region="us-east-1")
    names = {"AutoScalingGroupNames": ["chat", "search"]}
    answers.said(group("chat", instance("i-1")), token="g", **names)
    answers.said(group("search", instance("i-2")), **names, NextToken="g")
    answers.knew(detail("i-1"), token="m")
    answers.knew(detail("i-2", InstanceLifecycle="spot"), NextToken="m")
    chat, search = answers.read(CHAT, other)
    assert [one.market for one in (*chat.instances, *search.instances)] == ["on-demand", "spot"]


def test_groups_by_tag_are_asked_for_by_tag(answers):
    tags = [
        {
            "Key": "team",
            "Value": "red",
            "ResourceId": "chat",
            "ResourceType": "auto-scaling-group",
            "PropagateAtLaunch": True,
        }
    ]
    answers.said(group("chat", Tags=tags), Filters=[{"Name": "tag:team", "Values": ["red"]}])
    (found,) = answers.read(Wanted(tags=(("team", "red"),), region="us-east-1"))
    assert found.tags == {"team": "red"}


def test_a_group_without_instances_asks_for_no_machines(answers):
    answers.said(group("chat"), AutoScalingGroupNames=["chat"])
    (found,) = answers.read(CHAT)
    assert found.instances == ()


def test_a_mixed_policy_says_what_new_launches_will_be(answers):
    policy = {
        "LaunchTemplate": {
            "LaunchTemplateSpecification": {"LaunchTemplateName": "vllm", "Version": "7"},
            "Overrides": [{"InstanceType": "p5.48xlarge"}, {"InstanceType": "p4d.24xlarge", "WeightedCapacity": "1"}],
        },
        "InstancesDistribution": {
            "OnDemandBaseCapacity": 2,
            "OnDemandPercentageAboveBaseCapacity": 25,
            "SpotAllocationStrategy": "price-capacity-optimized",
        },
    }
    answers.said(group("chat", MixedInstancesPolicy=policy, CapacityRebalance=True), AutoScalingGroupNames=["chat"])
    (found,) = answers.read(CHAT)
    assert found.mix == Mix(
        kinds=("p5.48xlarge", "p4d.24xlarge"), base=2, above_percent=25, spot_strategy="price-capacity-optimized"
    )
    assert str(found.mix).startswith("2 on demand, then 25 % on demand, spot by price-capacity-optimized")
    assert (found.weights, found.rebalances) == ("", True)


def test_a_policy_that_says_nothing_means_on_demand_only(answers):
    answers.said(group("chat", MixedInstancesPolicy={"LaunchTemplate": {}}), AutoScalingGroupNames=["chat"])
    (found,) = answers.read(CHAT)
    assert (found.mix.base, found.mix.above_percent) == (0, 100)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (
            {"DesiredCapacityType": "vcpu"},
            "its capacity is counted in vcpu; set its DesiredCapacityType to units",
        ),
        (
            {
                "MixedInstancesPolicy": {
                    "LaunchTemplate": {"Overrides": [{"InstanceType": "p5.48xlarge", "WeightedCapacity": "8"}]}
                }
            },
            (
                "its instances have weights (p5.48xlarge counts 8); take them out of the overrides of its "
                "MixedInstancesPolicy, or make a group, and a variant, for each size"
            ),
        ),
        ({"DesiredCapacityType": "units"}, ""),
    ],
)
def test_units_that_are_no_instances_are_told_with_what_to_do_about_them(answers, more, why):
    answers.said(group("chat", **more), AutoScalingGroupNames=["chat"])
    assert answers.read(CHAT)[0].weights == why


@pytest.mark.parametrize(
    ("state", "counts"),
    [
        *(("InService", True), ("Pending", True), ("Pending:Wait", True), ("Pending:Proceed", True)),
        *(("Terminating", False), ("Terminating:Wait", False), ("Standby", False), ("EnteringStandby", False)),
        *(("Detaching", False), ("Terminated", False), ("Warmed:Stopped", False), ("Quarantined", False)),
    ],
)
def test_only_what_is_in_service_or_on_its_way_in_counts(answers, state, counts):
    answers.said(group("chat", instance("i-1", state)), AutoScalingGroupNames=["chat"])
    answers.knew(detail("i-1"))
    assert bool(answers.read(CHAT)[0].seats) is counts


def test_an_unhealthy_instance_counts_only_where_its_replacement_is_suspended(answers):
    sick = instance("i-1", HealthStatus="Unhealthy")
    for suspended, counts in (([], False), ([{"ProcessName": "ReplaceUnhealthy", "SuspensionReason": "me"}], True)):
        answers.said(group("chat", sick, SuspendedProcesses=suspended), AutoScalingGroupNames=["chat"])
        answers.knew(detail("i-1"))
        assert bool(answers.read(CHAT)[0].seats) is counts


def test_an_instance_that_ec2_does_not_know_yet_has_no_market_and_no_address(answers):
    answers.said(group("chat", instance("i-1", "Pending")), AutoScalingGroupNames=["chat"])
    answers.knew()
    (one,) = answers.read(CHAT)[0].instances
    assert (one.market, one.private_ip, one.launched_at) == ("", "", None)


def test_an_answer_that_lacks_what_aws_promises_is_an_error_and_no_empty_group(answers):
    broken = {key: value for key, value in group("chat").items() if key != "DesiredCapacity"}
    answers.groups.deactivate()  # it lets nothing broken through
    events, said = answers.aws.client("autoscaling", "us-east-1").meta.events, {"AutoScalingGroups": [broken]}
    events.register("before-call", lambda **_: (AWSResponse("http://x", 200, {}, None), said), unique_id="said")
    try:
        with pytest.raises(AwsError, match=r"cannot be understood .*DesiredCapacity"):
            answers.read(CHAT)
    finally:
        events.unregister("before-call", unique_id="said")


def test_a_book_asks_once_a_pass_also_when_the_answer_is_an_error(answers):
    answers.groups.add_client_error("describe_auto_scaling_groups", "Throttling", "Rate exceeded")
    before = answers.aws.calls["autoscaling:DescribeAutoScalingGroups"]
    book = GroupBook(answers.aws)
    for _ in range(3):
        with pytest.raises(AwsError, match="Rate exceeded") as error:
            book.group(CHAT, NOW)
        assert error.value.code == "Throttling"
    answers.said(group("chat"), AutoScalingGroupNames=["chat"])
    assert book.group(CHAT, NOW + timedelta(seconds=15)).name == "chat"
    assert answers.aws.calls["autoscaling:DescribeAutoScalingGroups"] - before == 2


def test_another_region_that_is_away_hides_none_of_this_one(answers):
    away = Wanted(name="far", region="eu-west-1")
    with Stubber(answers.aws.client("autoscaling", "eu-west-1")) as far:
        far.add_client_error("describe_auto_scaling_groups", "ServiceUnavailable", "away")
        far.add_client_error("describe_auto_scaling_groups", "ServiceUnavailable", "away")
        book = GroupBook(answers.aws)
        answers.said(group("chat"), AutoScalingGroupNames=["chat"])
        answers.said(group("chat"), AutoScalingGroupNames=["chat"])
        book.group(CHAT, NOW)
        with pytest.raises(AwsError, match="away"):
            book.group(away, NOW)
        later = NOW + timedelta(seconds=15)
        with pytest.raises(AwsError, match="away"):
            book.group(away, later)
        assert book.group(CHAT, later).name == "chat"


def test_what_is_not_in_the_table_of_operations_is_not_called(aws):
    with pytest.raises(AwsError, match="autoscaling:DeleteAutoScalingGroup is called nowhere else"):
        asked(aws.client("autoscaling", "us-east-1").delete_auto_scaling_group, AutoScalingGroupName="chat")
    assert aws.calls["autoscaling:DeleteAutoScalingGroup"] == 1


def test_without_a_region_it_is_told_before_anything_is_asked(monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    with pytest.raises(AwsError, match="region"):
        Aws(**KEYS).client("autoscaling")


@pytest.mark.parametrize(
    "page", [b"", b"<html>busy</html>", b"{}", b"<DescribeAutoScalingGroupsResponse/>", b"\xff\xfe"]
)
def test_whatever_somebody_in_between_answers_is_an_error_of_ours(page, between, monkeypatch):
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda seconds: None))
    server, aws = between
    server.page = page
    with pytest.raises(AwsError, match="AWS answered"):
        read_groups(aws, "us-east-1", [CHAT])

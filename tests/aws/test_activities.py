"""Why launches fail, who changed a count, and who else scales a group: AWS's own words, as its guides write them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.stub import Stubber

from controller.aws.activities import Activity, activities, changed_by, kind_of, others, refreshes, stuck
from controller.aws.clients import Aws
from controller.aws.groups import Group
from controller.errors import AwsError
from controller.facts.interruptions import StuckKind

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEYS = {"aws_access_key_id": "nobody", "aws_secret_access_key": "nothing"}
GROUP = Group(name="chat", region="us-east-1", minimum=0, maximum=9, desired=2, instances=())


def activity(
    words: str = "", *, status: str = "Failed", ago_s: float = 0, cause: str = "", what: str = "Launching"
) -> Activity:
    at = NOW - timedelta(seconds=ago_s)
    return Activity(started_at=at, status=status, description=f"{what} a new EC2 instance", cause=cause, words=words)


@pytest.fixture(scope="module")
def aws() -> Aws:
    """Its clients take a while to make."""
    return Aws(**KEYS)


@contextmanager
def answering(aws: Aws, *answers: tuple[str, dict[str, Any], Any]) -> Iterator[None]:
    """A real client whose answers are given, in order."""
    with Stubber(aws.client("autoscaling", "us-east-1")) as stub:
        for call, question, answer in answers:
            stub.add_response(call, answer, {"AutoScalingGroupName": "chat", **question})
        yield
        stub.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (
            "We currently do not have sufficient p5.48xlarge capacity in the Availability Zone you requested (us-east-1a). Our system will be working on provisioning additional capacity. Launching EC2 instance failed.",
            StuckKind.CAPACITY,
        ),
        (
            "Could not launch Spot Instances. UnfulfillableCapacity - Unable to fulfill capacity due to your request configuration. Launching EC2 instance failed.",
            StuckKind.CAPACITY,
        ),
        (
            "Could not launch Spot Instances. InsufficientInstanceCapacity - There is no Spot capacity available that matches your request. Launching EC2 instance failed.",
            StuckKind.CAPACITY,
        ),
        (
            "Could not launch Spot Instances. SpotMaxPriceTooLow - Your Spot request price of 0.1 is lower than the minimum required Spot request fulfillment price of 0.5. Launching EC2 instance failed.",
            StuckKind.CAPACITY,
        ),
        ("Client.InternalError: Client error on launch", StuckKind.REFUSED),
        ("Server.InternalError: Internal error on launch", StuckKind.CAPACITY),
        (
            "Could not launch On-Demand Instances. VcpuLimitExceeded - You have requested more vCPU capacity than your current vCPU limit of 0 allows for the instance bucket that the specified instance type belongs to. Launching EC2 instance failed.",
            StuckKind.QUOTA,
        ),
        (
            "You have requested more vCPU capacity than your current vCPU limit of 32 allows for the instance bucket that the specified instance type belongs to.",
            StuckKind.QUOTA,
        ),
        (
            "Could not launch Spot Instances. MaxSpotInstanceCountExceeded - Max spot instance count exceeded. Launching EC2 instance failed.",
            StuckKind.QUOTA,
        ),
        ("Your quota allows for 0 more running instance(s). You requested at least 1. Launching EC2 instance failed.", StuckKind.QUOTA),
        ("InstanceLimitExceeded - You have requested more instances than your current instance limit of 2 allows.", StuckKind.QUOTA),
        ("The image id '[ami-0]' does not exist. Launching EC2 instance failed.", StuckKind.REFUSED),
        ("You must use a valid fully-formed launch template. The parameter groupId cannot be used with the parameter subnet. Launching EC2 instance failed.", StuckKind.REFUSED),
        ("The requested configuration is currently not supported. Please check the documentation for supported configurations. Launching EC2 instance failed.", StuckKind.REFUSED),
        ("The security group 'sg-0' does not exist in VPC 'vpc-0'. Launching EC2 instance failed.", StuckKind.REFUSED),
    ],
)  # fmt: skip
def test_a_failed_launch_is_understood_by_its_words(words, kind):
    assert kind_of(activity(words)) is kind


def test_a_stock_out_lasts_since_its_first_failure_in_a_row_and_has_the_newest_words():
    found = [activity("no sufficient capacity b", ago_s=10), activity("no sufficient capacity a", ago_s=300)]
    told = stuck(found, NOW - timedelta(hours=1))
    assert told is not None
    assert (told.since, told.detail) == (NOW - timedelta(seconds=300), "no sufficient capacity b")


@pytest.mark.parametrize(
    "found",
    [
        [],
        [activity(status="Successful", ago_s=5), activity("no sufficient capacity", ago_s=60)],
        [activity("no sufficient capacity", ago_s=7200)],  # of an earlier try
        [activity("could not be ended", what="Terminating", ago_s=5)],
        [activity(status="InProgress", ago_s=5)],
    ],
)
def test_what_does_not_fail_now_is_not_stuck(found):
    assert stuck(found, NOW - timedelta(hours=1)) is None


def test_a_launch_under_way_does_not_hide_that_the_one_before_failed():
    found = [activity(status="PreInService", ago_s=5), activity("no sufficient capacity", ago_s=60)]
    assert stuck(found, NOW - timedelta(hours=1)) is not None


@pytest.mark.parametrize(
    ("cause", "who"),
    [
        (
            "At 2026-11-21T11:59:00Z a user request explicitly set group desired capacity changing the desired capacity from 2 to 5. At 2026-11-21T11:59:10Z an instance was started in response to a difference between desired and actual capacity, increasing the capacity from 2 to 5.",
            "user request explicitly set group desired capacity changing the desired capacity from 2 to 5",
        ),
        (
            "At 2026-11-21T11:59:00Z a user request update of AutoScalingGroup constraints to min: 1, max: 9, desired: 5 changing the desired capacity from 2 to 5.",
            "user request update of AutoScalingGroup constraints to min: 1, max: 9, desired: 5 changing the desired capacity from 2 to 5",
        ),
        (
            "At 2026-11-21T11:59:00Z a monitor alarm TargetTracking-chat-AlarmHigh in state ALARM triggered policy cpu changing the desired capacity from 2 to 3.",
            "monitor alarm TargetTracking-chat-AlarmHigh in state ALARM triggered policy cpu changing the desired capacity from 2 to 3",
        ),
    ],
)
def test_whoever_changed_the_count_is_named_in_the_groups_words(cause, who):
    found = [activity(cause="At 2026-11-21T12:00:00Z an instance was taken out of service."), activity(cause=cause)]
    assert changed_by(found) == f"at 12:00:00 UTC: {who}"
    assert changed_by(found[:1]) == ""


def test_activities_come_newest_first(aws):
    rows = [
        {"ActivityId": "a", "AutoScalingGroupName": "chat", "Cause": "c", "StartTime": NOW - timedelta(hours=hours), "StatusCode": "Failed"}
        for hours in (2, 1)
    ]  # fmt: skip
    question = ("describe_scaling_activities", {"MaxRecords": 40})
    with answering(aws, (*question, {"Activities": rows})):
        assert [one.started_at for one in activities(aws, GROUP)] == [NOW - timedelta(hours=hours) for hours in (1, 2)]


def test_an_activity_without_its_time_is_no_answer(aws):
    answer = {"Activities": [{"ActivityId": "a", "StatusCode": "Failed"}]}  # a Stubber would not let it through
    client = aws.client("autoscaling", "us-east-1")
    said = (AWSResponse("http://nowhere", 200, {}, None), answer)
    client.meta.events.register("before-call", lambda **_: said, unique_id="said")
    try:
        with pytest.raises(AwsError, match="StartTime"):
            activities(aws, GROUP)
    finally:
        client.meta.events.unregister("before-call", unique_id="said")


@pytest.mark.parametrize(
    ("policy", "scales"),
    [
        ({"PolicyType": "StepScaling"}, True),
        ({"PolicyType": "StepScaling", "Enabled": False}, False),
        ({"PolicyType": "PredictiveScaling", "PredictiveScalingConfiguration": {"MetricSpecifications": [], "Mode": "ForecastOnly"}}, False),
        ({"PolicyType": "PredictiveScaling", "PredictiveScalingConfiguration": {"MetricSpecifications": [], "Mode": "ForecastAndScale"}}, True),
    ],
)  # fmt: skip
def test_a_policy_that_is_off_or_only_forecasts_scales_nothing(aws, policy, scales):
    answers = [
        ("describe_policies", {}, {"ScalingPolicies": [{"PolicyName": "p", **policy}]}),
        ("describe_scheduled_actions", {}, {"ScheduledUpdateGroupActions": []}),
    ]  # fmt: skip
    with answering(aws, *answers):
        assert bool(others(aws, GROUP)) is scales


def test_every_page_of_policies_is_read(aws):
    answers = [
        ("describe_policies", {}, {"ScalingPolicies": [], "NextToken": "more"}),
        ("describe_policies", {"NextToken": "more"}, {"ScalingPolicies": [{"PolicyName": "hidden", "PolicyType": "StepScaling"}]}),
        ("describe_scheduled_actions", {}, {"ScheduledUpdateGroupActions": []}),
    ]  # fmt: skip
    with answering(aws, *answers):
        assert others(aws, GROUP) == ("the StepScaling policy hidden",)


@pytest.mark.parametrize(("status", "told"), [("Successful", ()), ("Baking", ("the instance refresh r (Baking)",))])
def test_a_refresh_that_has_ended_replaces_nobody(aws, status, told):
    answer = {"InstanceRefreshes": [{"InstanceRefreshId": "r", "Status": status}]}
    with answering(aws, ("describe_instance_refreshes", {"MaxRecords": 10}, answer)):
        assert refreshes(aws, GROUP) == told

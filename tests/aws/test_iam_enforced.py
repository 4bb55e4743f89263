"""The policy of deploy/aws, enforced: every call of the code with a user who has just that, and what he may not do."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.act.aws_asg.roll import DRAINING, LEFT, MANAGED, READY, WAITING
from controller.aws import changes
from controller.aws.activities import activities, others, refreshes
from controller.aws.clients import ONCE, Aws, asked
from controller.aws.groups import Group, Wanted, hooks, read_groups
from controller.aws.interruptions import QueueListener
from controller.aws.operations import OPERATIONS
from controller.errors import AwsError
from tests.auto_scaling import REGION, World, auto_scaling
from tests.aws.iam_guard import Guard, guarded
from tests.aws.iam_policies import Ask, Policy, allowed, listed

SHIPPED: Policy = json.loads((Path(__file__).parents[2] / "deploy" / "aws" / "policy.json").read_text(encoding="utf-8"))
QUEUE = "pennyweight-interruptions-tests"
UNSERVED = {"pricing:GetProducts"}
"""What moto has no server for: judged without one."""


class Account:
    """A group of two that is ours, one of them in a launch hook; a queue with a message; and the daemon's clients."""

    def __init__(self, world: World, guard: Guard, aws: Aws) -> None:
        self.world, self.guard, self.aws = world, guard, aws
        self.name = world.group(2)
        self.first, self.second = world.ids(self.name)
        world.hook(self.name, "LAUNCHING", "warm-up")
        world.tag(self.name, pennyweight__managed_by="chat/h100")
        world.set_state(self.name, self.second, "Pending:Wait")
        self.group = self.read(world.aws)

    def read(self, aws: Aws) -> Group:
        (found,) = read_groups(aws, REGION, [Wanted(name=self.name, region=REGION)])
        return found

    def listen(self, name: str = QUEUE, *, leads: bool = True) -> None:
        sqs = self.world.raw("sqs")
        sqs.send_message(QueueUrl=sqs.create_queue(QueueName=name)["QueueUrl"], MessageBody="no JSON")
        now = datetime(2026, 11, 22, tzinfo=UTC)
        client = self.aws.client("sqs", REGION, ONCE)
        QueueListener(lambda: client, name, lambda one, at: None, lambda: now, leads=lambda: leads, wait_s=0).listen()

    def ec2(self, method: str, **question: Any) -> None:
        """DryRun: whether it may be asked, and no more."""
        with suppress(AwsError):
            asked(getattr(self.aws.client("ec2", REGION, ONCE), method), DryRun=True, **question)

    def bill(self) -> None:
        period = {"Start": "2026-10-01", "End": "2026-11-01"}
        call = self.aws.client("ce", "us-east-1", ONCE).get_cost_and_usage
        asked(call, TimePeriod=period, Granularity="DAILY", Metrics=["UnblendedCost"])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with auto_scaling() as made:
        yield made


@pytest.fixture(scope="module")
def guard(world: World) -> Iterator[Guard]:
    with guarded(world) as made:
        yield made


@pytest.fixture(scope="module")
def aws(world: World, guard: Guard) -> Aws:
    """Its clients take a while to make."""
    return Aws(**(world.options | guard.keys))


@pytest.fixture
def account(world: World, guard: Guard, aws: Aws) -> Iterator[Account]:
    made = Account(world, guard, aws)
    guard.may(SHIPPED)
    yield made
    world.clear()


Does = Callable[[Account], object]

OWN: Mapping[str, Does] = {
    "autoscaling:CompleteLifecycleAction": lambda to: changes.complete(
        to.aws, to.group, "warm-up", to.group.instance(to.second), go_on=True
    ),
    "autoscaling:CreateOrUpdateTags": lambda to: changes.tag_group(to.aws, to.group, {WAITING: "none"}),
    "autoscaling:RecordLifecycleActionHeartbeat": lambda to: changes.heartbeat(
        to.aws, to.group, "warm-up", to.group.instance(to.second)
    ),
    "autoscaling:SetDesiredCapacity": lambda to: changes.set_desired(to.aws, to.group, 3),
    "autoscaling:SetInstanceProtection": lambda to: changes.protect(to.aws, to.group, [to.first], protected=True),
    "autoscaling:TerminateInstanceInAutoScalingGroup": lambda to: changes.terminate(
        to.aws, to.group, to.first, decrement=True
    ),
}
"""What changes a group."""

CALLS: Mapping[str, Does] = {
    **OWN,
    "autoscaling:DescribeAutoScalingGroups": lambda to: to.read(to.aws),
    "autoscaling:DescribeInstanceRefreshes": lambda to: refreshes(to.aws, to.group),
    "autoscaling:DescribeLifecycleHooks": lambda to: hooks(to.aws, to.group),
    "autoscaling:DescribePolicies": lambda to: others(to.aws, to.group),
    "autoscaling:DescribeScalingActivities": lambda to: activities(to.aws, to.group),
    "autoscaling:DescribeScheduledActions": lambda to: others(to.aws, to.group),
    "ce:GetCostAndUsage": lambda to: to.bill(),
    "ec2:CreateTags": lambda to: changes.tag_instances(
        to.aws, to.group, [to.first, to.second], {READY: "1", LEFT: "2"}
    ),
    "ec2:DescribeInstances": lambda to: to.read(to.aws),
    "ec2:DescribeInstanceTypes": lambda to: to.ec2("describe_instance_types", InstanceTypes=["g5.xlarge"]),
    "ec2:DescribeSpotPriceHistory": lambda to: to.ec2("describe_spot_price_history", InstanceTypes=["g5.xlarge"]),
    "ec2:GetSpotPlacementScores": lambda to: to.ec2("get_spot_placement_scores", TargetCapacity=1),
    "sqs:ChangeMessageVisibility": lambda to: to.listen(leads=False),
    "sqs:DeleteMessage": lambda to: to.listen(),
    "sqs:GetQueueUrl": lambda to: to.listen(),
    "sqs:ReceiveMessage": lambda to: to.listen(),
}


def without(action: str) -> Policy:
    """The shipped policy, but for one action."""
    kept = copy.deepcopy(dict(SHIPPED))
    for one in kept["Statement"]:
        one["Action"] = [name for name in listed(one["Action"]) if name != action]
    kept["Statement"] = [one for one in kept["Statement"] if one["Action"]]
    return kept


def test_every_operation_of_the_code_is_tried():
    assert CALLS.keys() == OPERATIONS.keys() - UNSERVED
    assert all(allowed([SHIPPED], Ask(action=action)) for action in UNSERVED)
    assert not any(allowed([without(action)], Ask(action=action)) for action in UNSERVED)


@pytest.mark.parametrize("action", CALLS)
def test_with_the_shipped_policy_it_is_allowed_and_without_its_action_refused(account, action):
    account.guard.may(without(action))
    with suppress(AwsError):
        CALLS[action](account)
    assert {one.action for one in account.guard.denied} == {action}

    account.guard.may(SHIPPED)
    CALLS[action](account)
    assert account.guard.denied == []
    assert action in {one.action for one in account.guard.asked}


def test_a_refusal_is_told_with_the_action_in_awss_words(account):
    account.guard.may(without("autoscaling:SetDesiredCapacity"))
    with pytest.raises(AwsError, match="not authorized to perform: autoscaling:SetDesiredCapacity") as error:
        changes.set_desired(account.aws, account.group, 3)
    assert error.value.code == "AccessDenied"
    assert account.world.desired(account.name) == 2


# --- what it may not do ------------------------------------------------------------------------------------------------


def _of_nobody(account: Account, does: Does) -> None:
    """On a group without our tag."""
    untag = [{"ResourceId": account.name, "ResourceType": "auto-scaling-group", "Key": MANAGED}]
    account.world.client().delete_tags(Tags=untag)
    does(account)


def _stray(account: Account) -> None:
    """Mark an instance of no group."""
    run = account.world.ec2().run_instances(ImageId=account.world._image(), MinCount=1, MaxCount=1)
    changes.tag_instances(account.aws, account.group, [run["Instances"][0]["InstanceId"]], {DRAINING: "1"})


def _volume(account: Account) -> None:
    volume = account.world.ec2().create_volume(AvailabilityZone="eu-central-1a", Size=1)["VolumeId"]
    changes.tag_instances(account.aws, account.group, [volume], {DRAINING: "1"})


FORBIDDEN: Mapping[str, Does] = {
    **{f"{action} of nobody's group": lambda to, does=does: _of_nobody(to, does) for action, does in OWN.items()},
    "claiming a group": lambda to: changes.tag_group(to.aws, to.group, {MANAGED: "mine"}),
    "claiming it beside the wait": lambda to: changes.tag_group(to.aws, to.group, {WAITING: "none", MANAGED: "mine"}),
    "another tag of an instance": lambda to: changes.tag_instances(to.aws, to.group, [to.first], {"Name": "x"}),
    "an instance of no group": _stray,
    "a volume": _volume,
    "another queue": lambda to: to.listen("orders"),
}


@pytest.mark.parametrize("what", FORBIDDEN)
def test_what_is_not_ours_is_refused(account, what):
    with pytest.raises(AwsError, match=r"not authorized|UnauthorizedOperation|AccessDenied"):
        FORBIDDEN[what](account)
    assert account.guard.denied


# --- nothing in it is without use ---------------------------------------------------------------------------------------

ARN = "arn:aws:autoscaling:eu-central-1:123456789012:autoScalingGroup:7b1c:autoScalingGroupName/chat"
OURS = {f"aws:resourcetag/{MANAGED}": ["chat/h100"]}
MACHINE = "arn:aws:ec2:eu-central-1:123456789012:instance/i-0123456789abcdef0"
GROUPED = {"aws:resourcetag/aws:autoscaling:groupname": ["chat"]}


def _refused() -> Iterator[Ask]:
    """One ask for each line of the conditions, that is refused for that line alone."""
    for action in (*OWN, "autoscaling:CreateOrUpdateTags"):
        keys = {"aws:tagkeys": [WAITING]} if action.endswith("Tags") else {}
        yield Ask(action=action, resource=ARN, context=keys)
        yield Ask(action=action, resource=ARN, context=keys | {f"aws:resourcetag/{MANAGED}": [""]})
    yield Ask(action="autoscaling:CreateOrUpdateTags", resource=ARN, context=OURS)
    yield Ask(action="autoscaling:CreateOrUpdateTags", resource=ARN, context=OURS | {"aws:tagkeys": [MANAGED]})
    yield Ask(action="ec2:CreateTags", resource=MACHINE, context={"aws:tagkeys": [READY]})
    yield Ask(action="ec2:CreateTags", resource=MACHINE, context=GROUPED)
    yield Ask(action="ec2:CreateTags", resource=MACHINE, context=GROUPED | {"aws:tagkeys": [READY, "Name"]})
    yield Ask(
        action="ec2:CreateTags",
        resource=MACHINE.replace("instance/i", "volume/vol"),
        context=GROUPED | {"aws:tagkeys": [READY]},
    )
    yield Ask(action="sqs:ReceiveMessage", resource="arn:aws:sqs:eu-central-1:123456789012:orders")


def _wider() -> Iterator[tuple[str, Policy]]:
    """The shipped policy with one line of one condition, or one resource, taken away."""
    for number, statement in enumerate(SHIPPED["Statement"]):
        if statement["Resource"] != "*" and "OurTag" not in statement["Sid"]:  # those know groups alone
            made = copy.deepcopy(dict(SHIPPED))
            made["Statement"][number]["Resource"] = "*"
            yield f"{statement['Sid']} of any resource", made
        for operator in statement.get("Condition", {}):
            made = copy.deepcopy(dict(SHIPPED))
            del made["Statement"][number]["Condition"][operator]
            yield f"{statement['Sid']} without {operator}", made


def test_each_of_these_is_refused_by_the_shipped_policy():
    assert not [ask for ask in _refused() if allowed([SHIPPED], ask)]


@pytest.mark.parametrize(("what", "policy"), [pytest.param(*one, id=one[0]) for one in _wider()])
def test_every_condition_and_resource_of_the_policy_keeps_something_out(what, policy):
    assert [ask for ask in _refused() if allowed([policy], ask)], what

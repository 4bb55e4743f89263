"""The judge of policies itself: examples of AWS's own pages, and what it does not dare to judge."""

from __future__ import annotations

import pytest

from tests.aws.iam_policies import Ask, allowed

GROUP = "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:7b1c:autoScalingGroupName/chat"


def policy(effect="Allow", action="autoscaling:*", resource="*", **condition):
    return {"Statement": {"Effect": effect, "Action": action, "Resource": resource, "Condition": condition}}


def ask(action="autoscaling:SetDesiredCapacity", resource=GROUP, **context):
    return Ask(action=action, resource=resource, context=context)


@pytest.mark.parametrize(
    ("one", "asked", "may"),
    [
        (policy(), ask(), True),
        (policy(action=["ec2:*", "autoscaling:setdesiredcapacity"]), ask(), True),
        (policy(action="autoscaling:Set"), ask(), False),
        (policy(resource="arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/*"), ask(), True),
        (policy(resource="arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/cha?"), ask(), True),
        (policy(resource="arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/cha"), ask(), False),
        (policy(resource="arn:aws:autoscaling:*"), ask(), False),
        (policy(resource="arn:aws:autoscaling:*:*:autoScalingGroup:*"), ask(resource="*"), False),
        (policy(StringEquals={"aws:TagKeys": "a"}), ask(), False),
        (policy(StringEquals={"AWS:tagKeys": ["b", "a"]}), ask(**{"aws:tagkeys": ["a"]}), True),
        (policy(StringLike={"aws:TagKeys": "?*"}), ask(**{"aws:tagkeys": [""]}), False),
        (policy(StringLike={"aws:TagKeys": "?*"}), ask(**{"aws:tagkeys": ["x"]}), True),
        (policy(**{"ForAllValues:StringEquals": {"aws:TagKeys": ["a", "b"]}}), ask(**{"aws:tagkeys": ["a"]}), True),
        (policy(**{"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}), ask(**{"aws:tagkeys": ["a", "c"]}), False),
        (policy(**{"ForAllValues:StringEquals": {"aws:TagKeys": ["a"]}}), ask(), True),
        (policy(Null={"aws:TagKeys": "false"}), ask(), False),
        (policy(Null={"aws:TagKeys": "true"}), ask(), True),
        (policy(Null={"aws:TagKeys": "false"}), ask(**{"aws:tagkeys": ["a"]}), True),
        (policy(StringEquals={"a:b": "1"}, StringLike={"a:c": "2"}), ask(**{"a:b": ["1"]}), False),
    ],
)
def test_a_statement_allows_what_all_of_it_is_true_of(one, asked, may):
    assert allowed([one], asked) is may


def test_without_an_allow_nobody_may_and_a_deny_wins():
    assert not allowed([], ask())
    assert not allowed([policy(), policy("Deny", "autoscaling:Set*")], ask())
    assert allowed([policy(), policy("Deny", "autoscaling:Delete*")], ask())


@pytest.mark.parametrize("more", [{"NotAction": "ec2:*"}, {"Principal": "*"}])
def test_what_it_does_not_know_it_does_not_judge(more):
    with pytest.raises(ValueError, match="nobody here can judge"):
        allowed([{"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*", **more}}], ask())
    with pytest.raises(KeyError, match="IpAddress"):
        allowed([policy(IpAddress={"aws:SourceIp": "10.0.0.0/8"})], ask())

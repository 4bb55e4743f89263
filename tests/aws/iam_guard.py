"""IAM in front of moto's server: a user with a policy, who is refused what it does not allow.

moto tells who signed a request and which policies he has (signatures are checked); it judges by the action alone. So the
judging is done here: with the resource that the request is about, its tags as they are in that moment, and the
tags that it brings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from moto.core.authorization import enable_iam_authentication
from moto.iam.access_control import IAMPolicy, IAMRequestBase
from moto.iam.models import IAMBackend, iam_backends

from tests.auto_scaling import ACCOUNT, World
from tests.aws.iam_policies import Ask, Policy, allowed

EVERYTHING: Policy = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}


class Guard:
    """One user beside the owner of the account, whom the tests' own clients are.

    asked    what the user asked for
    denied   what he was refused
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.asked: list[Ask] = []
        self.denied: list[Ask] = []
        backend = self._iam
        for name in ("owner", "daemon"):
            backend.create_user("us-east-1", name)
        backend.put_user_policy("owner", "policy", json.dumps(EVERYTHING))
        owner, mine = (backend.create_access_key(name) for name in ("owner", "daemon"))
        owner.access_key_id = world.options["aws_access_key_id"]
        owner.secret_access_key = world.options["aws_secret_access_key"]
        self.keys = {"aws_access_key_id": mine.access_key_id, "aws_secret_access_key": mine.secret_access_key}

    @property
    def _iam(self) -> IAMBackend:
        return iam_backends[ACCOUNT]["aws"]

    def may(self, policy: Policy) -> None:
        """From now on; what was asked before is forgotten."""
        self._iam.put_user_policy("daemon", "policy", json.dumps(policy))
        self.asked.clear()
        self.denied.clear()

    def judge(self, request: Any) -> bool:
        """Whether the request may go on."""
        policies = [IAMPolicy(one)._policy_json for one in request._access_key.collect_policies()]
        asks = list(self._asks(request._action, _parameters(request), request._region))
        refused = [one for one in asks if not allowed(policies, one)]
        if request._access_key.arn.endswith("user/daemon"):
            self.asked += asks
            self.denied += refused
        return not refused

    def _asks(self, action: str, told: Mapping[str, Any], region: str) -> Iterator[Ask]:
        """What a request needs, resource by resource."""
        service, _, operation = action.partition(":")
        keys = [
            value for name, value in told.items() if name.startswith(("Tag", "Tags.member.")) and name.endswith(".Key")
        ]
        brought = {"aws:tagkeys": keys} if keys else {}
        if operation.startswith(("Describe", "Get")) and action != "sqs:GetQueueUrl":
            yield Ask(action=action)
        elif service == "sqs":
            queue = str(told.get("QueueName") or told["QueueUrl"]).rpartition("/")[2]
            yield Ask(action=action, resource=f"arn:aws:sqs:{region}:{ACCOUNT}:{queue}")
        elif service == "autoscaling":
            group = self._group(told)
            yield Ask(
                action=action,
                resource=group.arn,
                context=brought | _tags({one["Key"]: one["Value"] for one in group.tags}),
            )
        elif action == "ec2:CreateTags":
            for one in (value for name, value in told.items() if name.startswith("ResourceId.")):
                tags = self.world.backend.ec2_backend.tags.get(one, {})
                kind = {"i": "instance", "vol": "volume", "eni": "network-interface"}[one.partition("-")[0]]
                arn = f"arn:aws:ec2:{region}:{ACCOUNT}:{kind}/{one}"
                yield Ask(action=action, resource=arn, context=brought | _tags(tags))
        else:  # of the tests' own clients
            yield Ask(action=action)

    def _group(self, told: Mapping[str, Any]) -> Any:
        name = told.get("AutoScalingGroupName") or told.get("Tags.member.1.ResourceId")
        groups = self.world.backend.autoscaling_groups
        if name:
            return groups.get(name) or _Unmade()
        return next(
            one for one in groups.values() for state in one.instance_states if state.instance.id == told["InstanceId"]
        )

    def close(self) -> None:
        self._iam.reset()


class _Unmade:
    """A group that does not exist (yet)."""

    arn, tags = f"arn:aws:autoscaling:eu-central-1:{ACCOUNT}:autoScalingGroup:none:autoScalingGroupName/none", ()


def _tags(tags: Mapping[str, str]) -> dict[str, list[str]]:
    return {f"aws:resourcetag/{key}".lower(): [value] for key, value in tags.items()}


def _parameters(request: Any) -> Mapping[str, Any]:
    """Of a form, or of a JSON body."""
    body = request._body.decode() if isinstance(request._body, bytes) else str(request._body)
    if body.startswith("{"):
        return dict(json.loads(body))
    form = request._data.items()
    return {key: value[0] if isinstance(value, list) else value for key, value in form}


@contextmanager
def guarded(world: World) -> Iterator[Guard]:
    """From now on nobody is let in without a signature and a policy."""
    guard, patch = Guard(world), pytest.MonkeyPatch()

    def check(request: Any, resource: str) -> None:
        del resource
        if not guard.judge(request):
            request._raise_access_denied()

    patch.setattr(IAMRequestBase, "check_action_permitted", check)
    try:
        with enable_iam_authentication():
            yield guard
    finally:
        patch.undo()
        guard.close()

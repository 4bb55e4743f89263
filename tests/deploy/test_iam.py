"""The IAM policy that we ship allows what the code calls, and nothing else."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.act.aws_asg.roll import DRAINING, LEFT, MANAGED, READY, WAITING
from controller.aws.clients import iam_action
from controller.aws.operations import OPERATIONS, PREFIXES

ROOT = Path(__file__).parents[2]
POLICY = json.loads((ROOT / "deploy" / "aws" / "policy.json").read_text(encoding="utf-8"))
SERVICES = sorted({action.partition(":")[0] for action in OPERATIONS})

WITHOUT_RESOURCES = re.compile(r"(autoscaling|ec2):(Describe|Get)|pricing:|ce:")
"""Actions that know no resource: https://docs.aws.amazon.com/service-authorization/latest/reference/ (Amazon EC2, Amazon
EC2 Auto Scaling, AWS Price List, AWS Cost Explorer Service)."""


def listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def statements() -> Iterator[tuple[str, dict]]:
    for one in POLICY["Statement"]:
        for action in listed(one["Action"]):
            yield action, one


def methods() -> dict[str, str]:
    """Every method of every client that the table's services have, with its IAM action."""
    import boto3

    found = {}
    for service in SERVICES:
        client = boto3.client(service, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        named = str(client.meta.service_model.service_id.hyphenize())
        found |= {method: iam_action(named, name) for method, name in client.meta.method_to_api_mapping.items()}
        client.close()
    return found


def called() -> dict[str, str]:
    """Every method of an AWS client that the code names, with a place where it does."""
    known, found = methods(), {}
    rooms = ("aws", "act", "observe", "prices")
    for path in sorted(path for room in rooms for path in (ROOT / "controller" / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and node.attr in known:
                found[known[node.attr]] = f"{path.name}:{node.lineno}"
    return found


def test_the_policy_allows_what_the_table_lists_and_nothing_else():
    assert sorted(action for action, _ in statements()) == sorted(OPERATIONS)


def test_the_table_lists_what_the_code_calls_and_nothing_else():
    assert set(called()) == set(OPERATIONS)


def test_every_operation_is_one_that_aws_has():
    assert set(OPERATIONS) <= set(methods().values())
    assert set(PREFIXES.values()) <= set(SERVICES)


def test_nothing_is_allowed_by_a_wildcard_or_without_a_reason():
    assert not [action for action, _ in statements() if "*" in action]
    assert all(OPERATIONS.values())


@pytest.mark.parametrize(
    ("action", "statement"), list(statements()), ids=lambda one: one if isinstance(one, str) else ""
)
def test_what_changes_something_is_held_to_our_tag_or_our_queue(action, statement):
    if WITHOUT_RESOURCES.match(action):
        assert statement["Resource"] == "*"
        return
    assert statement["Resource"] != "*"
    assert "Condition" in statement or "pennyweight" in statement["Resource"]


def test_the_tags_of_the_policy_are_those_that_the_code_writes():
    allowed = {
        action: set(keys)
        for action, statement in statements()
        for keys in [statement.get("Condition", {}).get("ForAllValues:StringEquals", {}).get("aws:TagKeys")]
        if keys
    }
    assert allowed == {"autoscaling:CreateOrUpdateTags": {WAITING}, "ec2:CreateTags": {READY, DRAINING, LEFT}}
    tagged = [statement for action, statement in statements() if action == "autoscaling:SetDesiredCapacity"]
    assert list(tagged[0]["Condition"]["StringLike"]) == [f"aws:ResourceTag/{MANAGED}"]

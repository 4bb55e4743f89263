"""The queue and the rules that docs/aws.md tells to make, made on moto's server: every kind of message comes through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from controller.aws.interruptions import VISIBILITY_S, WAIT_S
from controller.aws.interruptions_messages import RULES, told
from tests.moto_server import moto_server

ROOT = Path(__file__).parents[2]
REGION, QUEUE = "us-east-1", "pennyweight-interruptions"
ATTRIBUTES = json.loads((ROOT / "deploy" / "aws" / "queue.json").read_text(encoding="utf-8"))
PATTERNS = {
    name: json.loads(pattern)
    for name, pattern in re.findall(
        r"(?m)^\| `(pennyweight-\w+)` \| `(\{.*\})` \|$", (ROOT / "docs" / "aws.md").read_text(encoding="utf-8")
    )
}
NODE = "i-0123456789abcdef0"
DETAIL = {
    "instance-id": NODE,
    "instance-action": "terminate",
    "state": "terminated",
    "EC2InstanceId": NODE,
    "service": "EC2",
    "eventTypeCategory": "scheduledChange",
    "affectedEntities": [{"entityValue": NODE}],
}
"""Of every kind at once: each reads its own."""


@pytest.fixture(scope="module")
def made() -> Iterator[Any]:
    """The clients of events and of SQS, and the queue's URL."""
    import boto3

    with moto_server() as options:
        events, sqs = (boto3.client(name, region_name=REGION, **options) for name in ("events", "sqs"))
        url = sqs.create_queue(QueueName=QUEUE, Attributes=ATTRIBUTES)["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        for name, pattern in PATTERNS.items():
            events.put_rule(Name=name, EventPattern=json.dumps(pattern))
            events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
        yield events, sqs, url
        events.close()
        sqs.close()


def test_the_queue_is_as_the_listener_needs_it_and_lets_nobody_in_without_tls():
    assert ATTRIBUTES["MessageRetentionPeriod"] == "3600"
    assert (int(ATTRIBUTES["ReceiveMessageWaitTimeSeconds"]), int(ATTRIBUTES["VisibilityTimeout"])) == (
        WAIT_S,
        VISIBILITY_S,
    )
    assert ATTRIBUTES["SqsManagedSseEnabled"] == "true"
    sends, refuses = json.loads(ATTRIBUTES["Policy"])["Statement"]
    assert (sends["Effect"], sends["Principal"], sends["Action"]) == (
        "Allow",
        {"Service": "events.amazonaws.com"},
        "sqs:SendMessage",
    )
    assert sends["Condition"]["ArnLike"]["aws:SourceArn"].endswith("rule/pennyweight-*")
    assert (refuses["Effect"], refuses["Principal"], refuses["Action"]) == ("Deny", "*", "sqs:*")
    assert refuses["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_rules_ask_for_what_the_code_knows_and_for_nothing_else():
    asked = [(source, kind) for one in PATTERNS.values() for source in one["source"] for kind in one["detail-type"]]
    assert sorted(asked) == sorted(RULES)
    assert len(PATTERNS) == 6


@pytest.mark.parametrize("kind", sorted(RULES), ids=lambda kind: kind[1])
def test_every_kind_comes_through_the_rules_into_the_queue_and_is_understood(made, kind):
    events, sqs, url = made
    source, name = kind
    events.put_events(Entries=[{"Source": source, "DetailType": name, "Detail": json.dumps(DETAIL)}])
    (message,) = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    said = told(message["Body"], datetime(2026, 11, 21, tzinfo=UTC))
    assert [one.node for one in said.notices] == [NODE] or "is read in each pass" in said.why

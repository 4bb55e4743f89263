"""Whatever comes over the queue: notices, or one line that says why it is none."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.aws.interruptions_messages import RULES, Told, told
from controller.facts.interruptions import ENDING, NoticeKind

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
AT = datetime(2026, 11, 21, 11, 59, 30, tzinfo=UTC)
NODE = "i-0123456789abcdef0"

SPOT = "EC2 Spot Instance Interruption Warning"


def body(kind, *, source="aws.ec2", **detail):
    """As EventBridge writes it; "_" in a detail's key stands for "-"."""
    return json.dumps(
        {
            "version": "0",
            "id": "12345678-1234-1234-1234-123456789012",
            "detail-type": kind,
            "source": source,
            "account": "123456789012",
            "time": "2026-11-21T11:59:30Z",
            "region": "us-east-2",
            "resources": [f"arn:aws:ec2:us-east-2:123456789012:instance/{NODE}"],
            "detail": {key.replace("_", "-"): value for key, value in detail.items()},
        }
    )


@pytest.mark.parametrize(
    ("text", "kind", "deadline"),
    [
        (body(SPOT, instance_id=NODE, instance_action="terminate"), NoticeKind.SPOT, AT + timedelta(seconds=120)),
        (body(SPOT, instance_id=NODE, instance_action="stop"), NoticeKind.SPOT, AT + timedelta(seconds=120)),
        (body(SPOT, instance_id=NODE, instance_action="hibernate"), NoticeKind.SPOT, AT),
        (body("EC2 Instance Rebalance Recommendation", instance_id=NODE), NoticeKind.REBALANCE, None),
        *(
            (body("EC2 Instance State-change Notification", instance_id=NODE, state=state), NoticeKind.STOPPED, AT)
            for state in ("stopping", "stopped", "shutting-down", "terminated")
        ),
        *(
            (
                body(name, instance_id=NODE, instance_termination_time="2026-11-21T12:05:00Z"),
                NoticeKind.RESERVATION,
                datetime(2026, 11, 21, 12, 5, tzinfo=UTC),
            )
            for name in (
                "EC2 Capacity Reservation Instance Interruption Warning",
                "EC2 Interruptible Capacity Reservation Instance Interruption Warning",
            )
        ),
        (
            body("EC2 Capacity Reservation Instance Interruption Warning", instance_id=NODE),
            NoticeKind.RESERVATION,
            AT + timedelta(seconds=120),
        ),
    ],
)
def test_each_kind_of_event_says_when_its_instance_ends(text, kind, deadline):
    said = told(text, NOW)
    (notice,) = said.notices
    assert (notice.node, notice.kind, notice.at, notice.deadline) == (NODE, kind, AT, deadline)
    assert notice.ends is (kind in ENDING)
    assert said.id == "12345678-1234-1234-1234-123456789012"


ARN = (
    "arn:aws:health:us-east-2::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED_7"
)
CHANGE = f"{ARN} 123456789012"


def health(**detail):
    usual = {
        "service": "EC2",
        "eventTypeCategory": "scheduledChange",
        "startTime": "Sun, 22 Nov 2026 05:00:00 GMT",
        "eventArn": ARN,
        "affectedAccount": "123456789012",
        "affectedEntities": [{"entityValue": NODE}],
    }
    return body("AWS Health Event", source="aws.health", **(usual | detail))


def test_a_scheduled_change_is_a_notice_for_each_of_its_instances_once():
    other = "i-0fedcba9876543210"
    entities = [
        {"entityValue": NODE},
        {"entityValue": f"arn:aws:ec2:us-east-2:123456789012:instance/{other}", "status": "PENDING"},
        {"entityValue": NODE},
        {"entityValue": "vol-0123456789abcdef0"},
        {"entityValue": "i-00000000000000000", "status": "RESOLVED"},
        "nonsense",
    ]
    notices = told(health(affectedEntities=entities), NOW).notices
    assert [one.node for one in notices] == [NODE, other]
    assert {one.announcement for one in notices} == {CHANGE}
    assert {(one.kind, one.deadline) for one in notices} == {
        (NoticeKind.MAINTENANCE, datetime(2026, 11, 22, 5, tzinfo=UTC))
    }


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no JSON"),
        ("[1]", "no JSON object"),
        ("[" * 100_000, "no JSON"),
        ('{"id": ' + "1" * 5000 + "}", "no JSON"),
        (json.dumps({"Event": "autoscaling:TEST_NOTIFICATION"}), "no event of EventBridge"),
        (body("EC2 Fast Launch State-change Notification"), "nobody here knows 'EC2 Fast Launch"),
        (body(SPOT, source="my.own"), "nobody here knows"),
        (body(SPOT), "names no instance"),
        (body(SPOT, instance_id="i-XYZ"), "names no instance"),
        (body("EC2 Instance State-change Notification", instance_id=NODE, state="pending"), "'pending' ends nothing"),
        (health(eventTypeCategory="issue"), "issue of EC2 ends nothing"),
        (health(service="RDS"), "scheduledChange of RDS ends nothing"),
        (health(statusCode="closed", eventArn=None), "the change is over"),
        (health(affectedEntities=[]), "names no instance"),
        (health(affectedEntities=None), "names no instance"),
    ],
)
def test_what_says_nothing_says_why(text, why):
    said = told(text, NOW)
    assert why in said.why
    assert (said.notices, said.running, said.takes_back) == ((), "", "")


def test_a_change_that_is_over_takes_back_all_that_it_announced():
    said = told(health(statusCode="closed", affectedEntities=[]), NOW)
    assert (said.notices, said.takes_back, said.of, said.why) == ((), CHANGE, (), "")


def test_a_change_that_is_told_again_takes_back_what_it_said_of_the_instances_that_it_names():
    other = "i-0fedcba9876543210"
    said = told(health(affectedEntities=[{"entityValue": NODE, "status": "RESOLVED"}, {"entityValue": other}]), NOW)
    assert [one.node for one in said.notices] == [other]
    assert (said.takes_back, said.of) == (CHANGE, (NODE, other))
    done = told(health(affectedEntities=[{"entityValue": NODE, "status": "RESOLVED"}]), NOW)
    assert (done.notices, done.takes_back, done.of, done.why) == ((), CHANGE, (NODE,), "")


def test_an_event_without_its_name_takes_nothing_back():
    said = told(health(eventArn=None), NOW)
    assert (len(said.notices), said.takes_back, said.of) == (1, "", ())


def lifecycle(kind, **detail):
    named = {"AutoScalingGroupName": "engines", "LifecycleHookName": "drain", "EC2InstanceId": NODE} | detail
    return told(body(f"EC2 Instance-{kind} Lifecycle Action", source="aws.autoscaling", **named), NOW)


def test_an_instance_that_its_group_ends_goes_and_nobody_says_when():
    (notice,) = lifecycle("terminate", Origin="AutoScalingGroup", Destination="EC2").notices
    assert (notice.node, notice.kind, notice.at, notice.deadline) == (NODE, NoticeKind.MAINTENANCE, AT, None)


def test_a_launch_and_a_way_to_the_warm_pool_end_nothing():
    assert "its group is read in each pass" in lifecycle("launch").why
    assert "warm pool" in lifecycle("terminate", Destination="WarmPool").why


def test_an_instance_that_runs_again_is_told():
    assert told(body("EC2 Instance State-change Notification", instance_id=NODE, state="running"), NOW).running == NODE


def test_a_body_that_sns_wrapped_says_the_same():
    plain = body(SPOT, instance_id=NODE, instance_action="terminate")
    wrapped = json.dumps({"Type": "Notification", "TopicArn": "arn:aws:sns:…", "Message": plain})
    twice = json.dumps({"Type": "Notification", "Message": wrapped})
    assert told(wrapped, NOW) == told(twice, NOW) == told(plain, NOW)
    assert told(json.dumps({"Type": "Notification", "Message": twice}), NOW).why


def test_a_warning_without_a_time_counts_from_when_it_was_heard():
    data = json.loads(body(SPOT, instance_id=NODE))
    for time in (None, "yesterday", 7):
        (notice,) = told(json.dumps(data | {"time": time}), NOW).notices
        assert (notice.at, notice.deadline) == (NOW, NOW + timedelta(seconds=120))


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = PLAIN | st.lists(PLAIN, max_size=2) | st.dictionaries(st.text(max_size=4), PLAIN, max_size=2)
KEYS = st.sampled_from(
    [
        *("instance-id", "instance-action", "state", "service", "eventTypeCategory", "affectedEntities", "startTime"),
        *("AutoScalingGroupName", "LifecycleHookName", "LifecycleActionToken", "EC2InstanceId", "statusCode"),
        *("instance-termination-time", "eventArn", "affectedAccount"),
    ]
)
VALUES = JSON | st.sampled_from([NODE, "terminate", "running", "EC2", "scheduledChange", "9999-12-31T23:59:59Z", "Mon"])
ENVELOPES = st.fixed_dictionaries(
    {"source": st.sampled_from([source for source, _ in RULES]), "detail-type": st.sampled_from([k for _, k in RULES])},
    optional={
        "detail": st.dictionaries(KEYS, VALUES, max_size=4) | JSON,
        "id": JSON,
        "time": st.sampled_from(["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "Sat, 05 Jun 2016 04:00 GMT"])
        | JSON,
    },
)


@settings(max_examples=60)
@given(st.text(max_size=30) | JSON.map(json.dumps) | ENVELOPES.map(json.dumps))
def test_no_body_is_too_strange(text):
    said = told(text, NOW)
    assert isinstance(said, Told)
    spoke = bool(said.notices) or bool(said.running)
    assert spoke is not bool(said.why)
    for notice in said.notices:
        assert notice.node
        assert notice.at.tzinfo is not None

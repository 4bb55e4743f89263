"""``interruptions:`` in fleet.yaml."""

import pytest
from pydantic import ValidationError

from controller.facts.interruptions import NOBODY, Announcers
from controller.settings.interruption_shapes import InterruptionsShape

URL = "https://sqs.us-east-2.amazonaws.com/123456789012/interruptions"


def announcers(**block):
    return InterruptionsShape.model_validate(block).announcers


def test_nobody_is_listened_to_unless_somebody_is_named():
    assert announcers() == NOBODY


def test_the_queues_region_is_as_its_url_says_unless_it_is_given():
    assert announcers(sqs={"queue": URL}) == Announcers(queue=URL, region="us-east-2")
    assert announcers(sqs={"queue": URL, "region": "eu-west-1"}).region == "eu-west-1"
    assert announcers(sqs={"queue": "interruptions"}) == Announcers(queue="interruptions")
    assert announcers(imds=True, sqs={"queue": URL}, maintenance_lead="2h") == Announcers(
        queue=URL, region="us-east-2", metadata=True, maintenance_lead_s=7200.0
    )


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"sqs": {}}, "queue"),
        ({"sqs": {"queue": "two words"}}, "URL or the name of an SQS queue"),
        ({"sqs": {"queue": "orders.fifo"}}, "expected a standard one"),
        ({"sqs": {"queue": URL, "region": "Ohio"}}, "a region of AWS such as us-east-1"),
        ({"imds": "yes"}, "imds"),
        ({"maintenance_lead": "1h"}, "only the queue tells of maintenance"),
        ({"sqss": {}}, "sqss"),
    ],
)
def test_what_is_wrong_says_what_was_expected(block, said):
    with pytest.raises(ValidationError, match=said):
        announcers(**block)

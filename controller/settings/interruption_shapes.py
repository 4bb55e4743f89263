"""The shape of ``interruptions:`` in fleet.yaml: who announces that machines will be taken back."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, StrictBool, model_validator

from controller.facts.interruptions import NOBODY, Announcers
from controller.settings.base import Shape
from controller.settings.values import Period

QUEUE_URL = re.compile(r"https?://[^/\s]+/\S+")
QUEUE_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
REGION_IN_URL = re.compile(r"https?://(?:sqs|queue)\.([a-z0-9-]+)\.")


def _queue(name: str) -> str:
    if name.endswith(".fifo"):
        raise ValueError(f"'{name}' is a FIFO queue, which EventBridge's rules fill in groups; expected a standard one")
    if QUEUE_URL.fullmatch(name) or QUEUE_NAME.fullmatch(name):
        return name
    raise ValueError(f"expected the URL or the name of an SQS queue, found '{name}'")


def _region(name: str) -> str:
    if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", name):
        return name
    raise ValueError(f"expected a region of AWS such as us-east-1, found '{name}'")


class QueueShape(Shape):
    """A queue of Amazon SQS that an EventBridge rule fills; deploy/aws has the rule and the queue."""

    queue: Annotated[str, AfterValidator(_queue)] = Field(description="its URL, or its name")
    region: Annotated[str, AfterValidator(_region)] | None = Field(
        default=None, description="left out: as the URL says, else as AWS's own settings say"
    )


class InterruptionsShape(Shape):
    """Who announces that machines will be taken back."""

    sqs: QueueShape | None = Field(default=None, description="events about instances, from EventBridge over SQS")
    imds: StrictBool = Field(
        default=False, description="this host is an EC2 instance: its metadata is asked every 5s, for engines on it"
    )
    maintenance_lead: Period = Field(
        default=NOBODY.maintenance_lead_s,
        description="scheduled maintenance drains so long before it; a guess: a start and a drain",
    )

    @model_validator(mode="after")
    def _somebody(self) -> InterruptionsShape:
        if "maintenance_lead" in self.model_fields_set and self.sqs is None:
            raise ValueError("only the queue tells of maintenance: set sqs, or remove maintenance_lead")
        return self

    @property
    def announcers(self) -> Announcers:
        told = REGION_IN_URL.match(self.sqs.queue) if self.sqs is not None else None
        return Announcers(
            queue=self.sqs.queue if self.sqs is not None else "",
            region=(self.sqs.region if self.sqs is not None else None) or (told[1] if told is not None else ""),
            metadata=self.imds,
            maintenance_lead_s=self.maintenance_lead,
        )

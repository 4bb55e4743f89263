"""AWS's spot prices by zone, from the history of the last 90 days that EC2 keeps."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from controller.errors import PriceError
from controller.facts.fleet import CapacityType
from controller.facts.prices import Quote
from controller.prices.aws import Client, Clients, asked, instance, pages
from controller.prices.aws_on_demand import nano_of

log = logging.getLogger(__name__)

SOLD_AS = "Linux/UNIX"

SCORE_EVERY = timedelta(hours=6)
"""Between two questions for one offer's placement score. A guess: AWS limits the configurations that may be asked for
in 24 hours, and a score tells of the moment only."""


class AwsSpot:
    """``ec2:DescribeSpotPriceHistory``, and ``ec2:DescribeInstanceTypes`` for the GPUs of an instance.

    A price holds in its zone from its time to the zone's next one; an answer starts with those that held at its start.
    """

    name = "AWS spot"
    provider = "aws"
    capacity_type = CapacityType.SPOT

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._gpus: dict[str, int | None] = {}
        self._scores: dict[str, tuple[datetime, int | None]] = {}
        self._told: set[str] = set()

    def fetch(self, offer: str, since: datetime, now: datetime) -> Sequence[Quote]:
        """Every price of every zone that held between ``since`` and ``now``. Raises PriceError."""
        region, kind = instance(offer)
        client = self._clients(region)
        answers = pages(
            client.describe_spot_price_history,
            "NextToken",
            InstanceTypes=[kind],
            ProductDescriptions=[SOLD_AS],
            StartTime=since,
            EndTime=now,
        )
        rows = [row for page in answers for row in page.get("SpotPriceHistory", ()) if _ours(row, kind)]
        gpus = self._count(client, kind) if rows else None
        self._rate(client, offer, now)
        quotes = tuple(self._quotes(offer, rows, gpus, now))
        if not quotes:
            raise PriceError(f"AWS names no spot price of {offer}")
        return quotes

    def score(self, offer: str) -> int | None:
        """The placement score of its region as last asked; None where AWS gave none."""
        return self._scores[offer][1] if offer in self._scores else None

    def _rate(self, client: Client, offer: str, now: datetime) -> None:
        """Asked every SCORE_EVERY, whatever becomes of it: AWS limits how much may be asked in 24 hours."""
        region, kind = instance(offer)
        asked_at, _ = self._scores.get(offer, (None, None))
        if asked_at is not None and now - asked_at < SCORE_EVERY:
            return
        try:
            answer = asked(
                client.get_spot_placement_scores, InstanceTypes=[kind], TargetCapacity=1, RegionNames=[region]
            )
        except PriceError as error:
            self._unscored(region, error)
            self._scores[offer] = (now, None)
            return
        found = [row.get("Score") for row in answer.get("SpotPlacementScores", ()) if row.get("Region") == region]
        self._scores[offer] = (now, max((one for one in found if isinstance(one, int)), default=None))

    def _unscored(self, region: str, error: PriceError) -> None:
        """Once a region: there is a price all the same."""
        if region not in self._told:
            log.warning("no placement scores of %s, so min_placement_score does nothing (told once): %s", region, error)
        self._told.add(region)

    def _quotes(
        self, offer: str, rows: Sequence[Mapping[str, Any]], gpus: int | None, now: datetime
    ) -> Iterator[Quote]:
        for row in rows:
            nano = nano_of(offer, row.get("SpotPrice"))
            at = row.get("Timestamp")
            if nano > 0 and isinstance(at, datetime):
                yield Quote(
                    offer=offer,
                    capacity_type=self.capacity_type,
                    zone=str(row.get("AvailabilityZone", "")),
                    effective_at=at.astimezone(UTC),
                    currency="USD",
                    nano_per_hour=nano,
                    fetched_at=now,
                    source=self.name,
                    gpus=gpus,
                )

    def _count(self, client: Client, kind: str) -> int | None:
        """GPUs of the instance type, asked for once; None when it may not be asked or has none."""
        if kind not in self._gpus:
            try:
                answer = asked(client.describe_instance_types, InstanceTypes=[kind])
            except PriceError:
                return None
            types = answer.get("InstanceTypes") or [{}]
            counts = [gpu.get("Count", 0) for gpu in types[0].get("GpuInfo", {}).get("Gpus", ())]
            self._gpus[kind] = sum(counts) or None
        return self._gpus[kind]


def _ours(row: Mapping[str, Any], kind: str) -> bool:
    """AWS also writes "Linux/UNIX (Amazon VPC)"."""
    return row.get("InstanceType") == kind and str(row.get("ProductDescription", "")).startswith(SOLD_AS)

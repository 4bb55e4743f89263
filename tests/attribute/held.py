"""Commitments and usage as tests of them want both."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from controller.attribute.commitments import UsageLine
from controller.facts.commitments import Commitment, CommitmentKind
from controller.facts.fleet import CapacityType
from controller.facts.prices import FourCosts

START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = datetime(2027, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
GPU_HOUR = 3_600_000_000
USD = 1_000_000_000
P5, G6 = "aws/us-east-1/p5.48xlarge", "aws/us-east-1/g6.xlarge"
RI = CommitmentKind.RESERVED_INSTANCE


def instances(**changes: Any) -> Commitment:
    """Two p5.48xlarge for a year: 8 GPUs each, $1,000,000 ahead and $40 an hour unless said otherwise."""
    base: dict[str, Any] = {
        "id": "two-p5",
        "kind": RI,
        "start": START,
        "end": YEAR,
        "quantity": 2,
        "gpus_per_unit": 8,
        "upfront_nanousd": 1_000_000 * USD,
        "recurring_nanousd_per_hour": 40 * USD,
        "offers": (P5,),
    }
    return Commitment(**(base | changes))


def plan(usd_per_hour: float, rates: dict[str, int], **changes: Any) -> Commitment:
    base: dict[str, Any] = {
        "id": "plan",
        "kind": CommitmentKind.SAVINGS_PLAN,
        "start": START,
        "end": YEAR,
        "quantity": usd_per_hour,
        "recurring_nanousd_per_hour": round(usd_per_hour * USD),
        "rates_nanousd_per_gpu_hour": rates,
    }
    return Commitment(**(base | changes))


def line(gpu_us: int, usd_per_gpu_hour: float | None = 7.0, **changes: Any) -> UsageLine:
    cost = None if usd_per_gpu_hour is None else round(usd_per_gpu_hour * USD) * gpu_us // GPU_HOUR
    base: dict[str, Any] = {
        "key": "a",
        "service": "chat",
        "variant": "h100",
        "capacity_type": CapacityType.ON_DEMAND,
        "gpu_us": gpu_us,
        "costs": FourCosts(list_=cost, contracted=cost, effective=cost, billed=cost),
        "offer": P5,
    }
    return UsageLine(**(base | changes))

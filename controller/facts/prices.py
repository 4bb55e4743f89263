"""What capacity costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per GPU-hour, with where it comes from. ``as_of`` None: the source gives no date."""

    usd_per_gpu_hour: float
    capacity_type: CapacityType
    source: str
    as_of: date | None = None

    def __post_init__(self) -> None:
        if not self.usd_per_gpu_hour > 0:
            raise ValueError(f"a price must be above zero, found {self.usd_per_gpu_hour}; leave it out when unknown")


PriceKey = tuple[str, str, CapacityType]
"""(service, variant, capacity type)."""

Prices = Mapping[PriceKey, Price | Missing]
"""A price, or why there is none, for every way of buying that the fleet file names."""

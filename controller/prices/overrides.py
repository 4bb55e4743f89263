"""Prices that the user wrote in the fleet file."""

from __future__ import annotations

from datetime import datetime

from controller.facts.fleet import Capacity, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price


class Overrides:
    """``usd_per_gpu_hour`` of a capacity entry. It has no date: it is true for as long as it stands in the file."""

    name = "fleet file"

    def price(self, capacity: Capacity, variant: Variant, now: datetime) -> Price | Missing:
        if capacity.usd_per_gpu_hour is None:
            return Missing(
                "price", f"no usd_per_gpu_hour under {variant.service}/{variant.name}'s {capacity.type} capacity"
            )
        return Price(
            usd_per_gpu_hour=capacity.usd_per_gpu_hour,
            capacity_type=capacity.type,
            source=f"{self.name}: usd_per_gpu_hour of {variant.service}/{variant.name}, {capacity.type}",
        )

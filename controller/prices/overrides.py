"""Prices that the user wrote in the fleet file."""

from __future__ import annotations

from datetime import date, datetime

from controller.facts.fleet import Capacity, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price


class Overrides:
    """``usd_per_gpu_hour`` of a capacity entry: true for as long as it stands in the file, or from its day on."""

    name = "fleet file"

    def price(self, capacity: Capacity, variant: Variant, now: datetime) -> Price | Missing:
        where = f"{variant.service}/{variant.name}"
        since, usd = _at(capacity, now.date())
        if usd is None:
            first = capacity.dated_usd[0][0] if capacity.dated_usd else None
            absent = f"no usd_per_gpu_hour under {where}'s {capacity.type} capacity"
            return Missing("price", f"{absent} before {first}" if first else absent)
        return Price(
            usd_per_gpu_hour=usd,
            capacity_type=capacity.type,
            source=f"{self.name}: usd_per_gpu_hour of {where}, {capacity.type}" + (f", from {since}" if since else ""),
            as_of=since,
        )


def _at(capacity: Capacity, day: date) -> tuple[date | None, float | None]:
    """The price of ``day``, and since when it holds; None where that is not said."""
    known = [(since, usd) for since, usd in capacity.dated_usd if since <= day]
    return known[-1] if known else (None, capacity.usd_per_gpu_hour)

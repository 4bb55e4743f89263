"""The price book shipped with Pennyweight: list prices of GPU instances, read once from book.csv."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from importlib.resources import files

from controller.catalog.load import gpus_named, load_gpus, nearest
from controller.facts.fleet import Capacity, CapacityType, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price

PRICE_STALE_AFTER_DAYS = 90
"""From this age a price's source says how old it is. A guess: on-demand list prices change a few times a year."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One instance type in one region. USD per GPU-hour by capacity type; what the book does not know is absent."""

    gpu: str
    gpu_count: int
    usd_per_gpu_hour: Mapping[CapacityType, float]
    as_of: date | None


class PriceBook:
    """Looks up ``provider/region/instance_type``. Instance price / GPUs of the instance = USD per GPU-hour."""

    name = "price book"

    def __init__(self, offers: Mapping[str, Offer]) -> None:
        self._offers = offers

    @classmethod
    def shipped(cls) -> PriceBook:
        """The book inside the package."""
        text = files("controller.prices").joinpath("book.csv").read_text(encoding="utf-8")
        return cls.from_lines(text.splitlines())

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> PriceBook:
        """A book from CSV lines, the header first; the columns are in this room's README."""
        rows = csv.DictReader(lines)
        return cls({f"{row['provider']}/{row['region']}/{row['instance_type']}": _offer(row) for row in rows})

    @property
    def offers(self) -> Mapping[str, Offer]:
        return self._offers

    def price(self, capacity: Capacity, variant: Variant, now: datetime) -> Price | Missing:
        if capacity.offer is None:
            return Missing("price", f"the {capacity.type} capacity names no offer")
        offer = self._offers.get(capacity.offer)
        if offer is None:
            return Missing("price", f"no offer {capacity.offer!r}{self._meant(capacity.offer)}")
        if not sells(offer, variant):
            return Missing("price", f"{capacity.offer} has {offer.gpu} GPUs, the variant runs on {variant.gpu.name}")
        usd = offer.usd_per_gpu_hour.get(capacity.type)
        if usd is None:
            return Missing("price", f"{capacity.offer} has no {capacity.type} list price; set usd_per_gpu_hour")
        return Price(
            usd_per_gpu_hour=usd,
            capacity_type=capacity.type,
            source=f"{self.name}: {capacity.offer} {capacity.type}, {_age(offer.as_of, now)}",
            as_of=offer.as_of,
        )

    def _meant(self, offer: str) -> str:
        close = nearest(offer, self._offers)
        return f"; did you mean {', '.join(close)}?" if close else ""


def offers() -> Collection[str]:
    """What a fleet file's `offer` may name without a price of its own: whatever a price source may know."""
    return PriceBook.shipped().offers


def _offer(row: Mapping[str, str]) -> Offer:
    count = int(row["gpu_count"])
    quoted = {
        CapacityType.ON_DEMAND: row["on_demand_usd_per_hour"],
        CapacityType.SPOT: row["spot_usd_per_hour"],
    }
    return Offer(
        gpu=row["gpu_model"],
        gpu_count=count,
        # Empty and zero both mean unknown: nobody gives GPUs away.
        usd_per_gpu_hour={kind: float(cell) / count for kind, cell in quoted.items() if cell and float(cell) > 0},
        as_of=date.fromisoformat(row["as_of"]) if row["as_of"] else None,
    )


def sells(offer: Offer, variant: Variant) -> bool:
    """Whether the offer's GPU may be the variant's. A GPU that the table does not know is taken at the user's word."""
    board = variant.gpu.name.partition("/")[0]
    sold = {gpu.name for gpu in gpus_named(offer.gpu)}
    return board not in load_gpus() or not sold or board in sold


def _age(as_of: date | None, now: datetime) -> str:
    if as_of is None:
        return "of unknown date"
    days = (now.date() - as_of).days
    return f"as of {as_of}" + (f", {days} days old" if days > PRICE_STALE_AFTER_DAYS else "")

"""What capacity costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.money import accrued_nanousd, nanousd
from controller.facts.unguarded import unguarded


@dataclass(frozen=True, slots=True, kw_only=True)
class FourCosts:
    """What something costs as FOCUS tells it, in nanodollars. None: unknown, which is not zero.

    list_        at the public on-demand price
    contracted   at the price agreed, before any commitment
    effective    with commitments amortised over their term: what the ledger accounts by
    billed       what the invoice will say
    """

    list_: int | None
    contracted: int | None
    effective: int | None
    billed: int | None

    def __add__(self, other: FourCosts) -> FourCosts:
        return FourCosts(
            list_=_sum(self.list_, other.list_),
            contracted=_sum(self.contracted, other.contracted),
            effective=_sum(self.effective, other.effective),
            billed=_sum(self.billed, other.billed),
        )


@unguarded
@dataclass(frozen=True, slots=True, kw_only=True)
class FourRates:
    """The same four, in nanodollars per hour."""

    list_: int | None
    contracted: int | None
    effective: int | None
    billed: int | None

    def accrued(self, start: datetime, end: datetime) -> FourCosts:
        """What the rates cost from ``start`` to ``end``, exactly additive however the time is cut."""

        def cost(rate: int | None) -> int | None:
            return None if rate is None else accrued_nanousd(rate, start, end)

        return FourCosts(
            list_=cost(self.list_),
            contracted=cost(self.contracted),
            effective=cost(self.effective),
            billed=cost(self.billed),
        )


UNKNOWN_RATES = FourRates(list_=None, contracted=None, effective=None, billed=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """USD per GPU-hour, with where it comes from.

    usd_per_gpu_hour                  effective: commitments amortised
    as_of                             None: the source gives no date
    list_, contracted_, billed_usd…   None: as ``rates`` has it
    currency                          in which it was quoted; the amounts here are USD all the same
    valid_from, valid_until           when it holds; None: not said, or still does
    fetched_at                        when the source was asked; None: it is not one that is asked
    placement_score                   how likely such capacity is to be had, 1 to 10; None: nobody says
    """

    usd_per_gpu_hour: float
    capacity_type: CapacityType
    source: str
    as_of: date | None = None
    list_usd_per_gpu_hour: float | None = None
    contracted_usd_per_gpu_hour: float | None = None
    billed_usd_per_gpu_hour: float | None = None
    currency: str = "USD"
    valid_from: datetime | None = None
    valid_until: datetime | None = None
    fetched_at: datetime | None = None
    placement_score: int | None = None

    def __post_init__(self) -> None:
        for usd in (self.usd_per_gpu_hour, self.list_usd_per_gpu_hour, self.contracted_usd_per_gpu_hour):
            if usd is not None and not usd > 0:
                raise ValueError(f"a price must be above zero, found {usd}; leave it out when unknown")
        if self.billed_usd_per_gpu_hour is not None and self.billed_usd_per_gpu_hour < 0:
            raise ValueError(f"nobody bills less than nothing, found {self.billed_usd_per_gpu_hour}")

    def rates(self, gpus: int) -> FourRates:
        """Nanodollars per hour of ``gpus`` GPUs.

        What is not given is the effective price; but the list price is so only of on-demand capacity: the list price
        of spot and reserved capacity is what it would have cost on demand, and not known without being told.
        """
        usd = self.usd_per_gpu_hour
        on_demand = usd if self.capacity_type is CapacityType.ON_DEMAND else None
        return FourRates(
            list_=_rate(self.list_usd_per_gpu_hour, on_demand, gpus),
            contracted=_rate(self.contracted_usd_per_gpu_hour, usd, gpus),
            effective=_rate(usd, None, gpus),
            billed=_rate(self.billed_usd_per_gpu_hour, usd, gpus),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a provider answered: the price of one whole instance from ``effective_at`` until the zone's next quote.

    offer            "provider/region/instance_type"
    zone             "" where the price is the region's
    nano_per_hour    1e-9 of ``currency``; never 0
    gpus             of the instance; None: the answer did not say
    fetched_at       when it was last answered: a price that has not changed for weeks is as fresh as its last answer
    """

    offer: str
    capacity_type: CapacityType
    zone: str
    effective_at: datetime
    currency: str
    nano_per_hour: int
    fetched_at: datetime
    source: str
    gpus: int | None = None

    def __post_init__(self) -> None:
        if self.nano_per_hour <= 0:
            raise ValueError(f"{self.offer}: a quote must be above zero, found {self.nano_per_hour}; 0 is unknown")


Exchange = Mapping[str, Sequence[tuple[date, float]]]
"""USD for one unit of a currency, from each date on; a date later in time stands later."""


def usd_for_one(currency: str, at: datetime, exchange: Exchange) -> float | Missing:
    """What one unit of ``currency`` was worth at ``at``; Missing when nobody wrote it down."""
    if currency == "USD":
        return 1.0
    dated = [usd for since, usd in exchange.get(currency, ()) if since <= at.date()]
    if dated:
        return dated[-1]
    return Missing("exchange", f"no rate of {currency} for {at.date()}; write it under exchange: {currency}")


PriceKey = tuple[str, str, CapacityType]
"""(service, variant, capacity type)."""

Prices = Mapping[PriceKey, Price | Missing]
"""A price, or why there is none, for every way of buying that the fleet file names."""


def _rate(usd: float | None, otherwise: float | None, gpus: int) -> int | None:
    per_gpu = otherwise if usd is None else usd
    return None if per_gpu is None else nanousd(per_gpu * gpus)


def _sum(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other

"""What capacity costs, from all sources: the first that knows, its list price, and what was agreed with its seller."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime

from controller.facts.fleet import Capacity, CapacityType, Fleet
from controller.facts.missing import Missing
from controller.facts.prices import Price, PriceKey, Prices
from controller.prices.listed import listed
from controller.prices.resolve import resolve
from controller.prices.source import PriceSource

Discounts = Sequence[tuple[date | None, float]]
"""Share off the list price from each day on, oldest first; None: from the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pricing:
    """How the fleet is priced. ``contracts``: by provider, the first part of an offer."""

    sources: Sequence[PriceSource]
    contracts: Mapping[str, Discounts] = field(default_factory=dict)

    def prices(self, fleet: Fleet, now: datetime) -> Prices:
        """A price, or why there is none, for every way of buying that the fleet names."""
        found = listed(fleet, resolve(fleet, self.sources, now), self.sources, now)
        return contracted(fleet, found, self.contracts, now) if self.contracts else found


def contracted(fleet: Fleet, prices: Prices, contracts: Mapping[str, Discounts], now: datetime) -> Prices:
    """On-demand prices less the discount; the list price stays. A price of the user's own holds his contract already,
    and spot prices are nobody's to agree on."""
    found: dict[PriceKey, Price | Missing] = dict(prices)
    for variant in fleet.variants():
        for capacity in variant.capacity:
            key = (variant.service, variant.name, capacity.type)
            price, ratio = found.get(key), _discount(capacity, contracts, now.date())
            if isinstance(price, Price) and ratio:
                found[key] = _less(price, ratio)
    return found


def _discount(capacity: Capacity, contracts: Mapping[str, Discounts], day: date) -> float:
    """0 where there is none."""
    own = capacity.usd_per_gpu_hour is not None or capacity.dated_usd
    if own or capacity.type is not CapacityType.ON_DEMAND or capacity.offer is None:
        return 0.0
    agreed = contracts.get(capacity.offer.partition("/")[0], ())
    return next((ratio for since, ratio in reversed(agreed) if since is None or since <= day), 0.0)


def _less(price: Price, ratio: float) -> Price:
    usd = price.usd_per_gpu_hour * (1 - ratio)
    return replace(
        price,
        usd_per_gpu_hour=usd,
        contracted_usd_per_gpu_hour=usd,
        billed_usd_per_gpu_hour=usd,
        list_usd_per_gpu_hour=price.list_usd_per_gpu_hour or price.usd_per_gpu_hour,
        source=f"{price.source}, less {ratio:.1%} by contract",
    )

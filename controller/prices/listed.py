"""What capacity would have cost on demand: the list price of spot and reserved capacity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from controller.errors import PriceError
from controller.facts.fleet import Capacity, CapacityType, Fleet, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price, PriceKey, Prices
from controller.prices.source import PriceSource


def listed(fleet: Fleet, prices: Prices, sources: Sequence[PriceSource], now: datetime) -> Prices:
    """``prices`` with their list prices, as far as a source knows the on-demand price of the same offer.

    The variant's own on-demand price counts first, whoever gave it.
    """
    found: dict[PriceKey, Price | Missing] = dict(prices)
    for variant in fleet.variants():
        for kind in CapacityType:
            key = (variant.service, variant.name, kind)
            price = found.get(key)
            if not isinstance(price, Price) or price.list_usd_per_gpu_hour is not None:
                continue
            usd = _on_demand(variant, kind, found, sources, now)
            if usd is not None:
                found[key] = replace(price, list_usd_per_gpu_hour=usd)
    return found


def _on_demand(
    variant: Variant, kind: CapacityType, prices: Prices, sources: Sequence[PriceSource], now: datetime
) -> float | None:
    own = prices.get((variant.service, variant.name, CapacityType.ON_DEMAND))
    if isinstance(own, Price):
        return own.usd_per_gpu_hour
    for offer in [one.offer for one in variant.capacity if one.type is kind and one.offer]:
        for source in sources:
            try:
                answer = source.price(Capacity(type=CapacityType.ON_DEMAND, offer=offer), variant, now)
            except PriceError:
                continue
            if isinstance(answer, Price):
                return answer.usd_per_gpu_hour
    return None

"""Asking the price sources in order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from controller.errors import PriceError
from controller.facts.fleet import Capacity, Fleet, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price, PriceKey, Prices
from controller.prices.source import PriceSource


def resolve(fleet: Fleet, sources: Sequence[PriceSource], now: datetime) -> Prices:
    """A price, or why there is none, for every way of buying that the fleet names.

    The first source that knows wins, so the user's own prices come first in ``sources``. When none knows, the Missing
    lists what each said. Of several entries of one capacity type in a variant the first with a price counts.
    """
    prices: dict[PriceKey, Price | Missing] = {}
    for variant in fleet.variants():
        for capacity in variant.capacity:
            key = (variant.service, variant.name, capacity.type)
            if isinstance(prices.get(key, Missing("price", "not asked yet")), Missing):
                prices[key] = _ask(sources, capacity, variant, now)
    return prices


def _ask(sources: Sequence[PriceSource], capacity: Capacity, variant: Variant, now: datetime) -> Price | Missing:
    said = []
    for source in sources:
        try:
            answer = source.price(capacity, variant, now)
        except PriceError as error:
            answer = Missing("price", str(error))
        if isinstance(answer, Price):
            return answer
        said += [f"{source.name}: {answer.why}"] if answer.why else []  # "": it was not meant
    where = f"{capacity.type} price of {variant.service}/{variant.name}"
    return Missing(where, "; ".join(said) or "no price source is configured")

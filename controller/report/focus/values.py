"""Values as FOCUS wants them: decimals of 18 places, months, providers, the price at which a quantity gives a cost."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, localcontext

from controller.facts.money import MICROSECONDS_PER_HOUR, NANOUSD_PER_USD

PLACES = Decimal("1e-18")
"""Of unit prices and quantities: fine enough that their product is the cost to half a nanodollar."""

NANO = Decimal("1e-9")
GPU_HOURS = "GPU Hours"
HOURS = "Hours"
TOKENS = "Tokens"

PROVIDERS: Mapping[str, str] = {
    "aws": "AWS",
    "azure": "Microsoft",
    "gcp": "Google Cloud",
    "oci": "Oracle",
}
"""Names under which these bill; others keep ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finance:
    """What the accounts are called. ``own_provider`` provides hardware without an offer."""

    account_id: str = "pennyweight"
    account_name: str = "Pennyweight"
    account_type: str = "Fleet"
    own_provider: str = "Own hardware"


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer taken apart: "aws/us-east-1/p5.48xlarge"."""

    provider: str
    region: str | None
    sku: str


def offer_of(offer: str, gpu: str, finance: Finance) -> Offer:
    provider, _, rest = offer.partition("/")
    region, _, instance = rest.partition("/")
    if not instance:
        return Offer(finance.own_provider, None, f"own/{gpu or 'hardware'}")
    return Offer(PROVIDERS.get(provider, provider), region or None, offer)


def dollars(nanousd: int) -> Decimal:
    """Exactly."""
    return Decimal(nanousd).scaleb(-9)


def gpu_hours(gpu_us: int) -> Decimal:
    return divided(gpu_us, MICROSECONDS_PER_HOUR)


def divided(numerator: int, denominator: int) -> Decimal:
    """To 18 places."""
    with localcontext() as context:
        context.prec = 50
        return (Decimal(numerator) / Decimal(denominator)).quantize(PLACES)


def unit_price(nanousd: int, quantity: Decimal) -> Decimal:
    """USD for one of ``quantity``, such that the product is ``nanousd`` to half a nanodollar."""
    with localcontext() as context:
        context.prec = 50
        return (Decimal(nanousd) / NANOUSD_PER_USD / quantity).quantize(PLACES)


def product(one: Decimal, other: Decimal) -> Decimal:
    with localcontext() as context:
        context.prec = 50
        return one * other


def month_of(at: datetime) -> tuple[datetime, datetime]:
    """The month ``at`` is in: its start, and the next one's."""
    start = at.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    following = (
        start.replace(year=start.year + 1, month=1) if start.month == 12 else start.replace(month=start.month + 1)
    )
    return start, following


def as_json(values: Mapping[str, object]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

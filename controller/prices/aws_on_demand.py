"""AWS's public on-demand prices, from its Price List Query API."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from controller.errors import PriceError
from controller.facts.fleet import CapacityType
from controller.facts.money import nanousd
from controller.facts.prices import Quote
from controller.prices.aws import Clients, instance, pages

ENDPOINT_REGION = "us-east-1"
"""The Price List service answers for every region from a few; this is the one that always has it."""

SOLD_AS = {
    "operatingSystem": "Linux",
    "tenancy": "Shared",
    "preInstalledSw": "NA",
    "capacitystatus": "Used",
}
"""A plain Linux machine. Without these a type has some 40 prices: with Windows, with a database, dedicated, unused."""


class AwsOnDemand:
    """``pricing:GetProducts``. One price a region and type; it says since when it holds."""

    name = "AWS on demand"
    provider = "aws"
    capacity_type = CapacityType.ON_DEMAND

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def fetch(self, offer: str, since: datetime, now: datetime) -> Sequence[Quote]:
        """The price of today: this API has no history. Raises PriceError."""
        region, kind = instance(offer)
        wanted = {"instanceType": kind, "regionCode": region, **SOLD_AS}
        answers = pages(
            self._clients(ENDPOINT_REGION).get_products,
            "NextToken",
            ServiceCode="AmazonEC2",
            FormatVersion="aws_v1",
            Filters=[{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in wanted.items()],
        )
        found = {
            (quote.currency, quote.nano_per_hour): quote
            for page in answers
            for text in page.get("PriceList", ())
            for quote in self._quotes(offer, _read(offer, text), now)
        }
        if len(found) > 1:
            prices = ", ".join(f"{nano / 1e9:g} {currency}" for currency, nano in sorted(found))
            raise PriceError(f"AWS has {len(found)} on-demand prices of {offer} ({prices}); nobody knows which holds")
        if not found:
            raise PriceError(f"AWS names no on-demand price of {offer}")
        return tuple(found.values())

    def _quotes(self, offer: str, product: Mapping[str, Any], now: datetime) -> Iterator[Quote]:
        attributes = product.get("product", {}).get("attributes", {})
        if attributes.get("marketoption", "OnDemand") != "OnDemand":
            return
        for term in product.get("terms", {}).get("OnDemand", {}).values():
            for dimension in term.get("priceDimensions", {}).values():
                if dimension.get("unit") != "Hrs":
                    continue
                for currency, amount in dimension.get("pricePerUnit", {}).items():
                    nano = nano_of(offer, amount)
                    if nano > 0:
                        yield Quote(
                            offer=offer,
                            capacity_type=self.capacity_type,
                            zone="",
                            effective_at=_since(offer, term.get("effectiveDate")),
                            currency=currency,
                            nano_per_hour=nano,
                            fetched_at=now,
                            source=self.name,
                            gpus=_count(attributes.get("gpu")),
                        )


def nano_of(offer: str, amount: object) -> int:
    """A price as AWS writes it, in 1e-9; "" and zero are 0: unknown. Raises PriceError for what is no number."""
    try:
        value = Decimal(str(amount or "0"))
    except InvalidOperation as error:
        raise PriceError(f"AWS answered a price of {amount!r} for {offer}, which is no number") from error
    if not value.is_finite():
        raise PriceError(f"AWS answered a price of {amount!r} for {offer}, which is no number")
    return nanousd(value)


def _read(offer: str, text: object) -> Mapping[str, Any]:
    """A product comes as JSON inside the JSON of the answer."""
    try:
        product = json.loads(str(text))
    except ValueError as error:
        raise PriceError(f"AWS answered something about {offer} that is no JSON: {error}") from error
    if not isinstance(product, dict):
        raise PriceError(f"AWS answered something about {offer} that is no product: {str(text)[:80]}")
    return product


def _since(offer: str, text: object) -> datetime:
    try:
        return datetime.fromisoformat(str(text))
    except ValueError as error:
        raise PriceError(f"AWS answered no date of its price of {offer}, but {text!r}") from error


def _count(text: object) -> int | None:
    return int(str(text)) if str(text).isdigit() and int(str(text)) > 0 else None

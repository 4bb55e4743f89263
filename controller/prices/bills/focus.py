"""A bill as FOCUS 1.0 to 1.2 writes it, of any provider."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from hashlib import sha256
from pathlib import Path

from controller.attribute.charges import Bill, BillLine, ChargeKind
from controller.errors import BillError
from controller.prices.bills.rows import Row, added_up, digest, rows, whole_days

COLUMNS = (
    "BilledCost",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "CommitmentDiscountId",
    "CommitmentDiscountStatus",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceId",
    "ListCost",
    "PricingCategory",
    "ProviderName",
    "RegionId",
    "ResourceId",
    "ServiceName",
    "SkuId",
    "SkuPriceDetails",
)

KINDS: Mapping[str, ChargeKind] = {
    "Usage": ChargeKind.USAGE,
    "Purchase": ChargeKind.FEE,
    "Tax": ChargeKind.TAX,
    "Credit": ChargeKind.CREDIT,
    "Adjustment": ChargeKind.REFUND,
}

PROVIDERS: Mapping[str, str] = {
    "amazon web services": "aws",
    "microsoft": "azure",
    "microsoft azure": "azure",
    "google": "gcp",
    "google cloud": "gcp",
    "oracle": "oci",
    "oracle cloud": "oci",
    "lambda labs": "lambda",
}
"""As offers in the price book begin. Any other provider is its own name in small letters."""


@dataclass(slots=True)
class _Seen:
    """The rows of one provider, and what they say about the bill as a whole."""

    lines: list[BillLine] = field(default_factory=list)
    first: date = date.max
    last: date = date.min
    period: tuple[date, date] = (date.max, date.min)
    invoiced: bool = True


def read(paths: Sequence[Path]) -> tuple[Bill, ...]:
    """One bill a provider. Raises BillError.

    Where every charge has its invoice, the bill tells its whole billing period; else its last day waits.
    """
    seen: dict[str, _Seen] = {}
    for path in paths:
        for row in rows(path, COLUMNS):
            provider = _provider(row.text("ProviderName"))
            _note(row, seen.setdefault(provider, _Seen()), _line(row, provider))
    if not seen:
        raise BillError(f"{', '.join(map(str, paths))}: no charge in it; nothing was read")
    whole = digest(paths)
    return tuple(
        _bill(provider, found, whole if len(seen) == 1 else sha256(f"{whole} {provider}".encode()).hexdigest())
        for provider, found in sorted(seen.items())
    )


def _bill(provider: str, seen: _Seen, whole: str) -> Bill:
    first, until = (seen.first, seen.last)
    if seen.invoiced:
        first, until = seen.period if seen.period[0] < seen.period[1] else (first, until + timedelta(days=1))
    lines = added_up(seen.lines)
    return Bill(provider=provider, source="focus", sha256=whole, first=first, until=until, lines=lines)


def _note(row: Row, seen: _Seen, line: BillLine) -> None:
    seen.lines.append(line)
    if len(seen.lines) > 50_000:
        seen.lines = list(added_up(seen.lines))
    if line.until - line.day == timedelta(days=1):
        seen.first, seen.last = min(seen.first, line.day), max(seen.last, line.day)
    if row.text("BillingPeriodStart") and row.text("BillingPeriodEnd"):
        start, end = row.time("BillingPeriodStart").date(), row.time("BillingPeriodEnd").date()
        seen.period = min(seen.period[0], start), max(seen.period[1], end)
    seen.invoiced = seen.invoiced and bool(row.text("InvoiceId"))


def _line(row: Row, provider: str) -> BillLine:
    day, until = whole_days(row.time("ChargePeriodStart"), row.time("ChargePeriodEnd"))
    return BillLine(
        day=day,
        until=until,
        kind=_kind(row),
        billed=row.needed("BilledCost"),
        effective=row.needed("EffectiveCost"),
        list_=row.number("ListCost"),
        contracted=row.number("ContractedCost"),
        currency=row.text("BillingCurrency") or "USD",
        service_code=row.text("ServiceName"),
        resource_id=row.text("ResourceId"),
        offer=_offer(row, provider),
        spot=row.text("PricingCategory") == "Dynamic",
        commitment=row.text("CommitmentDiscountId"),
    )


def _kind(row: Row) -> ChargeKind:
    category = row.text("ChargeCategory")
    if category == "Usage" and row.text("CommitmentDiscountStatus") == "Unused":
        return ChargeKind.UNUSED
    kind = KINDS.get(category)
    if kind is None:
        expected = ", ".join(KINDS)
        raise BillError(
            f"{row.place}: ChargeCategory: expected one of {expected}, found {category!r}; nothing was read"
        )
    return kind


def _offer(row: Row, provider: str) -> str:
    """Of the SKU when it is written as offers are; else of the region and the instance type of the price's details."""
    sku = row.text("SkuId")
    if sku.count("/") == 2 and sku.startswith(f"{provider}/"):
        return sku
    details = row.items("SkuPriceDetails")
    kind = str(details.get("InstanceType") or details.get("x_InstanceType") or "")
    region = row.text("RegionId")
    return f"{provider}/{region}/{kind}" if kind and region else ""


def _provider(name: str) -> str:
    plain = name.strip().lower()
    return PROVIDERS.get(plain, plain.replace(" ", "-"))

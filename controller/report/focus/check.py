"""Our own checks of a FOCUS file: what the official validator does not look at.

Prices times quantities, sums over commitments and invoices, UTC, services under their category, statuses, and that
what was allocated is what the fleet cost. The validator's own rules are not repeated here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from functools import lru_cache

from controller.report.focus.columns import COSTS, OF_ALLOCATED, OWN, STANDARD, Row, Value
from controller.report.focus.values import product

HALF_A_NANODOLLAR = Decimal("5e-10")
MOST = 100
"""Problems that are told; more are counted."""

_SUBCATEGORIES = {"Virtual Machines": "Compute", "Generative AI": "AI and Machine Learning"}
_CATEGORIES = ("Usage", "Purchase", "Adjustment")
_PRICING = ("Standard", "Dynamic", "Committed", "Other", None)
_FREQUENCIES = ("Usage-Based", "One-Time", "Recurring")
_STATUSES = ("Used", "Unused")
_KINDS = ("input", "cached input", "output", "unmeasured", "idle share", "overhead", None)
_NAMES = {*STANDARD, *OF_ALLOCATED, *(name for name in OWN if re.fullmatch(r"x_([A-Z][a-z0-9]*)+", name))}
_QUANTITIES = ("PricingQuantity", "ConsumedQuantity", "CommitmentDiscountQuantity", "x_Tokens", "x_GpuCount")
_TOGETHER = (
    ("BillingAccountId", "BillingAccountType"),
    ("SubAccountId", "SubAccountName", "SubAccountType"),
    ("RegionId", "RegionName"),
    ("ResourceId", "ResourceType"),
    ("CommitmentDiscountId", "CommitmentDiscountName", "CommitmentDiscountCategory", "CommitmentDiscountType"),
    ("ConsumedQuantity", "ConsumedUnit"),
    ("PricingQuantity", "PricingUnit"),
    ("CommitmentDiscountQuantity", "CommitmentDiscountUnit"),
)
"""Null together or not at all."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """One thing wrong. ``row`` counts the file's rows from 1; 0 = a sum over many."""

    row: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"row {self.row}: {self.rule}: {self.message}" if self.row else f"{self.rule}: {self.message}"


@dataclass
class _Commitment:
    used: Decimal = Decimal(0)
    unused: Decimal = Decimal(0)
    bought: Decimal = Decimal(0)
    first: datetime | None = None
    last: datetime | None = None
    bought_first: datetime | None = None
    bought_last: datetime | None = None


@dataclass
class Check:
    """Sees one file's rows as they are written; ``wrong`` and ``finished`` say what is wrong with them."""

    wrong: list[Wrong] = field(default_factory=list)
    found: int = 0
    rows: int = 0
    hours: dict[datetime, dict[str, Decimal]] = field(default_factory=dict)
    invoices: dict[str, Decimal] = field(default_factory=dict)
    _commitments: dict[str, _Commitment] = field(default_factory=dict)
    _skus: dict[str, str] = field(default_factory=dict)

    def see(self, row: Row) -> None:
        self.rows += 1
        for rule, message in _of_row(row):
            self._tell(self.rows, rule, message)
        self._add(row)

    def finished(self) -> list[Wrong]:
        """After the last row: what is wrong with sums."""
        for name, sums in sorted(self._commitments.items()):
            if not _whole(sums):
                continue
            if sums.used + sums.unused != sums.bought:
                self._tell(
                    0,
                    "commitment",
                    f"{name}: bought for {sums.bought} USD; used {sums.used} and unused {sums.unused} make "
                    f"{sums.used + sums.unused}",
                )
        return self.wrong

    def _tell(self, row: int, rule: str, message: str) -> None:
        self.found += 1
        if len(self.wrong) < MOST:
            self.wrong.append(Wrong(row, rule, message))

    def _add(self, row: Row) -> None:
        start = row.get("ChargePeriodStart")
        if isinstance(start, datetime) and row.get("ChargeCategory") == "Usage":
            sums = self.hours.setdefault(start, dict.fromkeys(COSTS, Decimal(0)))
            for name in COSTS:
                sums[name] += _number(row.get(name))
        invoice = row.get("InvoiceId")
        if isinstance(invoice, str):
            self.invoices[invoice] = self.invoices.get(invoice, Decimal(0)) + _number(row.get("BilledCost"))
        self._add_commitment(row)
        sku, price = row.get("SkuId"), row.get("SkuPriceId")
        if isinstance(sku, str) and isinstance(price, str) and self._skus.setdefault(price, sku) != sku:
            self._tell(self.rows, "SkuPriceId", f"{price} is of {self._skus[price]} and of {sku}")

    def _add_commitment(self, row: Row) -> None:
        name, start, end = row.get("CommitmentDiscountId"), row.get("ChargePeriodStart"), row.get("ChargePeriodEnd")
        if not isinstance(name, str) or not isinstance(start, datetime) or not isinstance(end, datetime):
            return
        sums = self._commitments.setdefault(name, _Commitment())
        if row.get("ChargeCategory") == "Purchase":
            sums.bought += _number(row.get("BilledCost"))
            sums.bought_first, sums.bought_last = _wider(sums.bought_first, sums.bought_last, start, end)
            return
        sums.first, sums.last = _wider(sums.first, sums.last, start, end)
        if row.get("CommitmentDiscountStatus") == "Unused":
            sums.unused += _number(row.get("EffectiveCost"))
        else:
            sums.used += _number(row.get("EffectiveCost"))


def checked(rows: Iterable[Row]) -> Check:
    """All of a file's rows seen, its sums included."""
    check = Check()
    for row in rows:
        check.see(row)
    check.finished()
    return check


def compared(fleet: Check, allocated: Check) -> list[Wrong]:
    """Where what was allocated is not what the fleet cost: every hour, each of the four costs."""
    nothing = dict.fromkeys(COSTS, Decimal(0))
    return [
        Wrong(0, "allocated", f"{hour:%Y-%m-%dT%H:%MZ}: {name} is {had} in focus-fleet and {got} in focus-allocated")
        for hour in sorted({*fleet.hours, *allocated.hours})
        for name in COSTS
        if (had := fleet.hours.get(hour, nothing)[name]) != (got := allocated.hours.get(hour, nothing)[name])
    ]


def invoiced(check: Check, invoices: dict[str, Decimal]) -> list[Wrong]:
    """Where the billed cost of an invoice's rows is not what the invoice says."""
    return [
        Wrong(0, "invoice", f"{name}: {check.invoices.get(name, Decimal(0))} USD in the file, {total} on the invoice")
        for name, total in sorted(invoices.items())
        if check.invoices.get(name, Decimal(0)) != total
    ]


def _of_row(row: Row) -> Iterator[tuple[str, str]]:
    yield from _names(row)
    yield from _prices(row)
    yield from _times(row)
    yield from _enums(row)
    yield from _nulls(row)
    yield from _amounts(row)
    yield from _documents(row)


def _names(row: Row) -> Iterator[tuple[str, str]]:
    for name in row.keys() - _NAMES:
        yield "column", f"{name} is neither FOCUS's nor one of ours in x_PascalCase"


def _prices(row: Row) -> Iterator[tuple[str, str]]:
    quantity = row.get("PricingQuantity")
    for price_name, cost_name in (("ListUnitPrice", "ListCost"), ("ContractedUnitPrice", "ContractedCost")):
        price, cost = row.get(price_name), row.get(cost_name)
        if not (isinstance(price, Decimal) and isinstance(quantity, Decimal) and isinstance(cost, Decimal)):
            continue
        if abs(product(price, quantity) - cost) > HALF_A_NANODOLLAR:
            yield price_name, f"{price} x {quantity} is not {cost_name} {cost}"
        if price < 0:
            yield price_name, f"{price} is negative"


def _times(row: Row) -> Iterator[tuple[str, str]]:
    for name in ("ChargePeriodStart", "ChargePeriodEnd", "BillingPeriodStart", "BillingPeriodEnd"):
        at = row.get(name)
        if not isinstance(at, datetime) or at.utcoffset() != timedelta(0):
            yield name, f"{at} is not a time in UTC"
            return
    for period in ("ChargePeriod", "BillingPeriod"):
        start, end = row[f"{period}Start"], row[f"{period}End"]
        if isinstance(start, datetime) and isinstance(end, datetime) and start >= end:
            yield f"{period}End", f"{end:%Y-%m-%dT%H:%MZ} is not after {start:%Y-%m-%dT%H:%MZ}"


def _enums(row: Row) -> Iterator[tuple[str, str]]:
    allowed: tuple[tuple[str, tuple[Value, ...]], ...] = (
        ("ChargeCategory", _CATEGORIES),
        ("ChargeClass", (None, "Correction")),
        ("ChargeFrequency", _FREQUENCIES),
        ("PricingCategory", _PRICING),
        ("x_TokenKind", _KINDS),
    )
    for name, values in allowed:
        if row.get(name) not in values:
            yield name, f"{row.get(name)!r} is none of {', '.join(str(value) for value in values if value)}"
    subcategory, category = row.get("ServiceSubcategory"), row.get("ServiceCategory")
    if not isinstance(subcategory, str) or _SUBCATEGORIES.get(subcategory) != category:
        yield "ServiceSubcategory", f"{subcategory!r} does not stand under {category!r}"
    if row.get("ChargeCategory") == "Purchase" and row.get("ChargeFrequency") == "Usage-Based":
        yield "ChargeFrequency", "a Purchase is not Usage-Based"


def _nulls(row: Row) -> Iterator[tuple[str, str]]:
    for names in _TOGETHER:
        if len({row.get(name) is None for name in names}) > 1:
            yield names[0], f"{' and '.join(names)} are null together, or none of them is"
    for commitment, status in (
        ("CommitmentDiscountId", "CommitmentDiscountStatus"),
        ("CapacityReservationId", "CapacityReservationStatus"),
    ):
        expected = row.get(commitment) is not None and row.get("ChargeCategory") == "Usage"
        if expected and row.get(status) not in _STATUSES:
            yield status, f"{row.get(status)!r} is neither Used nor Unused"
        if not expected and row.get(status) is not None:
            yield status, f"{row.get(status)!r} where nothing is committed"
    if row.get("CommitmentDiscountStatus") == "Unused" and row.get("ConsumedQuantity") is not None:
        yield "ConsumedQuantity", "nobody consumed what is Unused"


def _amounts(row: Row) -> Iterator[tuple[str, str]]:
    for name in COSTS:
        if not isinstance(row.get(name), Decimal):
            yield name, "is never null: what has no price is not exported"
    if row.get("ChargeClass") == "Correction":
        return
    for name in _QUANTITIES:
        quantity = row.get(name)
        if isinstance(quantity, Decimal) and quantity < 0:
            yield name, f"{quantity} is negative"
    if row.get("ProviderName") != row.get("InvoiceIssuerName") and _number(row.get("BilledCost")):
        yield "BilledCost", "is 0 when somebody else issues the invoice"


def _documents(row: Row) -> Iterator[tuple[str, str]]:
    for name in ("Tags", "SkuPriceDetails", "AllocatedTags", "AllocatedMethodDetails"):
        document = row.get(name)
        if document is not None and not _is_object(str(document)):
            yield name, f"{document!r} is not a JSON object, or has a ratio that is not from 0 to 1"


@lru_cache(maxsize=10_000)
def _is_object(document: str) -> bool:
    try:
        told = json.loads(document)
    except ValueError:
        return False
    return isinstance(told, dict) and all(0 <= one["AllocatedRatio"] <= 1 for one in told.get("Elements", ()))


def _number(value: Value) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(0)


def _wider(first: datetime | None, last: datetime | None, start: datetime, end: datetime) -> tuple[datetime, datetime]:
    return min(first or start, start), max(last or end, end)


def _whole(sums: _Commitment) -> bool:
    """Whether the file holds the same time of the commitment's fees and of its use: only then must they tie."""
    return sums.bought_first is not None and (sums.first, sums.last) == (sums.bought_first, sums.bought_last)

"""AWS's Cost and Usage Report, the old one and CUR 2.0, as the files that AWS puts into a bucket."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

from controller.attribute.charges import Bill, BillLine, ChargeKind
from controller.errors import BillError
from controller.facts.money import nanousd
from controller.prices.bills.rows import Row, added_up, digest, rows, whole_days

COLUMNS = (
    "bill_billing_period_end_date",
    "bill_billing_period_start_date",
    "bill_invoice_id",
    "line_item_currency_code",
    "line_item_line_item_type",
    "line_item_product_code",
    "line_item_resource_id",
    "line_item_unblended_cost",
    "line_item_usage_end_date",
    "line_item_usage_start_date",
    "line_item_usage_type",
    "pricing_public_on_demand_cost",
    "product",
    "product_instance_type",
    "product_region",
    "product_region_code",
    "reservation_effective_cost",
    "reservation_reservation_a_r_n",
    "reservation_unused_amortized_upfront_fee_for_billing_period",
    "reservation_unused_recurring_fee",
    "savings_plan_savings_plan_a_r_n",
    "savings_plan_savings_plan_effective_cost",
    "savings_plan_total_commitment_to_date",
    "savings_plan_used_commitment",
)
"""All by name; of these only times, type and unblended cost must be there."""

DAY = timedelta(days=1)
ZERO = Decimal(0)

COVERED = "SavingsPlanCoveredUsage"
NEGATION = "SavingsPlanNegation"

KINDS: Mapping[str, ChargeKind] = {
    "Usage": ChargeKind.USAGE,
    "DiscountedUsage": ChargeKind.USAGE,
    COVERED: ChargeKind.USAGE,
    "RIFee": ChargeKind.FEE,
    "Fee": ChargeKind.FEE,
    "SavingsPlanRecurringFee": ChargeKind.FEE,
    "SavingsPlanUpfrontFee": ChargeKind.FEE,
    "Tax": ChargeKind.TAX,
    "Credit": ChargeKind.CREDIT,
    "Refund": ChargeKind.REFUND,
}
"""Whatever else a report names is a discount: EdpDiscount, BundledDiscount, PrivateRateDiscount …"""

INSTANCE_HOURS = re.compile(r"(?:^|-)(BoxUsage|SpotUsage|DedicatedUsage|HostBoxUsage|UnusedBox)(?::(\S+))?$")
"""Usage of instances as such. Traffic, disks and addresses of an instance are none of its hours."""


@dataclass(slots=True)
class _Seen:
    """What the rows say about the report as a whole. ``covered``: usage at on-demand prices less what is negated."""

    first: date = date.max
    last: date = date.min
    period: tuple[date, date] = (date.max, date.min)
    invoiced: bool = True


def read(paths: Sequence[Path]) -> Bill:
    """All files of one report as one bill. Raises BillError.

    Once AWS has written the invoice into a report it is final, and tells its whole billing period; before that its
    last day may be half a day, and waits. Covered usage bills nothing: its fee does.
    """
    seen = _Seen()
    lines = added_up(_lines(paths, seen))
    if not lines:
        raise BillError(f"{', '.join(map(str, paths))}: no charge in it; nothing was read")
    first, until = seen.first, seen.last
    if seen.invoiced:
        first, until = seen.period if seen.period[0] < seen.period[1] else (first, until + DAY)
    return Bill(provider="aws", source="cur", sha256=digest(paths), first=first, until=until, lines=lines)


def _lines(paths: Sequence[Path], seen: _Seen) -> Iterator[BillLine]:
    negated: dict[tuple[date, str], Decimal] = defaultdict(Decimal)
    for path in paths:
        for row in rows(path, COLUMNS):
            day, until = whole_days(row.time("line_item_usage_start_date"), row.time("line_item_usage_end_date"))
            _note(row, seen, day, until)
            charged, kind = row.needed("line_item_unblended_cost"), row.text("line_item_line_item_type")
            if kind in (COVERED, NEGATION):
                negated[day, row.text("line_item_currency_code") or "USD"] += charged
            if kind != NEGATION:
                yield from _charges(row, kind, charged, day, until)
    for (day, currency), left in negated.items():
        if nanousd(left):  # what the negation does not take back is billed all the same
            yield BillLine(
                day=day,
                until=day + DAY,
                kind=ChargeKind.CREDIT,
                billed=left,
                effective=ZERO,
                list_=ZERO,
                currency=currency,
            )


def _note(row: Row, seen: _Seen, day: date, until: date) -> None:
    if until - day == DAY:
        seen.first, seen.last = min(seen.first, day), max(seen.last, day)
    if row.text("bill_billing_period_start_date") and row.text("bill_billing_period_end_date"):
        start, end = row.time("bill_billing_period_start_date"), row.time("bill_billing_period_end_date")
        seen.period = min(seen.period[0], start.date()), max(seen.period[1], end.date())
    seen.invoiced = seen.invoiced and bool(row.text("bill_invoice_id"))


def _charges(row: Row, kind: str, charged: Decimal, day: date, until: date) -> Iterator[BillLine]:
    commitment = row.text("reservation_reservation_a_r_n", "savings_plan_savings_plan_a_r_n")
    what = KINDS.get(kind, ChargeKind.CREDIT)
    usage = what is ChargeKind.USAGE
    offer, spot, instance = _instance(row)
    line = BillLine(
        day=day,
        until=until,
        kind=what,
        billed=ZERO if kind == COVERED else charged,
        effective=_effective(row, kind, charged, bool(commitment)),
        list_=row.number("pricing_public_on_demand_cost") if usage else ZERO,
        currency=row.text("line_item_currency_code") or "USD",
        service_code=row.text("line_item_product_code"),
        resource_id=row.text("line_item_resource_id") if instance or not usage else "",
        offer=offer,
        spot=spot,
        commitment=commitment,
    )
    yield line
    unused = _unused(row, kind)
    if unused:
        yield replace(line, kind=ChargeKind.UNUSED, billed=ZERO, effective=unused, resource_id="", offer="")


def _effective(row: Row, kind: str, charged: Decimal, committed: bool) -> Decimal | None:
    """Amortised, as AWS defines it by type; None when the report leaves out the column that says."""
    if kind == COVERED:
        return row.number("savings_plan_savings_plan_effective_cost")
    if kind == "DiscountedUsage":
        return row.number("reservation_effective_cost")
    fee = kind in ("RIFee", "SavingsPlanRecurringFee", "SavingsPlanUpfrontFee") or (kind == "Fee" and committed)
    return ZERO if fee else charged


def _unused(row: Row, kind: str) -> Decimal:
    if kind == "RIFee":
        upfront = row.number("reservation_unused_amortized_upfront_fee_for_billing_period") or ZERO
        return upfront + (row.number("reservation_unused_recurring_fee") or ZERO)
    if kind == "SavingsPlanRecurringFee":
        total = row.number("savings_plan_total_commitment_to_date") or ZERO
        return total - (row.number("savings_plan_used_commitment") or ZERO)
    return ZERO


def _instance(row: Row) -> tuple[str, bool, bool]:
    """Offer, whether on spot, and whether the row is for hours of an instance at all."""
    usage_type = row.text("line_item_usage_type")
    found = INSTANCE_HOURS.search(usage_type)
    if usage_type and not found:
        return "", False, False
    product = row.items("product")
    kind = row.text("product_instance_type") or str(product.get("instance_type") or "")
    kind = kind or ((found.group(2) or "") if found else "")
    region = row.text("product_region_code", "product_region") or str(product.get("region") or "")
    spot = found is not None and found.group(1) == "SpotUsage"
    return (f"aws/{region}/{kind}" if kind and region else ""), spot, bool(kind)

"""focus-fleet: what the capacity cost. One row an hour and seat; fees of commitments; adjustments to bills."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

from controller.facts.account_reader import AdjustmentRow, CommitmentUse, Purchase, SeatRow
from controller.facts.accounts import STRANDED, Identity
from controller.facts.commitments import CommitmentKind
from controller.facts.fleet import CapacityType
from controller.report.crossing import costs_of
from controller.report.focus.columns import Row, Value
from controller.report.focus.values import (
    GPU_HOURS,
    HOURS,
    Finance,
    as_json,
    dollars,
    gpu_hours,
    month_of,
    offer_of,
    unit_price,
)

BOUGHT = {
    CapacityType.ON_DEMAND: "on demand",
    CapacityType.SPOT: "spot",
    CapacityType.RESERVED: "reserved",
}
_CATEGORY = {
    CapacityType.ON_DEMAND: "Standard",
    CapacityType.SPOT: "Dynamic",
    CapacityType.RESERVED: "Other",
}
_DISCOUNT = {
    CommitmentKind.RESERVED_INSTANCE: ("Usage", "Reserved Instance"),
    CommitmentKind.SAVINGS_PLAN: ("Spend", "Savings Plan"),
    CommitmentKind.CAPACITY_BLOCK: ("Usage", "Capacity Block"),
}
"""FOCUS category and type of what a provider sells ahead. Hardware of one's own is no discount."""

_NOBODY = Identity()

Commitments = Mapping[str, CommitmentUse]


def seat_row(seat: SeatRow, commitments: Commitments, finance: Finance) -> dict[str, Value]:
    """One seat-hour as a FOCUS charge."""
    costs = costs_of(seat)
    quantity, unit = quantity_of(seat)
    return {
        **charged(costs, quantity, unit),
        **_place(seat, finance),
        **_resource(seat),
        **_discount(seat, commitments, quantity, costs["effective"]),
        **period(seat.start, seat.end, finance),
        "ChargeCategory": "Usage",
        "ChargeDescription": _description(seat),
        "ChargeFrequency": "Usage-Based",
        "ConsumedQuantity": None if is_unused(seat) else quantity,
        "ConsumedUnit": None if is_unused(seat) else unit,
        "PricingCategory": pricing_category(seat, commitments),
        "ServiceCategory": "Compute",
        "ServiceSubcategory": "Virtual Machines",
        "Tags": as_json({key: value for key, value in (("service", seat.service), ("variant", seat.variant)) if value}),
        **own_columns(seat),
    }


def is_unused(seat: SeatRow) -> bool:
    """Committed, and nothing used it."""
    return bool(seat.commitment) and not seat.service


def quantity_of(seat: SeatRow) -> tuple[Decimal, str]:
    """GPU-hours; for what has no GPU, like a shared item, the hours of the row."""
    return _quantity(seat.gpu_us, seat.end - seat.start)


def _quantity(gpu_us: int, lasted: timedelta) -> tuple[Decimal, str]:
    return (gpu_hours(gpu_us), GPU_HOURS) if gpu_us else (gpu_hours(lasted // timedelta(microseconds=1)), HOURS)


def charged(costs: Mapping[str, int], quantity: Decimal, unit: str) -> dict[str, Value]:
    """The four costs, and the prices at which ``quantity`` gives them."""
    return {
        "BilledCost": dollars(costs["billed"]),
        "EffectiveCost": dollars(costs["effective"]),
        "ListCost": dollars(costs["list"]),
        "ContractedCost": dollars(costs["contracted"]),
        "ListUnitPrice": unit_price(costs["list"], quantity),
        "ContractedUnitPrice": unit_price(costs["contracted"], quantity),
        "PricingQuantity": quantity,
        "PricingUnit": unit,
    }


def pricing_category(seat: SeatRow, commitments: Commitments) -> str:
    if not seat.commitment:
        return _CATEGORY[seat.capacity_type]
    return "Committed" if _sold(seat.commitment, commitments) else "Other"


def period(start: datetime, end: datetime, finance: Finance, posted: datetime | None = None) -> dict[str, Value]:
    """The charge's period and the month in which it is billed; whose account."""
    month, following = month_of(posted or start)
    return {
        "BillingPeriodStart": month,
        "BillingPeriodEnd": following,
        "ChargePeriodStart": start,
        "ChargePeriodEnd": end,
        "BillingAccountId": finance.account_id,
        "BillingAccountName": finance.account_name,
        "BillingAccountType": finance.account_type,
        "BillingCurrency": "USD",
    }


def provided(offer: str, gpu: str, finance: Finance) -> dict[str, Value]:
    """Who provided it, and where."""
    known = offer_of(offer, gpu, finance)
    return {
        "ProviderName": known.provider,
        "PublisherName": known.provider,
        "InvoiceIssuerName": known.provider,
        "RegionId": known.region,
        "RegionName": known.region,
    }


def own_columns(seat: SeatRow) -> dict[str, Value]:
    return {
        "x_CostBasis": "allocation",
        "x_GpuCount": Decimal(seat.gpus) if seat.gpu_us else None,
        "x_GpuModel": seat.gpu or None,
        "x_Mfu": None if seat.mfu is None else Decimal(repr(seat.mfu)).quantize(Decimal("1e-6")),
        "x_Model": seat.model or None,
        "x_PolicyDecisionId": seat.decision or None,
        "x_Quantization": seat.quantization or None,
    }


def purchase_row(bought: Purchase, commitments: Commitments, finance: Finance) -> dict[str, Value] | None:
    """A fee: billed now, effective over the hours it bought. None for what no provider sells."""
    sold = _sold(bought.commitment, commitments)
    if sold is None:
        return None
    fee = bought.billed_nanousd
    quantity, unit = _quantity(bought.quantity_gpu_us, bought.end - bought.start)
    known = offer_of(sold.offer, "", finance)
    category, kind = _DISCOUNT[sold.kind]
    return {
        **charged({"list": fee, "contracted": fee, "billed": fee, "effective": 0}, quantity, unit),
        **provided(sold.offer, "", finance),
        **period(bought.start, bought.end, finance, bought.posted_at),
        **_commitment_columns(sold, quantity, fee, status=None),
        "ChargeCategory": "Purchase",
        "ChargeDescription": f"{kind} {sold.id}, " + ("up front" if bought.one_time else "recurring fee"),
        "ChargeFrequency": "One-Time" if bought.one_time else "Recurring",
        "PricingCategory": "Standard",
        "ServiceCategory": "Compute",
        "ServiceName": f"{known.provider} GPU Instances",
        "ServiceSubcategory": "Virtual Machines",
        "SkuId": known.sku,
        "SkuPriceId": f"{known.sku}/{sold.kind}/{sold.id}",
        "SkuMeter": unit,
        "SkuPriceDetails": as_json({"x_CommitmentCategory": category}),
        "Tags": "{}",
        "x_CostBasis": "allocation",
    }


def adjustment_rows(adjustments: Sequence[AdjustmentRow], finance: Finance) -> Iterator[dict[str, Value]]:
    """By pool, without regard of whose they are."""
    merged: dict[AdjustmentRow, int] = {}
    for row in adjustments:
        key = replace(row, identity=_NOBODY, amount_nanousd=0)
        merged[key] = merged.get(key, 0) + row.amount_nanousd
    for key, amount in merged.items():
        yield adjustment_row(replace(key, amount_nanousd=amount), finance)


def adjustment_row(row: AdjustmentRow, finance: Finance) -> dict[str, Value]:
    """What a bill says beyond our estimate. It has an amount and a reason, no quantity and no price."""
    start = datetime.combine(row.day, time(), UTC)
    names = {"billed": "BilledCost", "effective": "EffectiveCost", "list": "ListCost", "contracted": "ContractedCost"}
    known = offer_of(row.offer, "", finance)
    pool = row.pool
    return {
        **dict.fromkeys(names.values(), Decimal(0)),
        names[row.cost]: dollars(row.amount_nanousd),
        **provided(row.offer, "", finance),
        **period(start, start + timedelta(days=1), finance, row.posted_at if row.after_close else None),
        "ChargeCategory": "Adjustment",
        "ChargeClass": "Correction" if row.after_close else None,
        "ChargeDescription": row.why,
        "ChargeFrequency": "One-Time",
        "InvoiceId": row.invoice or None,
        "ServiceCategory": "Compute",
        "ServiceName": f"{known.provider} GPU Instances",
        "ServiceSubcategory": "Virtual Machines",
        "Tags": as_json({"service": pool.service, "variant": pool.variant} if pool and pool.service else {}),
        "x_CostBasis": "allocation",
    }


def fleet_rows(
    seats: Iterable[SeatRow],
    purchases: Sequence[Purchase],
    adjustments: Sequence[AdjustmentRow],
    commitments: Commitments,
    finance: Finance,
) -> Iterator[Row]:
    """One day of focus-fleet."""
    for seat in seats:
        if exported(seat):
            yield seat_row(seat, commitments, finance)
    for bought in purchases:
        fee = purchase_row(bought, commitments, finance)
        if fee is not None:
            yield fee
    yield from adjustment_rows(adjustments, finance)


def exported(seat: SeatRow) -> bool:
    """Whether anything of it has a price, or it had a GPU and all of its time was priced (at nothing)."""
    return any(costs_of(seat).values()) or (seat.gpu_us > 0 and not seat.unpriced_us)


def _sold(commitment: str, commitments: Commitments) -> CommitmentUse | None:
    found = commitments.get(commitment)
    return found if found is not None and found.kind in _DISCOUNT else None


def _place(seat: SeatRow, finance: Finance) -> dict[str, Value]:
    known = offer_of(seat.offer, seat.gpu, finance)
    since = f"/{seat.price_as_of.isoformat()}" if seat.price_as_of else ""
    return {
        **provided(seat.offer, seat.gpu, finance),
        "AvailabilityZone": seat.zone or None,
        "ServiceName": f"{known.provider} GPU Instances",
        "SkuId": known.sku,
        "SkuPriceId": f"{known.sku}/{seat.capacity_type}{since}",
        "SkuMeter": GPU_HOURS if seat.gpu_us else HOURS,
        "SkuPriceDetails": as_json({"x_GpuModel": seat.gpu} if seat.gpu else {}),
    }


def _resource(seat: SeatRow) -> dict[str, Value]:
    """Its name in the fleet; the node's, when nothing of a service is on it."""
    if is_unused(seat):
        return {}
    if seat.replica and seat.service and seat.replica != STRANDED:
        return {
            "ResourceId": f"{seat.service}/{seat.variant}/{seat.replica}",
            "ResourceName": seat.replica,
            "ResourceType": "Replica",
        }
    if seat.node:
        return {"ResourceId": f"node/{seat.node}", "ResourceName": seat.node, "ResourceType": "Node"}
    return {}


def _discount(seat: SeatRow, commitments: Commitments, quantity: Decimal, effective_nanousd: int) -> dict[str, Value]:
    sold = _sold(seat.commitment, commitments)
    if sold is None:
        return {}
    return _commitment_columns(sold, quantity, effective_nanousd, status="Unused" if is_unused(seat) else "Used")


def _commitment_columns(
    sold: CommitmentUse, quantity: Decimal, nanousd: int, *, status: str | None
) -> dict[str, Value]:
    category, kind = _DISCOUNT[sold.kind]
    block = sold.kind is CommitmentKind.CAPACITY_BLOCK
    return {
        "CommitmentDiscountId": sold.id,
        "CommitmentDiscountName": sold.id,
        "CommitmentDiscountCategory": category,
        "CommitmentDiscountType": kind,
        "CommitmentDiscountStatus": status,
        "CommitmentDiscountQuantity": quantity if category == "Usage" else dollars(nanousd),
        "CommitmentDiscountUnit": GPU_HOURS if category == "Usage" else "USD",
        "CapacityReservationId": sold.id if block else None,
        "CapacityReservationStatus": status if block else None,
    }


def _description(seat: SeatRow) -> str:
    if is_unused(seat):
        return f"commitment {seat.commitment}, unused"
    if not seat.service:
        return f"shared: {seat.replica}"
    what = f"{seat.gpus} x {seat.gpu}" if seat.gpu else "capacity"
    if seat.replica == STRANDED:
        return f"{what}, GPUs of a rented node that no replica of {seat.service} can use"
    who = f"replica {seat.replica}" if seat.replica else f"unused capacity of {seat.service}"
    under = f", under commitment {seat.commitment}" if seat.commitment else ""
    return f"{what}, {BOUGHT[seat.capacity_type]}, {who}{under}"

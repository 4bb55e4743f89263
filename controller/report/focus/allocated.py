"""focus-allocated: whose the cost was. One row an hour, replica, identity and kind of token."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from functools import lru_cache

from controller.attribute.unit_costs import KIND_PARTS, OF_TOKENS, TokenKind, kind_nanousd
from controller.facts.account_reader import AdjustmentRow, AllocationRow, SeatRow
from controller.facts.accounts import IDLE_OWN, OTHER, OVERHEAD_OWN, SHARED, UNATTRIBUTED, Identity
from controller.report.crossing import Cell, by_hour, crossed, without_keys
from controller.report.focus.columns import Row, Value
from controller.report.focus.rows import (
    Commitments,
    adjustment_row,
    charged,
    exported,
    is_unused,
    own_columns,
    period,
    pricing_category,
    quantity_of,
    seat_row,
)
from controller.report.focus.values import TOKENS, Finance, as_json, divided, dollars, product

METHOD = "pennyweight-work-v1"
"""How costs are allocated; docs/focus.md says it in words."""

_OF_SERVICE: dict[str, Value] = {
    "ServiceCategory": "AI and Machine Learning",
    "ServiceName": "Pennyweight Inference",
    "ServiceSubcategory": "Generative AI",
}
_METERS = {
    TokenKind.INPUT: "Input Tokens",
    TokenKind.CACHED_INPUT: "Cached Input Tokens",
    TokenKind.OUTPUT: "Output Tokens",
    TokenKind.UNMEASURED: "Unmeasured Work",
    TokenKind.IDLE: "Idle Capacity",
    TokenKind.OVERHEAD: "Overhead",
}
_NAMES = {
    UNATTRIBUTED: "Unattributed",
    IDLE_OWN: "Idle",
    OVERHEAD_OWN: "Overhead",
    OTHER: "Other",
    SHARED: "Shared",
}
_FROM_SEAT = (
    "AvailabilityZone",
    "ProviderName",
    "PublisherName",
    "InvoiceIssuerName",
    "RegionId",
    "RegionName",
    "ResourceId",
    "ResourceName",
    "ResourceType",
    "CapacityReservationId",
    "CapacityReservationStatus",
    "CommitmentDiscountCategory",
    "CommitmentDiscountId",
    "CommitmentDiscountName",
    "CommitmentDiscountStatus",
    "CommitmentDiscountType",
    "CommitmentDiscountUnit",
)


def allocated_rows(
    seats: Iterable[SeatRow],
    lines: Iterable[AllocationRow],
    adjustments: Sequence[AdjustmentRow],
    commitments: Commitments,
    finance: Finance,
) -> Iterator[Row]:
    """One day of focus-allocated. Holds one hour at a time. Raises UnbalancedError before the hour's first row."""
    for of_seats, of_lines in by_hour(seats, lines):
        whole = {id(seat): seat_row(seat, commitments, finance) for seat in of_seats if exported(seat)}
        first_posted = [without_keys(line) for line in of_lines if line.posted_at is None]
        for cell in list(crossed(of_seats, first_posted)):
            yield cell_row(cell, whole[id(cell.seat)], commitments, finance)
        for line in of_lines:
            if line.posted_at is not None:
                yield from correction_rows(line, finance)
    for row in adjustments:
        yield {**adjustment_row(row, finance), **_OF_SERVICE, **_owner(row.identity, ""), **_method(None, None)}


def cell_row(cell: Cell, seat: Row, commitments: Commitments, finance: Finance) -> dict[str, Value]:
    """The cell's share of its seat's charge."""
    whole, unit = quantity_of(cell.seat)
    share = divided(*cell.share)
    quantity = product(whole, share).quantize(Decimal("1e-18"))
    return {
        **{name: seat.get(name) for name in _FROM_SEAT},
        **_priced(cell, seat, quantity, unit),
        **_OF_SERVICE,
        **_sku(cell.seat, cell.kind),
        **_owner(cell.identity, cell.seat.model),
        **_method(share, cell if cell.kind in OF_TOKENS else None),
        **period(cell.seat.start, cell.seat.end, finance),
        **_consumed(cell, quantity, unit),
        "ChargeCategory": "Usage",
        "ChargeDescription": _description(cell),
        "ChargeFrequency": "Usage-Based",
        "CommitmentDiscountQuantity": _discount_share(seat, share),
        "PricingCategory": pricing_category(cell.seat, commitments),
        **own_columns(cell.seat),
        "x_TokenKind": str(cell.kind),
        "x_Tokens": Decimal(cell.tokens) if cell.kind in OF_TOKENS else None,
    }


def correction_rows(line: AllocationRow, finance: Finance) -> Iterator[dict[str, Value]]:
    """What late records moved between identities after the month was closed: by pool, replicas are not told apart.

    It moves effective cost only, and adds up to nothing. The other three stay as they were billed.
    """
    for kind in KIND_PARTS:
        amount = kind_nanousd(line.parts, kind)
        if not amount:
            continue
        pool = line.pool
        where = f"{pool.service}/{pool.variant}" if pool else "fleet"
        yield {
            "BilledCost": Decimal(0),
            "EffectiveCost": dollars(amount),
            "ListCost": Decimal(0),
            "ContractedCost": Decimal(0),
            **period(line.start, line.end, finance, line.posted_at),
            **_OF_SERVICE,
            **_owner(line.identity, ""),
            **_method(None, None),
            "ChargeCategory": "Usage",
            "ChargeClass": "Correction",
            "ChargeDescription": f"{_METERS[kind]} of {where}: late records, posted {line.posted_at:%Y-%m-%d}",
            "ChargeFrequency": "Usage-Based",
            "InvoiceIssuerName": finance.own_provider,
            "PricingCategory": "Other",
            "ProviderName": finance.own_provider,
            "PublisherName": finance.own_provider,
            "x_CostBasis": "allocation",
            "x_TokenKind": str(kind),
        }


def _priced(cell: Cell, seat: Row, quantity: Decimal, unit: str) -> dict[str, Value]:
    """Tokens that cost nothing keep the seat's price, times a quantity of nothing."""
    if quantity:
        return charged(cell.costs, quantity, unit)
    free = charged(dict.fromkeys(cell.costs, 0), Decimal(1), unit)
    return {
        **free,
        "PricingQuantity": Decimal(0),
        "ListUnitPrice": seat["ListUnitPrice"],
        "ContractedUnitPrice": seat["ContractedUnitPrice"],
    }


def _consumed(cell: Cell, quantity: Decimal, unit: str) -> dict[str, Value]:
    if is_unused(cell.seat):
        return {}
    if cell.kind in OF_TOKENS:
        return {"ConsumedQuantity": Decimal(cell.tokens), "ConsumedUnit": TOKENS}
    return {"ConsumedQuantity": quantity, "ConsumedUnit": unit}


def _discount_share(seat: Row, share: Decimal) -> Decimal | None:
    whole = seat.get("CommitmentDiscountQuantity")
    return product(whole, share).quantize(Decimal("1e-18")) if isinstance(whole, Decimal) else None


def _sku(seat: SeatRow, kind: TokenKind) -> dict[str, Value]:
    variant = f"{seat.service}/{seat.variant}" if seat.service else f"fleet/{seat.replica or 'capacity'}"
    return {
        "SkuId": variant,
        "SkuPriceId": f"{variant}/{str(kind).replace(' ', '-')}",
        "SkuMeter": _METERS[kind],
        "SkuPriceDetails": _details(seat.gpu, seat.model, seat.quantization),
    }


@lru_cache(maxsize=1_000)
def _details(gpu: str, model: str, quantization: str) -> str:
    told = {"x_GpuModel": gpu, "x_Model": model, "x_Quantization": quantization}
    return as_json({key: value for key, value in told.items() if value})


@lru_cache(maxsize=10_000)
def _owner(identity: Identity, model: str) -> dict[str, Value]:
    team = identity.team or None
    tags = {
        "feature": identity.feature,
        "tenant": identity.tenant,
        "environment": identity.environment,
        "model": model,
    }
    told = {key: value for key, value in tags.items() if value}
    name = "/".join(part for part in (identity.team, identity.tenant, identity.feature, identity.environment) if part)
    return {
        "SubAccountId": team,
        "SubAccountName": _NAMES.get(identity, team) if team else None,
        "SubAccountType": "Team" if team else None,
        "Tags": as_json(told),
        "AllocatedResourceId": f"identity/{name or 'unnamed'}",
        "AllocatedResourceName": _NAMES.get(identity, name or "unnamed"),
        "AllocatedTags": as_json(
            {**{k: v for k, v in told.items() if k != "model"}, **({"team": team} if team else {})}
        ),
    }


def _method(share: Decimal | None, tokens: Cell | None) -> dict[str, Value]:
    if share is None:
        return {"AllocatedMethodId": METHOD, "AllocatedMethodDetails": '{"Elements":[]}'}
    ratio = f'"AllocatedRatio":{share:f}'
    used = f',"UsageQuantity":{tokens.tokens},"UsageUnit":"{TOKENS}"' if tokens else ""
    return {"AllocatedMethodId": METHOD, "AllocatedMethodDetails": f'{{"Elements":[{{{ratio}{used}}}]}}'}


def _description(cell: Cell) -> str:
    whose = _NAMES.get(cell.identity, cell.identity.team or "nobody named")
    return f"{_METERS[cell.kind]} of {cell.seat.service or 'the fleet'} for {whose}"

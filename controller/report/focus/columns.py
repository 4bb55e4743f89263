"""The columns of a FOCUS 1.2 cost and usage file, in its order, and ours behind them.

https://focus.finops.org/focus-specification/v1-2/ ; the Allocated columns are FOCUS 1.3's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

Value = str | Decimal | datetime | None
Row = Mapping[str, Value]
"""One charge. Columns that are absent are null."""


class Dataset(StrEnum):
    """What a file holds. Both speak of the same money: never add one to the other.

    focus-fleet       what the capacity cost: one row an hour and replica, and commitments, fees, adjustments
    focus-allocated   whose it was: one row an hour, replica, identity and token kind
    """

    FLEET = "focus-fleet"
    ALLOCATED = "focus-allocated"


class Form(StrEnum):
    """How a column is written."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"


_TEXT, _NUMBER, _TIME = Form.TEXT, Form.NUMBER, Form.TIME

STANDARD: Mapping[str, Form] = {
    "AvailabilityZone": _TEXT,
    "BilledCost": _NUMBER,
    "BillingAccountId": _TEXT,
    "BillingAccountName": _TEXT,
    "BillingAccountType": _TEXT,
    "BillingCurrency": _TEXT,
    "BillingPeriodEnd": _TIME,
    "BillingPeriodStart": _TIME,
    "CapacityReservationId": _TEXT,
    "CapacityReservationStatus": _TEXT,
    "ChargeCategory": _TEXT,
    "ChargeClass": _TEXT,
    "ChargeDescription": _TEXT,
    "ChargeFrequency": _TEXT,
    "ChargePeriodEnd": _TIME,
    "ChargePeriodStart": _TIME,
    "CommitmentDiscountCategory": _TEXT,
    "CommitmentDiscountId": _TEXT,
    "CommitmentDiscountName": _TEXT,
    "CommitmentDiscountQuantity": _NUMBER,
    "CommitmentDiscountStatus": _TEXT,
    "CommitmentDiscountType": _TEXT,
    "CommitmentDiscountUnit": _TEXT,
    "ConsumedQuantity": _NUMBER,
    "ConsumedUnit": _TEXT,
    "ContractedCost": _NUMBER,
    "ContractedUnitPrice": _NUMBER,
    "EffectiveCost": _NUMBER,
    "InvoiceId": _TEXT,
    "InvoiceIssuerName": _TEXT,
    "ListCost": _NUMBER,
    "ListUnitPrice": _NUMBER,
    "PricingCategory": _TEXT,
    "PricingCurrency": _TEXT,
    "PricingCurrencyContractedUnitPrice": _NUMBER,
    "PricingCurrencyEffectiveCost": _NUMBER,
    "PricingCurrencyListUnitPrice": _NUMBER,
    "PricingQuantity": _NUMBER,
    "PricingUnit": _TEXT,
    "ProviderName": _TEXT,
    "PublisherName": _TEXT,
    "RegionId": _TEXT,
    "RegionName": _TEXT,
    "ResourceId": _TEXT,
    "ResourceName": _TEXT,
    "ResourceType": _TEXT,
    "ServiceCategory": _TEXT,
    "ServiceName": _TEXT,
    "ServiceSubcategory": _TEXT,
    "SkuId": _TEXT,
    "SkuMeter": _TEXT,
    "SkuPriceDetails": _TEXT,
    "SkuPriceId": _TEXT,
    "SubAccountId": _TEXT,
    "SubAccountName": _TEXT,
    "SubAccountType": _TEXT,
    "Tags": _TEXT,
}

OF_ALLOCATED: Mapping[str, Form] = {
    "AllocatedMethodDetails": _TEXT,
    "AllocatedMethodId": _TEXT,
    "AllocatedResourceId": _TEXT,
    "AllocatedResourceName": _TEXT,
    "AllocatedTags": _TEXT,
}

OWN: Mapping[str, Form] = {
    "x_CostBasis": _TEXT,
    "x_GpuCount": _NUMBER,
    "x_GpuModel": _TEXT,
    "x_Mfu": _NUMBER,
    "x_Model": _TEXT,
    "x_PolicyDecisionId": _TEXT,
    "x_Quantization": _TEXT,
    "x_TokenKind": _TEXT,
    "x_Tokens": _NUMBER,
}

COSTS = ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost")


def columns(dataset: Dataset) -> dict[str, Form]:
    """Of a file, in its order."""
    return {**STANDARD, **(OF_ALLOCATED if dataset is Dataset.ALLOCATED else {}), **OWN}

"""AWS Cost Explorer: a bill by day and instance type, without the files of a report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from typing import Any

from controller.attribute.charges import Bill, BillLine, ChargeKind
from controller.errors import BillError, PriceError
from controller.prices.aws import Client, pages
from controller.prices.bills.rows import added_up

INSTANCES = "Amazon Elastic Compute Cloud - Compute"
PLANS = "Savings Plans for AWS Compute usage"

USED = ("Usage", "DiscountedUsage", "SavingsPlanCoveredUsage", "SavingsPlanNegation")
"""Record types of instance hours. Covered ones are in there at on-demand prices and negated: together they bill 0."""

RECORDS: Mapping[str, ChargeKind] = {
    "RIFee": ChargeKind.FEE,
    "Fee": ChargeKind.FEE,
    "SavingsPlanRecurringFee": ChargeKind.FEE,
    "SavingsPlanUpfrontFee": ChargeKind.FEE,
    "Tax": ChargeKind.TAX,
    "Refund": ChargeKind.REFUND,
}
"""As Cost Explorer's RECORD_TYPE. Anything else is a credit or a discount."""

SPOT = "Spot Instances"
NO_INSTANCE = "NoInstanceType"


def read(client: Client, first: date, until: date, regions: Iterable[str]) -> Bill:
    """The days from ``first`` up to ``until``, as far as AWS has closed them. Raises BillError.

    regions   where the fleet runs: instance types are asked for by region. What is no instance hour (fees, taxes,
              credits) is asked for once, for all regions
    """
    days: dict[date, bool] = {}
    lines: list[BillLine] = []
    try:
        for region in sorted(set(regions)):
            lines += _used(client, first, until, region, days)
        lines += _others(client, first, until, days)
    except PriceError as error:
        raise BillError(f"Cost Explorer: {error}; nothing of this bill was read") from error
    closed = first
    while closed < until and days.get(closed, False):
        closed += timedelta(days=1)
    added = tuple(sorted(added_up(lines), key=repr))
    told = sha256("\n".join([str(first), str(closed), *map(repr, added)]).encode()).hexdigest()
    return Bill(provider="aws", source="cost_explorer", sha256=told, first=first, until=closed, lines=added)


def _used(client: Client, first: date, until: date, region: str, days: dict[date, bool]) -> Iterator[BillLine]:
    where = _both(_is("SERVICE", INSTANCES), _is("REGION", region), _is("RECORD_TYPE", *USED))
    for day, (kind, bought), metrics in _groups(client, first, until, where, ("INSTANCE_TYPE", "PURCHASE_TYPE"), days):
        yield BillLine(
            day=day,
            until=day + timedelta(days=1),
            kind=ChargeKind.USAGE,
            billed=_amount(metrics, "UnblendedCost"),
            effective=_amount(metrics, "AmortizedCost"),
            currency=_currency(metrics),
            service_code=INSTANCES,
            offer="" if kind in ("", NO_INSTANCE) else f"aws/{region}/{kind}",
            spot=bought == SPOT,
        )


def _others(client: Client, first: date, until: date, days: dict[date, bool]) -> Iterator[BillLine]:
    where = _both(_is("SERVICE", INSTANCES, PLANS), {"Not": _is("RECORD_TYPE", *USED)})
    for day, (record,), metrics in _groups(client, first, until, where, ("RECORD_TYPE",), days):
        yield BillLine(
            day=day,
            until=day + timedelta(days=1),
            kind=RECORDS.get(record, ChargeKind.CREDIT),
            billed=_amount(metrics, "UnblendedCost"),
            effective=_amount(metrics, "AmortizedCost"),
            currency=_currency(metrics),
            service_code=INSTANCES,
        )


def _groups(
    client: Client, first: date, until: date, where: Mapping[str, Any], by: tuple[str, ...], days: dict[date, bool]
) -> Iterator[tuple[date, tuple[str, ...], Mapping[str, Any]]]:
    """Every group of every day, and in ``days`` whether AWS calls the day final."""
    answers = pages(
        client.get_cost_and_usage,
        "NextPageToken",
        TimePeriod={"Start": str(first), "End": str(until)},
        Granularity="DAILY",
        Metrics=["UnblendedCost", "AmortizedCost"],
        GroupBy=[{"Type": "DIMENSION", "Key": key} for key in by],
        Filter=where,
    )
    for page in answers:
        for result in page.get("ResultsByTime", ()):
            day = date.fromisoformat(result["TimePeriod"]["Start"])
            days[day] = days.get(day, True) and not result.get("Estimated", False)
            for group in result.get("Groups", ()):
                yield day, tuple(group["Keys"]), group["Metrics"]


def _is(key: str, *values: str) -> dict[str, Any]:
    return {"Dimensions": {"Key": key, "Values": list(values)}}


def _both(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"And": list(parts)}


def _amount(metrics: Mapping[str, Any], name: str) -> Decimal | None:
    if name not in metrics:
        return None
    text = metrics[name].get("Amount")
    try:
        return Decimal(str(text))
    except InvalidOperation as error:
        raise BillError(f"Cost Explorer answered {text!r} for {name}; nothing of this bill was read") from error


def _currency(metrics: Mapping[str, Any]) -> str:
    return str(metrics.get("UnblendedCost", {}).get("Unit") or "USD")

"""FOCUS exports: every kind of charge as FOCUS wants it, and our own checks of the file."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from controller.facts.account_reader import HOUR, AdjustmentRow, Window
from controller.facts.accounts import Tokens
from controller.facts.fleet import CapacityType
from controller.report.focus.check import checked, compared, invoiced
from controller.report.focus.columns import COSTS, STANDARD, Dataset, Row, columns
from controller.report.focus.values import Finance, month_of
from controller.report.focus.write import rows_of, write_csv, write_parquet
from tests.accounts_in_memory import CHAT, MIDNIGHT, RI, SEARCH, InMemoryAccounts, accounts, owned, parts, seat

DAY = Window(start=MIDNIGHT, end=MIDNIGHT + 24 * HOUR)
FLEET, ALLOCATED = Dataset.FLEET, Dataset.ALLOCATED


def rows(dataset: Dataset, reader: InMemoryAccounts | None = None) -> list[Row]:
    return list(rows_of(reader or accounts(), dataset, DAY, Finance()))


def only(found: Iterable[Row], **wanted: str) -> Row:
    """The first row with these values."""
    return next(row for row in found if all(row.get(name) == value for name, value in wanted.items()))


def with_late_records_and_a_bill() -> InMemoryAccounts:
    """Posted two weeks later, when November was closed."""
    reader = accounts()
    first = next(row for row in reader.line_rows if row.identity == SEARCH)
    posted = MIDNIGHT + timedelta(days=14)
    moved = [(SEARCH, -777), (CHAT, 777)]
    reader.line_rows += [
        replace(first, identity=who, parts=parts(decode=amount), tokens=Tokens(), posted_at=posted)
        for who, amount in moved
    ]
    reader.adjusted = [
        AdjustmentRow(
            id="adjustment-1",
            posted_at=posted,
            day=MIDNIGHT.date(),
            identity=who,
            pool=first.pool,
            cost="billed",
            amount_nanousd=amount,
            why="AWS bill of November",
            offer="aws/us-east-1/p5.48xlarge",
            invoice="inv-2026-11",
            after_close=True,
        )
        for who, amount in ((SEARCH, 100_000_001), (CHAT, 23_456_788))
    ]
    return reader


def test_on_demand_costs_the_same_four_times() -> None:
    row = only(rows(FLEET), ResourceId="chat/h100/chat-1")
    assert [row[name] for name in COSTS] == [Decimal("13.765432101")] * 4
    assert (row["PricingCategory"], row["PricingQuantity"], row["PricingUnit"]) == ("Standard", Decimal(2), "GPU Hours")
    assert row["ListUnitPrice"] == Decimal("6.8827160505")
    assert row["ChargeDescription"] == "2 x H100-80GB-SXM, on demand, replica chat-1"
    assert (row["RegionId"], row["AvailabilityZone"], row["ProviderName"]) == ("us-east-1", "us-east-1a", "AWS")


def test_spot_is_dynamic_and_listed_at_the_on_demand_price() -> None:
    row = only(rows(FLEET), ResourceId="chat/h100/chat-3")
    assert row["PricingCategory"] == "Dynamic"
    assert (row["ListCost"], row["EffectiveCost"]) == (Decimal("13.765432101"), Decimal("4.111111117"))


def test_a_covered_hour_is_billed_nothing_and_costs_its_share_of_the_fee() -> None:
    row = only(rows(FLEET), CommitmentDiscountId=RI.id, CommitmentDiscountStatus="Used")
    assert (row["BilledCost"], row["EffectiveCost"], row["ListCost"]) == (0, Decimal(3), Decimal(11))
    assert (row["PricingCategory"], row["CommitmentDiscountCategory"]) == ("Committed", "Usage")
    assert (row["CommitmentDiscountQuantity"], row["CommitmentDiscountUnit"]) == (Decimal(2), "GPU Hours")


def test_an_unused_hour_is_consumed_by_nobody() -> None:
    row = only(rows(FLEET), CommitmentDiscountId=RI.id, CommitmentDiscountStatus="Unused")
    assert row["EffectiveCost"] == Decimal("1.000000001")
    assert row.get("ConsumedQuantity") is None
    assert row.get("ResourceId") is None


def test_a_purchase_is_billed_now_and_effective_by_the_hour() -> None:
    row = only(rows(FLEET), ChargeCategory="Purchase", CommitmentDiscountId="cr-0def")
    assert (row["BilledCost"], row["EffectiveCost"]) == (Decimal("96.000000024"), 0)
    assert (row["ChargeFrequency"], row["PricingCategory"]) == ("One-Time", "Standard")
    assert row["CapacityReservationId"] == "cr-0def"
    assert row.get("CapacityReservationStatus") is None


def test_a_savings_plan_commits_dollars_and_a_capacity_block_reserves() -> None:
    plan = only(rows(FLEET), CommitmentDiscountId="sp-0fff", CommitmentDiscountStatus="Used")
    assert (plan["CommitmentDiscountCategory"], plan["CommitmentDiscountUnit"]) == ("Spend", "USD")
    assert plan["CommitmentDiscountQuantity"] == plan["EffectiveCost"]
    block = only(rows(FLEET), CommitmentDiscountId="cr-0def", CommitmentDiscountStatus="Unused")
    assert (block["CapacityReservationId"], block["CapacityReservationStatus"]) == ("cr-0def", "Unused")


def test_hardware_of_ones_own_has_no_region_and_no_discount() -> None:
    row = only(rows(FLEET), ResourceId="chat/h100/own-1")
    assert (row["ProviderName"], row["PricingCategory"]) == ("Own hardware", "Other")
    assert row["RegionId"] is row["RegionName"] is None
    assert row.get("CommitmentDiscountId") is None


def test_a_team_gets_a_row_for_each_kind_of_token_with_the_tokens_in_it() -> None:
    found = rows(ALLOCATED)
    mine = [row for row in found if row["SubAccountId"] == "search" and row["ChargePeriodStart"] == MIDNIGHT]
    by_kind = {row["x_TokenKind"]: row for row in mine if row["ResourceId"] == "chat/h100/chat-1"}
    assert set(by_kind) == {"input", "cached input", "output"}
    output = by_kind["output"]
    assert (output["ConsumedUnit"], output["x_Tokens"]) == ("Tokens", output["ConsumedQuantity"])
    assert (output["SkuMeter"], output["SkuPriceId"]) == ("Output Tokens", "chat/h100/output")
    assert output["ChargeDescription"] == "Output Tokens of chat for search"
    assert json.loads(str(output["Tags"])) == {
        "environment": "production",
        "feature": "answers",
        "model": "llama-3.1-8b",
        "tenant": "acme",
    }
    (element,) = json.loads(str(output["AllocatedMethodDetails"]))["Elements"]
    assert element["UsageQuantity"] == output["x_Tokens"]
    assert 0 < element["AllocatedRatio"] < 1


def test_api_keys_leave_no_trace() -> None:
    assert SEARCH.api_key
    assert not any(SEARCH.api_key in str(value) for row in rows(ALLOCATED) for value in row.values())


def test_tokens_of_an_hour_add_up_to_those_of_the_records() -> None:
    reader = accounts()
    told = sum(line.tokens.output for line in reader.line_rows)
    got = sum(row["x_Tokens"] for row in rows(ALLOCATED, reader) if row["x_TokenKind"] == "output")
    assert got == told


def test_what_was_allocated_is_what_the_fleet_cost_every_hour_in_all_four_costs() -> None:
    reader = with_late_records_and_a_bill()
    fleet, allocated = checked(rows(FLEET, reader)), checked(rows(ALLOCATED, reader))
    assert fleet.wrong == allocated.wrong == []
    assert len(fleet.hours) == 24
    assert compared(fleet, allocated) == []


def test_late_records_of_a_closed_month_are_corrections_in_the_month_of_their_posting() -> None:
    row = only(rows(ALLOCATED, with_late_records_and_a_bill()), ChargeClass="Correction", ChargeCategory="Usage")
    assert row["EffectiveCost"] == Decimal("-0.000000777")
    assert row["ChargePeriodStart"] == MIDNIGHT
    assert row["BillingPeriodStart"] == datetime(2026, 12, 1, tzinfo=UTC)


def test_adjustments_are_one_row_of_the_fleet_and_one_of_each_team() -> None:
    reader = with_late_records_and_a_bill()
    (whole,) = [row for row in rows(FLEET, reader) if row["ChargeCategory"] == "Adjustment"]
    pieces = [row for row in rows(ALLOCATED, reader) if row["ChargeCategory"] == "Adjustment"]
    assert whole["BilledCost"] == sum(row["BilledCost"] for row in pieces) == Decimal("0.123456789")
    assert [row["SubAccountId"] for row in pieces] == ["search", "chat"]
    assert checked(rows(FLEET, reader)).invoices == {"inv-2026-11": Decimal("0.123456789")}
    assert not invoiced(checked(rows(FLEET, reader)), {"inv-2026-11": Decimal("0.123456789")})
    assert invoiced(checked(rows(FLEET, reader)), {"inv-2026-11": Decimal("0.2")})


def test_what_has_no_price_is_not_exported_as_free() -> None:
    unknown = seat(MIDNIGHT, "chat-9", CapacityType.ON_DEMAND, 0, list_nanousd=None, unpriced_us=3_600_000_000)
    unknown = replace(unknown, contracted_nanousd=None, billed_nanousd=None)
    reader = accounts()
    reader.seat_rows.append(unknown)
    assert not any(row.get("ResourceName") == "chat-9" for row in (*rows(FLEET, reader), *rows(ALLOCATED, reader)))


def test_an_hour_that_cost_one_nanodollar_keeps_it() -> None:
    one = seat(MIDNIGHT, "r", CapacityType.SPOT, 1, gpu_us=1)
    reader = InMemoryAccounts(seat_rows=[one], line_rows=owned([one]))
    for dataset in Dataset:
        found = rows(dataset, reader)
        assert sum(row["EffectiveCost"] for row in found) == Decimal("1e-9")
        assert checked(found).wrong == []


@pytest.mark.parametrize("dataset", list(Dataset))
def test_a_csv_reads_back_as_it_was_written(dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "export.csv"
    expected = rows(dataset)
    assert write_csv(path, dataset, expected) == len(expected)
    with path.open(encoding="utf-8", newline="") as file:
        got = list(csv.DictReader(file))
    assert list(got[0]) == list(columns(dataset))
    assert list(got[0])[:57] == list(STANDARD)
    assert sum(Decimal(row["EffectiveCost"]) for row in got) == sum(row["EffectiveCost"] for row in expected)
    assert got[0]["ChargePeriodStart"] == "2026-11-20T00:00:00Z"
    assert all("." in row["PricingQuantity"] for row in got)
    assert [left.name for left in tmp_path.iterdir()] == ["export.csv"]


def test_parquet_keeps_eighteen_places_and_utc(tmp_path: Path) -> None:
    path = tmp_path / "export.parquet"
    expected = rows(ALLOCATED)
    write_parquet(path, ALLOCATED, expected)
    table = pq.read_table(path)
    assert str(table.schema.field("ListUnitPrice").type) == "decimal128(38, 18)"
    assert str(table.schema.field("ChargePeriodStart").type) == "timestamp[us, tz=UTC]"
    assert table["EffectiveCost"].to_pylist() == [row["EffectiveCost"] for row in expected]


def test_a_file_that_cannot_be_finished_is_not_left_half_written(tmp_path: Path) -> None:
    reader = accounts()
    reader.line_rows.pop()
    with pytest.raises(Exception, match="was written"):
        write_csv(tmp_path / "export.csv", ALLOCATED, rows_of(reader, ALLOCATED, DAY, Finance()))
    assert list(tmp_path.iterdir()) == []


def test_the_month_after_december_is_january() -> None:
    at = datetime(2026, 12, 31, 23, tzinfo=UTC)
    assert month_of(at) == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("ListUnitPrice", Decimal("6.9"), "ListUnitPrice"),
        ("ChargePeriodStart", datetime(2026, 11, 20, tzinfo=timezone(timedelta(hours=1))), "ChargePeriodStart"),
        ("ChargePeriodEnd", MIDNIGHT, "ChargePeriodEnd"),
        ("ServiceCategory", "AI and Machine Learning", "ServiceSubcategory"),
        ("CommitmentDiscountStatus", "Active", "CommitmentDiscountStatus"),
        ("CommitmentDiscountStatus", None, "CommitmentDiscountStatus"),
        ("ConsumedQuantity", Decimal(-1), "ConsumedQuantity"),
        ("ConsumedUnit", None, "ConsumedQuantity"),
        ("RegionName", None, "RegionId"),
        ("EffectiveCost", None, "EffectiveCost"),
        ("InvoiceIssuerName", "Reseller", ""),
        ("Tags", "[1]", "Tags"),
        ("Tags", "{", "Tags"),
        ("PricingCategory", "Spot", "PricingCategory"),
        ("ChargeClass", "Refund", "ChargeClass"),
        ("x_gpuModel", "H100", "column"),
        ("AllocatedMethodDetails", '{"Elements":[{"AllocatedRatio":1.1}]}', "AllocatedMethodDetails"),
    ],
)
def test_our_checks_see_what_is_wrong_in_a_row(name: str, value: object, rule: str) -> None:
    good = only(rows(FLEET), CommitmentDiscountId=RI.id, CommitmentDiscountStatus="Used")
    assert checked([good]).wrong == []
    spoilt: dict[str, object] = {**good, name: value}
    found = {one.rule for one in checked([spoilt]).wrong}
    assert (found == {rule}) if rule else not found, "nothing was billed: anybody may issue the invoice"


def test_our_checks_see_who_bills_what() -> None:
    billed = dict(only(rows(FLEET), ResourceId="chat/h100/chat-1")) | {"InvoiceIssuerName": "Reseller"}
    assert [str(one) for one in checked([billed]).wrong] == [
        "row 1: BilledCost: is 0 when somebody else issues the invoice"
    ]


def test_a_commitment_whose_use_is_not_its_fee_is_told() -> None:
    found = [row for row in rows(FLEET) if row.get("CommitmentDiscountId") == RI.id]
    assert checked(found).wrong == []
    dropped = next(row for row in found if row.get("CommitmentDiscountStatus") == "Unused")
    (told,) = checked([row for row in found if row is not dropped]).wrong
    assert str(told) == (
        "commitment: ri-0abc: bought for 96.000000024 USD; used 72.000000000 and unused 23.000000023 make 95.000000023"
    )


def test_a_part_of_a_commitments_term_need_not_tie() -> None:
    found = [row for row in rows(FLEET) if row.get("CommitmentDiscountId") == "cr-0def"]
    morning = [
        row for row in found if row["ChargeCategory"] == "Purchase" or row["ChargePeriodStart"] < MIDNIGHT + 6 * HOUR
    ]
    assert checked(morning).wrong == []


def test_one_price_id_of_two_skus_is_told() -> None:
    row = dict(only(rows(FLEET), ResourceId="chat/h100/chat-1"))
    assert [one.rule for one in checked([row, row | {"SkuId": "another"}]).wrong] == ["SkuPriceId"]


def test_cost_that_was_lost_between_the_files_is_told_by_hour_and_cost() -> None:
    fleet, allocated = rows(FLEET), rows(ALLOCATED)
    lost = next(index for index, row in enumerate(allocated) if row["ListCost"])
    del allocated[lost]
    told = [str(one) for one in compared(checked(fleet), checked(allocated))]
    assert told
    assert all(one.startswith("allocated: 2026-11-20T00:00Z: ") for one in told)

from __future__ import annotations

import csv
import gzip
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.stub import Stubber

from controller.attribute.charges import Bill, BillLine, ChargeKind, Cost
from controller.errors import BillError
from controller.prices.aws import clients
from controller.prices.bills import cost_explorer, cur, focus

P5 = "aws/us-east-1/p5.48xlarge"
ARN = "arn:aws:ec2:us-east-1:1:reserved-instances/r1"
PLAN = "arn:aws:savingsplans::1:savingsplan/s1"
OCTOBER = date(2026, 10, 1)
Rows = Sequence[Mapping[str, object]]


def charge(kind: str, usd: object, day: int = 1, **more: object) -> dict[str, object]:
    """One row of a CUR 2.0: an hour of p5.48xlarge unless said otherwise."""
    return {
        "line_item_line_item_type": kind,
        "line_item_unblended_cost": usd,
        "line_item_usage_start_date": f"2026-10-{day:02}T05:00:00Z",
        "line_item_usage_end_date": f"2026-10-{day:02}T06:00:00Z",
        "line_item_usage_type": "BoxUsage:p5.48xlarge",
        "line_item_resource_id": "i-1",
        "line_item_product_code": "AmazonEC2",
        "line_item_currency_code": "USD",
        "product_instance_type": "p5.48xlarge",
        "product_region_code": "us-east-1",
        "pricing_public_on_demand_cost": "55.04",
        "bill_invoice_id": "EUINV-1",
        "bill_billing_period_start_date": "2026-10-01T00:00:00Z",
        "bill_billing_period_end_date": "2026-11-01T00:00:00Z",
        **more,
    }


MONTH = {"line_item_usage_start_date": "2026-10-01T00:00:00Z", "line_item_usage_end_date": "2026-11-01T00:00:00Z"}
NOTHING = {"line_item_usage_type": "", "line_item_resource_id": "", "product_instance_type": ""}
REPORT: Rows = [
    charge("Usage", "55.04"),
    charge("Usage", "20.5", 2, line_item_usage_type="EU-SpotUsage:p5.48xlarge", line_item_resource_id="i-2"),
    charge("Usage", "3.25", line_item_usage_type="DataTransfer-Out-Bytes", product_instance_type=""),
    charge("DiscountedUsage", "0", 3, reservation_effective_cost="30.125", reservation_reservation_a_r_n=ARN),
    charge("SavingsPlanCoveredUsage", "55.04", 4, savings_plan_savings_plan_effective_cost="40", savings_plan_savings_plan_a_r_n=PLAN),
    charge("SavingsPlanNegation", "-55.04", 4, savings_plan_savings_plan_a_r_n=PLAN, line_item_resource_id=""),
    charge("SavingsPlanRecurringFee", "45", 4, **NOTHING, savings_plan_savings_plan_a_r_n=PLAN, savings_plan_total_commitment_to_date="45", savings_plan_used_commitment="40"),
    charge("RIFee", "900", **MONTH, reservation_reservation_a_r_n=ARN, line_item_resource_id="", reservation_unused_amortized_upfront_fee_for_billing_period="7", reservation_unused_recurring_fee="8"),
    charge("Tax", "19", **(MONTH | NOTHING)),
    charge("EdpDiscount", "-5.5", 1),
]  # fmt: skip


def old_name(name: str) -> str:
    """line_item_usage_start_date as the first kind of report spells it: lineItem/UsageStartDate."""
    group = next(
        one
        for one in ("line_item", "savings_plan", "reservation", "pricing", "product", "bill")
        if name.startswith(one)
    )
    head = re.sub(r"_(\w)", lambda found: found.group(1).upper(), group)
    return f"{head}/" + "".join(word.capitalize() for word in name.removeprefix(f"{group}_").split("_"))


def as_csv(path: Path, rows: Rows, spelled: Callable[[str], str] = str, *, packed: bool = False) -> Path:
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([spelled(name) for name in names])
    writer.writerows([[row.get(name, "") for name in names] for row in rows])
    path.write_bytes(gzip.compress(text.getvalue().encode()) if packed else text.getvalue().encode())
    return path


def as_parquet(path: Path, rows: Rows) -> Path:
    """As CUR 2.0 is typed: times without a zone, costs as floats."""

    def typed(name: str, cell: object) -> object:
        if cell is None or cell == "":
            return None
        if name.endswith("_date") and not name.endswith("to_date"):
            return datetime.fromisoformat(str(cell)).replace(tzinfo=None)
        return float(str(cell)) if name.endswith(("_cost", "_fee", "_period", "_commitment", "_to_date")) else cell

    names = list(dict.fromkeys(name for row in rows for name in row))
    pq.write_table(pa.table({name: [typed(name, row.get(name)) for row in rows] for name in names}), path)
    return path


WRITERS: Mapping[str, Callable[[Path, Rows], Path]] = {
    "CUR 2.0 as CSV": lambda folder, rows: as_csv(folder / "cur.csv", rows),
    "CUR 2.0 gzipped": lambda folder, rows: as_csv(folder / "cur.csv.gz", rows, packed=True),
    "CUR 2.0 as Parquet": lambda folder, rows: as_parquet(folder / "cur.parquet", rows),
    "the old report": lambda folder, rows: as_csv(folder / "cur.csv.gz", rows, old_name, packed=True),
}


def only(bill: Bill, **wanted: object) -> BillLine:
    (line,) = [one for one in bill.lines if all(getattr(one, name) == value for name, value in wanted.items())]
    return line


@pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)
def test_a_report_says_the_same_in_every_form(tmp_path: Path, write: Callable[[Path, Rows], Path]) -> None:
    bill = cur.read([write(tmp_path, REPORT)])
    plain = cur.read([as_csv(tmp_path / "plain.csv", REPORT)])
    assert set(bill.lines) == set(plain.lines)
    assert (bill.provider, bill.source, bill.period) == ("aws", "cur", "2026-10")
    assert (bill.first, bill.until) == (OCTOBER, date(2026, 11, 1))


def test_a_report_comes_to_what_aws_charged_and_amortised(tmp_path: Path) -> None:
    bill = cur.read([as_csv(tmp_path / "cur.csv", REPORT)])
    assert bill.total(Cost.BILLED) == sum(Decimal(str(row["line_item_unblended_cost"])) for row in REPORT)
    amortised = "55.04 + 20.5 + 3.25 + 30.125 + 40 + 5 + 15 + 19 - 5.5"
    assert bill.total(Cost.EFFECTIVE) == Decimal(str(eval(amortised)))


def test_every_type_of_charge_is_read_as_aws_means_it(tmp_path: Path) -> None:
    bill = cur.read([as_csv(tmp_path / "cur.csv", REPORT)])
    usage = only(bill, day=OCTOBER, kind=ChargeKind.USAGE, resource_id="i-1")
    assert (usage.offer, usage.spot, usage.billed, usage.list_) == (P5, False, Decimal("55.04"), Decimal("55.04"))
    assert only(bill, resource_id="i-2").spot
    reserved = only(bill, day=date(2026, 10, 3))
    assert (reserved.billed, reserved.effective, reserved.commitment) == (0, Decimal("30.125"), ARN)
    covered = only(bill, day=date(2026, 10, 4), kind=ChargeKind.USAGE)
    assert (covered.billed, covered.effective) == (0, 40)
    fee, unused = only(bill, kind=ChargeKind.FEE, commitment=ARN), only(bill, kind=ChargeKind.UNUSED, commitment=ARN)
    assert (fee.billed, fee.effective, fee.until) == (900, 0, date(2026, 11, 1))
    assert (unused.billed, unused.effective) == (0, 15)
    assert only(bill, kind=ChargeKind.UNUSED, commitment=PLAN).effective == 5
    assert only(bill, kind=ChargeKind.TAX).billed == 19
    assert only(bill, kind=ChargeKind.CREDIT).effective == Decimal("-5.5")


def test_traffic_of_an_instance_is_none_of_its_hours(tmp_path: Path) -> None:
    bill = cur.read([as_csv(tmp_path / "cur.csv", REPORT)])
    traffic = only(bill, billed=Decimal("3.25"))
    assert (traffic.resource_id, traffic.offer) == ("", "")


def test_hours_of_a_day_are_one_line(tmp_path: Path) -> None:
    bill = cur.read([as_csv(tmp_path / "cur.csv", [charge("Usage", "0.1"), charge("Usage", "0.2")])])
    assert [line.billed for line in bill.lines] == [Decimal("0.3")]


def test_several_files_are_one_report_in_whatever_order(tmp_path: Path) -> None:
    one, two = as_csv(tmp_path / "a.csv", REPORT[:5]), as_csv(tmp_path / "b.csv", REPORT[5:])
    bill, turned = cur.read([one, two]), cur.read([two, one])
    assert bill.sha256 == turned.sha256 != cur.read([one]).sha256
    assert set(bill.lines) == set(turned.lines) == set(cur.read([as_csv(tmp_path / "c.csv", REPORT)]).lines)


def test_what_a_negation_does_not_take_back_is_billed(tmp_path: Path) -> None:
    rows = [charge("SavingsPlanCoveredUsage", "55"), charge("SavingsPlanNegation", "-50")]
    bill = cur.read([as_csv(tmp_path / "cur.csv", rows)])
    assert only(bill, kind=ChargeKind.CREDIT).billed == 5


def test_before_its_invoice_the_last_day_of_a_report_waits(tmp_path: Path) -> None:
    rows = [charge("Usage", "1", day, bill_invoice_id="") for day in (1, 2, 9)]
    bill = cur.read([as_csv(tmp_path / "cur.csv", rows)])
    assert (bill.first, bill.until) == (OCTOBER, date(2026, 10, 9))


def test_columns_that_a_report_leaves_out_are_unknown_and_not_zero(tmp_path: Path) -> None:
    needed = (
        "line_item_line_item_type",
        "line_item_unblended_cost",
        "line_item_usage_start_date",
        "line_item_usage_end_date",
    )
    rows = [{name: charge(kind, "1")[name] for name in needed} for kind in ("Usage", "DiscountedUsage")]
    bill = cur.read([as_csv(tmp_path / "cur.csv", rows)])
    (line,) = bill.lines
    assert (line.billed, line.effective, line.list_, line.offer) == (2, None, None, "")


def test_a_product_as_a_map_names_the_instance(tmp_path: Path) -> None:
    product = {"instance_type": "p5.48xlarge", "region": "us-east-1"}
    row = charge("Usage", 1.5, product_instance_type="", product_region_code="", product=json.dumps(product))
    assert cur.read([as_csv(tmp_path / "cur.csv", [row])]).lines[0].offer == P5
    table = pa.table(
        {
            name: pa.array([list(product.items())], pa.map_(pa.string(), pa.string())) if name == "product" else [cell]
            for name, cell in row.items()
        }
    )
    pq.write_table(table, tmp_path / "cur.parquet")
    (line,) = cur.read([tmp_path / "cur.parquet"]).lines
    assert (line.offer, line.billed) == (P5, Decimal("1.5"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,b\n1,2\n", r"bill.csv:2: line_item_usage_start_date: expected a time"),
        ("", "no charge in it"),
        ("line_item_usage_start_date,line_item_usage_end_date\n2026-10-01,2026-10-02\n", "unblended_cost is not there"),
        (
            "line_item_usage_start_date,line_item_usage_end_date,line_item_unblended_cost\n2026-10-01,2026-10-02,much\n",
            "bill.csv:2: line_item_unblended_cost: expected a number, found 'much'",
        ),
        ("a,b\n1\n", r"bill.csv:2: 1 cells under 2 columns; is the file whole\?"),
    ],
)
def test_a_report_that_cannot_be_read_says_where(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "bill.csv").write_text(text)
    with pytest.raises(BillError, match=why):
        cur.read([tmp_path / "bill.csv"])


@pytest.mark.parametrize("name", ["torn.csv.gz", "torn.parquet", "absent.csv"])
def test_a_file_that_is_torn_or_absent_is_told(tmp_path: Path, name: str) -> None:
    if name != "absent.csv":
        whole = as_csv(tmp_path / "whole.csv.gz", REPORT, packed=True).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BillError, match=name):
        cur.read([tmp_path / name])


def focus_row(usd: str, **more: object) -> dict[str, object]:
    return {
        "BilledCost": usd,
        "EffectiveCost": usd,
        "ListCost": "60",
        "ContractedCost": "58",
        "BillingCurrency": "USD",
        "BillingPeriodStart": "2026-10-01T00:00:00Z",
        "BillingPeriodEnd": "2026-11-01T00:00:00Z",
        "ChargePeriodStart": "2026-10-01T05:00:00Z",
        "ChargePeriodEnd": "2026-10-01T06:00:00Z",
        "ChargeCategory": "Usage",
        "PricingCategory": "Standard",
        "ProviderName": "AWS",
        "RegionId": "us-east-1",
        "ResourceId": "i-1",
        "SkuId": "ABCDEF",
        "SkuPriceDetails": '{"InstanceType": "p5.48xlarge"}',
        "InvoiceId": "INV-1",
        **more,
    }


FOCUS: Rows = [
    focus_row("55.04"),
    focus_row("20.5", PricingCategory="Dynamic", ResourceId="i-2"),
    focus_row("0", EffectiveCost="30", CommitmentDiscountId=ARN, CommitmentDiscountStatus="Used", ResourceId="i-3"),
    focus_row("0", EffectiveCost="15", CommitmentDiscountId=ARN, CommitmentDiscountStatus="Unused", ResourceId=""),
    focus_row("900", EffectiveCost="0", ChargeCategory="Purchase", CommitmentDiscountId=ARN, ResourceId=""),
    focus_row("19", ChargeCategory="Tax", ResourceId="", RegionId="", SkuPriceDetails=""),
    focus_row("7", ProviderName="Lambda Labs", SkuId="lambda/us-west-1/gpu_8x_h100", ChargePeriodStart="2026-10-02T01:00:00+02:00", ChargePeriodEnd="2026-10-02T02:00:00+02:00"),
]  # fmt: skip


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_focus_file_is_a_bill_a_provider(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"focus.{form}"
    if form == "csv":
        as_csv(path, FOCUS)
    else:
        names = list(dict.fromkeys(name for row in FOCUS for name in row))
        pq.write_table(pa.table({name: [row.get(name) or None for row in FOCUS] for name in names}), path)
    aws, other = focus.read([path])
    assert (aws.provider, other.provider, other.source) == ("aws", "lambda", "focus")
    assert (aws.first, aws.until) == (OCTOBER, date(2026, 11, 1))
    first = only(aws, resource_id="i-1")
    assert (first.offer, first.spot, first.list_, first.contracted) == (P5, False, 60, 58)
    assert only(aws, resource_id="i-2").spot
    assert only(aws, resource_id="i-3").kind is ChargeKind.USAGE
    assert only(aws, kind=ChargeKind.UNUSED).effective == 15
    assert only(aws, kind=ChargeKind.FEE).billed == 900
    assert only(aws, kind=ChargeKind.TAX).offer == ""
    assert (other.lines[0].day, other.lines[0].offer) == (OCTOBER, "lambda/us-west-1/gpu_8x_h100")


def test_a_focus_category_that_is_none_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(BillError, match=r"focus.csv:3: ChargeCategory: expected one of Usage, .*found 'Usages'"):
        focus.read([as_csv(tmp_path / "focus.csv", [*FOCUS[:1], focus_row("1", ChargeCategory="Usages")])])


def group(keys: Sequence[str], unblended: str, amortised: str) -> dict[str, Any]:
    return {
        "Keys": list(keys),
        "Metrics": {
            "UnblendedCost": {"Amount": unblended, "Unit": "USD"},
            "AmortizedCost": {"Amount": amortised, "Unit": "USD"},
        },
    }


def result(day: int, groups: Sequence[dict[str, Any]], *, estimated: bool = False) -> dict[str, Any]:
    return {
        "TimePeriod": {"Start": f"2026-10-{day:02}", "End": f"2026-10-{day + 1:02}"},
        "Total": {},
        "Groups": list(groups),
        "Estimated": estimated,
    }


def question(by: Sequence[str], where: dict[str, Any], token: str = "") -> dict[str, Any]:
    asked = {
        "TimePeriod": {"Start": "2026-10-01", "End": "2026-10-04"},
        "Granularity": "DAILY",
        "Metrics": ["UnblendedCost", "AmortizedCost"],
        "GroupBy": [{"Type": "DIMENSION", "Key": key} for key in by],
        "Filter": where,
    }
    return asked | ({"NextPageToken": token} if token else {})


def dimension(key: str, *values: str) -> dict[str, Any]:
    return {"Dimensions": {"Key": key, "Values": list(values)}}


USED = {
    "And": [
        dimension("SERVICE", cost_explorer.INSTANCES),
        dimension("REGION", "us-east-1"),
        dimension("RECORD_TYPE", *cost_explorer.USED),
    ]
}
OTHERS = {
    "And": [
        dimension("SERVICE", cost_explorer.INSTANCES, cost_explorer.PLANS),
        {"Not": dimension("RECORD_TYPE", *cost_explorer.USED)},
    ]
}


def explored(*days: dict[str, Any]) -> Bill:
    client = clients("ce", aws_access_key_id="nobody", aws_secret_access_key="nothing")("us-east-1")
    by = ["INSTANCE_TYPE", "PURCHASE_TYPE"]
    with Stubber(client) as stub:
        ask = "get_cost_and_usage"
        stub.add_response(ask, {"ResultsByTime": list(days[:1]), "NextPageToken": "more"}, question(by, USED))
        stub.add_response(ask, {"ResultsByTime": list(days[1:])}, question(by, USED, "more"))
        others = [result(1, [group(["Tax"], "19", "19"), group(["RIFee"], "900", "15")])]
        stub.add_response(ask, {"ResultsByTime": others}, question(["RECORD_TYPE"], OTHERS))
        bill = cost_explorer.read(client, OCTOBER, date(2026, 10, 4), ["us-east-1", "us-east-1"])
        stub.assert_no_pending_responses()
    return bill


DAYS = (
    result(1, [group(["p5.48xlarge", "On Demand Instances"], "1320.96", "900.5")]),
    result(2, [group(["p5.48xlarge", "Spot Instances"], "500", "500"), group(["NoInstanceType", ""], "3", "3")]),
    result(3, [group(["p5.48xlarge", "Spot Instances"], "9", "9")], estimated=True),
)


def test_cost_explorer_is_read_by_day_and_instance_type() -> None:
    bill = explored(*DAYS)
    day = only(bill, day=OCTOBER, kind=ChargeKind.USAGE)
    assert (day.offer, day.billed, day.effective, day.list_) == (P5, Decimal("1320.96"), Decimal("900.5"), None)
    assert only(bill, day=date(2026, 10, 2), offer=P5).spot
    assert only(bill, billed=Decimal(3)).offer == ""
    assert only(bill, kind=ChargeKind.FEE).effective == 15
    assert only(bill, kind=ChargeKind.TAX).billed == 19


def test_days_that_aws_still_estimates_are_not_told_in_full() -> None:
    bill = explored(*DAYS)
    assert (bill.first, bill.until) == (OCTOBER, date(2026, 10, 3))
    final = explored(*DAYS[:2], result(3, DAYS[2]["Groups"]))
    assert final.until == date(2026, 10, 4)
    assert final.sha256 != bill.sha256 == explored(*DAYS).sha256


def test_what_cost_explorer_refuses_is_told() -> None:
    client = clients("ce", aws_access_key_id="nobody", aws_secret_access_key="nothing")("us-east-1")
    with Stubber(client) as stub:
        stub.add_client_error("get_cost_and_usage", "AccessDeniedException", "not you")
        with pytest.raises(BillError, match=r"Cost Explorer: AWS answered: .*AccessDenied.*not you"):
            cost_explorer.read(client, OCTOBER, date(2026, 10, 4), ["us-east-1"])


def test_a_whole_server_is_asked_for_costs(moto_options: dict[str, Any]) -> None:
    bill = cost_explorer.read(clients("ce", **moto_options)("us-east-1"), OCTOBER, date(2026, 10, 4), ["us-east-1"])
    assert bill.lines == ()
    assert bill.until == bill.first  # it tells no day

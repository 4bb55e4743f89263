"""`pennyweight bill import` as it is typed: what a bill says beyond the accounts is posted once, and shown."""

from __future__ import annotations

import csv
import gzip
import json
import threading
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

OFFER = "aws/us-east-1/p5.48xlarge"


@pytest.fixture
def piped(pennyweight, monkeypatch):
    """Into a pipe: lines as long as they are."""
    monkeypatch.delenv("COLUMNS")
    return pennyweight


@pytest.fixture
def sold(spent, fleet):
    """The fleet's capacity is AWS's."""
    text = fleet.file.read_text(encoding="utf-8")
    fleet.file.write_text(text.replace("type: on_demand,", f"type: on_demand, offer: {OFFER},"), encoding="utf-8")
    return spent


def focus_bill(path, books, usd, **given):
    """One charge: yesterday's on-demand hours."""
    day, month = books.midnight.date(), books.midnight.date().replace(day=1)
    row = {
        "BilledCost": str(usd),
        "EffectiveCost": str(usd),
        "BillingCurrency": "USD",
        "BillingPeriodStart": f"{month}T00:00:00Z",
        "BillingPeriodEnd": f"{books.at(24).date()}T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargePeriodStart": f"{day}T00:00:00Z",
        "ChargePeriodEnd": f"{books.at(24).date()}T00:00:00Z",
        "InvoiceId": "inv-1",
        "PricingCategory": "Standard",
        "ProviderName": "AWS",
        "SkuId": OFFER,
    } | given
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, row)
        writer.writeheader()
        writer.writerow(row)


def cur_bill(path, books, usd):
    day, after = books.midnight.date(), books.at(24).date()
    row = {
        "line_item_usage_start_date": f"{day}T00:00:00Z",
        "line_item_usage_end_date": f"{after}T00:00:00Z",
        "line_item_line_item_type": "Usage",
        "line_item_unblended_cost": str(usd),
        "line_item_usage_type": "BoxUsage:p5.48xlarge",
        "product_instance_type": "p5.48xlarge",
        "product_region_code": "us-east-1",
        "bill_billing_period_start_date": f"{day.replace(day=1)}T00:00:00Z",
        "bill_billing_period_end_date": f"{after}T00:00:00Z",
        "bill_invoice_id": "inv-1",
    }
    path.write_bytes(gzip.compress((",".join(row) + "\n" + ",".join(row.values()) + "\n").encode()))


def adjusted(books, cost="effective"):
    return books.scalar("SELECT SUM(amount_nanousd) FROM adjustment WHERE cost = :cost", cost=cost)


def accounted(books):
    """Of yesterday's on-demand hours."""
    return books.scalar(
        "SELECT SUM(cost_nanousd) FROM replica_minute WHERE minute < :end AND capacity_type = 'on_demand'",
        end=books.at(24).isoformat(),
    )


@pytest.mark.parametrize(("name", "write"), [("bill.csv", focus_bill), ("bill.csv.gz", cur_bill)], ids=["focus", "cur"])
def test_a_bill_is_shown_then_posted_and_a_second_time_changes_nothing(piped, sold, tmp_path, name, write):
    write(tmp_path / name, sold, 20)
    said = piped("bill", "import", name, "--dry-run")
    assert (said.code, said.err) == (0, "")
    assert "effective     $12.00       $20.00            $0.00        +$8.00" in said.out
    assert "would be posted (--dry-run)" in said.out
    assert sold.scalar("SELECT COUNT(*) FROM adjustment") == 0

    said = piped("bill", "import", name)
    assert said.code == 0
    assert adjusted(sold) == 20 * 10**9 - accounted(sold)
    assert sold.scalar(
        "SELECT SUM(l.amount_nanousd) FROM adjustment_line l JOIN adjustment a ON a.id = l.adjustment "
        "WHERE a.cost = 'effective'"
    ) == adjusted(sold)

    said = piped("bill", "import", name)
    assert said.out.endswith("Nothing to post: the accounts and what was posted before say what the bill says.\n")
    assert adjusted(sold) == 20 * 10**9 - accounted(sold)
    assert "+$8.00" in piped("report", str(sold.midnight.date())).out.split("Adjustments to bills")[1]
    assert piped("ledger", "verify").code == 0


def test_a_newer_bill_posts_the_difference_to_the_older_one(piped, sold, tmp_path):
    for usd in (20, 23):
        focus_bill(tmp_path / "bill.csv", sold, usd)
        said = piped("bill", "import", "bill.csv")
        assert said.code == 0
    assert "effective     $12.00       $23.00           +$8.00        +$3.00" in said.out
    assert adjusted(sold) == 23 * 10**9 - accounted(sold)


def test_a_file_of_two_providers_is_two_bills(piped, sold, tmp_path):
    focus_bill(tmp_path / "bill.csv", sold, 20)
    focus_bill(tmp_path / "other.csv", sold, 5, ProviderName="Google Cloud")
    with (tmp_path / "bill.csv").open("a", encoding="utf-8") as file:
        file.write((tmp_path / "other.csv").read_text(encoding="utf-8").splitlines()[1] + "\n")
    said = piped("bill", "import", "bill.csv")
    assert said.code == 0
    assert [line.split()[0] for line in said.out.splitlines() if " bill of " in line] == ["aws", "gcp"]
    assert adjusted(sold) == 20 * 10**9 - accounted(sold)
    assert sold.scalar("SELECT COUNT(*) FROM bill") == 2


def test_what_is_not_of_this_fleet_is_told_and_not_posted(piped, sold, tmp_path):
    focus_bill(tmp_path / "bill.csv", sold, 20, SkuId="aws/us-east-1/m5.large")
    said = piped("bill", "import", "bill.csv")
    assert said.code == 0
    assert "$20.00 of the bill is not for this fleet" in said.out
    assert sold.scalar("SELECT COUNT(*) FROM adjustment") == 0


def test_a_bill_in_another_currency_needs_its_rate(piped, sold, tmp_path, fleet):
    focus_bill(tmp_path / "bill.csv", sold, 10, BillingCurrency="EUR")
    said = piped("bill", "import", "bill.csv")
    assert (said.code, said.out) == (1, "")
    assert "EUR" in said.err
    fleet.file.write_text(fleet.file.read_text() + "account: {exchange: {EUR: [{from: 2020-01-01, usd: 2.0}]}}\n")
    assert piped("bill", "import", "bill.csv").code == 0
    assert adjusted(sold) == 20 * 10**9 - accounted(sold)


@pytest.mark.parametrize(
    ("typed", "code", "told"),
    [
        ([], 2, "FILE: name the files of a bill, or ask AWS with --cost-explorer MONTH"),
        (["no.csv"], 2, "no.csv: there is no such file"),
        (["fleet.yaml", "--cost-explorer", "2026-10"], 2, "--cost-explorer: expected either this or files, found both"),
        (["--cost-explorer", "October"], 2, "--cost-explorer: expected a month such as 2026-11, found 'October'"),
        (["--cost-explorer", "2026-10"], 1, "no capacity of the fleet file names an offer of AWS"),
        (["fleet.yaml"], 1, "fleet.yaml: neither a FOCUS file (it would have a column ChargeCategory) nor AWS's"),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(piped, spent, typed, code, told):
    said = piped("bill", "import", *typed)
    assert (said.code, said.out) == (code, "")
    assert told in said.err


class CostExplorer(ThreadingHTTPServer):
    """Answers like AWS: one instance type on one day, and all days final."""

    def __init__(self, day, usd):
        super().__init__(("127.0.0.1", 0), _Answer)
        amount = {"Amount": str(usd), "Unit": "USD"}
        group = {"Keys": ["p5.48xlarge", "On Demand Instances"], "Metrics": dict.fromkeys(COSTS, amount)}
        self.groups = {str(day): [group]}
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()


COSTS = ("UnblendedCost", "AmortizedCost")


class _Answer(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        groups = self.server.groups if len(asked["GroupBy"]) == 2 else {}
        first, until = (date.fromisoformat(asked["TimePeriod"][name]) for name in ("Start", "End"))
        days = [str(first + timedelta(days=at)) for at in range((until - first).days)]
        told = [{"TimePeriod": {"Start": day}, "Estimated": False, "Groups": groups.get(day, [])} for day in days]
        body = json.dumps({"ResultsByTime": told}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-amz-json-1.1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        del arguments


@pytest.fixture
def asked(sold, monkeypatch):
    """Cost Explorer, where boto3 looks for it."""
    server = CostExplorer(sold.midnight.date(), 20)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    yield sold
    server.shutdown()
    server.server_close()


def test_cost_explorer_is_asked_for_a_month(piped, asked):
    said = piped("bill", "import", "--cost-explorer", f"{asked.midnight:%Y-%m}")
    assert (said.code, said.err) == (0, "")
    assert "(cost_explorer)" in said.out
    assert adjusted(asked) == 20 * 10**9 - accounted(asked)


def test_a_bill_of_hours_that_are_not_settled_waits(piped, sold, tmp_path):
    today, after = sold.at(24).date(), sold.at(48).date()
    days = {"ChargePeriodStart": f"{today}T00:00:00Z", "ChargePeriodEnd": f"{after}T00:00:00Z"}
    focus_bill(tmp_path / "bill.csv", sold, 20, BillingPeriodEnd=f"{after}T00:00:00Z", **days)
    said = piped("bill", "import", "bill.csv")
    assert said.code == 1
    assert "are not settled yet, and a bill is held against what no longer changes" in said.err
    assert sold.scalar("SELECT COUNT(*) FROM bill") == 0


def test_a_bill_without_accounts_says_what_to_do(piped, books, tmp_path):
    focus_bill(tmp_path / "bill.csv", books, 20)
    said = piped("bill", "import", "bill.csv")
    assert said.code == 1
    assert "the ledger has measured nothing yet" in said.err


def test_a_screen_of_80_columns_holds_it(pennyweight, sold, tmp_path):
    focus_bill(tmp_path / "bill.csv", sold, 20)
    assert max(map(len, pennyweight("bill", "import", "bill.csv").out.splitlines())) <= 80

"""Our exports before the official validator. Needs its own Python: `make focus`."""

from __future__ import annotations

import csv
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from controller.facts.account_reader import HOUR, AdjustmentRow, Window
from controller.report.focus.columns import Dataset
from controller.report.focus.values import Finance
from controller.report.focus.write import rows_of, write_csv, write_parquet
from tests.accounts_in_memory import MIDNIGHT, SEARCH, accounts

PYTHON = os.environ.get("PENNYWEIGHT_FOCUS_PYTHON", "")

pytestmark = [
    pytest.mark.focus,
    pytest.mark.skipif(not PYTHON, reason="PENNYWEIGHT_FOCUS_PYTHON names no Python that has focus-validator"),
]

ALLOWED = {
    "InvoiceId-C-004-C": "asks that every row has no InvoiceId; one half of an OR over the whole file",
    "InvoiceId-C-005-C": "asks that every row has one; the other half",
    "CapacityReservationStatus-C-003-C": "its condition is malformed and ignored: it asks for null in every row",
    "CapacityReservationStatus-C-004-C": "its condition is malformed and ignored: it asks for a value in every row",
    "CapacityReservationStatus-C-002-C": "parent of the two above",
    "CapacityReservationStatus-C-000-C": "parent of the one above",
    "CommitmentDiscountStatus-C-004-C": "its condition is inverted: it asks for a status where there is no commitment",
    "CommitmentDiscountStatus-C-002-C": "parent of the one above",
    "CommitmentDiscountStatus-C-000-C": "parent of the one above",
}
"""Rules of focus-validator 2.2.1 (model 1.2.0.1) that no right file can keep, and why."""

ALLOWED_WITH_SOME_INVOICED = {
    "InvoiceId-C-003-C": "the OR of the two halves: neither holds of all rows when only some are invoiced",
    "InvoiceId-C-000-O": "parent of the one above",
}

CLAIMED = (
    "UNIT_PRICING_SUPPORTED",
    "PUBLIC_PRICE_LIST_SUPPORTED",
    "NEGOTIATED_PRICING_SUPPORTED",
    "USAGE_MEASUREMENT_SUPPORTED",
    "MULTIPLE_PRICING_CATEGORIES_SUPPORTED",
    "SUB_ACCOUNT_SUPPORTED",
    "REGION_SUPPORTED",
    "AVAILABILITY_ZONE_SUPPORTED",
    "TAGGING_SUPPORTED",
    "BILLING_BASED_ON_PROVISIONED_RESOURCES_SUPPORTED",
    "RESOURCE_TYPE_ASSIGNMENT_SUPPORTED",
    "COMMITMENT_DISCOUNT_SUPPORTED",
    "CAPACITY_RESERVATION_SUPPORTED",
)
"""What we hold ourselves to: rules that depend on none of these are checked anyway."""


@dataclass(frozen=True)
class Verdict:
    total: int
    passed: int
    failed: frozenset[str]


def validate(path: Path) -> Verdict:
    """The validator exits with 0 whatever it found, and opens a file of its own relative to where it stands."""
    place = Path(_of_python("import focus_validator, os; print(os.path.dirname(focus_validator.__path__[0]))").strip())
    command = [PYTHON, "-m", "focus_validator.main", "--data-file", str(path), "--validate-version", "1.2"]
    command += ["--block-download", "--applicability-criteria", ",".join(CLAIMED)]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, check=False, timeout=300)
    totals = re.search(r"Total: (\d+) \| Pass: (\d+) \| Fail: (\d+)", done.stdout)
    assert totals, f"no totals in what the validator said:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    failed = frozenset(re.findall(r"^\S+ ([\w-]+): FAIL", done.stdout, re.MULTILINE))
    assert len(failed) == int(totals[3]), "every failure is named"
    print(f"{path.name}: {totals[0]}")
    return Verdict(total=int(totals[1]), passed=int(totals[2]), failed=failed)


def _of_python(program: str) -> str:
    return subprocess.run([PYTHON, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout


def write(path: Path, dataset: Dataset, *, invoiced: bool = False) -> Path:
    """A day of on-demand, spot, own, covered and unused hours, fees, and a correction when some of it is invoiced."""
    reader = accounts()
    if invoiced:
        reader.adjusted = [
            AdjustmentRow(
                id="adjustment-1",
                posted_at=MIDNIGHT + 14 * 24 * HOUR,
                day=MIDNIGHT.date(),
                identity=SEARCH,
                pool=reader.line_rows[0].pool,
                cost="billed",
                amount_nanousd=123_456_789,
                why="AWS bill of November",
                offer="aws/us-east-1/p5.48xlarge",
                invoice="inv-2026-11",
                after_close=True,
            )
        ]
    rows = rows_of(reader, dataset, Window(start=MIDNIGHT, end=MIDNIGHT + 24 * HOUR), Finance())
    writer = write_csv if path.suffix == ".csv" else write_parquet
    writer(path, dataset, rows)
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("dataset", list(Dataset))
def test_the_official_validator_fails_only_rules_that_are_wrong(dataset: Dataset, suffix: str, tmp_path: Path) -> None:
    found = validate(write(tmp_path / f"{dataset}{suffix}", dataset))
    assert found.failed <= set(ALLOWED)
    assert found.total > 500
    assert found.passed > 300


def test_a_file_of_which_a_part_is_invoiced_fails_only_the_rules_that_look_at_all_rows_at_once(tmp_path: Path) -> None:
    found = validate(write(tmp_path / "invoiced.csv", Dataset.FLEET, invoiced=True))
    assert found.failed <= {*ALLOWED, *ALLOWED_WITH_SOME_INVOICED}
    assert found.passed > 300


def test_a_spoilt_file_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "spoilt.csv", Dataset.FLEET)
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["ChargeCategory"] = "Rent"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert any(rule.startswith("ChargeCategory-") for rule in validate(path).failed - set(ALLOWED))

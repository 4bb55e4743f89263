"""`pennyweight export focus` as it is typed, on a ledger that was filled as the daemon fills it."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pyarrow.parquet as pq
import pytest


def paid(books):
    return books.scalar(
        "SELECT SUM(cost_nanousd) FROM replica_minute WHERE minute < :end", end=books.at(24).isoformat()
    )


@pytest.fixture
def day(spent):
    return str(spent.midnight.date())


@pytest.mark.parametrize(
    ("dataset", "rows"), [("focus-fleet", 24 * 2), ("focus-allocated", 24 * 2 * 9)], ids=["fleet", "allocated"]
)
def test_a_day_costs_the_same_in_both_datasets_and_both_formats(pennyweight, spent, tmp_path, day, dataset, rows):
    said = pennyweight("export", "focus", "--dataset", dataset, "--from", day)
    name = f"{dataset}_{day}_{day}.csv"
    assert (said.code, said.out, said.err) == (0, f"{name}: {rows} rows of {dataset}\n", "")
    told = list(csv.DictReader(io.StringIO((tmp_path / name).read_text(encoding="utf-8"))))
    assert sum(Decimal(row["EffectiveCost"]) for row in told) == Decimal(paid(spent)).scaleb(-9)
    said = pennyweight("export", "focus", "--dataset", dataset, "--from", day, "--output", "e.parquet")
    assert said.code == 0
    table = pq.read_table(tmp_path / "e.parquet")
    assert table.num_rows == rows
    assert sum(table.column("EffectiveCost").to_pylist()) == Decimal(paid(spent)).scaleb(-9)


def test_what_the_fleet_file_says_of_a_variant_and_of_the_accounts_is_in_the_rows(
    pennyweight, spent, fleet, tmp_path, day
):
    fleet.file.write_text(fleet.file.read_text() + "finance: {billing_account_id: inference}\n")
    assert pennyweight("export", "focus", "--from", day, "--output", "e.csv").code == 0
    row = next(csv.DictReader(io.StringIO((tmp_path / "e.csv").read_text(encoding="utf-8"))))
    assert (row["x_Model"], row["x_GpuModel"], row["BillingAccountId"]) == ("llama-3.1-8b", "H100-SXM", "inference")


@pytest.mark.parametrize("dataset", ["focus-fleet", "focus-allocated"])
def test_a_checked_file_says_so(pennyweight, spent, day, dataset):
    said = pennyweight("export", "focus", "--dataset", dataset, "--from", day, "--check", "--output", "e.csv")
    assert said.code == 0
    assert said.out.endswith(f" rows of {dataset}, checked and nothing wrong\n")


def test_a_file_with_something_wrong_in_it_is_not_left_behind(pennyweight, spent, tmp_path, day):
    with spent.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE cost_hour SET list_nanousd = -1, prefill_nanousd = prefill_nanousd")
    said = pennyweight("export", "focus", "--from", day, "--check", "--output", "e.csv")
    assert (said.code, said.out) == (1, "")
    assert "e.csv was not written: " in said.err
    assert "  row 1: ListUnitPrice: " in said.err
    assert "`pennyweight ledger verify`" in said.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("e.csv")] == []


def test_an_hour_that_does_not_balance_is_not_exported(pennyweight, spent, tmp_path, day):
    with spent.engine.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE allocation_hour SET decode_nanousd = decode_nanousd + 1 WHERE hour = (SELECT MIN(hour) FROM hour_state)"
        )
    said = pennyweight("export", "focus", "--dataset", "focus-allocated", "--from", day, "--output", "e.csv")
    assert (said.code, said.out) == (1, "")
    assert "chat" in said.err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("e.csv")] == []


def test_hours_that_may_still_change_are_told(pennyweight, spent, day):
    today = str(spent.at(24).date())
    said = pennyweight("export", "focus", "--from", day, "--to", today, "--output", "e.csv")
    assert said.code == 0
    assert "Some of its hours are not settled: late records may still move cost." in said.out


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        (
            ["--from", "October"],
            "--from: expected a day such as 2026-11-20 or a month such as 2026-11, found 'October'",
        ),
        (["--from", "2026-11", "--to", "2026-10"], "--to: ends before it starts: --from 2026-11-01, --to 2026-10-31"),
        ([], "--from"),
        (["--from", "2026-10", "--dataset", "fleet"], "'fleet' is none of its choices; did you mean focus-fleet?"),
        (["--from", "2026-10", "--output", "no/e.csv"], "--output: there is no folder"),
    ],
)
def test_a_mistake_is_told_with_what_was_expected(pennyweight, fleet, typed, told):
    said = pennyweight("export", "focus", *typed)
    assert (said.code, said.out) == (2, "")
    assert told in said.err


def test_a_month_without_accounts_says_which_there_are(pennyweight, spent):
    said = pennyweight("export", "focus", "--from", "2020-02")
    assert said.code == 1
    assert "nothing is accounted from 2020-02-01 00:00 to 2020-03-01 00:00 UTC: the ledger has" in said.err

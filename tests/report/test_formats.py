"""A report in files: exact decimals, whole nanodollars, nothing that could be counted twice."""

from __future__ import annotations

import csv
import io
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from controller.facts.account_reader import HOUR, Dimension, Window
from controller.report.cells import Asked
from controller.report.columns import COLUMNS, names
from controller.report.csv import csv_text
from controller.report.html import html_page
from controller.report.parquet import write_parquet
from controller.report.query import Report, report
from controller.report.words import rate, signed, usd
from tests.accounts_in_memory import MIDNIGHT, accounts


@pytest.fixture(scope="module")
def found() -> Report:
    today = Window(start=MIDNIGHT, end=MIDNIGHT + 24 * HOUR)
    yesterday = Window(start=MIDNIGHT - 24 * HOUR, end=MIDNIGHT)
    return report(accounts(2), today, yesterday, Asked(by=(Dimension.TEAM, Dimension.FEATURE)))


def test_csv_adds_up_in_usd_and_in_nanodollars(found: Report) -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(found))))
    assert list(rows[0]) == names(found)
    assert sum(int(row["cost_nanousd"]) for row in rows) == found.total.cost_nanousd
    assert sum(Decimal(row["cost_usd"]) for row in rows) == Decimal(found.total.cost_nanousd).scaleb(-9)
    for row in rows:
        four = sum(Decimal(row[name]) for name in ("price_usd", "volume_usd", "mix_usd", "efficiency_usd"))
        assert four == Decimal(row["change_usd"]) == Decimal(row["cost_usd"]) - Decimal(row["last_period_usd"])


def test_csv_has_no_floats_and_leaves_unknown_cells_empty(found: Report) -> None:
    text = csv_text(found)
    idle = next(row for row in csv.DictReader(io.StringIO(text)) if row["team"] == "__idle__")
    assert idle["usd_per_million_output"] == ""
    assert "e-" not in text.lower()
    assert idle["cost_usd"].partition(".")[2].__len__() == 9


def test_parquet_holds_what_csv_holds(found: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.parquet"
    write_parquet(path, found)
    table = pq.read_table(path)
    assert table.column_names == names(found)
    told = [{name: _text(value) for name, value in row.items()} for row in table.to_pylist()]
    assert told == [dict(row) for row in csv.DictReader(io.StringIO(csv_text(found)))]
    assert table.schema.field("cost_nanousd").type == "int64"
    assert table.schema.metadata[b"basis"] == b"allocation"
    assert [left.name for left in tmp_path.iterdir()] == ["report.parquet"]


def _text(value: object) -> str:
    return "" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


def test_html_stands_alone_and_shows_the_bridge_and_every_column(found: Report) -> None:
    page = html_page(found)
    assert "http" not in page
    assert "<script" not in page
    for column in COLUMNS:
        assert f">{column.heading}</th>" in page
    assert page.index("last period") < page.index("this period")


def test_names_from_outside_are_escaped(found: Report) -> None:
    row = found.rows[0]
    evil = type(row)(**{name: getattr(row, name) for name in row.__slots__} | {"key": ("<b>", "&")})
    page = html_page(type(found)(**{name: getattr(found, name) for name in found.__slots__} | {"rows": (evil,)}))
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


@pytest.mark.parametrize(
    ("nanousd", "shown"),
    [
        (0, "$0.00"),
        (1, "$0.0000000010"),
        (4_000_000, "$0.0040"),
        (5_000_000, "$0.0050"),
        (10_000_000, "$0.01"),
        (1_234_567_890_123, "$1,234.57"),
        (-2_500_000_000, "-$2.50"),
    ],
)
def test_small_money_does_not_vanish(nanousd: int, shown: str) -> None:
    assert usd(nanousd) == shown


def test_a_change_of_less_than_a_cent_of_dollars_is_no_change_worth_reading() -> None:
    assert signed(57, 10**12) == "$0.00"
    assert signed(57, 500) == "+$0.000000057"
    assert signed(-2_000_000_000, 10**12) == "-$2.00"


def test_rates_keep_two_digits_that_mean_something() -> None:
    assert [rate(Decimal(text)) for text in ("1234.5", "0", "0.0123", "0.0000456")] == [
        "1,234.50",
        "0.00",
        "0.012",
        "0.000046",
    ]

"""FOCUS files, streamed: a day at a time, never whole in memory."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from itertools import islice
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from controller.facts.account_reader import AccountReader, CommitmentUse, Window
from controller.report.cells import days
from controller.report.focus.allocated import allocated_rows
from controller.report.focus.columns import Dataset, Form, Row, Value, columns
from controller.report.focus.rows import fleet_rows
from controller.report.focus.values import Finance

_GROUP = 20_000
"""Rows of a Parquet row group: 20,000 of 70 columns are some 30 MB while they are held."""

_TYPES = {
    Form.TEXT: pa.string(),
    Form.NUMBER: pa.decimal128(38, 18),
    Form.TIME: pa.timestamp("us", tz="UTC"),
}


class Watcher(Protocol):
    """Sees every row on its way into the file: focus/check.py's Check does."""

    def see(self, row: Row) -> None: ...


def rows_of(reader: AccountReader, dataset: Dataset, window: Window, finance: Finance) -> Iterator[Row]:
    """All charges of the days from ``window.start`` until ``window.end``, in order of days."""
    commitments = {use.id: use for use in reader.commitments(window)}
    for day in days(window):
        for row in _day(reader, dataset, day, commitments, finance):
            yield {**row, **_in_pricing_currency(row)}


def _day(
    reader: AccountReader, dataset: Dataset, day: date, commitments: dict[str, CommitmentUse], finance: Finance
) -> Iterator[Row]:
    seats, adjustments = reader.seat_hours(day), reader.adjustments(day)
    if dataset is Dataset.ALLOCATED:
        return allocated_rows(seats, reader.hour_lines(day), adjustments, commitments, finance)
    return fleet_rows(seats, reader.purchases(day), adjustments, commitments, finance)


def _in_pricing_currency(row: Row) -> Row:
    """We price in the currency of the bill; the rules want the columns filled wherever they stand."""
    return {
        "PricingCurrency": row["BillingCurrency"],
        "PricingCurrencyContractedUnitPrice": row.get("ContractedUnitPrice"),
        "PricingCurrencyEffectiveCost": row["EffectiveCost"],
        "PricingCurrencyListUnitPrice": row.get("ListUnitPrice"),
    }


def write_csv(path: Path, dataset: Dataset, rows: Iterable[Row], watcher: Watcher | None = None) -> int:
    """Rows written. A file that fails half-way is not left behind under ``path``."""
    forms = columns(dataset)
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            count = _write_text(file, forms, rows, watcher)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _write_text(file: io.TextIOBase, forms: dict[str, Form], rows: Iterable[Row], watcher: Watcher | None) -> int:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(forms)
    count = 0
    for row in _watched(rows, watcher):
        writer.writerow([text(row.get(name)) for name in forms])
        count += 1
    return count


def text(value: Value) -> str:
    """As in a CSV: null is empty, a decimal has a point, a time ends in Z."""
    if value is None or isinstance(value, str):
        return value or ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    digits = f"{value:f}"
    if "." not in digits:
        return digits + ".0"
    whole, _, fraction = digits.partition(".")
    return f"{whole}.{fraction.rstrip('0') or '0'}"


def write_parquet(path: Path, dataset: Dataset, rows: Iterable[Row], watcher: Watcher | None = None) -> int:
    """As ``write_csv``; decimals of 18 places, times in UTC."""
    forms = columns(dataset)
    schema = pa.schema([(name, _TYPES[form]) for name, form in forms.items()])
    part = path.with_name(path.name + ".part")
    count = 0
    try:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            stream = _watched(rows, watcher)
            while group := list(islice(stream, _GROUP)):
                table = {
                    name: pa.array([row.get(name) for row in group], type=_TYPES[form]) for name, form in forms.items()
                }
                writer.write_table(pa.table(table, schema=schema))
                count += len(group)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _watched(rows: Iterable[Row], watcher: Watcher | None) -> Iterator[Row]:
    for row in rows:
        if watcher is not None:
            watcher.see(row)
        yield row

"""A report's rows as Parquet: nanodollars as int64, USD as decimals of nine places."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from controller.report.columns import COLUMNS, Form, nanousd_name, record
from controller.report.query import Report

_TYPES = {
    Form.MONEY: pa.decimal128(38, 9),
    Form.COUNT: pa.int64(),
    Form.RATE: pa.decimal128(38, 9),
    Form.RATIO: pa.decimal128(38, 6),
}


def write_parquet(path: Path, report: Report) -> None:
    """No row of totals. The period and the basis are in the file's metadata."""
    fields = [
        *((str(dim), pa.string()) for dim in report.asked.by),
        *((column.name, _TYPES[column.form]) for column in COLUMNS),
        *((nanousd_name(column), pa.int64()) for column in COLUMNS if column.form is Form.MONEY),
    ]
    told = [record(row, report) for row in report.rows]
    metadata = {
        "start": report.window.start.isoformat(),
        "end": report.window.end.isoformat(),
        "basis": str(report.basis),
    }
    schema = pa.schema(fields, metadata=metadata)
    columns = {name: pa.array([one[name] for one in told], type=kind) for name, kind in fields}
    part = path.with_name(path.name + ".part")
    try:
        pq.write_table(pa.table(columns, schema=schema), part, compression="zstd")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)

"""A report's rows as CSV. No line of totals: whoever adds the column up must get the total, not twice of it."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

from controller.report.columns import Value, names, record
from controller.report.query import Report


def csv_text(report: Report) -> str:
    """What is unknown is an empty cell."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    columns = names(report)
    writer.writerow(columns)
    for row in report.rows:
        told = record(row, report)
        writer.writerow([_cell(told[name]) for name in columns])
    return file.getvalue()


def _cell(value: str | Value) -> str:
    if value is None:
        return ""
    return f"{value:f}" if isinstance(value, Decimal) else str(value)

"""Costs that come with the month, whoever uses what: a gateway's machines, licences, people."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedCost:
    """A fixed cost of [since, until), UTC, accruing evenly over each month. ``service`` "": everybody's."""

    name: str
    nanousd_per_month: int
    service: str = ""
    since: datetime | None = None
    until: datetime | None = None

"""What was learned and forecast to rows and back. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from math import inf, nan
from typing import Any

from sqlalchemy import RowMapping

from controller.facts.demand import Forecast, ForecastAccuracy
from controller.facts.learned import Learned, StateKey
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity, ServingPoint
from controller.ledger.learned_tables import CapacityRow, ForecastAccuracyRow, ForecastRow, LearnedStateRow
from controller.ledger.rollup import Row, number
from controller.ledger.rows import HourlyAccuracy, HourlyCapacity
from controller.ledger.tables import Base

FORECAST_SLOT = timedelta(minutes=5)
"""One forecast a service and horizon is kept of so much time: 288 rows a day draw a smooth line. A guess."""

HOUR = timedelta(hours=1)

KEEP_LEARNED = timedelta(days=30)
"""How long forecasts, their accuracy and capacities are kept at most: four weeks show whether a week is like the one
before, and 500 services at six horizons are then 26 million rows. A guess."""

QUANTILE_COLUMNS = {0.5: "p50", 0.9: "p90", 0.95: "p95", 0.99: "p99"}

POINT = ("running", "kv_cache_ratio", "busy_ratio", "ttft_s", "tpot_s")


def slot_of(at: datetime, width: timedelta) -> datetime:
    """The start of the UTC slot of ``width`` (a divisor of a day) that ``at`` lies in."""
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + (at - midnight) // width * width


def learned_rows(at: datetime, learned: Learned) -> dict[type[Base], list[Row]]:
    """``learned`` as rows, by table."""
    return {
        LearnedStateRow: [
            {"kind": kind, "service": service, "variant": variant, "at": at, "payload": payload}
            for (kind, service, variant), payload in learned.states.items()
        ],
        ForecastRow: [_forecast_row(name, one) for name, made in learned.forecasts.items() for one in made],
        ForecastAccuracyRow: [_accuracy_row(at, one) for one in learned.accuracy],
        CapacityRow: [_capacity_row(at, *key, one) for key, one in learned.capacity.items()],
    }


def states_of(rows: Iterable[RowMapping]) -> Mapping[StateKey, str]:
    return {(row["kind"], row["service"], row["variant"]): row["payload"] for row in rows}


def _forecast_row(service: str, made: Forecast) -> Row:
    return {
        "service": service,
        "horizon_s": made.horizon_s,
        "slot": slot_of(made.at, FORECAST_SLOT),
        "made_at": made.at,
        "due_at": made.at + timedelta(seconds=made.horizon_s),
        **{column: number(made.quantiles.get(p)) for p, column in QUANTILE_COLUMNS.items()},
        "basis": made.basis,
        "scored": made.scored,
    }


def forecast(row: RowMapping) -> Forecast:
    """With those of its quantiles that are kept."""
    return Forecast(
        at=row["made_at"],
        horizon_s=row["horizon_s"],
        quantiles={p: row[column] for p, column in QUANTILE_COLUMNS.items() if row[column] is not None},
        basis=row["basis"],
        scored=row["scored"],
    )


def _accuracy_row(at: datetime, one: ForecastAccuracy) -> Row:
    missing = [value.why for value in (one.error_ratio, one.bias_ratio) if isinstance(value, Missing)]
    covered = {str(p): share for p, value in one.coverage_ratio.items() if (share := number(value)) is not None}
    return {
        "service": one.service,
        "horizon_s": one.horizon_s,
        "hour": slot_of(at, HOUR),
        "scored": one.scored,
        "error_ratio": number(one.error_ratio),
        "bias_ratio": number(one.bias_ratio),
        "unknown_why": missing[0] if missing else "",
        "coverage": json.dumps(covered),
    }


def accuracy(row: RowMapping) -> HourlyAccuracy:
    def known(column: str, what: str) -> float | Missing:
        value: float | None = row[column]
        return Missing(what, row["unknown_why"] or "it was not a number") if value is None else value

    made = ForecastAccuracy(
        service=row["service"],
        horizon_s=row["horizon_s"],
        scored=row["scored"],
        error_ratio=known("error_ratio", "forecast error"),
        bias_ratio=known("bias_ratio", "forecast bias"),
        coverage_ratio={float(p): share for p, share in json.loads(row["coverage"]).items()},
    )
    return HourlyAccuracy(hour=row["hour"], accuracy=made)


def _capacity_row(at: datetime, service: str, variant: str, one: ReplicaCapacity | Missing) -> Row:
    row: Row = {"service": service, "variant": variant, "hour": slot_of(at, HOUR), "at": at}
    if isinstance(one, Missing):
        nothing: Row = dict.fromkeys(("requests_per_s", "band_ratio", *POINT))
        return row | nothing | {"unknown_why": one.why, "binding": "", "source": ""}
    carried = number(one.requests_per_s)
    return row | {
        "requests_per_s": carried,
        "unknown_why": "the capacity was not a finite number" if carried is None else "",
        "binding": one.binding,
        "source": one.source,
        "band_ratio": number(one.band_ratio),
        **{name: number(getattr(one.at, name)) for name in POINT},
    }


def capacity(row: RowMapping) -> HourlyCapacity:
    return HourlyCapacity(
        service=row["service"],
        variant=row["variant"],
        hour=row["hour"],
        at=row["at"],
        capacity=_carried(row),
    )


def _carried(row: RowMapping) -> ReplicaCapacity | Missing:
    """A latency that is NULL was infinite; any other level that is NULL was no number."""
    if row["requests_per_s"] is None:
        return Missing("capacity", row["unknown_why"])
    values: dict[str, Any] = {name: nan if row[name] is None else row[name] for name in POINT[:3]}
    values |= {name: inf if row[name] is None else row[name] for name in POINT[3:]}
    return ReplicaCapacity(
        requests_per_s=row["requests_per_s"],
        binding=row["binding"],
        at=ServingPoint(requests_per_s=row["requests_per_s"], **values),
        source=row["source"],
        band_ratio=nan if row["band_ratio"] is None else row["band_ratio"],
    )

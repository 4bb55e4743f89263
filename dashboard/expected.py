"""From forecasts, their accuracy and capacities to what the forecast page draws and says. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from math import ceil, isfinite

from controller.facts.demand import Forecast, ForecastAccuracy
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity
from controller.ledger.demand import NOT_WATCHED
from controller.ledger.rows import DemandMinute, HourlyAccuracy, HourlyCapacity
from dashboard.formats import UNKNOWN, compact, counted, lasting, percent, seconds
from dashboard.look import Cell
from dashboard.shaping import MOST_POINTS, Point

MEDIAN, PLANNED, HIGHEST = 0.5, 0.95, 0.99
"""``PLANNED``: the quantile that the default policy buys capacity for."""

USUAL_HORIZON_S = 240.0
"""About what a replica takes to start with its weights at hand; a page must begin somewhere. A guess."""

BREAK = timedelta(minutes=12)
"""Two forecasts are five minutes apart; a line over more than twice that would pretend."""

BASES = {
    "level": "the level of the last minutes",
    "trend": "the recent level and its trend",
    "day": "the recent level and the time of day",
    "week": "the recent level, the time of day and the day of the week",
    "minutes": "what any minute of the last day brought, as nothing foresees the bursts: the fleet stands for them",
}
BINDINGS = {
    "ttft": ("time to first token", "with more, new requests would wait longer than the target allows"),
    "tpot": ("time per output token", "with more, answers would stream slower than the target allows"),
    "kv_cache": ("KV cache", "there is no room for more contexts at once"),
    "max_sequences": ("sequences at once", "the engine's own limit; vLLM calls it --max-num-seqs"),
    "throughput": ("speed", "the GPUs cannot compute more, whatever the targets are"),
}
"""What stops a replica, and what that means."""

SOURCES = {
    "prior": ("data sheets", "from the GPU's and the model's numbers; nothing was measured here yet"),
    "learned": ("own readings", "learned from what this fleet did"),
    "profile": ("profile", "measured by pennyweight profile"),
}

ACCURACY_HEADS = (
    ("Ahead", ""),
    ("Expected now", "pw-num"),
    ("95 of 100 stay under", "pw-num"),
    ("Typically off by", "pw-num"),
    ("On average", "pw-num"),
    ("Stayed under its 50 % line", "pw-num"),
    ("… its 90 % line", "pw-num"),
    ("… its 95 % line", "pw-num"),
    ("… its 99 % line", "pw-num"),
    ("Forecasts that came due", "pw-num"),
)
CAPACITY_HEADS = (
    ("Variant", ""),
    ("One replica carries", "pw-num"),
    ("What stops it there", "pw-wide"),
    ("Known from", "pw-wide"),
    ("TTFT there", "pw-num"),
    ("TPOT there", "pw-num"),
    ("Running there", "pw-num"),
    ("KV cache there", "pw-num"),
)


def rate(value: float | None) -> str:
    return compact(value, "requests/s")


def ahead(horizon_s: float) -> str:
    return f"{lasting(horizon_s)} ahead"


def usual_horizon(horizons_s: Sequence[float]) -> int:
    """Which of the ascending horizons a page shows first."""
    later = [index for index, one in enumerate(horizons_s) if one >= USUAL_HORIZON_S]
    return later[0] if later else len(horizons_s) - 1


def arriving(minutes: Sequence[DemandMinute], many: int = 5) -> tuple[float | None, str]:
    """Requests/s over the last ``many`` minutes that are known of, or None and why."""
    last = minutes[-many:]
    seen = [(one.arrivals, one.watched_s) for one in last if one.arrivals is not None]
    watched_s = sum(spent for _, spent in seen)
    if not watched_s:
        return None, why_unseen(last)
    return sum(count for count, _ in seen) / watched_s, ""


def why_unseen(minutes: Sequence[DemandMinute]) -> str:
    """The newest reason; that the last minute is not over yet is the least of them."""
    whys = [one.unknown_why for one in minutes if one.unknown_why]
    return next((why for why in reversed(whys) if why != NOT_WATCHED), NOT_WATCHED)


def request_size(minutes: Iterable[DemandMinute]) -> tuple[float | None, float | None, float | None]:
    """Mean prompt tokens, cached share of them and mean output tokens, over all requests."""
    seen = [one for one in minutes if one.requests]
    total = sum(one.requests or 0.0 for one in seen)

    def mean(name: str) -> float | None:
        values = [(one.requests or 0.0, getattr(one, name)) for one in seen]
        known = [(weight, value) for weight, value in values if value is not None]
        weights = sum(weight for weight, _ in known)
        return sum(weight * value for weight, value in known) / weights if weights and total else None

    prompt, cached = mean("mean_prompt_tokens"), mean("mean_cached_prompt_tokens")
    return (
        prompt,
        None if prompt is None or cached is None or not prompt else cached / prompt,
        mean("mean_output_tokens"),
    )


def band_points(forecasts: Sequence[Forecast], low: float, high: float) -> list[Point]:
    """Between two quantiles, at the time that they speak of; broken where forecasts are missing."""
    rows: list[Point] = []
    before: datetime | None = None
    for one in forecasts[:: max(1, ceil(len(forecasts) / MOST_POINTS))]:
        if low not in one.quantiles or high not in one.quantiles:
            continue
        due = one.at + timedelta(seconds=one.horizon_s)
        if before is not None and one.at - before > max(BREAK, 2 * _apart(forecasts)):
            rows.append({"at": (due - (one.at - before) / 2).isoformat(), "low": None, "high": None, "shown": UNKNOWN})
        ends = one.quantiles[low], one.quantiles[high]
        rows.append({"at": due.isoformat(), "low": ends[0], "high": ends[1], "shown": " to ".join(map(rate, ends))})
        before = one.at
    return rows


def line_points(forecasts: Sequence[Forecast], probability: float) -> list[Point]:
    """One quantile as a line."""
    return [
        {"at": row["at"], "value": row["low"], "shown": rate(low) if isinstance(low := row["low"], float) else UNKNOWN}
        for row in band_points(forecasts, probability, probability)
    ]


def _apart(forecasts: Sequence[Forecast]) -> timedelta:
    """How far apart the drawn ones are, when there are too many to draw all."""
    return timedelta(minutes=5) * max(1, ceil(len(forecasts) / MOST_POINTS))


def newest_accuracy(hours: Iterable[HourlyAccuracy]) -> dict[float, ForecastAccuracy]:
    """By horizon: as known last."""
    return {one.accuracy.horizon_s: one.accuracy for one in sorted(hours, key=lambda one: one.hour)}


def newest_capacity(hours: Iterable[HourlyCapacity]) -> dict[str, HourlyCapacity]:
    """By variant: as known last."""
    return {one.variant: one for one in sorted(hours, key=lambda one: one.hour)}


def leaning(bias: float | Missing) -> str:
    """Which way forecasts err on average."""
    if isinstance(bias, Missing):
        return UNKNOWN
    if abs(bias) < 0.0005:
        return "neither high nor low"
    return f"{percent(abs(bias))} too {'high' if bias > 0 else 'low'}"


def accuracy_row(horizon_s: float, made: Forecast | None, was: ForecastAccuracy | None) -> list[Cell]:
    quantiles = made.quantiles if made else {}
    never = "no forecast so far ahead has come due yet"
    error = was.error_ratio if was else Missing("forecast error", never)
    bias = was.bias_ratio if was else Missing("forecast bias", never)
    covered = was.coverage_ratio if was else {}
    return [
        Cell(text=ahead(horizon_s), kind="pw-tight"),
        _number(rate(quantiles.get(MEDIAN)), "" if MEDIAN in quantiles else "none was made lately"),
        _number(rate(quantiles.get(PLANNED)), "" if PLANNED in quantiles else "none was made lately"),
        _number(UNKNOWN, error.why) if isinstance(error, Missing) else _number(percent(error)),
        _number(leaning(bias), bias.why if isinstance(bias, Missing) else ""),
        *(
            _number(percent(covered.get(one)), "" if one in covered else never)
            for one in (MEDIAN, 0.9, PLANNED, HIGHEST)
        ),
        _number(f"{was.scored:,}" if was else "0"),
    ]


def capacity_row(one: HourlyCapacity) -> list[Cell]:
    can = one.capacity
    if isinstance(can, Missing):
        unknown = [_number(UNKNOWN, can.why)]
        return [Cell(text=one.variant), *unknown, Cell(text=UNKNOWN, why=can.why, sub=can.why), *[Cell(text="")] * 5]
    stops, meaning = BINDINGS.get(can.binding, (can.binding, ""))
    source, told = SOURCES.get(can.source, (can.source, ""))
    return [
        Cell(text=one.variant),
        Cell(text=rate(can.requests_per_s), sub=between(can), kind="pw-num"),
        Cell(text=stops, sub=meaning, kind="pw-wide"),
        Cell(text=source, sub=told, kind="pw-wide"),
        _level(can.at.ttft_s, seconds),
        _level(can.at.tpot_s, seconds),
        _level(can.at.running, compact),
        _level(can.at.kv_cache_ratio, percent),
    ]


def between(can: ReplicaCapacity) -> str:
    """How sure a capacity is."""
    if not isfinite(can.band_ratio):
        return "how sure that is, is unknown"
    low, high = (max(0.0, can.requests_per_s * (1 + sign * can.band_ratio)) for sign in (-1, 1))
    return f"between {compact(low)} and {compact(high)}"


def scored_words(was: ForecastAccuracy | None) -> str:
    return counted(was.scored, "forecast") + " came due" if was else "no forecast came due yet"


def _number(text: str, why: str = "") -> Cell:
    return Cell(text=text, why=why, kind="pw-num")


def _level(value: float, text: Callable[[float], str]) -> Cell:
    return _number(text(value)) if isfinite(value) else _number(UNKNOWN, "not known at this load")

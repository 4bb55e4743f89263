"""The ledger's own history as a trace: what arrived, minute by minute, with the lengths by their means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

import numpy as np
from numpy.typing import NDArray

from controller.backtest.words import span
from controller.errors import ConfigError, Problem
from controller.ledger.read import LedgerReader
from controller.ledger.rows import DemandMinute
from controller.quantities import duration_text
from controller.simulate.shell import EPOCH
from controller.simulate.workload.blocks import Floats
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.rates import RateTrace

MINUTE_S, HOUR_S, DAY_S = 60.0, 3600.0, 86_400.0

MOST_UNKNOWN = 0.5
"""A history of which more is unknown is not replayed. A guess: most of the trace would be made up."""

EDGE_S, EDGE_RATIO = 300.0, 0.01
"""A history that is shorter by no more than this is what was asked for. A guess: the minute that runs, a daemon that
was started again."""

REASONS_TOLD = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A ledger's history, on the clock of simulated time: hours and weekdays are the real ones.

    unknown        by minute: nobody saw what arrived, and the trace has an estimate there
    cached_ratio   share of the prompt tokens that prefix caches served
    notes          what a reader of the results must know
    short          that it is less than was asked for; "": it is all of it
    """

    name: str
    trace: RateTrace
    lengths: Lengths
    unknown: NDArray[np.bool_]
    cached_ratio: float
    notes: tuple[str, ...]
    short: str = ""


def recorded(url: str, service: str, start: datetime, end: datetime) -> Recorded:
    """What the ledger at ``url`` knows of ``service``. Raises ConfigError when that is too little; LedgerError."""
    with closing(LedgerReader(url)) as reader:
        minutes = reader.demand_history(service, start, end)
        services = reader.services()
        known = [place for place, one in enumerate(minutes) if one.arrivals_per_s is not None]
        ended = None if known else _ended(reader, service)
    if not known:
        there = f"; it knows {', '.join(services)}" if services and ended is None else ""
        why = f"the ledger has no minute of '{service}' since {start:%Y-%m-%d %H:%M} UTC{there}"
        raise _refused(f"{why}{_earlier(ended, start, end)}" if ended is not None else why)
    minutes = minutes[known[0] : known[-1] + 1]
    rates = np.array([np.nan if one.arrivals_per_s is None else one.arrivals_per_s for one in minutes])
    unknown = np.isnan(rates)
    if unknown.mean() > MOST_UNKNOWN:
        told = f"{unknown.sum():,} of {len(minutes):,} minutes are unknown ({_reasons(minutes)})"
        raise _refused(f"{told}: most of the trace would be made up; choose a shorter or another time")
    lengths, cached_ratio = _lengths(minutes)
    first, last = minutes[0].minute, minutes[-1].minute + timedelta(minutes=1)
    return Recorded(
        name=f"{service}, {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC, from the ledger",
        trace=RateTrace(
            start_s=(first - EPOCH).total_seconds(), bin_s=MINUTE_S, requests=_filled(rates, unknown) * MINUTE_S
        ),
        lengths=lengths,
        unknown=unknown,
        cached_ratio=cached_ratio,
        notes=tuple(_notes(minutes, unknown)),
        short=_short((end - start).total_seconds(), (last - first).total_seconds()),
    )


def _short(asked_s: float, there_s: float) -> str:
    """That much of what was asked for is not there, in words."""
    if asked_s - there_s <= max(EDGE_S, EDGE_RATIO * asked_s):
        return ""
    return f"{span(asked_s / HOUR_S)} were asked for, {span(there_s / HOUR_S)} of them are in the ledger"


def _ended(reader: LedgerReader, service: str) -> datetime | None:
    """The end of the last minute that is known of ``service`` in the ledger's last day; None where there is none."""
    last = reader.last_pass()
    if last is None:
        return None
    minutes = reader.demand_history(service, last.at - timedelta(seconds=DAY_S), last.at)
    known = [one.minute for one in minutes if one.arrivals_per_s is not None]
    return known[-1] + timedelta(minutes=1) if known else None


def _earlier(ended: datetime, start: datetime, end: datetime) -> str:
    """Where the history is, and what to type for as much of it."""
    ago_s, wanted_s = (end - ended).total_seconds(), (end - start).total_seconds()
    unit_s = DAY_S if ago_s + wanted_s >= 2 * DAY_S else HOUR_S
    back = duration_text(ceil((ago_s + wanted_s) / unit_s) * unit_s)
    told = f": its history ends {ended:%Y-%m-%d %H:%M} UTC, {span(ago_s / HOUR_S)} ago"
    return f"{told}. --from-ledger {back} replays the last {span(wanted_s / HOUR_S)} of it"


def _refused(message: str) -> ConfigError:
    return ConfigError([Problem("--from-ledger", 0, 0, "", message)])


def _filled(rates: Floats, unknown: NDArray[np.bool_]) -> Floats:
    """Unknown minutes as a straight line between the known ones around them."""
    places = np.arange(len(rates), dtype=np.float64)
    filled: Floats = np.interp(places, places[~unknown], rates[~unknown])
    return filled


def _lengths(minutes: Sequence[DemandMinute]) -> tuple[Lengths, float]:
    """Log-normal around the recorded means, with the default's spread; and the cached share of the prompts."""
    prompt = _mean((one.requests, one.mean_prompt_tokens) for one in minutes)
    output = _mean((one.requests, one.mean_output_tokens) for one in minutes)
    cached = _mean((one.requests, one.mean_cached_prompt_tokens) for one in minutes)
    if prompt is None or output is None:
        raise _refused("the ledger does not know how long requests were: give --lengths FILE")
    return Lengths.log_normal(prompt_mean=prompt, output_mean=output), min((cached or 0.0) / prompt, 1.0)


def _mean(weighted: Iterable[tuple[float | None, float | None]]) -> float | None:
    """Over requests; None where no minute knows."""
    some = [(weight, value) for weight, value in weighted if weight and value is not None]
    requests = sum(weight for weight, _ in some)
    return sum(weight * value for weight, value in some) / requests if requests else None


def _notes(minutes: Sequence[DemandMinute], unknown: NDArray[np.bool_]) -> Iterable[str]:
    yield (
        "The ledger keeps counts and mean lengths by the minute: bursts within a minute are lost, and lengths are drawn"
        " around the mean of the whole time with the spread of Azure's 2024 conversation week."
    )
    if unknown.any():
        longest = max(map(len, "".join("?" if one else " " for one in unknown).split()))
        yield (
            f"Nobody saw what arrived in {unknown.sum():,} of {len(minutes):,} minutes, {longest:,} in a row at most"
            f" ({_reasons(minutes)}). They are replayed as a straight line between the minutes around them, and the"
            " forecaster is told nothing of them."
        )


def _reasons(minutes: Sequence[DemandMinute]) -> str:
    counted = Counter(one.unknown_why for one in minutes if one.arrivals_per_s is None)
    told = [f"{why or 'no reason recorded'}: {count:,}" for why, count in counted.most_common(REASONS_TOLD)]
    return "; ".join(told)

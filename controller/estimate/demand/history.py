"""A state from what was recorded before: the shapes from all of it, everything else by living the last day again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from math import nan

import numpy as np

from controller.estimate.demand.observe import LEAST_COVERED, observed
from controller.estimate.demand.schedule import learned as schedule_learned
from controller.estimate.demand.season import learned as season_learned
from controller.estimate.demand.state import FIVE_S, MINUTE_S, SLOT_S, DemandState, Floats, empty_state

LIVED_S = 86_400.0
"""How much of the end is lived again, minute by minute: as many errors as are kept."""


def state_from_history(start: datetime, bin_s: float, counts: Floats) -> DemandState:
    """The state at the end of ``counts``: requests per bin of ``bin_s`` seconds, the first beginning at ``start``.

    nan: nobody looked. Bins below a minute are added up to minutes; longer ones teach shapes and levels, and errors
    only at their own resolution.
    """
    if bin_s <= 0:
        raise ValueError(f"a bin needs a length above 0 s, found {bin_s}")
    since = start.timestamp()
    rates, bin_s = _coarse(np.asarray(counts, dtype=np.float64) / bin_s, bin_s)
    lived = max(len(rates) - round(LIVED_S / bin_s), 0)
    state = _shaped(empty_state(), since, bin_s, rates[:lived])
    for place in range(lived, len(rates)):
        rate = float(rates[place])
        if rate >= 0:  # nan is not
            state = observed(state, datetime.fromtimestamp(since + (place + 1) * bin_s, UTC), rate, bin_s)
    return state


def _coarse(rates: Floats, bin_s: float) -> tuple[Floats, float]:
    """Means over whole minutes, where bins are shorter; a minute is known when half of its bins are."""
    many = int(MINUTE_S // bin_s)
    if many < 2:
        return rates, bin_s
    padded = np.concatenate((rates, np.full(-len(rates) % many, nan))).reshape(-1, many)
    return _known_mean(padded), bin_s * many


def _known_mean(rows: Floats) -> Floats:
    known = ~np.isnan(rows)
    count = known.sum(axis=1)
    sums = np.where(known, rows, 0.0).sum(axis=1)
    means: Floats = np.where(count >= LEAST_COVERED * rows.shape[1], sums / np.maximum(count, 1), nan)
    return means


def _shaped(state: DemandState, since: float, bin_s: float, rates: Floats) -> DemandState:
    """``state`` with what the half hours and the five minutes that ``rates`` fill teach of the day."""
    season, schedule = state.season, state.schedule
    for slot, requests, seconds in _filled(since, bin_s, rates, SLOT_S):
        season = season_learned(season, slot, requests / seconds)
    if bin_s <= FIVE_S:
        for five, requests, seconds in _filled(since, bin_s, rates, FIVE_S):
            schedule = schedule_learned(schedule, five, requests, seconds)
    return replace(state, season=season, schedule=schedule)


def _filled(since: float, bin_s: float, rates: Floats, slot_s: float) -> Iterator[tuple[int, float, float]]:
    """The slots of ``slot_s`` (numbered since 1970) that were observed enough: their requests and seconds."""
    slots = np.floor((since + (np.arange(len(rates)) + 0.5) * bin_s) / slot_s).astype(np.int64)
    if not len(slots):
        return
    known = ~np.isnan(rates)
    places = slots - slots[0]
    seconds = np.bincount(places[known], minlength=int(places[-1]) + 1) * bin_s
    requests = np.bincount(places[known], weights=rates[known], minlength=len(seconds)) * bin_s
    for place in np.flatnonzero(seconds >= LEAST_COVERED * slot_s):
        yield int(slots[0] + place), float(requests[place]), float(seconds[place])

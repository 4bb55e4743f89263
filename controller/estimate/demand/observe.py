"""Taking in what arrived: every pass moves the levels; every full minute scores forecasts that came due and makes new
ones; every full half hour teaches the shapes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from math import floor, isfinite, isnan, nan

import numpy as np

from controller.estimate.demand.bands import ALPHAS, bounded, corrected, offsets_of
from controller.estimate.demand.experts import combined_of, predictions, weights_of
from controller.estimate.demand.levels import followed
from controller.estimate.demand.marginal import counted, moment_s, pinball, unforeseeable
from controller.estimate.demand.schedule import learned as schedule_learned
from controller.estimate.demand.schedule import lifts
from controller.estimate.demand.season import learned as season_learned
from controller.estimate.demand.state import (
    ERRORS,
    EXPERTS,
    FIVE_S,
    HORIZON_MINUTES,
    HORIZONS_S,
    MINUTE_S,
    PENDING,
    SLOT_S,
    DemandState,
    Floats,
    Record,
    scales_of,
)

LONGEST_PASS_S = 120.0
"""An observation speaks for the time since the one before it, but for no more: what nobody saw stays unknown."""

FIRST_PASS_S = 15.0
"""What an observation with nothing before it speaks for: the usual interval."""

LEAST_COVERED = 0.5
"""A minute or half hour counts once this share of it was observed."""

FORGET = 0.5 ** (1 / 720)
"""Experts' losses and the accuracy count half after so many minutes: weights see both halves of a day."""

PEAK_FORGET = 0.5 ** (1 / (7 * 1440))
"""The busiest minute counts half after a week: what comes every day or every Monday is still known when it comes."""

REFRESH = 15
"""Minutes between two new bands, once there are enough errors: one error more in hundreds moves nothing."""


_HORIZONS: Floats = np.array(HORIZONS_S)
_ROWS = np.arange(len(HORIZONS_S))


def observed(state: DemandState, at: datetime, requests_per_s: float, over_s: float | None = None) -> DemandState:
    """``state`` after ``requests_per_s`` arrived in the ``over_s`` seconds until ``at``.

    over_s   None: since the observation before, at most LONGEST_PASS_S
    A rate that is no number says nothing, nor does the same time twice. A clock that went backwards loses the forecasts
    that wait to be scored, nothing else.
    """
    now, before = at.timestamp(), state.recent.at_s
    if now == before or not isfinite(requests_per_s):
        return state
    if now < before:
        state = _set_back(state, now)
        before = state.recent.at_s
    since = (over_s or FIRST_PASS_S) if isnan(before) else now - before
    spent = min(since, LONGEST_PASS_S if over_s is None or over_s <= 0 else over_s)
    return _advanced(state, now - spent, now, max(requests_per_s, 0.0), max(since - spent, 0.0))


def _set_back(state: DemandState, now: float) -> DemandState:
    """The clock went back: what it said of the open minute, and of forecasts that wait, is worth nothing."""
    recent = replace(state.recent, at_s=now - FIRST_PASS_S, minute=(0.0, 0.0), five=(0.0, 0.0), slot=(0.0, 0.0))
    record = replace(state.record, issued_minute=np.full(PENDING, -1, dtype=np.int64))
    return replace(state, recent=recent, record=record)


def _advanced(state: DemandState, start: float, end: float, rate: float, unseen: float) -> DemandState:
    """From ``start`` to ``end`` at ``rate``, minute by minute."""
    if unseen > 0:
        state = _closed(state, state.recent.at_s, start, issues=False)
    at = start
    state = replace(state, recent=followed(state.recent, rate, end - start, unseen))
    while at < end:
        until = min((floor(at / MINUTE_S) + 1) * MINUTE_S, end)
        recent = state.recent
        requests, seconds = (until - at) * rate, until - at
        recent = replace(
            recent,
            at_s=until,
            minute=(recent.minute[0] + requests, recent.minute[1] + seconds),
            moment=rate if at <= moment_s(at) < until else recent.moment,
            five=(recent.five[0] + requests, recent.five[1] + seconds),
            slot=(recent.slot[0] + requests, recent.slot[1] + seconds),
        )
        state = _closed(replace(state, recent=recent), at, until, issues=end - until < MINUTE_S)
        at = until
    return state


def _closed(state: DemandState, start: float, until: float, *, issues: bool) -> DemandState:
    """``state`` with the minute, five and half hour closed that ``start`` lies in, when ``until`` is after them.

    issues   the minute's end makes forecasts: not in the middle of a long observation, where the levels already know
             the rest of it, nor after a time that nobody saw
    """
    minute = floor(start / MINUTE_S)
    recent = state.recent
    if floor(until / MINUTE_S) > minute:
        (requests, seconds), moment = recent.minute, recent.moment
        recent = replace(recent, minute=(0.0, 0.0), moment=nan)
        if seconds >= LEAST_COVERED * MINUTE_S:
            rate = requests / seconds
            recent = replace(recent, peak=max(rate, recent.peak * PEAK_FORGET))
            record = counted(state.record, rate, moment, refreshes=_refreshes(state.record.minutes_seen))
            state = replace(state, recent=recent, record=record)
            state = replace(state, record=_scored(state, minute, rate))
        state = replace(state, recent=recent)
        if issues:
            state = replace(state, record=_issued(state, floor(until / MINUTE_S) - 1, until))
    return _shaped(state, start, until)


def _shaped(state: DemandState, start: float, until: float) -> DemandState:
    """``state`` with what closed five minutes and half hours teach."""
    five, slot = floor(start / FIVE_S), floor(start / SLOT_S)
    if floor(until / FIVE_S) > five:
        requests, seconds = state.recent.five
        if seconds >= LEAST_COVERED * FIVE_S:
            state = replace(state, schedule=schedule_learned(state.schedule, five, requests, seconds))
        state = replace(state, recent=replace(state.recent, five=(0.0, 0.0)))
    if floor(until / SLOT_S) > slot:
        requests, seconds = state.recent.slot
        if seconds >= LEAST_COVERED * SLOT_S:
            state = replace(state, season=season_learned(state.season, slot, requests / seconds))
        state = replace(state, recent=replace(state.recent, slot=(0.0, 0.0)))
    return state


def _issued(state: DemandState, minute: int, now: float) -> Record:
    """The record with what is forecast now, at the end of ``minute``."""
    record = state.record
    table = predictions(state, now, _HORIZONS)
    combined = combined_of(table, record.weights)
    steps = lifts(state.schedule, now, now + _HORIZONS + MINUTE_S)
    bounds = bounded(combined, record.offsets, steps, state.recent)
    issued, issued_minute = record.issued.copy(), record.issued_minute.copy()
    row = minute % PENDING
    issued[row] = np.concatenate((table, bounds[:, :1], bounds), axis=1)
    issued_minute[row] = minute
    return replace(record, issued=issued, issued_minute=issued_minute)


def _scored(state: DemandState, minute: int, actual: float) -> Record:
    """The record after ``minute`` saw ``actual`` requests/s: every forecast that was made for it is judged."""
    record = state.record
    made = minute - 1 - HORIZON_MINUTES
    due = record.issued_minute[made % PENDING] == made
    if not due.any():
        return record
    issued = record.issued[made % PENDING, _ROWS]
    table, combined, bounds = np.split(issued, [len(EXPERTS), len(EXPERTS) + 1], axis=1)
    scale = scales_of(combined, state.recent.hourly)
    error = (actual - combined) / scale
    judged = due[:, None]
    kept = np.where(judged, FORGET, 1.0)
    lost = np.abs(actual - np.where(np.isnan(table), combined, table)) / scale
    losses = kept * record.losses + judged * lost
    errors, scored = record.errors.copy(), record.scored + due
    errors[_ROWS[due], record.scored[due] % ERRORS] = error[due, 0]
    told = np.broadcast_to(record.marginal, bounds.shape) if unforeseeable(state) else bounds
    alphas = corrected(record.alphas, np.where(judged, actual > bounds, ALPHAS))
    return replace(
        record,
        losses=losses,
        weights=weights_of(losses),
        errors=errors,
        scored=scored,
        alphas=alphas,
        offsets=offsets_of(errors, scored, alphas) if _refreshes(int(scored[0])) else record.offsets,
        sums=kept * record.sums + judged * _sums(actual, combined, told),
        pinball=kept * record.pinball + judged * pinball(actual, bounds, record.marginal),
    )


def _refreshes(scored: int) -> bool:
    return scored < 8 * REFRESH or scored % REFRESH == 0


def _sums(actual: float, combined: Floats, bounds: Floats) -> Floats:
    """One forecast's share of ``Record.sums``, a row a horizon."""
    error = combined - actual
    one = np.ones_like(error)
    sums: Floats = np.concatenate((one, np.abs(error), error, one * actual, actual <= bounds), axis=1)
    return sums

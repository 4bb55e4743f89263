"""A DemandState as JSON and back, so that a restart keeps what was learned."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import fields, replace
from math import isnan, nan
from typing import Any
from zlib import compress, decompress

import numpy as np

from controller.estimate.demand.experts import weights_of
from controller.estimate.demand.state import DemandState, Record, empty_state

VERSION = 3
"""Of the layout. Whoever changes the experts, horizons, probabilities or the unit of errors counts it up: another one
starts afresh."""

FORGOTTEN = ("issued", "issued_minute", "weights")
"""Forecasts that wait to be scored are not stored (half an hour of scores is lost), and weights follow from losses."""

PARTS = ("recent", "season", "schedule", "record")


def state_to_json(state: DemandState) -> dict[str, Any]:
    """About 50 kB of text. Arrays are base64 of deflated little-endian 32-bit floats (counts: integers)."""
    stored: dict[str, Any] = {"version": VERSION}
    for part in PARTS:
        values = getattr(state, part)
        stored[part] = {
            one.name: _plain(getattr(values, one.name)) for one in fields(values) if one.name not in FORGOTTEN
        }
    return stored


def state_from_json(stored: Mapping[str, Any]) -> DemandState:
    """The state that ``state_to_json`` wrote; the empty state when another version of this code wrote it."""
    state = empty_state()
    if stored.get("version") != VERSION:
        return state
    read = {
        part: replace(
            getattr(state, part),
            **{name: _typed(value, getattr(getattr(state, part), name)) for name, value in stored[part].items()},
        )
        for part in PARTS
    }
    record: Record = read["record"]
    return replace(state, **{**read, "record": replace(record, weights=weights_of(record.losses))})


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        kind = "<i4" if value.dtype.kind == "i" else "<f4"
        return b64encode(compress(value.astype(kind).tobytes())).decode("ascii")
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return None if isnan(value) else value


def _typed(value: Any, like: Any) -> Any:
    """``value`` as the type and shape of ``like``."""
    if isinstance(like, np.ndarray):
        kind = "<i4" if like.dtype.kind == "i" else "<f4"
        return np.frombuffer(decompress(b64decode(value)), dtype=kind).reshape(like.shape).astype(like.dtype)
    if isinstance(like, tuple):
        return tuple(float(one) for one in value)
    return nan if value is None else type(like)(value)

"""The shape of a policy test file: demand over time in, expected decisions out."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from controller.documents import ContradictionError
from controller.facts.decisions import Because
from controller.policy.shape import Amount, Count, Name, Period, Positive, Shape, Wait
from controller.quantities import duration_s

MOST_PASSES = 20_000
"""A test runs no longer: a guess, about a week of passes at 30 s, done within a few seconds."""

_ITEM = re.compile(r"(?P<value>_|\d+(?:\.\d+)?)(?P<unit>%|ms|s)?(?:x(?P<times>\d{1,6}))?")
SERIES_PATTERN = r"^\s*((_|\d+(\.\d+)?(%|ms|s)?)(x\d{1,6})?\s*)+$"


def series(value: object) -> tuple[float | None, ...]:
    """One value a pass of ``10x8 260x12 _x4``: value x passes; _ is missing; 60% is 0.6, 800ms is 0.8."""
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        return (float(value),)
    words = value.split() if isinstance(value, str) else []
    found: list[float | None] = []
    for word in words:
        item = _ITEM.fullmatch(word)
        if item is None or (item["value"] == "_" and item["unit"]):
            raise ValueError(f"'{word}' is not understood; expected items such as 10x8, 60%x4, 800ms or _x4")
        times = int(item["times"] or 1)
        if len(found) + times > MOST_PASSES:
            raise ValueError(f"is longer than {MOST_PASSES} passes")
        found += [_number(item["value"], item["unit"])] * times
    if not found:
        raise ValueError(f"expected items such as 10x8 260x12 _x4, found {value!r}")
    return tuple(found)


def _number(value: str, unit: str | None) -> float | None:
    if value == "_":
        return None
    if unit == "%":
        return float(value) / 100
    return duration_s(value + unit) if unit else float(value)


Series = Annotated[
    tuple[float | None, ...],
    BeforeValidator(series),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": SERIES_PATTERN}, {"type": "number", "minimum": 0}]}),
]
"""One value a pass; None where it is missing. After its end the last value stays."""


class InputShape(Shape):
    """What the passes see. A signal left out is missing in every pass."""

    queue_depth: Series | None = Field(default=None, description="requests waiting, all replicas together")
    kv_cache: Series | None = Field(default=None, description="mean share of the KV cache in use")
    token_load: Series | None = Field(
        default=None, description="computed prompt + output tokens/s, all replicas together"
    )
    gpu_utilization: Series | None = Field(default=None, description="mean share of time in which any kernel ran")
    ttft: Series | None = Field(default=None, description="the policy's quantile of the time to first token")
    tpot: Series | None = Field(default=None, description="the policy's quantile of the time per output token")
    running: Series | None = Field(default=None, description="requests being served, all replicas together")
    requests: Series | None = Field(default=None, description="requests arriving per second, all replicas together")
    rejections: Series | None = Field(default=None, description="requests refused per second, all replicas together")
    forecast: Series | None = Field(
        default=None, description="requests/s expected, at the policy's quantile, until a replica ordered now is ready"
    )


class ExpectShape(Shape):
    """What the decision of one pass must be."""

    at: Wait = Field(description="which pass, counted from the first, which is at 0s")
    hold: Count | None = Field(default=None, description="it holds at so many replicas")
    scale: Count | None = Field(default=None, description="it changes to so many replicas")
    because: Because | None = Field(default=None, description="its reason, a word of the glossary; left out: any")

    @model_validator(mode="after")
    def _one_outcome(self) -> ExpectShape:
        if self.hold is not None and self.scale is not None:
            raise ContradictionError("expected exactly one of hold and scale")
        if self.hold is None and self.scale is None:
            raise ValueError("expected exactly one of hold and scale")
        return self


class RehearsalShape(Shape):
    """One rehearsal."""

    name: Name = Field(description="what it shows")
    replicas: Positive = Field(description="how many are ready at the start")
    start_after: Wait = Field(default=90.0, description="a started replica is ready after so long")
    capacity: Amount | None = Field(
        default=None, description="requests/s that one replica carries; left out: not known, and no forecast decides"
    )
    input: InputShape = Field(description="what the passes see; a signal left out is missing in every pass")
    expect: tuple[ExpectShape, ...] = Field(min_length=1, description="what the decisions must be")


class ScriptShape(Shape):
    """A policy test file."""

    policy: Name = Field(description="the policy's file, seen from this one")
    every: Period = Field(default=15.0, description="time from one pass to the next")
    tests: tuple[RehearsalShape, ...] = Field(min_length=1, description="each starts afresh")

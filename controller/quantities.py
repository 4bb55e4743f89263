"""Quantities as Kubernetes and Prometheus write them: durations, shares and ranges, in and out of text."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
DURATION_PATTERN = r"^(\d+(\.\d+)?(ms|s|m|h|d|w))+$"
RATIO_PATTERN = r"^\d+(\.\d+)?%$"
RANGE_PATTERN = r"^\d+-\d+$"


def duration_s(value: object) -> float:
    """Seconds of ``90s``, ``10m``, ``1h30m``, ``50ms``."""
    if isinstance(value, str) and re.fullmatch(DURATION_PATTERN, value):
        return sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION.findall(value))
    raise ValueError(f"expected a duration with its unit, such as 90s, 10m or 1h30m, found {value!r}")


def duration_text(seconds: float) -> str:
    """``seconds`` as a user would write them, in the largest unit that tells them exactly: 90d, 10m, 15s, 50ms."""
    for unit in ("d", "h", "m", "s"):
        if seconds >= _UNITS_S[unit] and seconds % _UNITS_S[unit] == 0:
            return f"{seconds / _UNITS_S[unit]:.0f}{unit}"
    return f"{seconds * 1000:g}ms" if seconds else "0s"


def ratio_value(value: object) -> float:
    """0.85 of ``85%`` or ``0.85``."""
    if isinstance(value, str) and re.fullmatch(RATIO_PATTERN, value):
        return float(value[:-1]) / 100
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
        return float(value)
    raise ValueError(f"expected a share, such as 85% or 0.85, found {value!r}")


def whole_range(value: object) -> tuple[int, int]:
    """(8100, 8115) of ``8100-8115``; a single number is a range of one."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    if isinstance(value, str) and re.fullmatch(RANGE_PATTERN, value):
        low, high = (int(part) for part in value.split("-"))
        if low <= high:
            return low, high
    raise ValueError(f"expected a range such as 8100-8115, lower end first, found {value!r}")


DurationS = Annotated[
    float,
    BeforeValidator(duration_s),
    WithJsonSchema({"type": "string", "pattern": DURATION_PATTERN, "examples": ["90s", "10m"]}),
]
"""A duration, as seconds."""

RatioValue = Annotated[
    float,
    BeforeValidator(ratio_value),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "pattern": RATIO_PATTERN},
                {"type": "number", "minimum": 0, "maximum": 1},
            ]
        }
    ),
]
"""A share, as 0..1."""

WholeRange = Annotated[
    tuple[int, int],
    BeforeValidator(whole_range),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": RANGE_PATTERN}, {"type": "integer"}]}),
]
"""A range of whole numbers, both ends included."""


class EditorSchema(GenerateJsonSchema):
    """Defaults as a user would write them. A whole block's is left out: its keys tell their own."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> dict[str, Any]:
        made = super().default_schema(schema)
        if isinstance(made.get("default"), dict):
            del made["default"]
        elif made.get("pattern") == DURATION_PATTERN:
            made["default"] = duration_text(made["default"])
        elif any(choice.get("pattern") == RANGE_PATTERN for choice in made.get("anyOf", ())):
            low, high = made["default"]
            made["default"] = f"{low}-{high}"
        return made

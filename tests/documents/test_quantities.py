"""Durations, shares and ranges."""

import pytest
from pydantic import TypeAdapter, ValidationError

from controller.quantities import DurationS, RatioValue, WholeRange, duration_s, duration_text


@pytest.mark.parametrize(
    ("kind", "value", "meant"),
    [
        (DurationS, "90s", 90),
        (DurationS, "1h30m", 5400),
        (DurationS, "50ms", 0.05),
        (DurationS, "1.5m", 90),
        (DurationS, "1d", 86400),
        (RatioValue, "85%", 0.85),
        (RatioValue, 0.85, 0.85),
        (RatioValue, 1, 1),
        (WholeRange, "8100-8115", (8100, 8115)),
        (WholeRange, 7, (7, 7)),
    ],
)
def test_a_quantity_is_what_it_says(kind, value, meant):
    assert TypeAdapter(kind).validate_python(value) == pytest.approx(meant)


@pytest.mark.parametrize(
    ("kind", "value"),
    [(DurationS, value) for value in ("90", 90, "s", "-5s", "5 s", "", None, True)]
    + [(RatioValue, value) for value in ("85", 85, 1.5, -0.1, "x%", True, float("nan"))]
    + [(WholeRange, value) for value in ("9-8", "a-b", True, 1.5)],
)
def test_a_quantity_that_is_not_one_is_refused(kind, value):
    with pytest.raises(ValidationError, match="expected a"):
        TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize("text", ["90d", "10m", "15s", "50ms", "1h", "90s"])
def test_a_duration_is_written_back_as_one_that_means_the_same(text):
    assert duration_s(duration_text(duration_s(text))) == duration_s(text)

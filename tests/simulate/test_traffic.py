"""A day of traffic has the shape, the lengths and the unevenness that it says, and is the same for the same seed."""

from __future__ import annotations

from statistics import mean, variance

import pytest

from controller.simulate.arrivals import joined
from controller.simulate.traffic import DAY_S, Traffic, TrafficSpec, day_shape


def test_the_busiest_hour_is_as_far_above_the_quietest_as_asked() -> None:
    shape = day_shape(3.56)
    assert max(shape) / min(shape) == pytest.approx(3.56)
    assert mean(shape) == pytest.approx(1)


def test_the_rate_peaks_in_the_middle_of_the_busiest_hour() -> None:
    spec = TrafficSpec(peak_per_s=20.0)
    rates = {minute: spec.rate_per_s(minute * 60.0) for minute in range(1440)}
    assert max(rates, key=rates.__getitem__) == 14 * 60 + 30
    assert max(rates.values()) == pytest.approx(20.0)
    assert spec.rate_per_s(0.0) == pytest.approx(spec.rate_per_s(DAY_S))


def drawn(seed: int, *cuts_s: float, spec: TrafficSpec | None = None) -> list[tuple[float, int, int, int]]:
    traffic = Traffic(spec or TrafficSpec(peak_per_s=5.0), seed, 0.0)
    come = joined([traffic.until(cut_s) for cut_s in cuts_s])
    columns = (come.arrival_s, come.prompt_tokens, come.output_tokens, come.cached_tokens)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_equal_seeds_give_equal_requests_and_others_do_not() -> None:
    assert drawn(7, 600) == drawn(7, 600)
    assert drawn(7, 600) != drawn(8, 600)


def test_how_the_day_is_cut_into_calls_changes_nothing() -> None:
    assert drawn(7, 33, 34, 600) == drawn(7, 600)


def test_lengths_and_dispersion_are_near_the_published_ones() -> None:
    come = drawn(3, 3000, spec=TrafficSpec(peak_per_s=20.0, shape=(1.0,)))
    assert mean(row[1] for row in come) == pytest.approx(1632, rel=0.05)
    assert mean(row[2] for row in come) == pytest.approx(106, rel=0.05)
    assert all(0 <= row[3] < row[1] for row in come)
    slots = [0] * 300
    for row in come:
        slots[int(row[0] // 10)] += 1
    assert mean(slots) == pytest.approx(200, rel=0.05)
    assert variance(slots) / mean(slots) == pytest.approx(3.0, rel=0.35)

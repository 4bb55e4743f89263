from __future__ import annotations

from collections.abc import Sequence
from math import inf, isclose

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.estimate.histograms import mean, merge_histograms, quantile
from controller.estimate.windows import merge
from controller.facts.missing import Missing
from controller.facts.readings import Counter, Distribution, Gauge, Histogram


def histogram(bounds: Sequence[float], counts: Sequence[float]) -> Histogram:
    return Histogram(bounds=tuple(bounds), counts=tuple(map(float, counts)), total=float(sum(counts)))


@st.composite
def histograms(draw: st.DrawFn) -> Histogram:
    finite = draw(st.lists(st.sampled_from([0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]), min_size=1, unique=True))
    counts = draw(st.lists(st.integers(0, 1000), min_size=len(finite) + 1, max_size=len(finite) + 1))
    return histogram((*sorted(finite), inf), counts)


def test_versions_with_different_bounds_merge_by_the_bounds_they_share() -> None:
    old = histogram((0.1, 0.5, 1.0, inf), (1, 2, 3, 4))
    new = histogram((0.2, 0.5, 2.0, inf), (10, 20, 30, 40))
    assert merge_histograms([old, new]) == Histogram(bounds=(0.5, inf), counts=(33.0, 77.0), total=110.0)


@given(st.lists(histograms(), min_size=1, max_size=5), st.randoms())
def test_merging_is_order_independent_and_loses_no_observation(parts, random) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)
    assert merge_histograms(parts) == merge_histograms(shuffled)
    assert merge_histograms(parts).count == sum(one.count for one in parts)


@given(histograms(), st.floats(0, 1), st.floats(0, 1))
def test_a_quantile_grows_with_its_share_and_stays_within_the_bounds(
    one: Histogram, first: float, second: float
) -> None:
    low, high = (quantile("ttft", one, q) for q in sorted((first, second)))
    if one.count == 0:
        assert low == Missing("ttft", "nothing finished in this window")
        return
    assert not isinstance(low, Missing)
    assert not isinstance(high, Missing)
    assert 0 <= low <= high <= one.bounds[-2]


@pytest.mark.parametrize(
    ("q", "expected"), [(0.0, 0.0), (0.1, 0.1), (0.5, 0.5), (0.55, 0.75), (0.6, 1.0), (0.61, 1.0), (1.0, 1.0)]
)
def test_quantiles_are_interpolated_as_prometheus_does(q: float, expected: float) -> None:
    got = quantile("ttft", histogram((0.1, 0.5, 1.0, inf), (10, 40, 10, 40)), q)
    assert got == pytest.approx(expected, abs=1e-9)


def test_a_first_bucket_at_or_below_zero_has_no_lower_end() -> None:
    assert quantile("x", histogram((-1.0, 1.0, inf), (5, 5, 0)), 0.2) == -1.0


def test_versions_without_a_common_bound_have_no_quantile() -> None:
    got = quantile("ttft", merge_histograms([histogram((1.0, inf), (1, 1)), histogram((2.0, inf), (1, 1))]), 0.5)
    assert isinstance(got, Missing)
    assert "no histogram bound in common" in got.why


def test_what_is_missing_stays_missing_with_its_reason() -> None:
    gone = Missing("ttft_s", "timed out")
    assert quantile("ttft_p95_s", gone, 0.95) == Missing("ttft_p95_s", "timed out")
    assert mean("mean", gone) == Missing("mean", "timed out")
    assert mean("mean", histogram((1.0, inf), (0, 0))) == Missing("mean", "nothing finished in this window")


@pytest.mark.parametrize("q", [-0.1, 1.1])
def test_a_quantile_outside_its_range_is_refused(q: float) -> None:
    with pytest.raises(ValueError, match="from 0 to 1"):
        quantile("ttft", histogram((1.0, inf), (1, 1)), q)


def test_merging_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one histogram"):
        merge_histograms([])
    with pytest.raises(ValueError, match="at least one reading"):
        merge([])


def test_increases_add_up_and_levels_are_the_newest(world) -> None:
    old = world.busy(age_s=15, output_tokens=100.0, queue_depth=9.0)
    new = world.busy(output_tokens=200.0, queue_depth=1.0)
    window = merge([old, new])
    assert (window.window_s, window.counter(Counter.OUTPUT_TOKENS), window.gauge(Gauge.QUEUE_DEPTH)) == (30, 300, 1)
    assert window.rate(Counter.OUTPUT_TOKENS) == 10.0


def test_an_older_level_never_passes_for_the_present_one(world) -> None:
    why = Missing("queue_depth", "frozen for 90 s")
    window = merge([world.busy(age_s=15), world.reading(missing={Gauge.QUEUE_DEPTH: why})])
    assert window.gauge(Gauge.QUEUE_DEPTH) == why


def test_a_counter_seen_in_part_of_the_window_is_divided_by_that_part(world) -> None:
    window = merge([world.busy(age_s=15, output_tokens=150.0), world.reading()])
    assert window.rate(Counter.OUTPUT_TOKENS) == 10.0


def test_a_first_reading_has_levels_but_no_rates(world) -> None:
    window = merge([world.reading(window_s=0.0, gauges={Gauge.RUNNING: 1.0}, counters={Counter.REQUESTS: 7.0})])
    assert window.gauge(Gauge.RUNNING) == 1.0
    assert isinstance(window.rate(Counter.REQUESTS), Missing)
    assert isinstance(window.counter(Counter.REQUESTS), Missing)
    assert isinstance(window.histogram(Distribution.TTFT_S), Missing)


@given(counts=st.lists(st.floats(0, 1e9), min_size=1, max_size=6), random=st.randoms())
def test_the_order_of_readings_does_not_matter(world, counts, random) -> None:
    readings = [world.busy(age_s=15.0 * at, output_tokens=value) for at, value in enumerate(counts)]
    shuffled = list(readings)
    random.shuffle(shuffled)
    assert merge(readings) == merge(shuffled)
    assert isclose(merge(readings).counters[Counter.OUTPUT_TOKENS], sum(counts), rel_tol=1e-9)

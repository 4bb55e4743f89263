"""Invented load, changes of load, and the figures that a report prints."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.facts.missing import Missing
from controller.simulate.workload import synthetic
from controller.simulate.workload.describe import describe, dispersion
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.modifiers import between, load_times, outputs_times, thinned, with_cached
from controller.simulate.workload.rates import RateTrace, RateWorkload


def rates(shape, hours=2.0, dispersion=0.0, seed=0):
    return synthetic.rates_of(shape, hours=hours, seed=seed, dispersion=dispersion)


@pytest.mark.parametrize(
    ("shape", "at"),
    [
        (synthetic.steady(5), {0: 5, 3600: 5, 7190: 5}),
        (synthetic.step(2, 8, at_s=3600), {3590: 2, 3600: 8}),
        (synthetic.ramp(2, 8, from_s=1000, to_s=3000), {0: 2, 990: 2, 1995: 5, 3000: 8, 7000: 8}),
        (synthetic.spike(2, 20, at_s=600, lasting_s=60), {590: 2, 600: 20, 650: 20, 660: 2}),
        (synthetic.silence(2, from_s=600, to_s=1200), {590: 2, 600: 0, 1190: 0, 1200: 2}),
        (
            synthetic.going_viral(1, 8, at_s=1000, doubling_s=600, half_life_s=1000),
            {0: 1, 995: 1, 1595: 2, 2195: 4, 2795: 8, 3795: 4.5},
        ),
        (synthetic.daily(10, busiest_to_quietest=3, peak_s=3600), {3595: 15}),
        (synthetic.weekly(synthetic.steady(4), weekend_ratio=0.5, first_weekday=5), {0: 2}),
        (synthetic.weekly(synthetic.steady(4), weekend_ratio=0.5, first_weekday=0), {0: 4}),
    ],
)
def test_a_shape_has_its_level_at_every_moment(shape, at):
    trace = rates(shape)
    for time_s, level in at.items():
        assert trace.requests[int(time_s // 10)] == pytest.approx(level * 10, rel=0.01)


def test_a_daily_shape_has_the_wanted_contrast_and_mean():
    trace = rates(synthetic.daily(10, busiest_to_quietest=4), hours=24)
    assert trace.requests.max() / trace.requests.min() == pytest.approx(4, rel=0.001)
    assert trace.requests.mean() == pytest.approx(100, rel=0.001)
    assert np.argmax(trace.requests) * 10 == pytest.approx(14 * 3600, abs=20)


def test_a_week_has_its_weekend():
    trace = rates(synthetic.weekly(synthetic.steady(4), weekend_ratio=0.5), hours=7 * 24)
    assert trace.requests.reshape(7, -1).mean(axis=1) == pytest.approx([40] * 5 + [20] * 2)


@pytest.mark.parametrize("wanted", [1.0, 3.0, 8.0])
def test_counts_have_the_wanted_mean_and_dispersion(wanted):
    counts = rates(synthetic.steady(20), hours=60, dispersion=wanted, seed=2).requests
    assert counts.mean() == pytest.approx(200, rel=0.02)
    assert counts.var() / counts.mean() == pytest.approx(wanted, rel=0.05)
    assert dispersion(counts.astype(np.int64), 30) == pytest.approx(wanted, rel=0.05)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: rates(synthetic.steady(1), dispersion=0.5),
        lambda: synthetic.going_viral(0, 8, at_s=0),
        lambda: synthetic.going_viral(9, 8, at_s=0),
        lambda: synthetic.daily(1, busiest_to_quietest=0.5),
    ],
)
def test_a_shape_that_cannot_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"dispersion|grow|busiest"):
        wrong()


@pytest.fixture
def workload(make):
    """About an hour at 4 requests/s in bins of 10 s, from second 300."""
    return RateWorkload(make.rates(), Lengths.log_normal(), seed=3)


def test_a_part_is_the_same_requests_as_in_the_whole(workload):
    whole = workload.again().until(1e9)
    part = between(workload, 1000, 2000).until(1e9)
    inside = (whole.arrival_s >= 1000) & (whole.arrival_s < 2000)
    assert np.array_equal(part.arrival_s, whole.arrival_s[inside])
    assert np.array_equal(part.output_tokens, whole.output_tokens[inside])


def test_a_part_outside_of_the_trace_is_refused(workload):
    with pytest.raises(
        ValueError, match="nothing is left from 5000 s to 6000 s of a trace that goes from 300 s to 4300 s"
    ):
        between(workload, 5000, 6000)


def test_thinning_keeps_the_share_and_calms_the_bursts():
    bursty = synthetic.rates_of(synthetic.steady(20), hours=30, seed=1, dispersion=9)
    whole = RateWorkload(bursty, Lengths.fixed(5, 5), seed=1)
    calm = thinned(whole, 0.25, seed=2)
    before, after = describe(whole), describe(calm)
    assert after.requests / before.requests == pytest.approx(0.25, rel=0.02)
    assert after.dispersion_10s == pytest.approx(1 + 0.25 * (before.dispersion_10s - 1), rel=0.05)
    assert "1 + 0.25 (D - 1)" in after.notes[-1]


def test_outputs_become_longer_and_nothing_else(workload):
    plain, longer = workload.again().until(1e9), outputs_times(workload, 2.0).until(1e9)
    assert np.array_equal(longer.output_tokens, plain.output_tokens * 2)
    assert np.array_equal(longer.prompt_tokens, plain.prompt_tokens)
    assert np.array_equal(longer.arrival_s, plain.arrival_s)
    assert outputs_times(workload, 1e-9).until(1e9).output_tokens.max() == 1


@given(st.floats(0, 6), st.floats(300, 4000), st.floats(1, 500), st.integers(0, 99))
@settings(max_examples=40)
def test_load_changes_inside_its_span_only(factor, from_s, length_s, seed):
    trace = RateTrace(start_s=300.0, bin_s=10.0, requests=np.full(400, 40.0))
    base = RateWorkload(trace, Lengths.fixed(5, 5), seed=3)
    to_s = from_s + length_s
    plain, changed = base.until(1e9), load_times(base.again(), factor, from_s, to_s, seed=seed).until(1e9)
    inside = [np.sum((some.arrival_s >= from_s) & (some.arrival_s < to_s)) for some in (plain, changed)]
    assert len(changed) - len(plain) == inside[1] - inside[0]
    assert abs(inside[1] - factor * inside[0]) <= 1 + (5 * np.sqrt(inside[0]) if factor < 1 else 0)
    assert np.all(np.diff(changed.arrival_s) >= 0)


def test_extra_load_has_the_lengths_of_the_load(workload):
    plain, more = workload.again().until(1e9), load_times(workload, 4.0, seed=1).until(1e9)
    assert len(more) == 4 * len(plain)
    assert set(more.prompt_tokens.tolist()) == set(plain.prompt_tokens.tolist())
    assert more.prompt_tokens.mean() == pytest.approx(plain.prompt_tokens.mean(), rel=0.05)


def test_silence_stays_silent_however_much_load_is_asked_for():
    quiet = RateWorkload(RateTrace(start_s=0, bin_s=10, requests=np.zeros(5)), Lengths.fixed(1, 1), seed=0)
    assert len(load_times(quiet, 100, seed=0).until(50)) == 0


@pytest.mark.parametrize("share", [0.0, 0.05, 0.4, 0.9, 1.0])
def test_a_cached_share_is_the_mean_and_never_the_whole_prompt(workload, share):
    got = with_cached(workload, share, seed=1).until(1e9)
    assert np.mean(got.cached_tokens / got.prompt_tokens) == pytest.approx(share, abs=0.01)
    assert np.all(got.cached_tokens < got.prompt_tokens)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda workload: thinned(workload, 0, 1),
        lambda workload: thinned(workload, 1.5, 1),
        lambda workload: outputs_times(workload, 0),
        lambda workload: load_times(workload, -1, seed=1),
        lambda workload: with_cached(workload, 1.5, 1),
    ],
)
def test_a_change_that_cannot_be_is_refused(workload, wrong):
    with pytest.raises(ValueError, match=r"share|times"):
        wrong(workload)


def test_a_description_is_what_the_requests_are(workload):
    requests = workload.again().until(1e9)
    told = describe(workload)
    assert told.requests == len(requests)
    assert told.mean_per_s == pytest.approx(len(requests) / 4000)
    minutes = np.bincount(((requests.arrival_s - 300) / 60).astype(int))
    assert told.peak_minute_per_s == pytest.approx(minutes.max() / 60)
    assert told.peak_to_mean == pytest.approx(told.peak_minute_per_s / told.mean_per_s)
    assert told.prompt_tokens.mean == pytest.approx(requests.prompt_tokens.mean())
    assert told.output_tokens.quantiles[0.9] == pytest.approx(np.quantile(requests.output_tokens, 0.9), abs=1)
    assert told.dispersion_10s == pytest.approx(1, abs=0.2)
    assert told.cached_ratio == 0


def test_a_description_of_nothing_does_not_invent_figures():
    quiet = RateWorkload(RateTrace(start_s=0, bin_s=10, requests=np.zeros(5)), Lengths.fixed(1, 1), seed=0)
    told = describe(quiet)
    assert told.requests == 0
    assert isinstance(told.peak_to_mean, Missing)
    assert isinstance(told.dispersion_10s, Missing)
    assert isinstance(told.prompt_tokens, Missing)

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from controller.estimate.performance.learning import (
    LEAST_FACTOR,
    MOST_FACTOR,
    band_of,
    learned,
    start,
    step_of,
    trusted,
)
from controller.estimate.performance.prior import StepPrior
from controller.estimate.performance.samples import StepSample, sample_of
from controller.estimate.performance.state import from_json, to_json
from controller.facts.missing import Missing
from controller.facts.performance import LearnedStep, StepModel
from controller.facts.readings import Distribution, Target
from controller.simulate.fleet import SimulatedFleet
from controller.simulate.readings import Reader

BANDS = (0.2, 0.2, 0.2, 0.2, 1.0)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


def wrong(step: StepModel, base: float, sequence: float, kv_token: float, prefill: float) -> StepModel:
    return replace(
        step,
        base_s=step.base_s * base,
        per_sequence_s=step.per_sequence_s * sequence,
        per_kv_token_s=step.per_kv_token_s * kv_token,
        per_prefill_token_s=step.per_prefill_token_s * prefill,
        per_prefill_pair_s=step.per_prefill_pair_s * prefill,
    )


def sample(step: StepModel, sequences: float, prefill: float = 200.0, context: float = 1700.0) -> StepSample:
    """A window that ``step`` explains exactly."""
    blank = StepSample(
        window_s=15.0,
        steps=400.0,
        step_s=1.0,
        sequences=sequences,
        kv_tokens=sequences * context,
        prefill_tokens=prefill,
        prefill_pairs=prefill * 3000,
    )
    return replace(blank, step_s=blank.predicted_s(step))


def taught(state: LearnedStep, step: StepModel, count: int = 200) -> LearnedStep:
    for turn in range(count):
        state = learned(
            state, sample(step, 5 + 13 * (turn % 11), prefill=100.0 * (turn % 7), context=800 + 300 * (turn % 5))
        )
    return state


@pytest.mark.parametrize("factors", [(1.2, 0.8, 1.2, 0.8), (0.8, 1.2, 0.8, 1.2), (1.5, 1.0, 1.0, 0.6)])
def test_a_wrong_prior_is_corrected(bench, factors) -> None:
    state = taught(start(StepPrior(step=wrong(bench.step, *factors), bands=BANDS)), bench.step)
    assert trusted(state)
    for sequences in (10.0, 60.0, 140.0):
        one = sample(bench.step, sequences)
        assert one.predicted_s(step_of(state)) == pytest.approx(one.step_s, rel=0.02)
    assert state.error_ratio < 0.02 < state.prior_error_ratio


def test_what_no_sample_excites_stays_at_the_prior(bench) -> None:
    state = start(StepPrior(step=wrong(bench.step, 1.2, 1.0, 1.0, 0.7), bands=BANDS))
    for _ in range(200):
        state = learned(state, sample(bench.step, 20.0, prefill=0.0))
    assert state.factors[3] == pytest.approx(1.0)
    assert state.factors[0] < 0.9


def test_what_stops_explaining_is_forgotten_and_the_prior_stands(bench) -> None:
    state = taught(start(StepPrior(step=bench.step, bands=BANDS)), wrong(bench.step, 0.7, 0.7, 0.7, 0.7))
    assert trusted(state)
    for _ in range(60):
        state = learned(state, sample(wrong(bench.step, 2.2, 2.2, 2.2, 2.2), 20.0))
        if not trusted(state):
            break
    assert not trusted(state)
    assert step_of(state) == bench.step


def test_after_a_change_it_learns_anew(bench) -> None:
    state = taught(start(StepPrior(step=bench.step, bands=BANDS)), wrong(bench.step, 0.7, 0.7, 0.7, 0.7))
    slow = wrong(bench.step, 1.4, 1.4, 1.4, 1.4)
    state = taught(state, slow, 400)
    one = sample(slow, 60.0)
    assert one.predicted_s(step_of(state)) == pytest.approx(one.step_s, rel=0.05)


def test_factors_stay_in_bounds(bench) -> None:
    state = taught(start(StepPrior(step=bench.step, bands=(5.0,) * 5)), wrong(bench.step, 1.2, 60.0, 1.0, 1.0), 7)
    assert all(LEAST_FACTOR <= factor <= MOST_FACTOR for factor in state.factors)


def test_a_few_samples_are_not_trusted_and_the_band_says_how_sure(bench) -> None:
    state = start(StepPrior(step=bench.step, bands=BANDS))
    few, many = taught(state, bench.step, 7), taught(state, bench.step, 100)
    assert not trusted(few)
    assert trusted(many)
    assert band_of(many) < band_of(few)


def test_what_was_learned_survives_json(bench) -> None:
    state = taught(start(StepPrior(step=bench.step, bands=BANDS)), wrong(bench.step, 0.9, 1.1, 1.0, 1.2), 50)
    assert from_json(to_json(state)) == state


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 9}', '{"format": 1, "prior": {"base_s": 1}}'])
def test_unreadable_text_is_missing_not_a_crash(text: str) -> None:
    assert isinstance(from_json(text), Missing)


def test_truncated_numbers_are_refused(bench) -> None:
    text = to_json(start(StepPrior(step=bench.step, bands=BANDS))).replace('"factors": [1.0, ', '"factors": [')
    found = from_json(text)
    assert isinstance(found, Missing)
    assert "factors has 3 numbers" in found.why


def readings(bench, rate: float, seconds: float, shape=None):  # type: ignore[no-untyped-def]
    shape = shape or bench.shape()
    requests = bench.requests(rate, shape, int(rate * seconds * 1.2))
    fleet = SimulatedFleet(0.0)
    fleet.start("r0", bench.spec, 0.0)
    reader = Reader(fleet, 32_768)
    target = Target(service="chat", variant="v", replica="r0", url="http://r0:8000")
    found = []
    for turn in range(1, int(seconds / 15)):
        come, requests = requests.before(15.0 * turn)
        fleet.advance(15.0 * turn, come)
        found.append(reader.read(target, MIDNIGHT + timedelta(seconds=15 * turn), MIDNIGHT.timestamp()))
    return found


@pytest.mark.parametrize("rate", [1.0, 3.0])
def test_the_simulated_engines_readings_teach_its_step_time(bench, rate: float) -> None:
    state = start(StepPrior(step=wrong(bench.step, 1.2, 1.2, 0.8, 1.2), bands=BANDS))
    seen = readings(bench, rate, 3600.0)
    for before, reading in pairwise(seen):
        one = sample_of(reading, before)
        if not isinstance(one, Missing):
            state = learned(state, one)
    assert state.samples > 60
    assert state.error_ratio < 0.06 < state.prior_error_ratio
    assert step_of(state).base_s == pytest.approx(bench.step.base_s, rel=0.07)


def test_warm_up_idle_and_first_readings_are_dropped_with_the_reason(bench) -> None:
    seen = readings(bench, 1.0, 300.0)
    idle = readings(bench, 0.01, 600.0)
    dropped = [sample_of(seen[0], None), sample_of(seen[1], seen[0]), sample_of(idle[20], idle[19])]
    for one, word in zip(dropped, ("first reading", "warming up", "idle"), strict=True):
        assert isinstance(one, Missing)
        assert word in one.why


def test_tokens_that_took_no_time_are_dropped(bench) -> None:
    """Dividing by their step time would end the pass."""
    seen = pairwise(readings(bench, 1.0, 600.0))
    before, reading = next(pair for pair in seen if not isinstance(sample_of(pair[1], pair[0]), Missing))
    gaps = reading.histograms[Distribution.TPOT_S]
    stopped = replace(reading, histograms={**reading.histograms, Distribution.TPOT_S: replace(gaps, total=0.0)})
    found = sample_of(stopped, before)
    assert isinstance(found, Missing)
    assert "stands still" in found.why


def test_saturated_readings_are_dropped(bench) -> None:
    seen = readings(bench, 12.0, 300.0)
    found = sample_of(seen[-1], seen[-2])
    assert isinstance(found, Missing)
    assert "saturated" in found.why

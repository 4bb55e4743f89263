"""Engines that draft tokens: what is learned of a step is the time of several tokens."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.estimate.outlook import token_step_of
from controller.estimate.performance.capacity import capacity
from controller.estimate.performance.learning import learned, start, trusted
from controller.estimate.performance.prior import StepPrior
from controller.estimate.performance.samples import sample_of
from controller.estimate.performance.speculation import LEAST_DRAFTS, chance_of, gained, pace_of, token_step, verifying
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity
from controller.facts.readings import Counter, Target
from controller.simulate.fleet import SimulatedFleet
from controller.simulate.readings import Reader

BANDS = (0.2, 0.2, 0.2, 0.2, 1.0)
MIDNIGHT = datetime(2026, 11, 21, tzinfo=UTC)


@given(st.integers(1, 8), st.floats(0.0, 1.0))
def test_the_chance_that_is_found_keeps_the_share_that_was_measured(drafted: int, accepted: float) -> None:
    assert gained(drafted, chance_of(drafted, accepted)) == pytest.approx(1 + drafted * accepted, abs=1e-6)


def test_a_token_takes_its_share_of_the_step_and_a_prompt_what_it_took(bench) -> None:
    token = token_step(verifying(bench.step, 3, 0.002), 2.5)
    assert token.base_s == pytest.approx((bench.step.base_s + 0.002) / 2.5)
    assert token.per_sequence_s == pytest.approx(4 * bench.step.per_sequence_s / 2.5)
    assert token.prefill_s(1000, 1e6) == bench.step.prefill_s(1000, 1e6)


@pytest.fixture
def watched(bench):
    """``watched(rate, **engine)``: readings of 20 minutes of a replica under ``rate`` requests/s."""

    def seen(rate, **engine):
        spec = replace(bench.spec, **engine)
        fleet = SimulatedFleet(0.0)
        reader = Reader(fleet, spec.max_model_len)
        target = Target(service="chat", variant="h100", replica="r0", url="http://r0:8000")
        fleet.start("r0", spec, 0.0)
        requests = bench.requests(rate, bench.shape(output=300), round(1200 * rate))
        readings = []
        for end_s in range(15, 1200, 15):
            come, requests = requests.before(end_s)
            fleet.advance(float(end_s), come)
            readings.append(reader.read(target, MIDNIGHT + timedelta(seconds=end_s), MIDNIGHT.timestamp()))
        return readings

    return seen


def carried(bench, readings):
    """What is estimated of it after these readings, by the model alone."""
    state, pace = start(StepPrior(step=bench.step, bands=BANDS)), 1.0
    for before, reading in pairwise(readings):
        sample = sample_of(reading, before)
        state = state if isinstance(sample, Missing) else learned(state, sample)
        pace = pace_of([reading], pace)
    assert trusted(state)
    found = capacity(token_step_of(state, pace), bench.limits, bench.shape(output=300), bench.slo())
    assert isinstance(found, ReplicaCapacity)
    return found.requests_per_s


def test_an_engine_whose_drafts_are_kept_is_seen_to_carry_more(bench, watched) -> None:
    plain = carried(bench, watched(3.0))
    fast = carried(bench, watched(3.0, draft_tokens=3, acceptance_ratio=chance_of(3, 0.7), draft_s=0.001))
    assert fast > 1.2 * plain


def test_what_is_estimated_of_a_speculating_engine_is_what_its_own_numbers_say(bench, watched) -> None:
    engine = {"draft_tokens": 3, "acceptance_ratio": chance_of(3, 0.6), "draft_s": 0.002}
    true = token_step(verifying(bench.step, 3, 0.002), 1 + 3 * 0.6)
    found = capacity(true, bench.limits, bench.shape(output=300), bench.slo())
    assert isinstance(found, ReplicaCapacity)
    assert carried(bench, watched(3.0, **engine)) == pytest.approx(found.requests_per_s, rel=0.15)


def test_a_few_drafts_say_nothing_and_an_engine_that_counts_none_makes_a_token_a_step(bench, watched) -> None:
    drafting, plain = watched(0.5, draft_tokens=3, acceptance_ratio=0.7)[-1], watched(0.5)[-1]
    assert pace_of([plain], 1.0) == 1.0
    assert pace_of([drafting], 1.0) == pytest.approx(gained(3, 0.7), rel=0.15)
    few = replace(drafting, counters={**drafting.counters, Counter.DRAFTS: LEAST_DRAFTS - 1})
    assert pace_of([few], 1.7) == pace_of([], 1.7) == 1.7

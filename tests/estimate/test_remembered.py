"""What survives a restart: all that took long to learn, and nothing that cannot be read."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.estimate.demand.arrivals import DemandMark
from controller.estimate.demand.observe import observed
from controller.estimate.demand.shape import LengthSums, ShapeSums
from controller.estimate.demand.state import empty_state
from controller.estimate.demand.stored import state_to_json
from controller.estimate.outlook import NOT_TOLD, Engine, Lookout, first_belief
from controller.estimate.remembered import fitting, lookout_of, states_of
from controller.estimate.trim import HIGHEST, LOWEST, Tail, Trim
from controller.estimate.work import LEAST_REQUESTS, PhaseSeconds
from controller.facts.missing import Missing
from controller.facts.performance import LearnedStep, StepModel

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

amounts = st.floats(0, 1e9)
names = st.sampled_from(["h100", "l40s", "a100/spot"])
steps = st.builds(
    StepModel, base_s=amounts, per_sequence_s=amounts, per_kv_token_s=amounts, per_prefill_token_s=amounts
)
signed = st.floats(-1e9, 1e9)
learned = st.builds(
    LearnedStep,
    prior=steps,
    bands=st.tuples(*[amounts] * 4),
    information=st.tuples(*[signed] * 16),
    pull=st.tuples(*[signed] * 4),
    factors=st.tuples(*[amounts] * 4),
    samples=st.integers(0, 10**6),
    error_ratio=amounts,
    prior_error_ratio=amounts,
)
tails = st.builds(Tail, seen=amounts, above_low=amounts, above_high=amounts)
trims = st.builds(Trim, factor=st.floats(LOWEST, HIGHEST), judged=amounts, ttft=tails, tpot=tails)
phases = st.builds(
    PhaseSeconds, requests=st.floats(LEAST_REQUESTS, 1e9), prefill_s=amounts, decode_s=amounts, running=amounts
)
lengths = st.builds(LengthSums, count=amounts, total=amounts, squares=amounts)
shapes = st.builds(ShapeSums, prompts=lengths, outputs=lengths, prompt_tokens=amounts, cached_tokens=amounts)
kv_tokens = amounts | st.just(NOT_TOLD)
lookouts = st.builds(
    Lookout,
    mark=st.builds(DemandMark, at=st.just(NOON) | st.just(NOON + timedelta(seconds=0.5)), shapes=shapes),
    start_ups_s=st.dictionaries(names, st.lists(amounts, min_size=1, max_size=12).map(tuple)),
    trims=st.dictionaries(names, trims),
    phases=st.dictionaries(names, phases),
    engines=st.dictionaries(names, st.builds(Engine, learned=learned, kv_tokens=kv_tokens, pace=st.floats(1, 9))),
)


@pytest.fixture
def lived():
    """A lookout that watched half an hour."""
    demand = empty_state()
    for index in range(120):
        demand = observed(demand, NOON + timedelta(seconds=15 * index), 5.0 + index % 7)
    return Lookout(demand=demand, start_ups_s={"h100": (200.0, 240.0)}, trims={"h100": Trim(factor=0.9)})


@settings(max_examples=60)
@given(lookouts)
def test_what_is_kept_comes_back_as_it_was(lookout):
    back, problems = lookout_of("chat", states_of("chat", lookout))
    assert problems == ()
    assert replace(back, demand=lookout.demand) == lookout


def test_the_forecaster_comes_back_but_for_forecasts_that_wait_to_be_scored(lived):
    back, problems = lookout_of("chat", states_of("chat", lived))
    assert problems == ()
    assert back.demand.record.scored.tolist() == lived.demand.record.scored.tolist()
    assert back.demand.record.scored[0] > 20
    assert back.demand.recent == lived.demand.recent
    np.testing.assert_allclose(back.demand.record.errors, lived.demand.record.errors, rtol=1e-6)


def test_services_are_not_mixed_up(lived):
    other, problems = lookout_of("code", states_of("chat", lived))
    assert problems == ()
    assert states_of("code", other) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "null",
        "[]",
        "7",
        "{}",
        '{"version":1}',
        '{"version":1,"state":null}',
        '{"version":1,"state":{}}',
        '{"version":1,"state":[1]}',
        '{"version":0,"state":{}}',
        '{"version":1,"state":{"version":1,"recent":7}}',
        '{"version":1,"state":{"seconds":["x"],"step":"{}","factor":NaN}}',
    ],
)
@pytest.mark.parametrize("kind", ["demand", "shape", "step", "start_up", "trim"])
def test_what_cannot_be_read_starts_afresh_and_is_told(kind, text, lived):
    key = (kind, "chat", "" if kind in ("demand", "shape") else "h100")
    back, (problem,) = lookout_of("chat", states_of("chat", lived) | {key: text})
    assert f"'{kind}' of chat" in problem
    assert "learned anew" in problem
    assert key not in states_of("chat", back)
    kept = set(states_of("chat", lived)) - {key}
    assert set(states_of("chat", back)) == kept, "only the broken part is lost"


def test_the_state_of_another_version_of_the_forecaster_is_not_guessed_at(lived):
    old = {"version": 1, "state": state_to_json(lived.demand) | {"version": 0}}
    back, (problem,) = lookout_of("chat", {("demand", "chat", ""): json.dumps(old)})
    assert "version 0" in problem
    assert np.isnan(back.demand.recent.at_s)


def test_what_was_learned_of_another_engine_is_dropped_and_the_demand_stays(plan, lived):
    service = plan.fleet.services["chat"]
    variant = service.variants["h100"]
    belief = first_belief(service, variant)
    assert not isinstance(belief, Missing)
    lookout = replace(lived, engines={"h100": Engine(learned=replace(belief, samples=50, factors=(1.1,) * 4))})
    assert fitting(service, lookout).engines == lookout.engines
    assert fitting(service, lookout).trims == lookout.trims
    changed = fitting(replace(service, variants={"h100": replace(variant, quantization="fp8")}), lookout)
    assert (changed.engines, changed.trims) == ({}, {})
    assert changed.demand is lookout.demand
    assert changed.start_ups_s == lookout.start_ups_s
    gone = fitting(replace(service, variants={}), lookout)
    assert (gone.engines, gone.start_ups_s) == ({}, {})

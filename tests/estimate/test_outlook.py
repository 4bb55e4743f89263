"""Looking ahead over many passes: start-up times, trims, and what is said when something is not known."""

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from math import inf

import numpy as np
import pytest

from controller.estimate.demand.observe import observed
from controller.estimate.demand.state import empty_state
from controller.estimate.outlook import (
    ALONE,
    LEARNED_PER_PASS,
    MODELLED_PER_PASS,
    MODELLED_S,
    START_UP_S,
    START_UPS_KEPT,
    Engine,
    Lookout,
    Turn,
    first_belief,
    looked_ahead,
    turns,
)
from controller.estimate.trim import Trim
from controller.facts.missing import Missing
from controller.facts.readings import Counter as Counted
from controller.facts.readings import Distribution, Phase, ReplicaState
from controller.facts.slo import LatencyTarget, Slo

SLO = Slo(ttft=LatencyTarget(quantile=0.95, seconds=1.0), tpot=LatencyTarget(quantile=0.95, seconds=0.05))
EVERY_S = 15.0


@pytest.fixture
def look(world):
    """``look(lookout, after_s, *readings, states=…)``: one pass ``after_s`` after noon."""

    def looked(lookout, after_s=0.0, *readings, states=None, fleet=None, slo=SLO, turn=ALONE):
        now = world.noon + timedelta(seconds=after_s)
        observation = world.observation(*(replace(one, at=now) for one in readings), states=states)
        observation = replace(observation, at=now)
        fleet = fleet or world.fleet()
        estimates = world.estimate(observation, fleet=fleet)
        seen = replace(estimates.services["chat"], at=now)
        return looked_ahead(fleet.services["chat"], slo, observation, seen, lookout, EVERY_S, turn)

    return looked


@pytest.fixture
def state(world):
    def stated(name, phase, since_s):
        return ReplicaState(replica=name, variant="h100", phase=phase, since=world.noon + timedelta(seconds=since_s))

    return stated


def started(look, state, lookout, took_s, at_s=0.0, name="r9"):
    """A replica is seen starting, then ready ``took_s`` later."""
    _, lookout = look(lookout, at_s, states=[state(name, Phase.STARTING, at_s)])
    return look(lookout, at_s + took_s, states=[state(name, Phase.READY, at_s + took_s)])


def test_before_any_start_was_seen_a_usual_one_is_assumed_and_the_wait_for_the_next_look_is_added(look):
    outlook, _ = look(Lookout())
    assert outlook.start_up_s == {"h100": START_UP_S + EVERY_S}


def test_the_fleet_files_start_up_time_is_assumed_where_it_is_told(look, world):
    outlook, _ = look(Lookout(), fleet=world.fleet(world.variant(start_up_s=90.0)))
    assert outlook.start_up_s == {"h100": 90.0 + EVERY_S}


def test_start_up_times_are_learned_from_starts_and_one_odd_start_does_not_decide(look, state):
    lookout, seen = Lookout(), []
    for index in range(4):
        outlook, lookout = started(look, state, lookout, 60.0, at_s=300.0 * index, name=f"r{index}")
        seen.append(outlook.start_up_s["h100"] - EVERY_S)
    assert seen == pytest.approx([(START_UP_S + 60) / 2, (START_UP_S + 120) / 3, 60, 60])


def test_only_the_latest_starts_are_kept(look, state):
    lookout = Lookout()
    for index in range(START_UPS_KEPT + 5):
        took = 400.0 if index < 5 else 60.0
        outlook, lookout = started(look, state, lookout, took, at_s=600.0 * index, name=f"r{index}")
    assert outlook.start_up_s["h100"] == 60 + EVERY_S
    assert len(lookout.start_ups_s["h100"]) == START_UPS_KEPT


def test_a_replica_that_was_never_seen_starting_says_nothing_and_a_ready_one_is_counted_once(look, state):
    _, lookout = look(Lookout(), states=[state("old", Phase.READY, -3600)])
    assert lookout.start_ups_s == {}
    _, lookout = started(look, state, lookout, 45.0)
    for after_s in (60.0, 75.0):
        _, lookout = look(lookout, after_s, states=[state("r9", Phase.READY, 45.0)])
    assert lookout.start_ups_s == {"h100": (45.0,)}


def test_a_start_that_failed_says_nothing(look, state):
    _, lookout = look(Lookout(), states=[state("r9", Phase.STARTING, 0)])
    _, lookout = look(lookout, 60.0, states=[state("r9", Phase.FAILED, 50)])
    assert lookout.start_ups_s == {}


def test_forecasts_reach_to_the_start_up_time_and_lie_evenly_until_then(look, world):
    lookout = Lookout()
    for index in range(8):
        outlook, lookout = look(lookout, 15.0 * index, world.busy())
    horizons = [one.horizon_s for one in outlook.forecasts]
    assert horizons == sorted(horizons)
    assert horizons[0] == 0
    assert horizons[-1] == outlook.start_up_s["h100"]
    assert len(horizons) == 5


def test_without_a_reading_nothing_is_forecast_and_the_capacity_says_why(look):
    outlook, _ = look(Lookout())
    assert outlook.forecasts == ()
    assert isinstance(outlook.capacity["h100"], Missing)
    assert isinstance(outlook.demand.requests_per_s, Missing)


def test_a_trim_that_was_learned_is_applied_to_the_capacity(look, world):
    plain, _ = look(Lookout(), 0.0, world.busy())
    trimmed, _ = look(Lookout(trims={"h100": Trim(factor=0.7)}), 0.0, world.busy())
    ratio = trimmed.capacity["h100"].requests_per_s / plain.capacity["h100"].requests_per_s
    assert ratio == pytest.approx(0.7, rel=0.01)


def test_drafts_that_an_engine_counts_make_its_tokens_faster_once_its_steps_are_known(look, world):
    belief = first_belief(world.fleet().services["chat"], world.variant())
    drafts = {Counted.DRAFTS: 1000.0, Counted.DRAFT_TOKENS: 3000.0, Counted.ACCEPTED_TOKENS: 1500.0}
    drafting = replace(world.busy(), counters={**world.busy().counters, **drafts})

    def carried(learned, *readings):
        lookout = Lookout(engines={"h100": Engine(learned=learned)})
        for place, reading in enumerate(readings):
            outlook, lookout = look(lookout, 60.0 * place, reading)
        return outlook.capacity["h100"].requests_per_s

    known = replace(belief, samples=50, error_ratio=0.01, prior_error_ratio=0.1)
    plain, fast = carried(known, world.busy()), carried(known, drafting)
    assert fast > 1.05 * plain
    assert carried(known, drafting, world.busy()) == carried(known, drafting, drafting), "too few drafts change nothing"
    assert carried(belief, drafting) == carried(belief, world.busy()), "a profile's step may be a token's already"


def test_requests_that_miss_the_slo_trim_the_capacity_pass_by_pass(look, world):
    reading = world.busy()
    late = replace(
        reading,
        histograms={**reading.histograms, Distribution.TTFT_S: world.histogram((0.1, 1.0, inf), (0, 0, 60))},
    )
    lookout, carried = Lookout(), []
    for index in range(3):  # within a minute: the model is worked out once
        outlook, lookout = look(lookout, 15.0 * index, late)
        carried.append(outlook.capacity["h100"].requests_per_s)
    assert carried == sorted(carried, reverse=True)
    assert carried[-1] < carried[0]
    assert lookout.trims["h100"].judged == 180


@pytest.mark.parametrize(("case", "every", "told"), [("bursts", 8, True), ("a level", 1, False)])
def test_what_came_at_once_is_told_where_nothing_foresees_it_and_nowhere_else(look, world, case, every, told):
    random, demand = np.random.default_rng(1), empty_state()
    for number in range(6 * 240):
        rate = 10.0 if random.integers(every) == 0 else 0.2
        demand = observed(demand, world.noon + timedelta(seconds=15.0 * number), random.poisson(15 * rate) / 15)
    outlook, _ = look(Lookout(demand=demand), 6 * 3600.0)
    assert bool(outlook.surges) is told, case
    if told:
        assert outlook.surges[0.99] > 9


def test_services_that_begin_together_are_modelled_in_turns_and_each_once_a_minute_from_then_on(look, world):
    modelled_at = {}
    for early_s in (0.0, 30.0):
        lookout, moments = Lookout(), []
        for after_s in range(0, 240, int(EVERY_S)):
            _, lookout = look(lookout, after_s, world.busy(), turn=Turn(early_s=early_s))
            moments.append((lookout.modelled_at - world.noon).total_seconds())
        modelled_at[early_s] = sorted(set(moments))
    assert modelled_at == {0.0: [0.0, 60.0, 120.0, 180.0], 30.0: [-30.0, 30.0, 90.0, 150.0, 210.0]}


def test_one_reading_that_is_lost_leaves_what_was_learned(look, world):
    lookout = Lookout()
    for index in range(8):
        before, lookout = look(lookout, 15.0 * index, world.busy())
    outlook, after = look(lookout, 120.0)
    assert isinstance(outlook.demand.requests_per_s, Missing)
    assert len(outlook.forecasts) == len(before.forecasts)
    assert after.trims == lookout.trims
    assert after.start_ups_s == lookout.start_ups_s


def test_looking_twice_at_the_same_is_equal(look, world):
    _, lookout = look(Lookout(), 0.0, world.busy())
    first, second = (look(lookout, 15.0, world.busy())[0] for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("services", "replicas"), [(1, 10), (50, 1000), (500, 5000), (2000, 4000)])
def test_a_pass_learns_from_so_many_replicas_and_models_so_many_services_however_large_the_fleet(
    world, services, replicas
):
    names = [f"s{number}" for number in range(services)]
    each = replicas // services
    taught = Counter()
    passes = max(1, -(-replicas // LEARNED_PER_PASS))
    for number in range(passes):
        turn_of = turns(names, replicas, 15.0, world.noon + timedelta(seconds=15.0 * number))
        teach = [(name, place) for name in names for place in range(each) if turn_of[name].learns(place)]
        assert len(teach) <= LEARNED_PER_PASS * 1.05
        taught.update(teach)
    assert set(taught.values()) == {1}
    assert len(taught) == replicas
    assert services * 15.0 / turn_of["s0"].modelled_s <= MODELLED_PER_PASS
    assert (turn_of["s0"].modelled_s == MODELLED_S) == (services <= 4 * MODELLED_PER_PASS)


def test_a_replica_whose_turn_it_is_not_teaches_nothing_and_is_followed_all_the_same(look, world):
    steady = world.busy(queue_depth=0.0)
    gaps = world.histogram((0.02, 0.05, inf), (15_000, 0, 0), total=120.0)
    steady = replace(steady, histograms={**steady.histograms, Distribution.TPOT_S: gaps})
    _, before = look(Lookout(), 0.0, steady)
    _, after = look(before, 15.0, steady, turn=Turn(one_in=2, number=1))
    assert after.engines == before.engines
    assert after.before.keys() == before.before.keys()
    _, taught = look(before, 15.0, steady, turn=Turn(one_in=2, number=2))
    assert taught.engines["h100"].learned.samples == 1

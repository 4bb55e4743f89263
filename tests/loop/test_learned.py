"""What a pass hands to people and to the ledger of what was learned."""

from collections import Counter as Tally
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf

import pytest

from controller.estimate.demand.state import HORIZONS_S
from controller.facts.readings import Distribution, Histogram
from controller.loop import KEPT_EVERY_S, Running, one_pass

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def passes(world):
    def run(plan, count, running=None, start=0):
        running = running or Running()
        results = []
        for index in range(start, start + count):
            result, running = one_pass(world, plan, running, NOON + timedelta(seconds=15 * index))
            results.append(result)
        return results, running

    return run


@pytest.fixture
def many(plan):
    """``count`` services that are written alike."""

    def made(count):
        service, policy = plan.fleet.services["chat"], plan.policies["chat"]
        names = ["chat", *(f"s{index}" for index in range(1, count))]
        services = {
            name: replace(
                service, name=name, variants={key: replace(one, service=name) for key, one in service.variants.items()}
            )
            for name in names
        }
        policies = {name: replace(policy, service=name) for name in names}
        return replace(plan, fleet=replace(plan.fleet, services=services), policies=policies)

    return made


def test_every_pass_shows_demand_capacity_forecasts_and_their_accuracy(passes, plan):
    results, _ = passes(plan, 2)
    learned = results[-1].learned
    assert learned.demand["chat"].requests_per_s == pytest.approx(2.0)
    assert ("chat", "h100") in learned.capacity
    assert [one.horizon_s for one in learned.forecasts["chat"]] == list(HORIZONS_S)
    assert {one.service for one in learned.accuracy} == {"chat"}
    assert learned.states == {}, "states are the ledger's"


def test_the_ledger_is_handed_everything_every_few_minutes(passes, plan, world):
    passes(plan, 48)
    handed = [record for record in world.records if record.learned is not None]
    times = [record.at for record in handed]
    assert {later - sooner for sooner, later in pairwise(times)} == {timedelta(seconds=KEPT_EVERY_S)}
    last = handed[-1].learned
    assert {kind for kind, _, _ in last.states} >= {"demand", "step"}
    assert last.forecasts["chat"]
    assert last.accuracy


def test_many_services_take_turns(passes, many, world):
    passes(many(40), 33)
    handed = [record.learned.demand.keys() for record in world.records if record.learned is not None]
    assert max(map(len, handed)) == 3, "40 services over 16 passes"
    turns = Tally(name for names in handed for name in names)
    assert len(turns) == 40
    assert set(turns.values()) <= {2, 3}


def test_a_clock_that_went_back_stops_nothing(passes, plan, world):
    _, running = passes(plan, 20, start=1000)
    world.records.clear()
    world.acted.clear()
    passes(plan, 2, running, start=0)
    assert world.records[0].learned is not None


@pytest.fixture
def shaped(world):
    """The engines tell the lengths of requests, without which no capacity is known."""
    world.lengths = {
        Distribution.PROMPT_LENGTH_TOKENS: Histogram(bounds=(500.0, inf), counts=(15.0, 0.0), total=3000.0),
        Distribution.OUTPUT_LENGTH_TOKENS: Histogram(bounds=(500.0, inf), counts=(15.0, 0.0), total=1500.0),
    }


@pytest.mark.usefixtures("shaped")
def test_the_ledger_is_handed_what_a_token_takes_every_few_minutes(passes, plan):
    results, _ = passes(plan, 48)
    handed = [result for result in results if result.work_rates]
    assert {later.at - sooner.at for sooner, later in pairwise(handed)} == {timedelta(seconds=KEPT_EVERY_S)}
    assert len(handed) >= 2
    for result in handed:
        (rate,) = result.work_rates
        assert (rate.service, rate.variant, rate.at) == ("chat", "h100", result.at)
        assert 0 < rate.prefill_s_per_token < rate.decode_s_per_token


@pytest.mark.usefixtures("shaped")
def test_a_service_without_a_policy_decides_nothing_and_is_accounted_for_all_the_same(passes, plan):
    results, _ = passes(replace(plan, policies={}), 48)
    assert not any(result.decisions for result in results)
    assert {rate.service for result in results for rate in result.work_rates} == {"chat"}

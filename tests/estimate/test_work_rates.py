"""What engines say of their phases, summed up forgetfully; and what it makes a token take."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controller.estimate.demand.shape import HALF_LIFE_S
from controller.estimate.outlook import Lookout, looked_ahead
from controller.estimate.phases import NOTHING_SEEN, phases_after
from controller.estimate.work_rates import work_rates
from controller.facts.missing import Missing
from controller.facts.readings import Counter, Distribution, Gauge
from controller.facts.slo import LatencyTarget, Slo

SLO = Slo(ttft=LatencyTarget(quantile=0.95, seconds=2.0), tpot=LatencyTarget(quantile=0.95, seconds=0.05))


@pytest.fixture
def told(world):
    """A reading of ``requests`` that took ``prefill_s`` and ``decode_s`` in sum."""

    def made(requests=60, prefill_s=6.0, decode_s=300.0, running=20.0):
        busy = world.busy(running=running, requests=float(requests))
        bounds = (1.0, float("inf"))
        phases = {
            Distribution.PREFILL_TIME_S: world.histogram(bounds, (requests, 0), prefill_s),
            Distribution.DECODE_TIME_S: world.histogram(bounds, (requests, 0), decode_s),
        }
        return replace(busy, histograms={**busy.histograms, **phases})

    return made


def test_readings_add_up_and_the_older_count_less(told) -> None:
    first = phases_after(NOTHING_SEEN, 15.0, [told(), told()])
    assert (first.requests, first.prefill_s, first.decode_s, first.running) == (120, 12.0, 600.0, 20.0)
    later = phases_after(first, HALF_LIFE_S, [told(running=50.0)])
    assert (later.requests, later.prefill_s, later.decode_s) == (120, 12.0, 600.0)
    assert later.running == pytest.approx(35.0)


def test_a_reading_without_both_phases_or_without_its_batch_says_nothing(told, world) -> None:
    reading = told()
    half = {name: one for name, one in reading.histograms.items() if name is not Distribution.DECODE_TIME_S}
    other = {**reading.histograms, Distribution.DECODE_TIME_S: world.histogram((float("inf"),), (59,), 1.0)}
    no_batch = {name: value for name, value in reading.gauges.items() if name is not Gauge.RUNNING}
    for lost in (
        replace(reading, histograms=half),
        replace(reading, histograms=other),
        replace(reading, gauges=no_batch),
    ):
        assert phases_after(NOTHING_SEEN, 15.0, [lost]) == NOTHING_SEEN


@pytest.fixture
def rates(world):
    """Of a service after ``readings``, one look each."""

    def made(*readings):
        service, lookout = world.fleet().services["chat"], Lookout()
        for reading in readings:
            observation = world.observation(reading)
            seen = world.estimate(observation).services["chat"]
            outlook, lookout = looked_ahead(service, SLO, observation, seen, lookout, 15.0)
        return work_rates(["chat"], {"chat": outlook}, {"chat": lookout})

    return made


def test_a_variant_whose_capacity_is_known_has_a_rate(rates, world) -> None:
    (rate,) = rates(world.busy())
    assert (rate.service, rate.variant, rate.at, rate.basis) == ("chat", "h100", world.noon, "prior")
    assert (rate.mean_uncached, rate.mean_cached, rate.mean_output) == pytest.approx((400.0, 100.0, 250.0))


def test_the_engines_own_seconds_move_the_share_of_a_phase_once_enough_requests_told_them(rates, world, told) -> None:
    (plain,), (few,) = rates(world.busy()), rates(told(prefill_s=600.0))
    assert few == plain, "60 requests say little"
    (moved,) = rates(told(requests=200, prefill_s=600.0))
    assert moved.prefill_s_per_token > 1.05 * plain.prefill_s_per_token
    assert moved.decode_s_per_token < plain.decode_s_per_token


def test_without_a_shape_or_a_capacity_there_is_none(rates, world) -> None:
    nothing = world.reading(gauges={Gauge.RUNNING: 0.0, Gauge.QUEUE_DEPTH: 0.0}, counters={Counter.REQUESTS: 0.0})
    assert rates(nothing) == ()
    assert isinstance(world.estimate(world.observation(nothing)).services["chat"].mean_prompt_tokens, Missing)

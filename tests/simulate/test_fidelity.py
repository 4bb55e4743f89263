"""The simulator agrees with what queueing theory says; what others measured: see tests/benchmarks/test_published.py."""

from __future__ import annotations

from dataclasses import replace
from math import factorial, sqrt
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from controller.facts.performance import StepModel
from controller.simulate.arrivals import Requests
from controller.simulate.fleet import Finished, SimulatedFleet
from controller.simulate.stepmodel import EngineSpec

Floats = NDArray[np.float64]


# Queues with known answers. A step of 1 ms whatever is in it makes a request of n output tokens n ms of service, so an
# engine of k sequences is k servers behind one queue, first come first served.

STEP_S = 0.001
MEAN_STEPS = 500
BATCHES = 20
T_19 = 3.88
"""Student's t, 19 degrees of freedom, 99.9 %: a right simulator fails one draw of seeds in a thousand."""


def servers(places: int) -> EngineSpec:
    step = StepModel(
        base_s=STEP_S, per_sequence_s=0.0, per_kv_token_s=0.0, per_prefill_token_s=0.0, host_per_token_s=0.0
    )
    return EngineSpec(model_name="queue", step=step, kv_capacity_tokens=2_000_000, max_sequences=places)


def poisson(count: int, per_s: float, steps: NDArray[np.int64], seed: int) -> Requests:
    """``count`` requests of one prompt token and ``steps`` output tokens."""
    gaps_s = np.random.default_rng(seed).exponential(1 / per_s, count)
    return Requests(
        arrival_s=np.cumsum(gaps_s),
        prompt_tokens=np.ones(count, np.int32),
        output_tokens=steps.astype(np.int32),
        cached_tokens=np.zeros(count, np.int32),
    )


def constant(count: int) -> NDArray[np.int64]:
    return np.full(count, MEAN_STEPS)


def exponential(count: int) -> NDArray[np.int64]:
    """Geometric, which at this mean is exponential but for its grain. No request is longer than the model takes."""
    return np.random.default_rng(99).geometric(1 / MEAN_STEPS, count)


def served(fleet: SimulatedFleet, requests: Requests) -> Finished:
    """All of them, in the order of their arrival."""
    end_s = float(requests.arrival_s[-1])
    parts = [fleet.advance(end_s, requests), fleet.advance(end_s + 1e4, requests.before(0.0)[0])]
    names = ("number", "sent_s", "first_token_s", "finished_s", "prompt_tokens", "output_tokens", "preemptions")
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    order = np.argsort(columns["number"])
    assert (columns["number"][order] == np.arange(len(requests))).all()  # nobody is lost, nobody comes twice
    return Finished(**{name: column[order] for name, column in columns.items()})


def waits(done: Finished) -> Floats:
    """From being sent to the first step: the first token comes with it."""
    return done.first_token_s - done.sent_s - STEP_S


def mean_and_error(values: Floats) -> tuple[float, float]:
    """The mean without a warm-up of a twentieth, and the half-width of its 99.9 % interval by batch means."""
    batches = np.array([batch.mean() for batch in np.array_split(values[len(values) // 20 :], BATCHES)])
    return float(batches.mean()), T_19 * float(batches.std(ddof=1)) / sqrt(BATCHES)


def erlang_c(places: int, load: float) -> float:
    """The chance to wait of M/M/k with ``load`` erlangs (Erlang, 1917)."""
    waiting = load**places / factorial(places) * places / (places - load)
    return waiting / (sum(load**n / factorial(n) for n in range(places)) + waiting)


@pytest.mark.parametrize("service", [constant, exponential], ids=["M/D/1", "M/M/1"])
@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_an_engine_of_one_sequence_is_a_single_server(bench: Any, service: Any, load: float) -> None:
    """Pollaczek-Khinchine: the mean wait is rate x E[S^2] / 2 / (1 - load); and Lindley's recursion for each request."""
    count = 150_000
    steps = service(count)
    per_s = load / (MEAN_STEPS * STEP_S)
    requests = poisson(count, per_s, steps, seed=int(100 * load))
    wait_s = waits(served(bench.engine(servers(1)), requests))
    mean_s, error_s = mean_and_error(wait_s)
    variance = 0 if service is constant else (1 - 1 / MEAN_STEPS) * MEAN_STEPS**2  # of the geometric distribution
    expected_s = per_s * (MEAN_STEPS**2 + variance) * STEP_S**2 / 2 / (1 - load)
    assert error_s < 0.12 * expected_s  # enough requests to tell
    assert mean_s == pytest.approx(expected_s, abs=error_s)
    assert np.abs(wait_s - lindley(requests.arrival_s, steps * STEP_S)).max() < 1e-6


def lindley(arrival_s: Floats, service_s: Floats) -> Floats:
    """Waits of a single server: each from the one before (Lindley, 1952)."""
    found, wait_s = np.zeros(len(arrival_s)), 0.0
    for index, (gap_s, before_s) in enumerate(zip(np.diff(arrival_s).tolist(), service_s.tolist(), strict=False), 1):
        wait_s = max(0.0, wait_s + before_s - gap_s)
        found[index] = wait_s
    return found


@pytest.mark.parametrize(("places", "load"), [(4, 0.7), (16, 0.8), (32, 0.9)])
def test_an_engine_of_many_sequences_is_erlangs_queue(bench: Any, places: int, load: float) -> None:
    """M/M/k: the mean wait is C(k, a) / (k x rate of service - rate of arrival). Whoever comes while others are served
    waits for the end of their step: at most one step more than Erlang's queue has it."""
    count = 600_000
    rate = load * places / (MEAN_STEPS * STEP_S)
    done = served(bench.engine(servers(places)), poisson(count, rate, exponential(count), seed=places))
    mean_s, error_s = mean_and_error(waits(done))
    expected_s = erlang_c(places, load * places) / (places / (MEAN_STEPS * STEP_S) - rate)
    assert error_s < 0.2 * expected_s
    assert expected_s - error_s <= mean_s <= expected_s + STEP_S + error_s


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_replicas_behind_the_router_wait_between_one_queue_and_a_queue_each(load: float) -> None:
    """The router sends at once, so requests do not share a queue. Of all rules that send without knowing how long the
    newcomer takes, joining the least work left waits least, and that is first come first served from one queue: Erlang C
    is the lower bound (Daley, 1987; Foss, 1980). Sending by chance leaves M/M/1 queues: the upper bound. Between them
    the wait of every request is that of the rule, fewest outstanding tokens, played by hand."""
    replicas, count = 8, 60_000
    rate = load * replicas / (MEAN_STEPS * STEP_S)
    fleet = SimulatedFleet(0.0)
    for number in range(replicas):
        fleet.start(f"r{number}", servers(1), 0.0)
    requests = poisson(count, rate, exponential(count), seed=round(10 * load))
    wait_s = waits(served(fleet, requests))
    mean_s, error_s = mean_and_error(wait_s)
    one_queue_s = erlang_c(replicas, load * replicas) / (replicas / (MEAN_STEPS * STEP_S) - rate)
    queue_each_s = load * MEAN_STEPS * STEP_S / (1 - load)
    assert one_queue_s - error_s <= mean_s
    assert mean_s + error_s < queue_each_s / 2
    assert np.abs(wait_s - least_outstanding(requests, replicas)).max() < 1e-6


def least_outstanding(requests: Requests, replicas: int) -> Floats:
    """The waits when each request joins the server with the fewest tokens of unfinished requests. The simulated router
    looks at whole steps, and so a request in its last step counts as finished."""
    queues: list[list[tuple[float, int]]] = [[] for _ in range(replicas)]  # (ends at, tokens) of the unfinished
    free_s = [0.0] * replicas
    found = np.zeros(len(requests))
    for index, (now_s, output) in enumerate(
        zip(requests.arrival_s.tolist(), requests.output_tokens.tolist(), strict=True)
    ):
        queues = [[one for one in queue if one[0] - STEP_S >= now_s] for queue in queues]
        to = min(range(replicas), key=lambda one: sum(tokens for _, tokens in queues[one]))
        begin_s = max(now_s, free_s[to])
        free_s[to] = begin_s + output * STEP_S
        queues[to].append((free_s[to], output + 1))
        found[index] = begin_s - now_s
    return found


@pytest.mark.parametrize("service", [constant, exponential], ids=["constant", "exponential"])
def test_an_engine_bound_by_computing_shares_its_processor(bench: Any, service: Any) -> None:
    """When a step takes as long as its sequences together, the engine is M/G/1 processor sharing: the mean time in it is
    E[S] / (1 - load), whatever the distribution (Sakata, Noguchi and Oizumi, 1971)."""
    load, count = 0.7, 60_000
    step = StepModel(
        base_s=0.0, per_sequence_s=STEP_S, per_kv_token_s=0.0, per_prefill_token_s=0.0, host_per_token_s=0.0
    )
    spec = replace(servers(1), step=step, max_sequences=2000)
    requests = poisson(count, load / (MEAN_STEPS * STEP_S), service(count) + 1, seed=7)  # the first token is free
    done = served(bench.engine(spec), requests)
    mean_s, error_s = mean_and_error(done.finished_s - done.sent_s)
    expected_s = MEAN_STEPS * STEP_S / (1 - load)
    assert error_s < 0.1 * expected_s
    assert mean_s == pytest.approx(expected_s, abs=error_s + load * STEP_S)

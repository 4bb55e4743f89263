"""Small workloads of every kind, to be looked at from every side."""

import numpy as np
import pytest

from controller.simulate.arrivals import Requests
from controller.simulate.workload import modifiers
from controller.simulate.workload.clients import ClientLengths, ClientTrace, ClientWorkload
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.rates import RateTrace, RateWorkload
from controller.simulate.workload.traced import TracedWorkload


def requests_of(count: int, span_s: float, seed: int = 0) -> Requests:
    random = np.random.default_rng(seed)
    prompts = random.integers(2, 4000, count).astype(np.int32)
    return Requests(
        arrival_s=np.sort(random.random(count) * span_s),
        prompt_tokens=prompts,
        output_tokens=random.integers(1, 500, count).astype(np.int32),
        cached_tokens=(prompts // 3).astype(np.int32),
    )


def rate_trace(seed: int = 0, bins: int = 400, mean: float = 40.0) -> RateTrace:
    counts = np.random.default_rng(seed).poisson(mean, bins).astype(np.float64)
    return RateTrace(start_s=300.0, bin_s=10.0, requests=counts)


def client_trace(clients: int = 12, windows: int = 20, cv: float = 2.0) -> ClientTrace:
    random = np.random.default_rng(7)
    rows = clients * windows
    return ClientTrace(
        window_s=60.0,
        names=tuple(f"c{index}" for index in range(clients)),
        client=np.tile(np.arange(clients), windows),
        time_s=np.repeat(np.arange(windows) * 60.0, clients),
        rate_per_s=random.gamma(1.0, 2.0, rows),
        cv=np.full(rows, cv),
        family=np.tile(np.arange(clients) % 3, windows),
    )


def client_lengths() -> ClientLengths:
    """Of c0 only, in the first ten minutes."""
    return ClientLengths(
        start_s=0.0,
        window_s=600.0,
        levels=np.array([0.0, 0.5, 1.0]),
        client=("c0",),
        window=np.array([0]),
        prompt_tokens=np.array([[9000.0, 9500.0, 9999.0]]),
        output_tokens=np.array([[700.0, 800.0, 900.0]]),
        source="test",
    )


def _rates():
    return RateWorkload(rate_trace(), Lengths.log_normal(), seed=3)


KINDS = {
    "traced": lambda: TracedWorkload(requests_of(3000, 900.0)),
    "repeated": lambda: TracedWorkload(requests_of(500, 900.0), repeat=5, phase_s=123.4),
    "rates": _rates,
    "rates in small blocks": lambda: RateWorkload(rate_trace(bins=60, mean=60_000.0), Lengths.fixed(9, 9), seed=3),
    "clients": lambda: ClientWorkload(client_trace(), Lengths.log_normal(), seed=3),
    "clients' lengths": lambda: ClientWorkload(client_trace(), client_lengths(), seed=3),
    "part": lambda: modifiers.between(_rates(), 777.7, 3333.3),
    "thinned": lambda: modifiers.thinned(_rates(), 0.3, seed=1),
    "longer": lambda: modifiers.outputs_times(_rates(), 2.0),
    "more": lambda: modifiers.load_times(_rates(), 5.0, 1000.0, 1060.0, seed=2),
    "less": lambda: modifiers.load_times(_rates(), 0.2, seed=2),
    "cached": lambda: modifiers.with_cached(_rates(), 0.4, seed=2),
    "everything": lambda: modifiers.with_cached(
        modifiers.load_times(modifiers.thinned(modifiers.between(_rates(), 500, 4000), 0.5, 1), 3, 900, 950, seed=2),
        0.4,
        2,
    ),
}


@pytest.fixture(params=KINDS)
def any_workload(request):
    """One of every kind, fresh."""
    return KINDS[request.param]()


@pytest.fixture
def make():
    """What the tables above are made with."""

    class Make:
        requests = staticmethod(requests_of)
        rates = staticmethod(rate_trace)
        clients = staticmethod(client_trace)
        lengths = staticmethod(client_lengths)

    return Make

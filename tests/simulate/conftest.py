"""One engine alone, and requests by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from controller.facts.performance import StepModel
from controller.simulate.arrivals import Requests
from controller.simulate.fleet import SimulatedFleet
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import EngineSpec
from controller.simulate.world import Case, Judge, World

Row = tuple[float, int, int, int]
"""Arrival, prompt, output, cached tokens."""


class Given:
    """A workload of requests made by hand, from 0 to ``end_s``."""

    def __init__(self, requests: Requests, end_s: float) -> None:
        self.start_s, self.end_s = 0.0, end_s
        self._left = requests

    def until(self, end_s: float) -> Requests:
        come, self._left = self._left.before(min(end_s, self.end_s))
        return come


class Bench:
    """What several test files make."""

    ENGINE = "only"

    CLOCKWORK = EngineSpec(
        model_name="clockwork",
        step=StepModel(
            base_s=0.01, per_sequence_s=0.0, per_kv_token_s=0.0, per_prefill_token_s=0.0, host_per_token_s=0.0
        ),
        kv_capacity_tokens=1_000_000,
        max_model_len=32_768,
        max_sequences=64,
    )
    """Every step takes 10 ms, whatever is in it: a request of n output tokens takes n steps."""

    def case(self, **changes: Any) -> Case:
        """One clockwork replica at 7.2 $/h, which is 0.002 $/s; start-ups take 60 s."""
        usual = {
            "name": "by hand",
            "spec": self.CLOCKWORK,
            "start_up": StartUp.fixed(60.0),
            "judge": Judge(ttft_s=2.0, tpot_s=0.05),
            "usd_per_replica_hour": 7.2,
            "initial_replicas": 1,
        }
        return Case(**{**usual, **changes})

    def world(self, rows: Sequence[Row], end_s: float, *, seed: int = 0, **changes: Any) -> World:
        """A world with these requests; ``changes`` of its case."""
        return World(self.case(**changes), Given(self.requests(rows), end_s), seed)

    def requests(self, rows: Sequence[Row]) -> Requests:
        columns = list(zip(*rows, strict=True)) or [()] * 4
        return Requests(
            arrival_s=np.array(columns[0], np.float64),
            prompt_tokens=np.array(columns[1], np.int32),
            output_tokens=np.array(columns[2], np.int32),
            cached_tokens=np.array(columns[3], np.int32),
        )

    def engine(self, spec: EngineSpec, *, seed: int = 0) -> SimulatedFleet:
        """A fleet of one replica that is ready."""
        fleet = SimulatedFleet(0.0, max_model_len=spec.max_model_len, seed=seed)
        fleet.start(self.ENGINE, spec, 0.0)
        return fleet


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()

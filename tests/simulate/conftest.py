"""One engine alone, and requests by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from controller.simulate.arrivals import Requests
from controller.simulate.fleet import SimulatedFleet
from controller.simulate.stepmodel import EngineSpec

Row = tuple[float, int, int, int]
"""Arrival, prompt, output, cached tokens."""


class Bench:
    """What several test files make."""

    ENGINE = "only"

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

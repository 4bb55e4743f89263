"""A 70B on two H100, and one simulated replica of it under Poisson load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from controller.facts.performance import EngineLimits, RequestShape, StepModel
from controller.facts.slo import LatencyTarget, Slo
from controller.simulate.arrivals import Requests
from controller.simulate.fleet import Finished, SimulatedFleet
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100, EngineSpec

LONGEST = 30_000


@dataclass(frozen=True)
class Bench:
    """What the tests of this folder stand on."""

    spec: EngineSpec = LLAMA_70B_FP8_2XH100

    @property
    def step(self) -> StepModel:
        return self.spec.step

    @property
    def limits(self) -> EngineLimits:
        return self.spec.limits

    def shape(
        self,
        prompt: float = 1632,
        prompt_cv: float = 1.3,
        output: float = 106,
        output_cv: float = 1.1,
        cached: float = 0.0,
    ) -> RequestShape:
        return RequestShape(
            prompt_tokens=prompt, prompt_cv=prompt_cv, output_tokens=output, output_cv=output_cv, cached_ratio=cached
        )

    def slo(self, ttft: float | None = 2.0, tpot: float | None = 0.05, quantile: float = 0.99) -> Slo:
        def target(seconds: float | None) -> LatencyTarget | None:
            return None if seconds is None else LatencyTarget(quantile=quantile, seconds=seconds)

        return Slo(ttft=target(ttft), tpot=target(tpot))

    def requests(self, rate: float, shape: RequestShape, count: int, seed: int = 1) -> Requests:
        rng = np.random.default_rng(seed)
        prompts = self._lengths(rng, shape.prompt_tokens, shape.prompt_cv, count)
        outputs = np.minimum(self._lengths(rng, shape.output_tokens, shape.output_cv, count), 32_768 - prompts)
        return Requests(
            arrival_s=np.cumsum(rng.exponential(1 / rate, count)),
            prompt_tokens=prompts,
            output_tokens=outputs.astype(np.int32),
            cached_tokens=(prompts * shape.cached_ratio).astype(np.int32),
        )

    def served(self, rate: float, shape: RequestShape, count: int) -> Finished:
        requests = self.requests(rate, shape, count)
        fleet = SimulatedFleet(0.0)
        fleet.start("r0", self.spec, 0.0)
        return fleet.advance(float(requests.arrival_s[-1]) + 1e-6, requests)

    @staticmethod
    def _lengths(rng: np.random.Generator, mean: float, cv: float, count: int) -> NDArray[np.int32]:
        sigma = np.sqrt(np.log(1 + cv * cv))
        drawn = rng.lognormal(np.log(mean) - sigma * sigma / 2, sigma, count)
        return np.clip(np.rint(drawn), 1, LONGEST).astype(np.int32)


@pytest.fixture(scope="session")
def bench() -> Bench:
    return Bench()

"""What published figures were measured under, in the simulator: a closed loop, and everything at once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from controller.simulate.arrivals import NO_REQUESTS, Requests
from controller.simulate.fleet import Finished, SimulatedFleet, generation_tokens
from controller.simulate.stepmodel import EngineSpec

ENGINE = "engine"

WARM_UP, WINDOW = 5, 15
"""Times that a request takes in a full batch. Eight times as long a window changes throughput by less than 0.1 %."""

SLICE_S = 5.0
"""Offline, nothing is looked at before all is over."""

MOST_TOKENS = 1024
"""Of MLPerf's prompts and answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an engine, or several, did. ``itl_s``: mean time between tokens of a request; NaN where none is meant."""

    tokens_per_s: float
    itl_s: float = float("nan")
    ttft_s: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """So many clients, each with one request at all times, all of one length.

    They start one after the other over a request's time: clients in step would have all their prompts computed first,
    and NIM's five clients wait 0.55 s for their first token where they would then wait 1.3 s.
    """

    clients: int
    prompt_tokens: int
    output_tokens: int

    def run(self, spec: EngineSpec) -> Outcome:
        slice_s, request_s = self._times_s(spec)
        before, measured = round(WARM_UP * request_s / slice_s), round(WINDOW * request_s / slice_s)
        fleet = SimulatedFleet(0.0, max_model_len=spec.max_model_len)
        fleet.start(ENGINE, spec, 0.0)
        going, made = 0, 0
        finished: list[Finished] = []
        for index in range(before + measured):
            if index == before:
                made, finished = generation_tokens(fleet, ENGINE), []
            clients = min(self.clients, 1 + int(self.clients * fleet.now_s / request_s))
            done = fleet.advance((index + 1) * slice_s, self._requests(fleet.now_s, clients - going))
            going = clients - len(done)
            finished += [done] if len(done) else []
        return Outcome(
            tokens_per_s=(generation_tokens(fleet, ENGINE) - made) / (measured * slice_s),
            itl_s=float(_joined(finished, "tpot_s").mean()),
            ttft_s=float(_joined(finished, "ttft_s").mean()),
        )

    def _times_s(self, spec: EngineSpec) -> tuple[float, float]:
        """A step that only decodes, and a request's whole time, both in a full batch. Clients are looked at once in
        such a step: several steps' answers at one moment would be several prompts at one."""
        longest = self.prompt_tokens + self.output_tokens
        batch = min(self.clients, spec.max_sequences, spec.kv_capacity_tokens // longest)
        step_s = spec.step.decode_s(batch, batch * (self.prompt_tokens + self.output_tokens / 2))
        prefill_s = batch * spec.step.prefill_s(self.prompt_tokens, self.prompt_tokens**2)
        return step_s, self.output_tokens * step_s + prefill_s

    def _requests(self, at_s: float, count: int) -> Requests:
        lengths = (np.full(count, self.prompt_tokens, np.int32), np.full(count, self.output_tokens, np.int32))
        return _requests(at_s, *lengths) if count else NO_REQUESTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Offline:
    """MLPerf's offline scenario: all requests are there at once, and several engines work them off.

    Their mean length is published, their distribution is not: exponential, cut at ``MOST_TOKENS``, is a guess.
    """

    requests: int
    mean_tokens: float
    engines: int

    def run(self, spec: EngineSpec) -> Outcome:
        fleet = SimulatedFleet(0.0, max_model_len=spec.max_model_len)
        for number in range(self.engines):
            fleet.start(f"{ENGINE}{number}", spec, 0.0)
        random = np.random.default_rng(1)
        come = _requests(0.0, self._lengths(random), self._lengths(random))
        parts = [fleet.advance(SLICE_S, come)]
        while fleet.in_flight:
            parts.append(fleet.advance(fleet.now_s + SLICE_S, NO_REQUESTS))
        return Outcome(tokens_per_s=float(come.output_tokens.sum() / _joined(parts, "finished_s").max()))

    def _lengths(self, random: np.random.Generator) -> NDArray[np.int32]:
        drawn = random.exponential(self.mean_tokens, ceil(1.5 * self.requests))
        kept = drawn[drawn < MOST_TOKENS][: self.requests]
        scaled = np.rint(kept * self.mean_tokens / kept.mean())  # what was cut off is made good, to the published mean
        return np.asarray(np.clip(scaled, 1, MOST_TOKENS), np.int32)


Load = ClosedLoop | Offline


def _requests(at_s: float, prompts: NDArray[np.int32], outputs: NDArray[np.int32]) -> Requests:
    return Requests(
        arrival_s=np.full(len(prompts), at_s),
        prompt_tokens=prompts,
        output_tokens=outputs,
        cached_tokens=np.zeros(len(prompts), np.int32),
    )


def _joined(parts: Sequence[Finished], name: str) -> NDArray[np.float64]:
    return np.concatenate([getattr(part, name) for part in parts])

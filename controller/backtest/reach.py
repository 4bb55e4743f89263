"""What a replica carries inside the SLO, and how many the busiest minute needs: told before anything is played."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from controller.backtest.results import plain
from controller.backtest.speculation import token_step_of
from controller.backtest.trace import MINUTE_S, Played
from controller.backtest.words import percent
from controller.estimate.performance.capacity import capacity
from controller.facts.missing import Missing
from controller.facts.slo import LatencyTarget, Slo
from controller.simulate.opponents.static import replicas_for_peak
from controller.simulate.stepmodel import EngineSpec

Tokens = NDArray[np.int32]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """By the estimate that decides in production. ``wanted``: replicas that the busiest minute needs."""

    requests_per_s: float
    wanted: int

    @property
    def told(self) -> str:
        return f"a replica carries some {plain(self.requests_per_s, 2)} requests/s inside the SLO"


def reach_of(spec: EngineSpec, played: Played, slo: Slo) -> Reach | Missing:
    """Missing when not even lone requests keep ``slo``, with the numbers."""
    late = _late_alone(spec, played, slo)
    if late is not None:
        return late
    promised = replace(slo, ttft=_strict(slo.ttft, slo), tpot=_strict(slo.tpot, slo))
    carried = capacity(token_step_of(spec), spec.limits, played.shape, promised)
    if isinstance(carried, Missing):
        return carried
    wanted = replicas_for_peak(played.per_minute / MINUTE_S, carried.requests_per_s)
    return Reach(requests_per_s=carried.requests_per_s, wanted=wanted)


def _late_alone(spec: EngineSpec, played: Played, slo: Slo) -> Missing | None:
    """Too many requests whose first token comes too late on an engine that has nothing else to do. The estimate knows
    the mean and the spread of the lengths; this counts the very requests that are played."""
    if slo.ttft is None:
        return None
    requests = late = 0
    shortest = spec.max_model_len
    for block in next(iter(played.workloads.values())).blocks():
        slow = alone_s(spec, block.prompt_tokens, block.cached_tokens) > slo.ttft.seconds
        requests, late = requests + len(slow), late + int(slow.sum())
        shortest = min(shortest, int(block.prompt_tokens[slow].min(initial=shortest)))
    if late <= (1 - slo.attainment_ratio) * requests:
        return None
    why = (
        f"the first token of {percent(late / requests)} of the requests takes over {slo.ttft.seconds:g} s even alone, "
        f"with prompts of {shortest:,} tokens and more at {spec.token_budget:,} a step"
    )
    return Missing("capacity", why)


def alone_s(spec: EngineSpec, prompt_tokens: Tokens, cached_tokens: Tokens) -> Floats:
    """Time to the first token on an idle engine, by request: a step for every chunk, and what its tokens add."""
    prompt, cached = prompt_tokens.astype(np.float64), cached_tokens.astype(np.float64)
    step, computed = spec.step, prompt - cached
    steps = np.ceil(computed / spec.token_budget)
    pairs = prompt**2 - cached**2
    return steps * step.base_s + step.per_prefill_token_s * computed + step.per_prefill_pair_s * pairs


def _strict(target: LatencyTarget | None, slo: Slo) -> LatencyTarget | None:
    """For as many requests as must be served in time."""
    return replace(target, quantile=slo.attainment_ratio) if target else None


def reach_told(reaches: Mapping[str, Reach | Missing], most: int) -> str:
    """In words, by variant. ``most``: replicas that the policy allows."""
    told = {name: _told(reach, most) for name, reach in reaches.items()}
    if len(told) == 1:
        return next(iter(told.values()))
    return "; ".join(f"{name}: {words}" for name, words in told.items())


def _told(reach: Reach | Missing, most: int) -> str:
    if isinstance(reach, Missing):
        return f"by estimate no number of replicas keeps the SLO: {reach.why}"
    needs = f"{reach.told}: the busiest minute needs {reach.wanted:,}"
    return needs if reach.wanted <= most else f"{needs}, and the policy allows no more than {most:,}"

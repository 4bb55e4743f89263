"""The fake server's engine in virtual time: requests as a load generator would have noted them, without waiting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from controller.facts.performance import StepModel
from controller.profile.client import OK, Flight
from controller.profile.load import Held
from controller.profile.plan import PointPlan

OVERHEAD_S = 2e-3
OUTPUT_TOKENS = 60


def held(
    step: StepModel,
    load: float,
    *,
    kind: str = "concurrency",
    prompt: float = 200,
    spread: float = 0.5,
    seconds: float = 30,
    hiccup: float = 0.0,
    seed: int = 1,
) -> Held:
    """One point. ``hiccup``: the share of steps that take five times as long."""
    random = np.random.default_rng(seed)
    run = _Run(step, random, prompt, spread, hiccup)
    if kind == "concurrency":
        run.loop(int(load), seconds)
    else:
        run.open(np.cumsum(random.exponential(1 / load, int(2 * load * seconds) + 10)), seconds)
    plan = PointPlan(kind=kind, load=load, prompt_tokens=prompt, output_tokens=OUTPUT_TOKENS)
    return Held(plan=plan, start_s=seconds / 10, end_s=seconds, flights=run.flights)


class _Run:
    def __init__(self, step, random, prompt, spread, hiccup) -> None:
        self.step, self.random, self.hiccup = step, random, hiccup
        self.means, self.spread = (prompt, OUTPUT_TOKENS), spread
        self.flights: list[Flight] = []
        self.running: list[tuple[Flight, int]] = []
        self.now = 0.0

    def loop(self, count: int, seconds: float) -> None:
        due = [0.0] * count
        while self.now < seconds:
            due += [one.ended_s for one in self.steps(due)]

    def open(self, arrivals: Sequence[float], seconds: float) -> None:
        due = [float(at) for at in arrivals]
        while self.now < seconds or self.running:
            self.steps(due)

    def steps(self, due: list[float]) -> list[Flight]:
        """One step; those whose requests it ended. What it takes from ``due`` it removes there."""
        if not self.running and due:
            self.now = max(self.now, min(due) + OVERHEAD_S)
        fresh = [self.flight(at) for at in due if at + OVERHEAD_S <= self.now]
        due[:] = [at for at in due if at + OVERHEAD_S > self.now]
        kv = sum(one.prompt_tokens + len(one.chunk_s) for one, _ in self.running)
        took = self.step.decode_s(len(self.running), kv)
        prompts = [one.prompt_tokens for one, _ in fresh]
        took += self.step.prefill_s(sum(prompts), sum(one**2 for one in prompts))
        self.now += took * (5 if self.random.random() < self.hiccup else 1)
        ended, left = [], []
        for one, wanted in (*self.running, *fresh):
            one.chunk_s.append(self.now)
            if len(one.chunk_s) == wanted:
                one.outcome, one.ended_s, one.output_tokens = OK, self.now, wanted
                ended.append(one)
            else:
                left.append((one, wanted))
        self.running = left
        return ended

    def flight(self, due_s: float) -> tuple[Flight, int]:
        prompt, output = (self.length(mean) for mean in self.means)
        self.flights.append(Flight(due_s=due_s, sent_s=due_s, asked_tokens=prompt, prompt_tokens=prompt))
        return self.flights[-1], output

    def length(self, mean: float) -> int:
        sigma = np.sqrt(np.log(1 + self.spread**2))
        return max(2, round(self.random.lognormal(np.log(mean) - sigma**2 / 2, sigma)))

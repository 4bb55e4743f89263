"""What the requests of a point say about the engine's steps: one equation a stretch of steps. Pure.

While a request decodes it gets one token a step, so between two of its tokens lie as many steps as tokens. In that
stretch every token that any request got is one sequence in one step, and every first token is a prompt computed:

    time = base x steps + per_sequence x tokens + per_kv_token x sum of their contexts
           + per_prefill_token x prompt tokens + per_prefill_pair x sum of prompt² (cached²  taken off)

exactly, whatever the load did. A request that had the engine to itself gives one about its prefill:
TTFT = overhead + base + per_prefill_token x prompt + per_prefill_pair x prompt². No concurrency has to be assumed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isnan

import numpy as np
from numpy.typing import NDArray

from controller.profile.client import Flight

Floats = NDArray[np.float64]

COLUMNS = ("overhead_s", "base_s", "per_sequence_s", "per_kv_token_s", "per_prefill_token_s", "per_prefill_pair_s")

STRETCH_STEPS = 32
"""Steps in a stretch. A guess: a prompt that is prefilled across the edge is a small part of it, and prompts still
come unevenly enough to be told from the tokens."""

MOST_ROWS = 400
"""Stretches taken of one point, evenly: more would only repeat each other, since concurrent requests share steps."""

BLOCKS = 5
"""Into so many spans of time is a point divided; equations of one span err together. A guess."""

JITTER_RATIO = 0.25
"""Tokens of one step arrive within this share of a step of each other. A guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Equations: ``x`` (one column a coefficient, in COLUMNS' order) times the coefficients is ``time_s``.

    weight   how many equations each counts for
    block    equations with one number err together
    """

    x: Floats
    time_s: Floats
    weight: Floats
    block: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.time_s)


def joined(parts: Sequence[Rows]) -> Rows:
    """All of ``parts``; each keeps its blocks for itself."""
    offsets = np.cumsum([0, *(int(part.block.max(initial=-1)) + 1 for part in parts)])
    return Rows(
        x=np.concatenate([np.zeros((0, len(COLUMNS))), *(part.x for part in parts)]),
        time_s=np.concatenate([np.zeros(0), *(part.time_s for part in parts)]),
        weight=np.concatenate([np.zeros(0), *(part.weight for part in parts)]),
        block=np.concatenate(
            [np.zeros(0, np.int64), *(part.block + at for part, at in zip(parts, offsets, strict=False))]
        ),
    )


class Events:
    """Every token and every prompt of a point in order of time, summed up, so that a stretch is two look-ups."""

    def __init__(self, flights: Sequence[Flight]) -> None:
        some = [one for one in flights if one.chunk_s]
        self._firsts = np.sort(np.array([one.first_s for one in some], float))
        order = np.argsort(np.array([one.first_s for one in some], float), kind="stable")
        prompts = np.array([one.prompt_tokens or one.asked_tokens for one in some], float)[order]
        cached = np.array([one.cached_tokens for one in some], float)[order]
        self._prompts, self._pairs = _summed(prompts - cached), _summed(prompts**2 - cached**2)
        times, tokens, contexts = _decoded(some)
        order = np.argsort(times, kind="stable")
        self._times = times[order]
        self._tokens, self._contexts = _summed(tokens[order]), _summed((tokens * contexts)[order])

    def row(self, steps: float, start_s: float, end_s: float) -> list[float]:
        """What was computed after ``start_s`` and not after ``end_s``."""
        low, high = np.searchsorted(self._times, (start_s, end_s), side="right")
        first, last = np.searchsorted(self._firsts, (start_s, end_s), side="right")
        return [
            0.0,
            steps,
            float(self._tokens[high] - self._tokens[low]),
            float(self._contexts[high] - self._contexts[low]),
            float(self._prompts[last] - self._prompts[first]),
            float(self._pairs[last] - self._pairs[first]),
        ]


def rows(
    flights: Sequence[Flight], start_s: float, end_s: float, engine: tuple[float, float, float] | None = None
) -> Rows:
    """The equations of one point's window. ``engine``: steps that the engine itself counted, from when to when; only
    where it was never idle."""
    events = Events(flights)
    stretches = _stretches(flights, start_s, end_s)
    gap_s = float(np.median([(until - since) / steps for steps, since, until in stretches])) if stretches else 0.0
    jitter_s = JITTER_RATIO * gap_s
    found = [(events.row(n, since + jitter_s, until + jitter_s), until - since, until) for n, since, until in stretches]
    found += [(_alone(one), one.first_s - one.sent_s, one.first_s) for one in _lone(flights, start_s, end_s)]
    weights = [1.0] * len(found)
    if engine is not None:
        steps, since, until = engine
        found.append((events.row(steps, since, until), until - since, until))
        weights.append(max(1.0, len(stretches) / 4))  # one equation, but over the whole window
    span = max(end_s - start_s, 1e-9)
    return Rows(
        x=np.array([row for row, _, _ in found], float).reshape(-1, len(COLUMNS)),
        time_s=np.array([seconds for _, seconds, _ in found], float),
        weight=np.array(weights, float),
        block=np.array([min(BLOCKS - 1, int((at - start_s) / span * BLOCKS)) for _, _, at in found], np.int64),
    )


def _stretches(flights: Sequence[Flight], start_s: float, end_s: float) -> list[tuple[float, float, float]]:
    """(steps, from, to): parts of answers inside the window."""
    found = []
    for one in flights:
        if not one.ok or len(one.chunk_s) < 2:
            continue
        tokens_a_chunk = (one.output_tokens - 1) / (len(one.chunk_s) - 1)
        times = np.asarray(one.chunk_s)
        inside = np.flatnonzero((times >= start_s) & (times < end_s))
        if len(inside) < 2:
            continue
        low, high = int(inside[0]), int(inside[-1])
        cuts = [*range(low, max(low + 1, high - STRETCH_STEPS // 2), STRETCH_STEPS), high]
        for since, until in pairwise(cuts):
            if times[until] > times[since]:
                found.append(((until - since) * tokens_a_chunk, float(times[since]), float(times[until])))
    kept = min(MOST_ROWS, len(found))
    return [found[index * len(found) // kept] for index in range(kept)]


def _lone(flights: Sequence[Flight], start_s: float, end_s: float) -> list[Flight]:
    """Requests that no other one met before their first token."""
    came = sorted((one for one in flights if not isnan(one.sent_s)), key=lambda one: one.sent_s)
    found, busy_until = [], float("-inf")
    for index, one in enumerate(came):
        next_s = came[index + 1].sent_s if index + 1 < len(came) else float("inf")
        alone = busy_until <= one.sent_s and one.ok and one.first_s <= next_s
        if alone and start_s <= one.sent_s and one.first_s < end_s:
            found.append(one)
        busy_until = max(busy_until, float("inf") if isnan(one.ended_s) else one.ended_s)
    return found


def _alone(flight: Flight) -> list[float]:
    prompt, cached = float(flight.prompt_tokens), float(flight.cached_tokens)
    return [1.0, 1.0, 0.0, 0.0, prompt - cached, prompt**2 - cached**2]


def _decoded(flights: Sequence[Flight]) -> tuple[Floats, Floats, Floats]:
    """(time, tokens, context) of every part of an answer but its first, which the prefill gave."""
    times: list[Floats] = [np.zeros(0)]
    tokens: list[Floats] = [np.zeros(0)]
    contexts: list[Floats] = [np.zeros(0)]
    for one in flights:
        parts = len(one.chunk_s) - 1
        if parts < 1:
            continue
        a_part = (one.output_tokens - 1) / parts if one.output_tokens > 1 else 1.0
        times.append(np.asarray(one.chunk_s)[1:])
        tokens.append(np.full(parts, a_part))
        contexts.append(np.arange(1.0, parts + 1) * a_part + (one.prompt_tokens or one.asked_tokens))
    return np.concatenate(times), np.concatenate(tokens), np.concatenate(contexts)


def _summed(values: Floats) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values)])

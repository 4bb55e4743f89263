"""The readings that the observe room would have made of a simulated engine: the same signals, the same windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import (
    Counter,
    Distribution,
    EngineReading,
    Gauge,
    Histogram,
    Signal,
    Target,
)
from controller.simulate.compiled.layout import Count, Hist, bounds_of
from controller.simulate.fleet import SimulatedFleet

SOURCE = "scrape"

COUNTED: Mapping[Counter, Count] = {
    Counter.PROMPT_TOKENS: Count.PROMPT_TOKENS,
    Counter.CACHED_PROMPT_TOKENS: Count.CACHED_PROMPT_TOKENS,
    Counter.OUTPUT_TOKENS: Count.GENERATION_TOKENS,
    Counter.REQUESTS: Count.FINISHED,
    Counter.PREEMPTIONS: Count.PREEMPTIONS,
    Counter.PREFIX_QUERIES_TOKENS: Count.PREFIX_QUERIES,
    Counter.PREFIX_HITS_TOKENS: Count.PREFIX_HITS,
}
SPECULATED: Mapping[Counter, Count] = {
    Counter.DRAFTS: Count.DRAFTS,
    Counter.DRAFT_TOKENS: Count.DRAFT_TOKENS,
    Counter.ACCEPTED_TOKENS: Count.ACCEPTED_TOKENS,
}
NEVER = (Counter.REJECTIONS, Counter.FLOP_PER_GPU, Counter.READ_BYTES_PER_GPU, Counter.WRITE_BYTES_PER_GPU)
"""Always 0: no queue limit is set, and the engine runs without --enable-mfu-metrics."""

OBSERVED: Mapping[Distribution, Hist] = {
    Distribution.TTFT_S: Hist.TTFT,
    Distribution.TPOT_S: Hist.INTER_TOKEN,
    Distribution.REQUEST_TPOT_S: Hist.TPOT,
    Distribution.E2E_S: Hist.E2E,
    Distribution.QUEUE_TIME_S: Hist.QUEUE,
    Distribution.PROMPT_LENGTH_TOKENS: Hist.PROMPT_LENGTH,
    Distribution.OUTPUT_LENGTH_TOKENS: Hist.OUTPUT_LENGTH,
}
"""As vLLM names them: TPOT is the inter-token latency."""

NO_SPECULATION = Missing(
    "speculation", "speculative decoding is not configured, or the engine is older than vLLM 0.8.5"
)
FIRST = Missing("increase", "first reading: increases are known from the second on")


@dataclass(frozen=True, slots=True)
class _Mark:
    """How far one replica has been counted."""

    at_s: float
    counts: NDArray[np.float64]
    buckets: NDArray[np.float64]
    totals: NDArray[np.float64]


class Reader:
    """Reads every replica's counters and remembers how far, as the observe room's counter book does."""

    def __init__(self, fleet: SimulatedFleet, max_model_len: int) -> None:
        self._fleet = fleet
        self._bounds = bounds_of(max_model_len)
        self._marks: dict[str, _Mark] = {}

    def read(self, target: Target, at: datetime, epoch_s: float) -> EngineReading:
        """What the replica says now. ``epoch_s``: Unix time at the zero of the fleet's clock."""
        name = target.replica
        one, level = self._fleet.replicas[name], self._fleet.level(name)
        counts, buckets, totals = self._fleet.counts(name)
        before = self._marks.get(name)
        now_s = self._fleet.now_s
        self._marks[name] = _Mark(at_s=now_s, counts=counts, buckets=buckets, totals=totals)
        missing: dict[Signal, Missing] = {}
        counters: dict[Counter, float] = {}
        histograms: dict[Distribution, Histogram] = {}
        speculates = one.spec.draft_tokens > 0
        if not speculates:
            missing |= dict.fromkeys((*SPECULATED, Gauge.ACCEPTANCE_RATIO), NO_SPECULATION)
        if before is None:
            missing |= dict.fromkeys((*COUNTED, *NEVER, Counter.ENGINE_STEPS, *OBSERVED), FIRST)
        else:
            grown = np.round(counts) - np.round(before.counts)
            counted = {**COUNTED, **SPECULATED} if speculates else COUNTED
            counters = {name: float(grown[column]) for name, column in counted.items()}
            counters |= dict.fromkeys(NEVER, 0.0)
            new = buckets - before.buckets
            counters[Counter.ENGINE_STEPS] = float(new[Hist.STEP_TOKENS].sum())
            for distribution, row in OBSERVED.items():
                bounds = self._bounds[row]
                histograms[distribution] = Histogram(
                    bounds=bounds,
                    counts=tuple(new[row, : len(bounds)].tolist()),
                    total=float(totals[row] - before.totals[row]),
                )
        return EngineReading(
            target=target,
            at=at,
            window_s=0.0 if before is None else now_s - before.at_s,
            source=SOURCE,
            engine=EngineKind.VLLM,
            gauges={
                Gauge.RUNNING: float(level.running),
                Gauge.QUEUE_DEPTH: float(level.waiting),
                Gauge.QUEUE_DEPTH_CAPACITY: float(level.waiting),
                Gauge.QUEUE_DEPTH_DEFERRED: 0.0,
                Gauge.KV_CACHE_RATIO: level.kv_cache_ratio,
                Gauge.KV_CAPACITY_TOKENS: float(one.spec.kv_capacity_tokens),
                Gauge.START_TIME_S: one.ready_s + epoch_s,
            },
            counters=counters,
            histograms=histograms,
            missing=missing,
        )

    def forget(self) -> None:
        """Drop the marks of replicas that are gone."""
        self._marks = {name: mark for name, mark in self._marks.items() if name in self._fleet.replicas}

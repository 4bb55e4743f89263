"""The readings that the observe room would have made of a simulated engine: the same signals, the same windows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
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
from controller.simulate.fleet import SimulatedFleet, SimulatedReplica

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
    Distribution.PREFILL_TIME_S: Hist.PREFILL,
    Distribution.DECODE_TIME_S: Hist.DECODE,
    Distribution.PROMPT_LENGTH_TOKENS: Hist.PROMPT_LENGTH,
    Distribution.OUTPUT_LENGTH_TOKENS: Hist.OUTPUT_LENGTH,
}
"""As vLLM names them: TPOT is the inter-token latency."""


def _missing(signals: Iterable[Signal], why: str) -> Mapping[Signal, Missing]:
    return {signal: Missing(signal.value, why) for signal in signals}


NO_SPECULATION = "speculative decoding is not configured, or the engine is older than vLLM 0.8.5"
NOT_EXPORTED = _missing([Gauge.ACCEPTANCE_RATIO], NO_SPECULATION)
"""Only vLLM V0 had it as a gauge."""

NOT_SPECULATING = _missing(SPECULATED, NO_SPECULATION)
FIRST = _missing(
    (*COUNTED, *NEVER, Counter.ENGINE_STEPS, *OBSERVED), "the first reading of this series; an increase needs two"
)
FIRST_SPECULATING = {**FIRST, **_missing(SPECULATED, FIRST[Counter.REQUESTS].why)}


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
        self._watching_since_s: float | None = None

    def read(self, target: Target, at: datetime, epoch_s: float) -> EngineReading:
        """What the replica says now. ``epoch_s``: Unix time at the zero of the fleet's clock."""
        one = self._fleet.replicas[target.replica]
        now = _Mark(self._fleet.now_s, *self._fleet.counts(one.name))
        before = self._marks.get(one.name) or self._unseen(one, now)
        self._marks[one.name] = now
        speculates = one.spec.draft_tokens > 0
        missing = {**NOT_EXPORTED, **({} if speculates else NOT_SPECULATING)}
        if before is None:
            missing |= FIRST_SPECULATING if speculates else FIRST
        return EngineReading(
            target=target,
            at=at,
            window_s=0.0 if before is None else now.at_s - before.at_s,
            source=SOURCE,
            engine=EngineKind.VLLM,
            gauges=self._gauges(one, epoch_s),
            counters={} if before is None else _increases(before, now, speculates),
            histograms={} if before is None else self._histograms(before, now),
            missing=missing,
        )

    def _unseen(self, one: SimulatedReplica, now: _Mark) -> _Mark | None:
        """A replica never seen: when it began to serve after we began to watch, all it counts is new."""
        if self._watching_since_s is None:
            self._watching_since_s = now.at_s
        if not self._watching_since_s < one.ready_s <= now.at_s:
            return None
        nothing = (np.zeros_like(now.counts), np.zeros_like(now.buckets), np.zeros_like(now.totals))
        return _Mark(one.ready_s, *nothing)

    def _gauges(self, one: SimulatedReplica, epoch_s: float) -> dict[Gauge, float]:
        level = self._fleet.level(one.name)
        return {
            Gauge.RUNNING: float(level.running),
            Gauge.QUEUE_DEPTH: float(level.waiting),
            Gauge.QUEUE_DEPTH_CAPACITY: float(level.waiting),
            Gauge.QUEUE_DEPTH_DEFERRED: 0.0,
            Gauge.KV_CACHE_RATIO: level.kv_cache_ratio,
            Gauge.KV_CAPACITY_TOKENS: float(one.spec.kv_capacity_tokens),
            Gauge.START_TIME_S: one.ready_s + epoch_s,
        }

    def _histograms(self, before: _Mark, now: _Mark) -> dict[Distribution, Histogram]:
        new, total = now.buckets - before.buckets, now.totals - before.totals
        return {
            distribution: Histogram(
                bounds=self._bounds[row],
                counts=tuple(new[row, : len(self._bounds[row])].tolist()),
                total=float(total[row]),
            )
            for distribution, row in OBSERVED.items()
        }

    def forget(self) -> None:
        """Drop the marks of replicas that are gone."""
        self._marks = {name: mark for name, mark in self._marks.items() if name in self._fleet.replicas}


def _increases(before: _Mark, now: _Mark, speculates: bool) -> dict[Counter, float]:
    """Rounded before they are subtracted: a page has whole tokens."""
    grown = (np.round(now.counts) - np.round(before.counts)).tolist()
    counted = {**COUNTED, **SPECULATED} if speculates else COUNTED
    counters = {name: grown[column] for name, column in counted.items()}
    counters |= dict.fromkeys(NEVER, 0.0)
    counters[Counter.ENGINE_STEPS] = float((now.buckets - before.buckets)[Hist.STEP_TOKENS].sum())
    return counters

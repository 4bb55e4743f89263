"""What a rehearsal reads of an engine is what the observe room would have made of that engine's own page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import Counter, EngineReading, Gauge, Signal, Target
from controller.observe.assemble import Assembler
from controller.observe.engines import ADAPTERS
from controller.simulate.fleet import SimulatedFleet
from controller.simulate.readings import Reader
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100, EngineSpec
from controller.simulate.vllm_page import vllm_page

EPOCH = datetime(2026, 3, 1, tzinfo=UTC)
SMALL = replace(LLAMA_70B_FP8_2XH100, kv_capacity_tokens=6000, max_model_len=4096, token_budget=256, max_sequences=24)
"""So small that requests wait, preempt each other and share steps."""


class Watch:
    """Two observers of one fleet: the rehearsal's, and the real one on the pages that the engines would serve."""

    def __init__(self, fleet: SimulatedFleet, spec: EngineSpec) -> None:
        self.fleet = fleet
        self.reader = Reader(fleet, spec.max_model_len)
        self._assembler = Assembler()

    def look(self, name: str) -> tuple[EngineReading, EngineReading | Missing]:
        """The simulated reading, and the one scraped."""
        target = Target(service="chat", variant="h100", replica=name, url=f"http://{name}:8000")
        at, epoch_s = EPOCH + timedelta(seconds=self.fleet.now_s), EPOCH.timestamp()
        simulated = self.reader.read(target, at, epoch_s)
        page = vllm_page(self.fleet, name, epoch_s=epoch_s).encode()
        return simulated, self._assembler.text(page, target, EngineKind.VLLM, at)


def assert_same(simulated: EngineReading, scraped: EngineReading | Missing) -> None:
    """Equal to the last bit and the last word; only the names on the wire are the scrape's alone."""
    assert isinstance(scraped, EngineReading), scraped
    assert simulated.names == {}
    assert simulated == replace(scraped, names={})


def crowd(bench: Any, start_s: float, count: int, seed: int) -> Any:
    """Many at once, of all lengths, some of them cached."""
    random = np.random.default_rng(seed)
    prompts = random.integers(1, 900, count)
    rows = zip(
        np.sort(start_s + random.random(count) * 20).tolist(),
        prompts.tolist(),
        random.integers(1, 300, count).tolist(),
        (prompts * random.random(count) * 0.9).astype(int).tolist(),
        strict=True,
    )
    return bench.requests(list(rows))


@pytest.mark.parametrize("seed", range(5))
def test_readings_equal_what_is_made_of_the_page_scrape_after_scrape(bench: Any, seed: int) -> None:
    watch = Watch(bench.engine(SMALL), SMALL)
    seen = []
    for number in range(8):
        start_s = watch.fleet.now_s
        watch.fleet.advance(start_s + 20, crowd(bench, start_s, 150 if number < 3 else 0, seed=10 * seed + number))
        simulated, scraped = watch.look(bench.ENGINE)
        assert_same(simulated, scraped)
        seen.append(simulated)
    grown = seen[1:]
    # The case is worth something: the engine was crowded, and everything that can grow did.
    assert max(one.gauges[Gauge.QUEUE_DEPTH] for one in seen) > 0
    assert sum(one.counters[Counter.PREEMPTIONS] for one in grown) > 0
    assert sum(one.counters[Counter.PREFIX_HITS_TOKENS] for one in grown) > 0
    assert all(histogram.count > 0 for histogram in grown[0].histograms.values())


def test_an_idle_engine_reads_the_same(bench: Any) -> None:
    watch = Watch(bench.engine(SMALL), SMALL)
    for _ in range(3):
        assert_same(*watch.look(bench.ENGINE))
        watch.fleet.advance(watch.fleet.now_s + 100, bench.requests([]))


def test_the_first_reading_of_a_replica_that_was_there_before_us_knows_no_increase(bench: Any) -> None:
    watch = Watch(bench.engine(SMALL), SMALL)
    watch.fleet.advance(20.0, crowd(bench, 0.0, 20, seed=1))
    simulated, scraped = watch.look(bench.ENGINE)
    assert_same(simulated, scraped)
    assert simulated.window_s == 0
    assert isinstance(simulated.counter(Counter.REQUESTS), Missing)


def test_all_that_a_replica_counted_since_it_started_under_our_eyes_is_new(bench: Any) -> None:
    watch = Watch(bench.engine(SMALL), SMALL)
    watch.look(bench.ENGINE)
    watch.fleet.start("late", SMALL, 7.5)
    watch.fleet.advance(20.0, crowd(bench, 0.0, 60, seed=2))
    simulated, scraped = watch.look("late")
    assert_same(simulated, scraped)
    assert simulated.window_s == 12.5
    assert simulated.counters[Counter.REQUESTS] > 0
    watch.fleet.advance(40.0, crowd(bench, 20.0, 10, seed=3))
    assert_same(*watch.look("late"))


def test_a_draining_replica_reads_the_same_until_it_is_gone(bench: Any) -> None:
    watch = Watch(bench.engine(SMALL), SMALL)
    watch.fleet.start("other", SMALL, 0.0)
    watch.fleet.advance(20.0, crowd(bench, 0.0, 60, seed=4))
    watch.look("other")
    watch.fleet.drain("other")
    while "other" in watch.fleet.replicas:
        assert_same(*watch.look("other"))
        watch.fleet.advance(watch.fleet.now_s + 1.0, bench.requests([]))
    assert watch.fleet.now_s > 21


@pytest.mark.parametrize("spec", [SMALL, replace(SMALL, draft_tokens=3, acceptance_ratio=0.7)], ids=["plain", "drafts"])
def test_every_signal_of_vllm_is_known_or_missing_with_a_reason(bench: Any, spec: EngineSpec) -> None:
    watch = Watch(bench.engine(spec), spec)
    first, _ = watch.look(bench.ENGINE)
    watch.fleet.advance(20.0, crowd(bench, 0.0, 40, seed=5))
    second, _ = watch.look(bench.ENGINE)
    signals: set[Signal] = {source.signal for source in ADAPTERS[EngineKind.VLLM].sources}
    for reading in (first, second):
        found = [*reading.gauges, *reading.counters, *reading.histograms, *reading.missing]
        assert len(found) == len(set(found))
        assert set(found) == signals
    assert (Counter.ACCEPTED_TOKENS in second.counters) == bool(spec.draft_tokens)


def test_a_reader_forgets_who_is_gone(bench: Any) -> None:
    watch = Watch(bench.engine(SMALL), SMALL)
    watch.look(bench.ENGINE)
    watch.fleet.fail(bench.ENGINE)
    watch.reader.forget()
    watch.fleet.start(bench.ENGINE, SMALL, 0.0)
    simulated, _ = watch.look(bench.ENGINE)
    assert isinstance(simulated.counter(Counter.REQUESTS), Missing)

"""Our side: reads the ports as a JSON list from stdin, makes warm passes and prints their cost as JSON."""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

from benchmarks.scrape.prometheus import Cost
from controller.facts.fleet import EngineKind
from controller.facts.missing import Missing
from controller.facts.readings import EngineReading, Target
from controller.observe.scrape import ScrapeLimits, Scraper


def passes(ports: list[int], count: int) -> Cost:
    """The cost of ``count`` warm passes; the first, which opens connections and learns the series, is not counted."""
    targets = [
        (Target(service="s", variant="v", replica=str(port), url=f"http://127.0.0.1:{port}"), EngineKind.VLLM)
        for port in ports
    ]
    scraper = Scraper(ScrapeLimits(deadline_s=60.0, target_timeout_s=30.0))
    now = datetime(2026, 3, 1, tzinfo=UTC)
    scraper.read(targets, now)
    costs, walls, failed, rejected = [], [], 0, 0
    for number in range(1, count + 1):
        cpu, wall = time.process_time(), time.perf_counter()
        readings = scraper.read(targets, now + timedelta(seconds=15 * number))
        costs.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - wall)
        failed += sum(isinstance(one, Missing) for one in readings.values())
        rejected += sum(one.rejected_lines for one in readings.values() if isinstance(one, EngineReading))
    scraper.close()
    return Cost(
        cpu_s=sum(costs) / count,
        least_cpu_s=min(costs),
        wall_s=sum(walls) / count,
        peak_mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1.024 / 1000,  # it counts in KiB
        failed=failed,
        rejected=rejected,
    )


if __name__ == "__main__":
    print(json.dumps(asdict(passes(json.load(sys.stdin), int(sys.argv[1])))))

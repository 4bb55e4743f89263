"""The other side: a real Prometheus server scraping the same targets, its CPU and memory from /proc."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

INTERVAL_S = 15
"""Between two scrapes of one target; Prometheus spreads the targets over it. Common in practice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one pass over all targets costs. Wall time is NaN where a pass is spread over an interval."""

    cpu_s: float
    least_cpu_s: float
    wall_s: float
    peak_mb: float
    failed: int
    rejected: int

    def row(self, targets: int, who: str) -> str:
        """One row of the printed table."""
        wall = "spread" if self.wall_s != self.wall_s else f"{self.wall_s:.2f}"
        return (
            f"| {targets:,} | {who} | {self.cpu_s:.2f} | {self.least_cpu_s:.2f} | {wall} | {self.peak_mb:.0f} "
            f"| {1000 * self.cpu_s / targets:.2f} | {self.failed} | {self.rejected} |"
        )


def measure(ports: list[int], intervals: int) -> Cost:
    """Prometheus' CPU seconds for each interval, in which it scrapes every target once; after one to warm up."""
    program = shutil.which("prometheus")
    if program is None:
        raise SystemExit("install Prometheus: this benchmark compares with it")
    with tempfile.TemporaryDirectory() as folder, socket.socket() as free:
        (Path(folder) / "prometheus.yml").write_text(_config(ports))
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        command = [
            program,
            f"--config.file={folder}/prometheus.yml",
            f"--storage.tsdb.path={folder}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=error",
        ]
        process = subprocess.Popen(command)
        try:
            _wait_until_all_up(port, len(ports))
            time.sleep(INTERVAL_S)
            costs = []
            for _ in range(intervals):
                before = _cpu_s(process.pid)
                time.sleep(INTERVAL_S)
                costs.append(_cpu_s(process.pid) - before)
            failed = len(ports) - _up(port)
            peak_mb = _peak_mb(process.pid)
        finally:
            process.terminate()
            process.wait()
    return Cost(
        cpu_s=sum(costs) / intervals,
        least_cpu_s=min(costs),
        wall_s=float("nan"),
        peak_mb=peak_mb,
        failed=failed,
        rejected=0,
    )


def _config(ports: list[int]) -> str:
    jobs = [{"job_name": "engines", "static_configs": [{"targets": [f"127.0.0.1:{port}" for port in ports]}]}]
    scrape = {"scrape_interval": f"{INTERVAL_S}s", "scrape_timeout": "10s"}
    return json.dumps({"global": scrape, "scrape_configs": jobs})  # JSON is YAML


def _up(port: int) -> int:
    query = urllib.parse.urlencode({"query": "sum(up)"})
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}", timeout=5) as answer:
            found = json.load(answer)["data"]["result"]
    except (urllib.error.URLError, TimeoutError):
        return 0
    return int(found[0]["value"][1]) if found else 0


def _wait_until_all_up(port: int, count: int) -> None:
    deadline = time.monotonic() + 10 * INTERVAL_S
    while _up(port) < count:
        if time.monotonic() > deadline:
            raise SystemExit(f"Prometheus reached only {_up(port)} of {count} targets")
        time.sleep(1)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1000 * 1.024
    return float("nan")

"""Processes that send usage records and are killed while they write, and four that send at once."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import closing

from sqlalchemy import text

from benchmarks.ledger.engines import ledger
from benchmarks.ledger.ingest import SOURCE, batch_in
from benchmarks.ledger.sending import body
from controller.ledger.accounts.ingest import Intake
from controller.ledger.engine import writer_engine

SIZE = 1000
ENDLESS = 1_000_000
COUNTED = "SELECT COALESCE(SUM(requests), 0) FROM usage_minute"


def kills(engines: Sequence[str], runs: int) -> None:
    """Each run kills the sender (SIGKILL) after up to a second. Then all is sent again, and must count once."""
    print(
        "| engine | kills | acknowledged | lost | counted, unanswered | counted twice |\n|---|---:|---:|---:|---:|---:|"
    )
    for engine in engines:
        with ledger(engine) as opened:
            made, sent, lost, unanswered = random.Random(1), 0, 0, 0
            for _ in range(runs):
                told = _killed(opened.url, sent, made.random())
                kept = _counted(opened.url)
                lost += max(0, sent + told - kept)
                unanswered += max(0, kept - sent - told)
                sent = kept
            with closing(Intake(opened.url)) as intake:
                for first in range(0, sent, SIZE):
                    intake.add(SOURCE, batch_in(body(first, SIZE)))
            twice = _counted(opened.url) - sent
        print(f"| {engine} | {runs} | {sent - unanswered:,} | {lost} | {unanswered:,} | {twice} |", flush=True)


def _killed(url: str, first: int, after_s: float) -> int:
    """How many records the sender was told are durable."""
    process = _sender(url, first, ENDLESS, SIZE)
    assert process.stdout is not None
    process.stdout.readline()  # it is ready
    time.sleep(after_s)
    process.kill()
    told = process.communicate()[0]
    time.sleep(0.2)  # PostgreSQL may end a commit whose sender is dead
    return sum(int(line) for line in told.split("\n")[:-1])


def together(engines: Sequence[str], writers: int, batches: int, size: int) -> None:
    """Neighbours send half of what the other sends too."""
    print("| engine | writers | sent | different | counted | wall s | records/s |\n|---|---:|---:|---:|---:|---:|---:|")
    for engine in engines:
        with ledger(engine) as opened:
            each = batches * size
            processes = [_sender(opened.url, number * each // 2, batches, size) for number in range(writers)]
            for process in processes:
                assert process.stdout is not None
                process.stdout.readline()
            began = time.perf_counter()
            failed = sum(process.communicate()[0].count("\n") != batches or process.returncode for process in processes)
            wall = time.perf_counter() - began
            if failed:
                raise RuntimeError(f"{failed} of {writers} writers failed on {engine}")
            different, sent = each * (writers + 1) // 2, each * writers
            counted = _counted(opened.url)
        row = f"{sent:,} | {different:,} | {counted:,} | {wall:.1f} | {sent / wall:,.0f}"
        print(f"| {engine} | {writers} | {row} |", flush=True)


def _sender(url: str, first: int, batches: int, size: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmarks.ledger.sending", url, *map(str, (first, batches, size))]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _counted(url: str) -> int:
    engine = writer_engine(url)
    try:
        with engine.begin() as connection:
            return int(connection.scalar(text(COUNTED)) or 0)
    finally:
        engine.dispose()

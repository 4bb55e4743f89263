"""Whatever dies while it writes, and however many write at once: what was acknowledged is there, and there once."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.attribute.batch import batch_of

SENDER = Path(__file__).with_name("sender.py")
SIZE = 400


@pytest.fixture(scope="module")
def sender():
    """The records that the sending processes send."""
    spec = importlib.util.spec_from_file_location("sender", SENDER)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def start(url, first, batches):
    root = str(SENDER.parents[3])
    command = [sys.executable, str(SENDER), url, *map(str, (first, batches, SIZE))]
    environment = {**os.environ, "PYTHONPATH": root}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=root)


def expected(sender, numbers):
    records = [sender.record(number) for number in numbers]
    return (
        len(records),
        sum(one.prompt_tokens - one.cached_tokens for one in records),
        sum(one.cached_tokens for one in records),
        sum(one.output_tokens for one in records),
        sum((one.prompt_tokens - one.cached_tokens) ** 2 for one in records),
    )


def counted(books):
    names = ("requests", "uncached", "cached", "output", "uncached_sq")
    row = books.all(f"SELECT {', '.join(f'COALESCE(SUM({name}), 0)' for name in names)} FROM usage_minute")[0]
    return tuple(map(int, row))


def test_a_process_killed_while_it_writes_loses_nothing_acknowledged_and_counts_nothing_twice(books, sender):
    acknowledged = 0
    for kill_after in (1, 3):
        process = start(books.url, acknowledged * SIZE, 1000)
        assert process.stdout.readline() == "ready\n"
        for _ in range(kill_after):
            _, accepted, duplicates = map(int, process.stdout.readline().split())
            assert accepted + duplicates == SIZE
        process.kill()  # SIGKILL, with the next batch on its way
        rest = process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        acknowledged += kill_after + len([line for line in rest if line.count(" ") == 2])
        kept = counted(books)[0]
        assert kept >= acknowledged * SIZE
        assert kept % SIZE == 0, "a batch is counted whole or not at all"
        assert kept == books.scalar("SELECT COUNT(*) FROM usage_seen")
    total = (acknowledged + 2) * SIZE
    for first in range(0, total, SIZE):
        records = [sender.record(number) for number in range(first, first + SIZE)]
        receipt = books.intake.add(sender.SOURCE, batch_of(records, sender.SOURCE))
        assert receipt.accepted + receipt.duplicates == SIZE
    assert counted(books) == expected(sender, range(total))
    assert books.scalar("SELECT SUM(records) FROM usage_source") == total


def test_processes_that_send_the_same_records_at_once_count_each_once(books, sender):
    """Each sends half of what its neighbour sends too."""
    batches = 8
    processes = [start(books.url, index * batches * SIZE // 2, batches) for index in range(4)]
    told = [process.communicate(timeout=120)[0].splitlines()[1:] for process in processes]
    for process in processes:
        process.stdout.close()
    assert [process.returncode for process in processes] == [0] * 4
    receipts = [tuple(map(int, line.split())) for lines in told for line in lines]
    different = batches * SIZE * 5 // 2
    assert len(receipts) == 4 * batches
    assert sum(accepted for _, accepted, _ in receipts) == different
    assert counted(books) == expected(sender, range(different))
    assert books.all("SELECT records, duplicates FROM usage_source") == [(different, 4 * batches * SIZE - different)]

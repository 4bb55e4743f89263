"""The real daemon over real vLLM processes, and what one can see of both from outside."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path

import psutil
import pytest

from controller.demo.load import LoadGenerator
from controller.demo.ports import PortPicker
from controller.demo.real import SERVICE, VARIANT, RealFiles, engine_python, load_generator, stop_engines, write_files
from controller.errors import PennyweightError
from controller.facts.passes import Gap
from controller.ledger.read import LedgerReader
from controller.settings.load import load_settings

MARKER = "PENNYWEIGHT_REPLICA"


class Fleet:
    """One test's files, its daemon and its clients."""

    def __init__(self, files: RealFiles) -> None:
        self.files = files
        self.load: LoadGenerator = load_generator(files)
        self._daemon: subprocess.Popen[bytes] | None = None

    # the daemon

    def start_daemon(self) -> None:
        command = [sys.executable, "-m", "controller", "run", "--fleet", str(self.files.fleet)]
        with (self.files.directory / "daemon.log").open("ab") as log:
            self._daemon = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def end_daemon(self, number: int) -> int:
        assert self._daemon is not None
        self._daemon.send_signal(number)
        return self._daemon.wait(60)

    # what one sees from outside

    def replicas(self, phase: str) -> list[str]:
        """Addresses by phase, as clients see them."""
        try:
            groups = json.loads(self.files.targets.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        return [group["targets"][0] for group in groups if group["labels"]["phase"] == phase]

    def engines(self) -> dict[str, int]:
        """Process ids of running engines (their session leaders) by replica, from the processes' own environments."""
        found = {}
        for process in psutil.process_iter():
            try:
                replica = process.environ().get(MARKER, "")
                if replica.startswith(f"{SERVICE}/{VARIANT}/") and os.getsid(process.pid) == process.pid:
                    found[replica] = process.pid
            except (psutil.Error, ProcessLookupError):
                continue
        return found

    def until(self, what: str, condition: Callable[[], bool], limit_s: float) -> None:
        """Wait for ``condition``; a failure shows the end of the daemon's log."""
        ends = time.monotonic() + limit_s
        while not condition():
            if time.monotonic() > ends:
                log = (self.files.directory / "daemon.log").read_text(encoding="utf-8").splitlines()
                pytest.fail("\n".join([f"not within {limit_s:g} s: {what}", *log[-25:]]))
            time.sleep(0.2)

    # the ledger

    def counted(self) -> tuple[float, float]:
        """Prompt and output tokens that the ledger has counted."""
        with closing(LedgerReader(self.files.ledger_url)) as reader:
            last = reader.last_pass()
            assert last is not None
            (total,) = reader.cost(
                datetime.min.replace(tzinfo=last.at.tzinfo, year=2000), last.at.replace(year=2100), by=()
            )
        return total.prompt_tokens or 0.0, total.output_tokens or 0.0

    def passes(self) -> list[datetime]:
        with closing(sqlite3.connect(self.files.directory / "pennyweight.db")) as database:
            rows = database.execute("select at from passes order by at").fetchall()
        return [datetime.fromisoformat(at) for (at,) in rows]

    def gaps(self) -> tuple[Gap, ...]:
        with closing(LedgerReader(self.files.ledger_url)) as reader:
            last = reader.last_pass()
            assert last is not None
            return reader.gaps(last.at.replace(year=2000), last.at.replace(year=2100))

    def close(self) -> None:
        self.load.close()
        if self._daemon is not None and self._daemon.poll() is None:
            self.end_daemon(signal.SIGTERM)
        stop_engines(load_settings(self.files.fleet, {}).fleet.services[SERVICE].variants[VARIANT])


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    try:
        python = engine_python(os.environ)
    except PennyweightError as error:
        pytest.fail(str(error))
    made = Fleet(write_files(tmp_path, python, PortPicker()))
    yield made
    made.close()
    assert made.engines() == {}, "engines outlived the test"

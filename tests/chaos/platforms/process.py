"""Real processes of this host under the real process actuator: every spawn, signal and state file is numbered.

The stand-in engine is `sleep`; that it is healthy or has nothing left to do is what the story says.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from abc import abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar

import psutil

import controller.act.life_steps as life_steps
import controller.act.process as process
import controller.act.records as records
import controller.act.targets as targets
from controller.act.actuator import Actuator
from controller.act.process import ProcessActuator
from controller.act.records import Records
from controller.errors import ActError
from controller.facts.actuators import ProcessOptions, SystemdOptions
from controller.facts.fleet import Variant
from tests.chaos.history import Census, Member
from tests.chaos.platforms.base import DRAIN_TIMEOUT_S, START_TIMEOUT_S, Platform, grown, variant_of
from tests.chaos.tape import KILLS, Fault, Sort

PORTS = 8


class OnThisHost(Platform):
    """Replicas of which state files on a disk know. Their reads and writes are numbered, and so is what engines are asked.

    ``_broken``: nothing of that disk can be read or written.
    """

    options: ProcessOptions | SystemdOptions
    _broken = False

    @abstractmethod
    def _alive(self) -> set[str]:
        """The names of what runs."""

    @abstractmethod
    def _url(self, replica: str) -> str:
        """Where it serves; its slot is in its name."""

    def census(self) -> Census:
        leaving = {
            told["replica"] for told in self._files() if told["stage"] in ("draining", "drained", "stopping", "failed")
        }
        ready = set(self.targets())
        members = {
            name: Member(name=name, ready=name in ready, leaving=name in leaving, busy=self._url(name) in self.busy)
            for name in self._alive()
        }
        return Census(members=members, wanted=len(members))

    def targets(self) -> dict[str, str]:
        path = Path(self.options.targets_file)
        groups = json.loads(path.read_text()) if path.exists() else []
        return {one["labels"]["replica"]: f"http://{one['targets'][0]}" for one in groups}

    def away(self, away: bool) -> None:
        """The disk of the state files."""
        self._broken = away

    def acts(self, label: str) -> bool:
        """A file tells what was seen, or done already; but one that sends somebody away."""
        return label == "write draining" or not label.startswith(("write ", "remove "))

    def strays(self) -> tuple[str, ...]:
        return tuple(self._alive() - {told["replica"] for told in self._files()})

    def _up(self, replicas: int, variant: Variant) -> None:
        actuator = self.actuator()
        actuator.apply(grown(replicas, self.now), variant, self.now)
        actuator.replicas(variant, self.now)

    def _files(self) -> list[dict[str, Any]]:
        return [json.loads(path.read_text()) for path in Path(self.options.state_directory).glob("*.replica.json")]

    def _number_files(self) -> None:
        writing = self._writing(records.write_atomically)
        self.patch.setattr(records, "write_atomically", writing)
        self.patch.setattr(targets, "write_atomically", writing)
        self.patch.setattr(Records, "remove", self._removing(Records.remove))
        self.patch.setattr(Records, "read", self._reading(Records.read))
        self.patch.setattr(life_steps, "ask_all", self._asked)

    def _writing(self, real: Callable[[Path, str], None]) -> Callable[[Path, str], None]:
        def written(path: Path, text: str) -> None:
            what = "targets" if "targets" in path.name else json.loads(text)["stage"]

            def do() -> None:
                if self._broken:
                    raise ActError(f"could not write {path}: the disk is away")
                real(path, text)

            self.tape.call(Sort.WRITE, f"write {what}", do, _act_error)

        return written

    def _removing(self, real: Callable[..., None]) -> Callable[..., None]:
        def removed(kept: Records, record: Any) -> None:
            broken = _os_error(errno.EROFS, lost=True)
            self.tape.call(Sort.WRITE, "remove state", lambda: real(kept, record), broken)

        return removed

    def _reading(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def looked(kept: Records) -> Any:
            def do() -> Any:
                if self._broken:
                    raise ActError("could not read the state files: the disk is away")
                return real(kept)

            return self.tape.call(Sort.READ, "read states", do, _act_error)

        return looked

    def _asked(self, asked: Sequence[Any], question: Callable[[Any], bool]) -> dict[int, bool]:
        if not asked:
            return {}
        health = any(one.stage.value == "starting" for one in asked)

        def do() -> dict[int, bool]:
            if health:
                return {one.slot: self.comes_up for one in asked}
            return {one.slot: one.url not in self.busy for one in asked}

        def silent(fault: Fault, do: object) -> dict[int, bool]:
            return {one.slot: False for one in asked}

        return self.tape.call(Sort.PROBE, "health" if health else "idle", do, silent)


class Processes(OnThisHost):
    name = "process"
    faults: ClassVar = {
        Sort.WRITE: (Fault.REFUSED, Fault.LOST, Fault.KILLED_BEFORE, Fault.KILLED_AFTER),
        Sort.READ: (Fault.REFUSED, Fault.NONSENSE, Fault.KILLED_BEFORE),
        Sort.PROBE: (Fault.TIMEOUT, Fault.KILLED_BEFORE),
    }

    def begin(self, replicas: int) -> Variant:
        self._pids: dict[int, str] = {}
        first = 28_000 + os.getpid() % 400 * PORTS
        self.options = ProcessOptions(
            command=("/bin/sleep", "900"),
            ports=(first, first + PORTS - 1),
            state_directory=str(self.folder / "run"),
            targets_file=str(self.folder / "run" / "targets.json"),
            start_timeout_s=START_TIMEOUT_S,
            drain_timeout_s=DRAIN_TIMEOUT_S,
            stop_timeout_s=30.0,
        )
        self.variant = variant_of("process", self.options)
        # By a name of its own: whoever plays beside it on this host would adopt its processes.
        self.mark = f"CHAOS_{os.getpid()}_{time.monotonic_ns()}"
        self.patch.setattr(process, "MARKER", self.mark)
        self._number()
        self._up(replicas, self.variant)
        return self.variant

    def actuator(self) -> Actuator:
        return ProcessActuator()

    def _alive(self) -> set[str]:
        return {name for pid, name in self._pids.items() if _is_alive(pid)}

    def lose(self) -> str:
        name = next(iter(self.targets()))
        pid = next(pid for pid, one in self._pids.items() if one == name)
        os.kill(pid, signal.SIGKILL)
        _gone(pid)
        return name

    def close(self) -> None:
        for pid in self._pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)

    def _url(self, replica: str) -> str:
        return f"http://127.0.0.1:{slot_of(replica)}"

    # what is numbered

    def _number(self) -> None:
        self.patch.setattr(os, "posix_spawnp", self._spawning(os.posix_spawnp))
        self.patch.setattr(process, "_send", self._sending(process._send))
        self._number_files()

    def _spawning(self, real: Callable[..., int]) -> Callable[..., int]:
        def spawned(*arguments: Any, **named: Any) -> int:
            def do() -> int:
                pid = real(*arguments, **named)
                self._pids[pid] = str(arguments[2][self.mark]).rpartition("/")[2]
                self.told("spawn", 1)
                return pid

            return self.tape.call(Sort.WRITE, "spawn", do, _os_error(errno.EAGAIN, lost=False))

        return spawned

    def _sending(self, real: Callable[..., None]) -> Callable[..., None]:
        def sent(pid: int, number: signal.Signals) -> None:
            def do() -> None:
                if _is_alive(pid):
                    self.told("end", -1)
                real(pid, number)
                _gone(pid)

            self.tape.call(Sort.WRITE, f"signal {number.name}", do, _os_error(errno.EPERM, lost=True))

        return sent


def slot_of(replica: str) -> int:
    return int(replica.rsplit("-", 2)[1])


def _act_error(fault: Fault, do: Callable[[], Any]) -> Any:
    if fault is Fault.LOST:
        do()
    raise ActError(f"injected: {fault}")


def _os_error(number: int, *, lost: bool) -> Callable[[Fault, Callable[[], Any]], Any]:
    def broken(fault: Fault, do: Callable[[], Any]) -> Any:
        assert fault not in KILLS
        if fault is Fault.LOST and lost:
            do()
        raise OSError(number, f"injected: {fault}")

    return broken


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


def _gone(pid: int) -> None:
    """Nothing of a story waits for the kernel."""
    ends = time.monotonic() + 5
    while _is_alive(pid) and time.monotonic() < ends:
        time.sleep(0.0005)

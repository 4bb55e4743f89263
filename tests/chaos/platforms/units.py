"""The real systemd actuator over a systemctl of our own: every call of it is numbered, and every state file."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any, ClassVar

import controller.act.systemd as systemd
from controller.act.actuator import Actuator
from controller.act.systemd import SystemdActuator
from controller.facts.actuators import SystemdOptions
from controller.facts.fleet import Variant
from tests.chaos.platforms.base import DRAIN_TIMEOUT_S, START_TIMEOUT_S, variant_of
from tests.chaos.platforms.process import OnThisHost, slot_of
from tests.chaos.tape import Fault, Sort

UNIT = "chat@{n}.service"
NUMBERS = (1, 8)
FIRST_PORT = 8001
NOTHING = {
    "ActiveState": "inactive",
    "SubState": "dead",
    "Result": "success",
    "ExecMainStatus": "0",
    "InvocationID": "",
}

Done = subprocess.CompletedProcess[str]


class Units(OnThisHost):
    """Instances of a template unit."""

    name = "systemd"
    ends_in_order = True
    faults: ClassVar = {
        Sort.WRITE: (Fault.REFUSED, Fault.LOST, Fault.TIMEOUT, Fault.KILLED_BEFORE, Fault.KILLED_AFTER),
        Sort.READ: (Fault.REFUSED, Fault.TIMEOUT, Fault.NONSENSE, Fault.KILLED_BEFORE),
        Sort.PROBE: (Fault.TIMEOUT, Fault.KILLED_BEFORE),
    }

    def begin(self, replicas: int) -> Variant:
        self._running: dict[str, str] = {}
        """Invocation by unit."""
        self._invocations = count(1)
        self.options = SystemdOptions(
            unit=UNIT,
            numbers=NUMBERS,
            first_port=FIRST_PORT,
            state_directory=str(self.folder / "run"),
            targets_file=str(self.folder / "run" / "targets.json"),
            start_timeout_s=START_TIMEOUT_S,
            drain_timeout_s=DRAIN_TIMEOUT_S,
        )
        self.patch.setattr(
            systemd, "subprocess", SimpleNamespace(run=self._run, TimeoutExpired=subprocess.TimeoutExpired)
        )
        self._number_files()
        variant = variant_of("systemd", self.options)
        self._up(replicas, variant)
        return variant

    def actuator(self) -> Actuator:
        return SystemdActuator()

    def lose(self) -> str:
        """It ended in good order, so that systemd does not start it again."""
        name = next(iter(self.targets()))
        del self._running[_unit(slot_of(name))]
        return name

    def close(self) -> None:
        self._running.clear()

    def _alive(self) -> set[str]:
        """By the names in the state files; a unit that none knows is told by its own."""
        names = {_unit(told["slot"]): str(told["replica"]) for told in self._files()}
        return {names.get(unit, f"unknown-{unit[5:-8]}-unit") for unit in self._running}

    def _url(self, replica: str) -> str:
        return f"http://127.0.0.1:{FIRST_PORT + slot_of(replica) - NUMBERS[0]}"

    def _run(self, command: Sequence[str], **_: Any) -> Done:
        words = [word for word in command[1:] if not word.startswith("--")]
        verb, units = words[0], words[1:]
        sort = Sort.READ if verb == "show" else Sort.WRITE
        return self.tape.call(sort, f"systemctl {verb}", lambda: self._carried_out(verb, units), _broken(command))

    def _carried_out(self, verb: str, units: Sequence[str]) -> Done:
        for unit in units:
            if verb == "start" and unit not in self._running:
                self._running[unit] = f"{next(self._invocations):032x}"
                self.told("start", 1)
            elif verb == "stop" and self._running.pop(unit, ""):
                self.told("stop", -1)
        return _done("\n\n".join(map(self._shown, units)) if verb == "show" else "")

    def _shown(self, unit: str) -> str:
        state = {"Id": unit, "LoadState": "loaded", **NOTHING}
        if unit in self._running:
            state |= {"ActiveState": "active", "SubState": "running", "InvocationID": self._running[unit]}
        return "\n".join(f"{key}={value}" for key, value in state.items())


def _unit(slot: int) -> str:
    return UNIT.replace("{n}", str(slot))


def _done(said: str, code: int = 0, error: str = "") -> Done:
    return subprocess.CompletedProcess(["systemctl"], code, said, error)


def _broken(command: Sequence[str]) -> Callable[[Fault, Callable[[], Done]], Done]:
    def broken(fault: Fault, do: Callable[[], Done]) -> Done:
        if fault is Fault.REFUSED:
            return _done("", 1, "Failed to connect to bus: Connection refused")
        if fault is Fault.NONSENSE:
            return _done("\n")
        if fault is Fault.LOST:
            do()
        raise subprocess.TimeoutExpired(list(command), systemd.ANSWER_S)

    return broken

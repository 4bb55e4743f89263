"""Engines as instances of a systemd template unit, through ``systemctl``."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from controller.act.life import LivingActuator
from controller.act.records import Record, Records
from controller.act.runner import Run, Timeouts
from controller.errors import ActError
from controller.facts.actuators import SystemdOptions
from controller.facts.fleet import Variant
from controller.facts.missing import Missing

PROPERTIES = ("Id", "LoadState", "ActiveState", "SubState", "Result", "ExecMainStatus", "InvocationID", "Job")

LIVE = {"active", "activating", "reloading", "deactivating"}
"""A unit on its way down is not judged before it is down: only then systemd says whether it failed."""

ASK_AGAIN_S = 120.0
"""systemd forces a unit to end itself (TimeoutStopSec, 90 s unless set); a stop that was lost to somebody's start is
asked for again after this. Asking twice does no harm."""

ANSWER_S = 5.0
"""systemctl answers in milliseconds; longer means that systemd itself is stuck."""


class SystemdActuator(LivingActuator):
    """Starts and stops units."""

    def __init__(self) -> None:
        super().__init__("systemd", _runner)


def _runner(variant: Variant) -> SystemdRunner:
    options = variant.actuator_options
    if not isinstance(options, SystemdOptions):
        raise ActError(f"{variant.service}/{variant.name} has no systemd options")
    return SystemdRunner(
        options=options,
        records=Records(Path(options.state_directory), variant),
        targets_file=Path(options.targets_file),
        timeouts=Timeouts(start_s=options.start_timeout_s, drain_s=options.drain_timeout_s, stop_s=ASK_AGAIN_S),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemdRunner:
    """A slot is an instance number. From asking to forcing is systemd's own TimeoutStopSec."""

    options: SystemdOptions
    records: Records
    targets_file: Path
    timeouts: Timeouts

    def slots(self) -> Sequence[int]:
        first, last = self.options.numbers
        return range(first, last + 1)

    def url(self, slot: int) -> str:
        return self.options.url.replace("{port}", str(self.options.first_port + slot - self.options.numbers[0]))

    def health_url(self, record: Record) -> str:
        return record.url + self.options.health_path

    def taken(self, slot: int) -> str:
        """A unit is ours by its name: nobody else can hold it."""
        del slot
        return ""

    def look(self, records: Mapping[int, Record], *, search: bool) -> dict[int, Run] | Missing:
        """Every unit that runs, and every recorded one that ended."""
        del search  # one question answers for all
        try:
            text = self._systemctl("show", f"--property={','.join(PROPERTIES)}", *map(self._unit, self.slots()))
        except ActError as error:
            return Missing("replicas", str(error))
        blocks = [
            dict(line.split("=", 1) for line in block.splitlines() if "=" in line) for block in text.split("\n\n")
        ]
        states = {state["Id"]: state for state in blocks if "Id" in state and "ActiveState" in state}
        silent = [unit for unit in map(self._unit, self.slots()) if unit not in states]
        if silent:  # it tells each unit that it is asked for, also those that it does not have
            return Missing("replicas", f"systemctl show said nothing of {silent[0]}")
        runs = {}
        for slot in self.slots():
            run = self._run(slot, states[self._unit(slot)], records.get(slot))
            if run is not None:
                runs[slot] = run
        return runs

    def clear(self, record: Record) -> None:
        """An old failure would count against the start limit."""
        self._forget(record.slot)

    def start(self, record: Record) -> Record:
        """Ask systemd to start it."""
        self._systemctl("start", "--no-block", self._unit(record.slot))
        return replace(record, run="asked")

    def stop(self, record: Record) -> None:
        self._systemctl("stop", "--no-block", self._unit(record.slot))

    def kill(self, record: Record) -> None:
        """Stop what runs; from asking to forcing is systemd's own."""
        self.stop(record)

    def _run(self, slot: int, state: Mapping[str, str], record: Record | None) -> Run | None:
        """None for a unit that does not run and that we know nothing of, or that somebody stopped."""
        active = state.get("ActiveState", "")
        restarting = state.get("SubState", "").startswith("auto-restart")  # it ended, and systemd would start it again
        alive = (active in LIVE and not restarting) or state.get("Job", "0") not in ("", "0")
        if record is None and active == "deactivating":
            return None
        invocation = state.get("InvocationID", "")
        name = record.replica if record else f"{self.records.variant.name}-{slot}-{invocation[:6] or 'unit'}"
        if alive:
            return Run(replica=name, run=invocation or "asked", alive=True)
        if record is None or not record.run:
            return None
        failed = active == "failed" or restarting
        said = f"{self._unit(slot)} failed: {state.get('Result')}, exit status {state.get('ExecMainStatus')}"
        return Run(replica=name, run=record.run, alive=False, gone=True, failed=failed, said=said if failed else "")

    def _forget(self, slot: int) -> None:
        """``reset-failed`` of a unit that is not loaded is an error of no interest."""
        self._systemctl("reset-failed", self._unit(slot), must=False)

    def _unit(self, slot: int) -> str:
        return self.options.unit.replace("{n}", str(slot))

    def _systemctl(self, *arguments: str, must: bool = True) -> str:
        command = ["systemctl", *(["--user"] if self.options.user else []), "--no-ask-password", *arguments]
        said = " ".join(command[:4])
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=False)
        except FileNotFoundError as error:
            raise ActError("there is no systemctl on this host; choose another actuator") from error
        except subprocess.TimeoutExpired as error:
            raise ActError(f"{said} did not answer within {ANSWER_S:g} s; the next pass tries again") from error
        if must and done.returncode != 0:
            why = done.stderr.strip() or f"exit code {done.returncode}"
            raise ActError(f"{said} failed: {why}; the next pass tries again")
        return done.stdout

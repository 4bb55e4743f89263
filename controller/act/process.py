"""Engines as processes of this host.

Each is the leader of its own session, so that it outlives the daemon, and carries its name in its environment, so that
the next daemon knows it even when the last one died between starting it and writing that down.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path

import psutil

from controller.act.life import LivingActuator
from controller.act.records import ALIVE, Record, Records, slot_of
from controller.act.runner import Run, Timeouts
from controller.errors import ActError
from controller.facts.actuators import ProcessOptions
from controller.facts.fleet import Variant

MARKER = "PENNYWEIGHT_REPLICA"

CREATED_TOLERANCE_S = 2.0
"""Creation times are counted from boot and shift a little when the clock is set."""

LAST_LINES = 5
LAST_BYTES = 4000
KEPT_LOGS = 20
"""Logs of ended replicas kept for each variant: enough to see a crash loop. A guess."""


class ProcessActuator(LivingActuator):
    """Starts and stops engine commands."""

    def __init__(self) -> None:
        super().__init__("process", _runner)


def _runner(variant: Variant) -> ProcessRunner:
    options = variant.actuator_options
    if not isinstance(options, ProcessOptions):
        raise ActError(f"{variant.service}/{variant.name} has no process options")
    return ProcessRunner(
        options=options,
        records=Records(Path(options.state_directory), variant),
        targets_file=Path(options.targets_file),
        timeouts=Timeouts(
            start_s=options.start_timeout_s, drain_s=options.drain_timeout_s, stop_s=options.stop_timeout_s
        ),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRunner:
    """A slot is a port."""

    options: ProcessOptions
    records: Records
    targets_file: Path
    timeouts: Timeouts

    def slots(self) -> Sequence[int]:
        first, last = self.options.ports
        return range(first, last + 1)

    def url(self, slot: int) -> str:
        return f"http://127.0.0.1:{slot}"

    def health_url(self, record: Record) -> str:
        return record.url + self.options.health_path

    def taken(self, slot: int) -> str:
        """Whether the port can be bound on every address; it is not listened on.

        An engine binds its port only after minutes of loading: until then its state file holds it.
        """
        for other in self.records.others(slot):
            return f"port {slot} belongs to {other}"
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("", slot))
            except OSError:
                return f"port {slot} is in use by somebody else"
        return ""

    def look(self, records: Mapping[int, Record], *, search: bool) -> dict[int, Run]:
        """Recorded processes, and with ``search`` those that only their environment names."""
        runs = {slot: self._run(record) for slot, record in records.items() if record.run}
        for replica, pid in self._marked() if search else ():
            slot = slot_of(replica)
            if slot is None or slot in runs:
                continue
            recorded = records.get(slot)
            if recorded is None or recorded.replica == replica:
                runs[slot] = Run(replica=replica, run=_identity(pid), alive=True)
        return runs

    def clear(self, record: Record) -> None:
        """A port that was free has nothing against it; logs of those long gone do not gather."""
        self._prune_logs()

    def start(self, record: Record) -> Record:
        """Spawn it in a new session, its output in its log."""
        command = [
            part.replace("{port}", str(record.slot)).replace("{replica}", record.replica)
            for part in self.options.command
        ]
        log_path = self.records.log(record.replica)
        write = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        try:
            pid = os.posix_spawnp(
                command[0],
                command,
                self._environment(record),
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, str(log_path), write, 0o640),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM),
            )
        except OSError as error:
            raise ActError(
                f"{record.service}/{record.variant}: could not start {command[0]}: {error.strerror}; "
                "nothing was started and the next pass decides again"
            ) from error
        return replace(record, run=_identity(pid))

    def stop(self, record: Record) -> None:
        self._signal(record, signal.SIGTERM)

    def kill(self, record: Record) -> None:
        """Also what left the session, as Ray's workers do."""
        self._signal(record, signal.SIGKILL)
        for pid in self._strays(record):
            _send(pid, signal.SIGKILL)

    def _environment(self, record: Record) -> dict[str, str]:
        """SPT_NOENV: setproctitle, which engines use, otherwise overwrites the environment that others can see."""
        return {**os.environ, "SPT_NOENV": "1", **self.options.environment, MARKER: _marker(record)}

    def _prune_logs(self) -> None:
        written = {self.records.log(record.replica) for record in self.records.read().values()}
        ended = [path for path in self.records.logs() if path not in written]
        for old in ended[:-KEPT_LOGS]:
            old.unlink(missing_ok=True)

    def _run(self, record: Record) -> Run:
        pid, _ = _known(record)
        members = set(self._members(record))
        how = "" if pid in members else _ending(pid, keep=record.stage in ALIVE)
        said = "; ".join(part for part in (how, self._last_words(record)) if part)
        alive = not how
        return Run(
            replica=record.replica,
            run=record.run,
            alive=alive,
            gone=not alive and not members and not self._strays(record),
            failed=not alive,
            said=said,
        )

    def _members(self, record: Record) -> Iterator[int]:
        """Every live process of the replica's session: engines spawn workers."""
        leader, _ = _known(record)
        session = list(_processes(pid for pid in psutil.pids() if _session(pid) == leader))
        leads = any(process.pid == leader and _is_ours(process, record) for process in session)
        return (process.pid for process in session if leads or _is_ours(process, record))

    def _strays(self, record: Record) -> list[int]:
        """Live processes anywhere that inherited the replica's marker. Dear: looks into every process of the host."""
        return [process.pid for process in _processes(psutil.pids()) if _marker_of(process) == _marker(record)]

    def _signal(self, record: Record, number: signal.Signals) -> None:
        for pid in self._members(record):
            _send(pid, number)

    def _marked(self) -> list[tuple[str, int]]:
        """Session leaders of this variant's replicas, by the marker in their environment; the oldest first."""
        variant = self.records.variant
        start = f"{variant.service}/{variant.name}/"
        leaders = _processes(pid for pid in psutil.pids() if _session(pid) == pid)
        marked = [(process, _marker_of(process)) for process in leaders]
        ours = [(process, marker) for process, marker in marked if marker.startswith(start)]
        return [(marker.removeprefix(start), process.pid) for process, marker in sorted(ours, key=_age)]

    def _last_words(self, record: Record) -> str:
        try:
            with self.records.log(record.replica).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - LAST_BYTES))
                lines = file.read().decode("utf-8", "replace").splitlines()
        except OSError:
            return ""
        words = " | ".join(line.strip() for line in lines[-LAST_LINES:] if line.strip())
        return f"last words: {words}" if words else ""


def _marker(record: Record) -> str:
    return f"{record.service}/{record.variant}/{record.replica}"


def _identity(pid: int) -> str:
    """ "pid/created": a pid alone may be somebody else's by tomorrow."""
    try:
        return f"{pid}/{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return f"{pid}/0"


def _known(record: Record) -> tuple[int, float]:
    pid, _, created = record.run.partition("/")
    return int(pid), float(created)


def _processes(pids: Iterable[int]) -> Iterator[psutil.Process]:
    """Those of ``pids`` that live."""
    for pid in pids:
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            if process.status() != psutil.STATUS_ZOMBIE:
                yield process


def _send(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def _marker_of(process: psutil.Process) -> str:
    """ "" where there is none, or where it may not be read."""
    try:
        return str(process.environ().get(MARKER, ""))
    except psutil.Error:
        return ""


def _age(found: tuple[psutil.Process, str]) -> float:
    try:
        return float(found[0].create_time())
    except psutil.Error:
        return inf


def _is_ours(process: psutil.Process, record: Record) -> bool:
    """By its environment, or where that cannot be read, by pid and creation time."""
    if _marker_of(process) == _marker(record):
        return True
    pid, created = _known(record)
    return process.pid == pid and abs(_age((process, "")) - created) < CREATED_TOLERANCE_S


def _ending(pid: int, *, keep: bool) -> str:
    """How a process ended that is no longer seen to live; "" while its threads are still going.

    keep   let it be asked again, until its end has been told
    """
    try:
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | (os.WNOWAIT if keep else 0))
    except ChildProcessError:
        return "exited (its code went to an earlier daemon)"
    if ended is not None:
        code = ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status
        return f"exited with code {code}"
    return "" if _is_zombie(pid) else f"exited; process {pid} is somebody else by now"


def _is_zombie(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False

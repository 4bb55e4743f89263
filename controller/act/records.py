"""One small file a replica: what was intended, what runs, and how far it is in its life. Survives the daemon."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote, unquote

from controller.errors import ActError
from controller.facts.fleet import Variant
from controller.facts.readings import Phase


class Stage(StrEnum):
    """Where a replica is, finer than ``Phase``: each stage says what the next pass does."""

    STARTING = "starting"  # intended, or running and not healthy yet
    READY = "ready"
    DRAINING = "draining"  # gets no new requests; waits for running ones
    DRAINED = "drained"  # its last counters are read once more before it is stopped
    STOPPING = "stopping"  # told to end; not gone yet
    FAILED = "failed"  # reported; keeps its slot until nothing of it is left


PHASES: Mapping[Stage, Phase] = {
    Stage.STARTING: Phase.STARTING,
    Stage.READY: Phase.READY,
    Stage.DRAINING: Phase.DRAINING,
    Stage.DRAINED: Phase.DRAINING,
    Stage.STOPPING: Phase.DRAINING,
    Stage.FAILED: Phase.FAILED,
}

ALIVE = (Stage.STARTING, Stage.READY)
SCRAPED = (Stage.READY, Stage.DRAINING, Stage.DRAINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One replica in one slot (a port, or a unit's number).

    replica   unique to this start, so that a later one in the same slot is not mistaken for it
    since     when the stage began
    run       the running thing: "pid/created" of a process, the invocation id of a unit; "" = intended, not started yet
    adopted   found running without a state file: whom it served before is not known
    """

    service: str
    variant: str
    replica: str
    slot: int
    url: str
    stage: Stage
    since: datetime
    run: str = ""
    detail: str = ""
    adopted: bool = False

    def to(self, stage: Stage, now: datetime, detail: str = "") -> Record:
        return replace(self, stage=stage, since=now, detail=detail)


def slot_of(replica: str) -> int | None:
    """The slot in a replica's name, "VARIANT-SLOT-TOKEN"; None when it is not one of our names."""
    parts = replica.rsplit("-", 2)
    return int(parts[1]) if len(parts) == 3 and parts[1].isdigit() else None


@dataclass(frozen=True, slots=True)
class Records:
    """The state files of one variant in ``directory``."""

    directory: Path
    variant: Variant

    def read(self) -> dict[int, Record]:
        """By slot. A file that cannot be understood stops us: guessing could start something twice."""
        found = {}
        for path in sorted(self.directory.glob(f"{self._stem()},*.replica.json")):
            record = _parsed(path)
            found[record.slot] = record
        return found

    def write(self, record: Record) -> None:
        write_atomically(self._path(record.slot), json.dumps(asdict(record), default=_plain, indent=1))

    def remove(self, record: Record) -> None:
        self._path(record.slot).unlink(missing_ok=True)

    def others(self, slot: int) -> Sequence[str]:
        """Variants that share the directory and have a replica in ``slot``, running or only intended."""
        own = self._path(slot)
        paths = [path for path in self.directory.glob(f"*,{slot}.replica.json") if path != own]
        return ["/".join(unquote(part) for part in path.name.split(",")[:2]) for path in paths]

    def log(self, replica: str) -> Path:
        """The replica's own output. It is kept after the replica is gone."""
        return self.directory / f"{self._stem()},{quote(replica, safe='')}.log"

    def logs(self) -> Sequence[Path]:
        """Oldest first."""
        return sorted(self.directory.glob(f"{self._stem()},*.log"), key=lambda path: path.stat().st_mtime)

    def _path(self, slot: int) -> Path:
        return self.directory / f"{self._stem()},{slot}.replica.json"

    def _stem(self) -> str:
        return f"{quote(self.variant.service, safe='')},{quote(self.variant.name, safe='')}"


def write_atomically(path: Path, text: str) -> None:
    """Readers see the old text or the new one, and after a power cut as well."""
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise ActError(f"could not write {path}: {error.strerror}; nothing is started or stopped without it") from error


def _parsed(path: Path) -> Record:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        fields["stage"] = Stage(fields["stage"])
        fields["since"] = datetime.fromisoformat(fields["since"])
        return Record(**fields)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ActError(f"could not read the state file {path}: {error}; look at its replica, then delete it") from error


def _plain(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} has no place in a state file")

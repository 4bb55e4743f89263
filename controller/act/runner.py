"""What replicas run in, as their life sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from controller.act.records import Record, Records
from controller.facts.missing import Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What runs, or ran, in one slot.

    replica   its name
    run       as in ``Record``
    alive     it may become healthy, or is
    gone      nothing of it is left: the slot is free
    failed    it ended by itself, badly; not because somebody stopped it
    said      how it ended, with its last words
    """

    replica: str
    run: str
    alive: bool
    gone: bool = False
    failed: bool = False
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. ``stop_s``: from asking to forcing."""

    start_s: float
    drain_s: float
    stop_s: float


class Runner(Protocol):
    """What replicas run in: one per variant and call."""

    @property
    def records(self) -> Records: ...

    @property
    def targets_file(self) -> Path: ...

    @property
    def timeouts(self) -> Timeouts: ...

    def slots(self) -> Sequence[int]:
        """Every slot, in the order of use."""

    def url(self, slot: int) -> str: ...

    def health_url(self, record: Record) -> str: ...

    def taken(self, slot: int) -> str:
        """Who else holds the slot; "" when it is free."""

    def look(self, records: Mapping[int, Record], *, search: bool) -> dict[int, Run] | Missing:
        """What runs, by slot. ``search``: also look for replicas without a state file, or with an unfinished one."""

    def clear(self, record: Record) -> None:
        """Forget what would speak against another start; nothing that runs changes."""

    def start(self, record: Record) -> Record:
        """Start it, and say what now runs. ActError when it cannot."""

    def stop(self, record: Record) -> None:
        """Ask it to end."""

    def kill(self, record: Record) -> None:
        """Leave nothing of it."""

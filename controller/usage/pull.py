"""Sources that are read rather than sent: how far they were read, and what a round brings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from controller.attribute.batch import Batch
from controller.facts.usage import Refused
from controller.usage.batch import Gathered, Rules, columns
from controller.usage.tail import Tail
from controller.usage.told import Told


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """How far a source was read: what ``usage_source`` keeps.

    at   the newest request that was seen, by the source's own clock but never in the future; it only grows
    id   a place in a file, in the source's own words; "" where the time says enough
    """

    at: datetime | None = None
    id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some records of a source, and the mark to keep once they are durable.

    skipped   what was in the source and is no record of a request: other lines of a log, other spans of a trace
    """

    batch: Batch
    mark: Mark
    skipped: int = 0


class Source(Protocol):
    """Read in rounds. A page that is read twice does no harm: its records are known by their ids."""

    name: str

    def pages(self, mark: Mark, now: datetime) -> Iterator[Page]:
        """Everything since ``mark``, in portions. UsageError: it could not be read; the next round tries again."""
        ...


Picked = Told | Refused
Pick = Callable[[bytes, int], list[Picked]]
"""What a line holds: one record, several, or none; the number is its place in the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LineSource:
    """A log of JSON lines, followed through its rotations.

    pick      the records of a line
    rules     asked anew at each page, for the fleet may have changed
    trusted   what the log says of identities was set by a gateway, not by clients
    """

    name: str
    path: Path
    pick: Pick
    rules: Callable[[], Rules]
    trusted: bool = False

    def pages(self, mark: Mark, now: datetime) -> Iterator[Page]:
        for lines, place in Tail(self.path, self.rules().accept_late).portions(mark.id, now):
            gathered, skipped = picked_of(lines, self.pick)
            batch = columns(gathered, self.rules(), source=self.name, trusted=self.trusted, now=now)
            mark = Mark(at=newest(mark.at, batch.newest, now), id=place)
            yield Page(batch=batch, mark=mark, skipped=skipped)


def picked_of(lines: Iterable[bytes], pick: Pick) -> tuple[Gathered, int]:
    """The records of ``lines``, and how many lines held none. Blank lines are nothing."""
    skipped, found = 0, []
    for index, line in enumerate(lines):
        picked = pick(line, index) if line.strip() else []
        skipped += bool(line.strip()) and not picked
        found += [(index, one) for one in picked]
    return sorted_out(found), skipped


def sorted_out(found: Iterable[tuple[int, Picked]]) -> Gathered:
    """Records here, refused ones there."""
    told: list[Told] = []
    index: list[int] = []
    refused: list[Refused] = []
    for at, one in found:
        if isinstance(one, Refused):
            refused.append(one)
        else:
            told.append(one)
            index.append(at)
    return Gathered(told=told, index=index, refused=refused)


def newest(known: datetime | None, seen: datetime | None, now: datetime) -> datetime | None:
    """The later one. A time in the future is a wrong clock, and would hide all that comes until then."""
    times = [one for one in (known, seen) if one is not None]
    return min(max(times), now) if times else None

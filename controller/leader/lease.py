"""One round over a Lease, as a pure function: what its record says, what we have seen of it, and what to write.

Clocks of different machines are never compared. Another one's time is over when its record has not changed for its
whole duration on our own clock; what the record says of time is for people.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRecord:
    """The spec of a Lease. ``acquired`` and ``renewed`` are MicroTime as text; ``holder`` "": nobody has it."""

    holder: str = ""
    duration_s: float = 0.0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A record, and since when on our clock it has been so."""

    record: LeaseRecord
    since_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What to do.

    write      the record to put in place of the one that was read; None: another one leads
    takes      writing it begins a term: it must get an epoch
    free_in_s  where another one leads: its time is over then
    """

    write: LeaseRecord | None = None
    takes: bool = False
    watched: Watched | None = None
    free_in_s: float | None = None


def lease_step(
    record: LeaseRecord | None, watched: Watched | None, *, me: str, now_s: float, at: str, duration_s: float
) -> Step:
    """One round.

    record    as it was read now; None: there is no Lease
    watched   what the round before made of it
    now_s     our monotonic clock; ``at``: the time of day as MicroTime
    """
    if record is None:
        first = LeaseRecord(holder=me, duration_s=duration_s, acquired=at, renewed=at)
        return Step(write=first, takes=True)
    if record.holder == me:
        return Step(write=replace(record, duration_s=duration_s, renewed=at))
    if watched is None or watched.record != record:
        watched = Watched(record=record, since_s=now_s)
    over_s = watched.since_s + max(record.duration_s, duration_s)
    if record.holder and now_s < over_s:
        return Step(watched=watched, free_in_s=over_s - now_s)
    taken = LeaseRecord(holder=me, duration_s=duration_s, acquired=at, renewed=at, transitions=record.transitions + 1)
    return Step(write=taken, takes=True, watched=watched)


def released(record: LeaseRecord, at: str) -> LeaseRecord:
    """Nobody's, at once. A duration must be positive (client-go writes the same)."""
    return replace(record, holder="", duration_s=1, renewed=at)

"""Who of several daemons works, and since when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

JITTER = 1.2
"""Candidates wait up to so many times their usual time, so as not to ask all at once (client-go's JitterFactor)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderTimes:
    """Seconds of an election. The defaults are those of Kubernetes' own controllers (client-go, leaderelection).

    duration_s        a leader that was not seen to renew for so long is taken to be gone
    renew_deadline_s  a leader that could not renew for so long stops acting, before anybody else may begin
    retry_s           between two renewals; a daemon that stands by looks twice as often
    """

    duration_s: float = 15.0
    renew_deadline_s: float = 10.0
    retry_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """A Lease of Kubernetes. ``namespace`` "": the pod's own."""

    name: str
    namespace: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Electing:
    """How several daemons agree on who works: by a Lease, or by a lock of the ledger's database."""

    times: LeaderTimes
    lease: Lease | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """One time of leading.

    epoch    its number: higher than that of every term before, so that the ledger can tell an old leader from a new one
    holder   who leads: one name for each start of a process
    since    when it began, by the holder's clock; None when it did not say
    """

    epoch: int
    holder: str
    since: datetime | None = None

    def __str__(self) -> str:
        since = f" since {self.since:%Y-%m-%d %H:%M:%S} UTC" if self.since is not None else ""
        return f"{self.holder} leads{since} (epoch {self.epoch})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one round of an election found.

    ours       we lead, as ``term``
    term       who leads; None: nobody, or nobody knows
    free_in_s  another one's time is over then, unless it is renewed; None: nobody can say
    """

    ours: bool = False
    term: Term | None = None
    free_in_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaderSeen:
    """What is known of the election. ``problem``: why nobody can say who leads; "" when it is known."""

    term: Term | None = None
    problem: str = ""

"""What the accountant stands on. It knows no I/O library: the ledger, the sources and the quoters are handed to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from controller.attribute.batch import Batch
from controller.facts.account_reader import AccountReader
from controller.facts.budgets import Anomaly, Budget, BudgetMemory, BudgetStanding, SpendPromise
from controller.facts.decisions import Alert
from controller.facts.usage import Receipt
from controller.usage.pull import Mark, Page


class Source(Protocol):
    """Usage records that are read in rounds; see usage/pull.py."""

    @property
    def name(self) -> str: ...

    def pages(self, mark: Mark, now: datetime) -> Iterator[Page]: ...


class Intake(Protocol):
    """Where records go, and how far each source was read."""

    def add(self, source: str, batch: Batch) -> Receipt: ...

    def mark(self, source: str) -> tuple[datetime | None, str]: ...

    def keep_mark(self, source: str, at: datetime | None, place: str, now: datetime) -> None: ...


class Asked(Protocol):
    """Prices that somebody is asked for; see prices/quotes.py."""

    @property
    def name(self) -> str: ...

    def refresh(self, offers: Iterable[str], now: datetime) -> Mapping[str, str]: ...


class Round(Protocol):
    """What settling did. ``problems``: hours that could not be settled, in words."""

    @property
    def corrected(self) -> Sequence[int]: ...

    @property
    def problems(self) -> Sequence[str]: ...


class Settler(Protocol):
    """Hours become lines; see ledger/accounts/settle.py."""

    def settle(self, now: datetime) -> Round: ...


class Known(Protocol):
    """How far the accounts are. None: there are none yet."""

    @property
    def first(self) -> datetime | None: ...

    @property
    def until(self) -> datetime | None: ...

    @property
    def settled_until(self) -> datetime | None: ...


class Kept(Protocol):
    """What budgets, forecasts and anomalies keep over a restart."""

    def memories(self) -> Mapping[str, BudgetMemory]:
        """By budget: what was told of it already."""
        ...

    def keep_budgets(self, standings: Sequence[BudgetStanding], memories: Mapping[str, BudgetMemory]) -> None:
        """Where each budget stands in its period, in the place of what was kept of that period."""
        ...

    def promises(self) -> Sequence[SpendPromise]:
        """Forecasts that were made, due or not, as far back as they are kept."""
        ...

    def keep_promises(self, promises: Sequence[SpendPromise]) -> None:
        """Known by budget, day and horizon: what is there is replaced."""
        ...

    def open_anomalies(self) -> Sequence[Anomaly]:
        """Those that have not ended."""
        ...

    def keep_anomalies(self, anomalies: Sequence[Anomaly]) -> None:
        """Known by scope and beginning: what is there is replaced."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """The ledger's side."""

    reader: AccountReader
    settler: Settler
    known: Callable[[], Known]
    kept: Kept
    intake: Intake | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Duties:
    """What the fleet file and the policies ask for: all that a reload may replace.

    reads               (name) -> whether this daemon reads the source of that name now: of all that name it, one does
    asked               who is asked for prices, and for which offers
    budgets             of the fleet file and of the policies
    applied             (now): the prices in force go into the ledger's history
    differing           () -> by other fleet on the ledger, the keys of account: of which its file says something else
    unpriced            (now) -> by service, why some of its capacity has no price
    minimums            (now) -> by service, what its minimum of replicas costs, in nanodollars an hour
    unattributed_ratio  more of a service's work without a record is alerted; None: nobody sends records
    channels            where all of it is told
    """

    services: Sequence[str]
    sources: Sequence[Source] = ()
    reads: Callable[[str], bool] = field(default=lambda _name: True)
    asked: Sequence[tuple[Asked, Sequence[str]]] = ()
    budgets: Sequence[Budget] = ()
    applied: Callable[[datetime], object] = field(default=lambda _now: None)
    differing: Callable[[], Mapping[str, Sequence[str]]] = field(default=dict)
    unpriced: Callable[[datetime], Mapping[str, str]] = field(default=lambda _now: {})
    minimums: Callable[[datetime], Mapping[str, int]] = field(default=lambda _now: {})
    settle_after: timedelta = timedelta(hours=2)
    unattributed_ratio: float | None = None
    anomaly_nanousd: int = 5_000_000_000
    channels: Sequence[str] = ("log",)


Post = Callable[[Sequence[Alert]], None]
"""Hands alerts to their channels; never waits."""

"""The accountant over accounts in memory: only the ledger, the senders and the channels are stood in for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.accountant.job import Accountant
from controller.accountant.protocols import Books, Duties
from controller.attribute.batch import Batch
from controller.errors import LedgerError, UsageError
from controller.facts.account_reader import HOUR, AllocationRow
from controller.facts.accounts import UNATTRIBUTED, Pool
from controller.facts.budgets import Anomaly, BudgetMemory, BudgetStanding, SpendPromise
from controller.facts.decisions import Alert
from controller.facts.fleet import CapacityType
from controller.facts.usage import Receipt
from controller.usage.pull import Mark, Page
from tests.accounts_in_memory import SEARCH, InMemoryAccounts, parts, seat

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
USD = 10**9


@dataclass(kw_only=True)
class Known:
    first: datetime | None = None
    until: datetime | None = None
    settled_until: datetime | None = None


@dataclass(kw_only=True)
class Round:
    corrected: Sequence[int] = ()
    problems: Sequence[str] = ()


@dataclass
class Store:
    """What is kept: a dictionary each."""

    told: dict[str, BudgetMemory] = field(default_factory=dict)
    standings: dict[str, BudgetStanding] = field(default_factory=dict)
    made: dict[tuple, SpendPromise] = field(default_factory=dict)
    found: dict[tuple, Anomaly] = field(default_factory=dict)

    def memories(self) -> Mapping[str, BudgetMemory]:
        return self.told

    def keep_budgets(self, standings, memories) -> None:
        self.standings |= {one.budget.name: one for one in standings}
        self.told |= memories

    def promises(self) -> Sequence[SpendPromise]:
        return list(self.made.values())

    def keep_promises(self, promises) -> None:
        self.made |= {(one.budget, one.made, one.horizon_days): one for one in promises}

    def open_anomalies(self) -> Sequence[Anomaly]:
        return [one for one in self.found.values() if one.ended is None]

    def keep_anomalies(self, anomalies) -> None:
        self.found |= {(one.scope, one.began): one for one in anomalies}


@dataclass
class Senders:
    """The intake, and a source with as many pages as there are in ``waiting``."""

    name: str = "litellm"
    waiting: int = 0
    broken: str = ""
    marks: dict[str, tuple[datetime | None, str]] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)

    def pages(self, mark: Mark, now: datetime) -> Iterator[Page]:
        for _ in range(self.waiting):
            if self.broken:
                raise UsageError(self.broken)
            self.waiting -= 1
            yield Page(batch=Batch.__new__(Batch), mark=Mark(at=now - timedelta(minutes=1), id=f"left {self.waiting}"))
        if self.broken:
            raise UsageError(self.broken)

    def add(self, source, batch) -> Receipt:
        self.taken.append(source)
        return Receipt(accepted=1)

    def mark(self, source):
        return self.marks.get(source, (None, ""))

    def keep_mark(self, source, at, place, now) -> None:
        self.marks[source] = (at, place)


@dataclass
class Desk:
    """Everything around the accountant, and the accountant."""

    reader: InMemoryAccounts = field(default_factory=InMemoryAccounts)
    store: Store = field(default_factory=Store)
    senders: Senders = field(default_factory=Senders)
    known: Known = field(default_factory=Known)
    round: Round = field(default_factory=Round)
    told: list[Alert] = field(default_factory=list)
    settled_at: list[datetime] = field(default_factory=list)
    ledger_down: str = ""
    duties: Duties = field(default_factory=lambda: Duties(services=("chat",)))

    def __post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A new process over the same books."""
        books = Books(reader=self.reader, settler=self, known=self.how_far, kept=self.store, intake=self.senders)
        self.accountant = Accountant(books, self.duties, self.told.extend)

    def settle(self, now: datetime) -> Round:
        if self.ledger_down:
            raise LedgerError(self.ledger_down)
        self.settled_at.append(now)
        return self.round

    def how_far(self) -> Known:
        return self.known

    def asks(self, **changes) -> None:
        self.duties = replace(self.duties, **changes)
        self.accountant.reload(self.duties)

    def step(self, now: datetime = NOON):
        """One round; what it told, by name."""
        before = len(self.told)
        result = self.accountant.step(now)
        self.news = self.told[before:]
        return result

    @property
    def names(self) -> list[str]:
        return [f"{one.name} {one.phase}" for one in self.news]

    def spends(self, usd: Callable[[datetime], float], hours: int, until: datetime = NOON) -> None:
        """Whole hours up to ``until``, settled but for the last two; a quarter is nobody's."""
        for back in range(hours, 0, -1):
            start = until - back * HOUR
            amount = round(usd(start) * USD)
            pool = Pool(service="chat", variant="h100", capacity_type=CapacityType.ON_DEMAND)
            for who, share in ((SEARCH, amount - amount // 4), (UNATTRIBUTED, amount // 4)):
                self.reader.line_rows.append(
                    AllocationRow(start=start, end=start + HOUR, identity=who, pool=pool, parts=parts(decode=share))
                )
            self.reader.seat_rows.append(seat(start, "r1", CapacityType.ON_DEMAND, amount, parts=parts(decode=amount)))
        self.known = Known(first=until - hours * HOUR, until=until, settled_until=until - 2 * HOUR)


@pytest.fixture
def desk() -> Desk:
    return Desk()

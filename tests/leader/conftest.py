"""A clock to move, elections to script, and a place where terms are recorded."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.errors import LedgerError
from controller.facts.leadership import LeaderTimes, Term
from controller.kubernetes.api import Api, Timeouts, config_of
from controller.leader.lease_election import LeaseElection
from tests.cluster.fixtures import world_for
from tests.cluster.world import World
from tests.small_fleet import until

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@dataclass
class Book:
    """A fence in memory, as the ledger's is."""

    terms: list[Term] = field(default_factory=list)
    down: bool = False
    answers: bool = True
    read_only: bool = False

    def newest_term(self) -> Term | None:
        if self.down:
            raise LedgerError("the ledger is away")
        return self.terms[-1] if self.terms else None

    def prove(self) -> None:
        if self.down or self.read_only:
            raise LedgerError("the ledger cannot be written")

    def enter(self, term: Term) -> None:
        self.prove()
        newest = self.newest_term()
        if (
            newest is not None
            and newest.epoch >= term.epoch
            and (newest.epoch, newest.holder) != (term.epoch, term.holder)
        ):
            raise LedgerError(f"fenced off: {newest}")
        if newest is None or newest.epoch < term.epoch:
            self.terms.append(term)
        if not self.answers:
            self.answers = True
            raise LedgerError("the answer was lost")


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def cluster(request: pytest.FixtureRequest) -> Iterator[World]:
    with world_for(request) as world:
        yield world


@pytest.fixture
def candidate(cluster: World, book: Book, tmp_path: Path) -> Iterator[Callable[..., LeaseElection]]:
    """Makes one more candidate for the same Lease. ``sees``: the ledger as it sees it."""
    apis = []

    def make(me: str, sees: Book = book, times: LeaderTimes = LeaderTimes()) -> LeaseElection:  # noqa: B008 - frozen
        config = config_of(kubeconfig=str(cluster.server.kubeconfig(tmp_path / f"{me}.kubeconfig")))
        apis.append(Api(config, timeouts=Timeouts(connect_s=2.0, read_s=2.0)))
        place = ("llm", "pennyweight")
        return LeaseElection(apis[-1], sees, place=place, me=me, times=times, utc=lambda: NOON)

    yield make
    for api in apis:
        api.close()


@pytest.fixture
def while_leading():
    """Runs the daemon in the main thread, lets it lead a moment later, and ends it after its first pass."""

    def run(daemon, terms, world):
        before = signal.getsignal(signal.SIGHUP)

        def beside():
            try:
                until(lambda: signal.getsignal(signal.SIGHUP) != before, "the daemon to listen to signals")
                until(lambda: hasattr(terms, "wake"), "the daemon to ask for news")
                terms.epoch = 5
                terms.wake(5)
                until(lambda: world.results, "its first pass")
            finally:
                daemon.stop()

        thread = threading.Thread(target=beside)
        thread.start()
        daemon.run()
        thread.join()

    return run

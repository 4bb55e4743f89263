"""A PostgreSQL that keeps its connections open and answers nothing is given up; one that takes its time is not."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from threading import Timer

import psutil
import psycopg
import pytest
from sqlalchemy import text

from controller.clock import utc_now
from controller.errors import LedgerError
from controller.facts.leadership import LeaderTimes
from controller.ledger import answering
from controller.ledger.election import AdvisoryElection
from controller.ledger.engine import writer_engine
from controller.ledger.write import Ledger
from tests.postgres import new_database, postgres_server, run, url_of
from tests.small_fleet import until

MOST_S = 30.0
"""A fifth of it would do on a quiet machine."""


@pytest.fixture(scope="module")
def folder() -> Iterator[str]:
    """A server of our own, for nobody else's shall be stopped."""
    with postgres_server() as made:
        yield made


@pytest.fixture
def url(folder: str) -> str:
    return url_of(folder, new_database(folder))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows whenever the server is asked whether it answers others, which it is after a fifth of a second here."""
    looks: list[str] = []
    look = answering.Answered.silent

    def looking(connection: answering.Answered) -> None:
        look(connection)
        looks.append("it does")

    monkeypatch.setattr(answering, "SILENT_S", 0.2)
    monkeypatch.setattr(answering.Answered, "silent", looking)
    return looks


@pytest.fixture
def stopped(folder: str) -> Callable[[], object]:
    """Stops the server and all its sessions in the midst of whatever they do; TCP and sockets stay as they are."""

    @contextmanager
    def stop() -> Iterator[None]:
        with psycopg.connect(host=folder, user="postgres") as connection:
            (place,) = connection.execute("SHOW data_directory").fetchone()
        server = psutil.Process(int(Path(place, "postmaster.pid").read_text().splitlines()[0]))
        processes = [server, *server.children(recursive=True)]
        longest = Timer(2 * MOST_S, lambda: told(processes, signal.SIGCONT))  # whoever waits for ever fails, then
        longest.start()
        told(processes, signal.SIGSTOP)
        try:
            yield
        finally:
            longest.cancel()
            told(processes, signal.SIGCONT)

    return stop


def told(processes: list[psutil.Process], what: signal.Signals) -> None:
    for one in processes:
        with suppress(psutil.NoSuchProcess):
            one.send_signal(what)


def test_a_server_that_answers_nothing_any_more_is_given_up_and_used_again_when_it_answers(url, stopped, monkeypatch):
    monkeypatch.setattr(answering, "SILENT_S", 1.0)
    with closing(Ledger.open(f"{url}&connect_timeout=2")) as ledger:
        assert ledger.pauses() == {}
        with stopped():
            with pytest.raises(
                LedgerError, match="answered nothing for 1 s, nor then to another connection; nothing is"
            ):
                ledger.pauses()
            began = time.monotonic()
            for _ in range(5):  # a pass asks several times
                with pytest.raises(LedgerError, match="answered nothing"):
                    ledger.pauses()
            assert time.monotonic() - began < answering.AWAY_S
        until(lambda: answers(ledger), "it is used again", MOST_S)


def answers(ledger: Ledger) -> bool:
    try:
        return ledger.pauses() == {}
    except LedgerError:
        return False


def test_a_server_that_is_stopped_in_the_midst_of_a_statement_is_given_up(url, stopped, monkeypatch):
    monkeypatch.setattr(answering, "SILENT_S", 0.5)
    engine = writer_engine(f"{url}&connect_timeout=2")
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        with stopped(), pytest.raises(Exception, match="nor then to another connection"):
            connection.execute(text("SELECT 1"))
        assert connection.invalidated, "nobody gets it again"
    engine.dispose()


def test_a_statement_that_takes_long_is_waited_for_while_the_server_answers_others(url, asked):
    engine = writer_engine(url)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT 'done' FROM pg_sleep(2)")) == "done"
    assert len(asked) > 1
    engine.dispose()


def test_a_server_that_refuses_another_connection_has_answered(url, folder, asked):
    engine = writer_engine(url)
    with engine.connect() as connection:
        run(folder, f'ALTER DATABASE "{engine.url.database}" ALLOW_CONNECTIONS false')
        assert connection.scalar(text("SELECT 'done' FROM pg_sleep(2)")) == "done"
    assert len(asked) > 1
    engine.dispose()


def test_a_leader_that_the_server_does_not_answer_leads_again_when_it_does(url, stopped, monkeypatch):
    monkeypatch.setattr(answering, "SILENT_S", 1.0)
    monkeypatch.setattr(answering, "AWAY_S", 1.0)
    Ledger.open(url).close()
    times = LeaderTimes(duration_s=15.0, renew_deadline_s=10.0, retry_s=2.0)
    election = AdvisoryElection(f"{url}&connect_timeout=2", "", me="a", times=times, utc=utc_now)
    assert election.round(0.0).ours
    with stopped(), pytest.raises(LedgerError, match=r"answered nothing .*nobody begins to lead"):
        election.round(0.0)
    until(lambda: leads(election), "it leads again", MOST_S)
    election.resign()


def leads(election: AdvisoryElection) -> bool:
    try:
        return election.round(0.0).ours
    except LedgerError:
        return False


def test_a_server_that_was_stopped_already_costs_one_time_out(url, stopped):
    with stopped(), pytest.raises(LedgerError, match="connection timeout expired"):
        Ledger.open(f"{url}&connect_timeout=2")

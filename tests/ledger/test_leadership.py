"""The fence, on both databases: whoever led before writes nothing any more, not even from the midst of a pass."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from sqlalchemy import event

from controller.errors import LedgerError
from controller.facts.decisions import Outcome, OutcomeKind
from controller.facts.leadership import Term
from controller.ledger import leadership
from controller.ledger.engine import writer_engine
from controller.ledger.write import Ledger


@pytest.fixture
def terms(make):
    return [Term(epoch=epoch, holder=f"pod-{epoch}", since=make.at(epoch)) for epoch in range(4)]


def test_a_term_that_has_begun_is_the_newest(ledger, terms):
    assert ledger.newest_term() is None
    ledger.enter(terms[0])
    ledger.enter(terms[2])
    assert ledger.newest_term() == terms[2]
    ledger.enter(terms[2])  # its answer was lost
    with pytest.raises(LedgerError, match=r"fenced off: pod-2 leads since .* \(epoch 2\), this daemon's epoch was 1"):
        ledger.enter(terms[1])
    with pytest.raises(LedgerError, match="fenced off"):
        ledger.enter(Term(epoch=2, holder="another"))
    assert ledger.newest_term() == terms[2]


def test_a_ledger_that_can_be_read_alone_is_found_out_and_trying_leaves_nothing(ledger, terms):
    ledger.enter(terms[0])
    ledger.prove()
    ledger.prove()
    with ledger._engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM leadership").scalar() == 1

    @event.listens_for(ledger._engine, "begin")
    def begun(connection):
        postgres = connection.dialect.name == "postgresql"
        connection.exec_driver_sql("SET TRANSACTION READ ONLY" if postgres else "PRAGMA query_only = ON")

    assert ledger.newest_term() == terms[0]
    with pytest.raises(LedgerError, match="could not write the ledger"):
        ledger.prove()


def test_who_is_alone_by_a_lock_takes_the_next_epoch(ledger, make):
    taken = [ledger.enter_next("a", make.at(0)), ledger.enter_next("b", make.at(1))]
    assert [one.epoch for one in taken] == [0, 1]
    assert ledger.newest_term() == taken[1]


def test_an_older_daemon_records_neither_intent_nor_outcome_nor_memory(ledger, reader, make, terms):
    decision = make.decision(0)
    ledger.enter(terms[0])
    ledger.record_intent(make.record(0, decisions=(decision,)), 0)
    ledger.enter(terms[1])
    late = make.decision(15)
    with pytest.raises(LedgerError, match="fenced off"):
        ledger.record_intent(make.record(15, decisions=(late,)), 0)
    outcome = Outcome.of(decision, OutcomeKind.DONE, "done", make.at(15))
    with pytest.raises(LedgerError, match="fenced off"):
        ledger.record_outcomes(make.result(15, outcomes=(outcome,)), make.record(15).memory, 0)
    (only,) = reader.decisions("chat")
    assert (only.decision.id, only.outcome, only.epoch) == (decision.id, None, 0)
    assert reader.last_pass().at == make.at(0)


def test_the_newest_one_writes_on_and_who_has_no_epoch_is_asked_for_none(ledger, reader, make, terms):
    ledger.enter(terms[1])
    ledger.record_intent(make.record(0, decisions=(make.decision(0),)), 1)
    ledger.record_outcomes(make.result(0), make.record(0).memory, 1)
    ledger.record_intent(make.record(15, decisions=(make.decision(15),)))
    assert [one.epoch for one in reader.decisions("chat")] == [None, 1]


def test_decisions_and_actions_tell_their_epoch_and_who_led(ledger, reader, make, terms):
    ledger.enter(terms[3])
    ledger.record_intent(make.record(0, decisions=(make.decision(0),)), 3)
    (one,) = reader.decisions("chat")
    assert (one.epoch, reader.leader("chat", one.epoch)) == (3, "pod-3")
    assert reader.leader("chat", 99) == ""
    with ledger._engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT epoch FROM action").scalar() == 3


def test_each_fleet_has_its_own_terms(url, ledger, make, terms):
    with closing(Ledger.open(url, "eu")) as other:
        other.enter(terms[3])
        assert ledger.newest_term() is None
        ledger.record_intent(make.record(0), 0)


def test_old_terms_are_forgotten_but_never_the_one_that_fences_off(ledger, make, terms):
    for one in terms[:3]:
        ledger.enter(one)
    ledger.prune(make.at(10_000), minutes_s=60, decisions_s=60)
    assert ledger.newest_term() == terms[2]
    with ledger._engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT COUNT(*) FROM leadership").scalar() == 1


def test_a_term_does_not_begin_in_the_midst_of_a_write_of_the_one_before(ledger, terms):
    """Or the write would be done after it, by somebody who is no longer allowed to."""
    ledger.enter(terms[0])
    done = []
    with ledger._engine.begin() as connection:
        leadership.check(connection, "", 0)
        thread = threading.Thread(target=lambda: (ledger.enter(terms[1]), done.append("entered")))
        thread.start()
        thread.join(0.3)
        assert not done
        done.append("written")
    thread.join(20)
    assert done == ["written", "entered"]


def test_several_that_stand_for_election_keep_out_who_does_not_and_the_other_way_round(url):
    with closing(Ledger.open(url)) as a, closing(Ledger.open(url)) as b, closing(Ledger.open(url)) as alone:
        a.join()
        b.join()
        with pytest.raises(LedgerError, match=r"already works on .* give both the same `leader:`"):
            alone.claim()
    with closing(Ledger.open(url)) as alone, closing(Ledger.open(url)) as late:
        alone.claim()
        with pytest.raises(LedgerError, match="stands for no election"):
            late.join()


def test_a_database_that_is_gone_is_given_up_in_seconds_unless_the_url_says_otherwise(fresh_postgres):
    for url, expected in ((fresh_postgres(), "10000"), (f"{fresh_postgres()}&tcp_user_timeout=3000", "3000")):
        engine = writer_engine(url)
        with engine.connect() as connection:
            assert connection.connection.dbapi_connection.info.get_parameters()["tcp_user_timeout"] == expected
        engine.dispose()

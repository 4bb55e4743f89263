"""What was announced about machines, from one term to the next."""

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.errors import LedgerError
from controller.facts.interruptions import Notice, NoticeKind
from controller.facts.leadership import Term
from controller.ledger.write import Ledger


@pytest.fixture
def retired(make):
    return Notice(
        node="i-1",
        kind=NoticeKind.MAINTENANCE,
        at=make.at(0),
        deadline=make.at(0) + timedelta(days=3),
        source="sqs",
        announcement="arn:aws:health:retirement",
    )


def test_what_was_announced_comes_back_as_it_was(ledger, make, retired):
    warned = Notice(node="i-1", kind=NoticeKind.SPOT, at=make.at(1), deadline=make.at(121), source="sqs")
    hint = Notice(node="i-2", kind=NoticeKind.REBALANCE, at=make.at(2), source="imds")
    undated = replace(retired, deadline=None)
    ledger.keep_notices((retired, warned, hint, undated), (), make.at(5))
    assert set(ledger.restore().notices) == {retired, warned, hint, undated}


def test_a_newer_word_takes_the_place_of_the_older_and_what_is_over_goes(ledger, make, retired):
    other, put_off = replace(retired, node="i-2"), replace(retired, at=make.at(9), deadline=make.at(9e5))
    ledger.keep_notices((retired, other), (), make.at(5))
    ledger.keep_notices((put_off,), (other,), make.at(10))
    assert ledger.restore().notices == (put_off,)


def test_each_fleet_has_its_own_queue_and_notices(url, ledger, make, retired):
    with closing(Ledger.open(url, "eu")) as other:
        ledger.keep_notices((retired,), (), make.at(5))
        other.keep_notices((), (retired,), make.at(5))
        assert (ledger.restore().notices, other.restore().notices) == ((retired,), ())


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_no_time_that_a_message_may_tell_keeps_a_daemon_from_starting(url, zone, make, retired, monkeypatch):
    monkeypatch.setenv("PGTZ", zone)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    with closing(Ledger.open(url)) as ledger:
        ledger.keep_notices((replace(retired, at=first, deadline=last),), (), make.at(5))
        (found,) = ledger.restore().notices
    assert (found.at.year, found.deadline.year) == (1900, 9000)


def test_who_leads_no_longer_writes_none(ledger, make, retired):
    ledger.enter(Term(epoch=4, holder="b"))
    with pytest.raises(LedgerError, match="fenced off"):
        ledger.keep_notices((retired,), (), make.at(5), epoch=3)
    assert ledger.restore().notices == ()


def test_those_of_machines_that_are_long_gone_are_forgotten_with_the_minutes(ledger, make, retired):
    warned = Notice(node="i-9", kind=NoticeKind.SPOT, at=make.at(0), deadline=make.at(120), source="sqs")
    hint = Notice(node="i-2", kind=NoticeKind.REBALANCE, at=make.at(0), source="sqs")
    ledger.keep_notices((retired, warned, hint), (), make.at(5))
    assert ledger.prune(make.at(7200), minutes_s=3600, decisions_s=3600) == 2
    assert ledger.restore().notices == (retired,)

"""Why records were refused is kept, by source, reason and day."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from controller.attribute.batch import batch_of
from controller.facts.usage import Reason, Refused
from controller.ledger.accounts.hours import day_of
from controller.ledger.accounts.ingest import Intake
from controller.ledger.accounts.retention import Keep, prune
from controller.ledger.accounts.rows import RefusedFor


@pytest.fixture
def refuse(books):
    def send(source, *reasons, of=None):
        refused = tuple(Refused(index=at, id="x", why="because", reason=one) for at, one in enumerate(reasons))
        (of or books.intake).add(source, replace(batch_of([], source), refused=refused))

    return send


def today():
    return datetime.now(UTC).date()  # noqa: TID251 - the ledger's own clock is the wall's


def test_reasons_are_counted_by_source_the_most_frequent_first(books, refuse):
    before = today()
    refuse("gateway", Reason.TOO_OLD, Reason.FIELD, Reason.TOO_OLD)
    refuse("gateway", Reason.TOO_OLD)
    refuse("client", Reason.UNKNOWN_SERVICE)
    client, gateway = books.reader.sources()
    assert [(one.reason, one.records) for one in gateway.refused_for] == [(Reason.TOO_OLD, 3), (Reason.FIELD, 1)]
    assert [(one.reason, one.records) for one in client.refused_for] == [(Reason.UNKNOWN_SERVICE, 1)]
    assert all(before <= one.last <= today() for one in (*gateway.refused_for, *client.refused_for))
    assert (gateway.refused, client.refused) == (4, 1)


def test_nothing_refused_is_no_reason(books):
    books.send(books.record("r", 0))
    assert [one.refused_for for one in books.reader.sources()] == [()]


def test_days_are_kept_apart_and_the_last_one_is_told(books, refuse):
    day = day_of(today())
    books.run("INSERT INTO usage_refused VALUES ('gateway', :day, 'time', 5)", day=day - 9)
    books.run("INSERT INTO usage_refused VALUES ('gateway', :day, 'time', 2)", day=day - 3)
    books.run("INSERT INTO usage_source VALUES ('gateway', NULL, '', NULL, 0, 0, 7, 0, 0)")
    (gateway,) = books.reader.sources()
    assert gateway.refused_for == (RefusedFor(reason=Reason.TIME, records=7, last=today() - timedelta(days=3)),)


def test_gateways_that_refuse_at_once_are_all_counted(books, refuse):
    with closing(Intake(books.url)) as other:
        for _ in range(5):
            refuse("gateway", Reason.FIELD)
            refuse("gateway", Reason.FIELD, Reason.TIME, of=other)
    (gateway,) = books.reader.sources()
    assert [(one.reason, one.records) for one in gateway.refused_for] == [(Reason.FIELD, 10), (Reason.TIME, 5)]


def test_old_reasons_go_with_the_hours(books):
    books.whole_hour(24 * 7)
    books.settler.settle(books.at(24 * 7 + 4))
    first = day_of(books.at(0).date())
    for day in (first, first + 6, first + 7):  # whole weeks go
        books.run("INSERT INTO usage_refused VALUES ('gateway', :day, 'time', 5)", day=day)
    prune(books.engine, books.at(24 * 8), Keep(hours=timedelta(hours=2)))
    assert books.all("SELECT day FROM usage_refused") == [(first + 7,)]

"""Usage records: durable when answered, counted once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from controller.attribute.batch import batch_of
from controller.errors import LedgerError
from controller.facts.accounts import Identity, WorkRate
from controller.facts.usage import Receipt, Refused, UsageRecord
from controller.ledger.accounts.ingest import Intake
from controller.ledger.accounts.rates import COEFFICIENTS, keep_rates, known_rates

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def record(number, **given):
    usual = {
        "id": f"r{number}",
        "service": "chat",
        "started_at": NOON + timedelta(seconds=number),
        "ended_at": NOON + timedelta(seconds=number + 3),
        "prompt_tokens": 100,
        "output_tokens": 20,
        "cached_tokens": 40,
        "identity": Identity(team=f"team-{number % 3}"),
    }
    return UsageRecord(**usual | given)


def totals(engine, table="usage_minute", *columns):
    names = columns or ("requests", "uncached", "cached", "output")
    with engine.begin() as connection:
        row = connection.execute(text(f"SELECT {', '.join(f'SUM({name})' for name in names)} FROM {table}")).one()
    return tuple(int(value or 0) for value in row)


def test_what_is_sent_is_counted(books):
    receipt = books.intake.add("gateway", batch_of([record(n) for n in range(500)], "gateway"))
    assert (receipt.accepted, receipt.duplicates) == (500, 0)
    assert totals(books.engine) == (500, 500 * 60, 500 * 40, 500 * 20)
    assert totals(books.engine, "usage_source", "records", "duplicates", "tokens") == (500, 0, 500 * 120)


def test_what_is_sent_again_is_a_duplicate(books):
    books.intake.add("gateway", batch_of([record(n) for n in range(100)], "gateway"))
    again = books.intake.add("gateway", batch_of([record(n) for n in range(50, 150)], "gateway"))
    assert (again.accepted, again.duplicates) == (50, 50)
    assert totals(books.engine) == (150, 150 * 60, 150 * 40, 150 * 20)
    assert totals(books.engine, "usage_seen", "1") == (150,)


def test_a_mark_is_kept_beside_what_was_counted(books):
    assert books.intake.mark("litellm") == (None, "")
    books.send(books.record("r", 0), source="litellm")
    books.intake.keep_mark("litellm", books.at(0.5), "page 2", books.at(1))
    assert books.intake.mark("litellm") == (books.at(0.5), "page 2")
    assert [(one.records, one.read_at) for one in books.reader.sources()] == [(1, books.at(1))]


def test_identities_beyond_the_most_are_counted_as_others_and_nobody_takes_a_name_of_the_ledgers(books):
    with closing(Intake(books.url, max_identities=6 + 2)) as few:
        teams = ["a", "b", "c", "d", "__idle__"]
        records = [books.record(team, 0, identity=Identity(team=team)) for team in teams]
        assert few.add("gateway", batch_of(records, "gateway")).accepted == 5
    assert books.all(
        "SELECT team, SUM(requests) FROM usage_minute JOIN identity ON id = identity GROUP BY team ORDER BY 1"
    ) == [
        ("__other__", 3),
        ("a", 1),
        ("b", 1),
    ]
    assert [one.beyond_cap for one in books.reader.sources()] == [3]


def test_nothing_is_counted_when_the_ledger_cannot_be_written(books):
    with books.engine.begin() as connection:
        connection.execute(text("ALTER TABLE usage_source RENAME TO hidden"))
    with pytest.raises(LedgerError, match="nothing of it was counted; send it again"):
        books.send(books.record("r", 0))
    with books.engine.begin() as connection:
        connection.execute(text("ALTER TABLE hidden RENAME TO usage_source"))
    assert books.send(books.record("r", 0)).accepted == 1
    assert books.scalar("SELECT SUM(requests) FROM usage_minute") == 1


def test_refused_records_are_in_the_answer_and_in_the_source(books):
    refused = (Refused(index=1, id="x", why="no such service"),)
    batch = replace(batch_of([books.record("r", 0)], "gateway"), refused=refused)
    assert books.intake.add("gateway", batch) == Receipt(accepted=1, refused=refused)
    assert [(one.records, one.refused) for one in books.reader.sources()] == [(1, 1)]


def test_an_empty_batch_is_nothing(books):
    assert books.send() == Receipt()


def test_a_closed_intake_takes_nothing(books):
    books.send(books.record("r", 0))
    books.intake.close()
    with pytest.raises(LedgerError, match="is closed; nothing of it was counted"):
        books.send(books.record("r2", 0))


def test_a_rate_is_kept_when_it_moved_or_a_day_went_by(books):
    def rate(hours, factor=1.0, basis="learned"):
        numbers = dict.fromkeys(COEFFICIENTS, 1e-4 * factor)
        means = dict.fromkeys(("mean_uncached", "mean_cached", "mean_output"), 100.0)
        return WorkRate(
            service="chat", variant="h100", at=books.at(hours), basis=basis, band_ratio=0.1, **numbers, **means
        )

    kept = [
        keep_rates(books.engine, [one])
        for one in (rate(0), rate(1, 1.005), rate(2, 1.02), rate(3, 1.02, "prior"), rate(27, 1.02, "prior"))
    ]
    assert kept == [1, 0, 1, 1, 1]
    with books.engine.begin() as connection:
        assert known_rates(connection, books.at(1.5))["chat", "h100"] == rate(0)
        assert known_rates(connection, books.at(-5))["chat", "h100"] == rate(0)
        assert known_rates(connection, books.at(50))["chat", "h100"] == rate(27, 1.02, "prior")

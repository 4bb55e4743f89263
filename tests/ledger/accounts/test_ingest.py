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
from controller.ledger.accounts.rates import COEFFICIENTS, add_rates, forget_rates, keep_rates, known_rates

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


def test_of_an_hour_one_rate_is_kept_the_last_that_moved(books):
    def rate(hours, factor):
        numbers = dict.fromkeys(COEFFICIENTS, 1e-4 * factor)
        means = dict.fromkeys(("mean_uncached", "mean_cached", "mean_output"), 100.0)
        return WorkRate(
            service="chat", variant="h100", at=books.at(hours), basis="learned", band_ratio=0.1, **numbers, **means
        )

    for hours, factor in ((3.1, 1.0), (3.4, 1.5), (3.9, 1.503), (4.2, 2.0)):
        keep_rates(books.engine, [rate(hours, factor)])
    assert books.scalar("SELECT COUNT(*) FROM work_rate") == 2
    with books.engine.begin() as connection:
        known = [known_rates(connection, books.at(end))["chat", "h100"] for end in (4, 5)]
    assert known == [rate(3, 1.5), rate(4, 2.0)]


def test_of_rates_that_are_forgotten_the_one_that_held_stays(books):
    numbers = dict.fromkeys((*COEFFICIENTS, "mean_uncached", "mean_cached", "mean_output"), 1.0)
    with books.engine.begin() as connection:
        for variant, hours in (("h100", (1, 3, 5, 9)), ("l40s", (2,))):
            for number, at in enumerate(hours):
                usual = {"service": "chat", "variant": variant, "basis": f"{number}", "band_ratio": 0.1}
                add_rates(connection, [WorkRate(at=books.at(at), **usual, **numbers)])
        assert forget_rates(connection, books.at(4)) == 1
        kept = {at: known_rates(connection, books.at(at))["chat", "h100"].at for at in (4, 6, 24)}
        assert kept == {4: books.at(3), 6: books.at(5), 24: books.at(9)}
        assert ("chat", "l40s") in known_rates(connection, books.at(24))


def test_of_a_batch_exactly_those_are_counted_that_were_not_before(books):
    """Records of three hours; how many prompt tokens each has tells which were counted."""
    for times, known in enumerate(((), (0,), (1, 4, 5), (6,), tuple(range(7))), start=1):
        records = [books.record(f"r{times}-{n}", n / 3, prompt_tokens=40 + 2**n) for n in range(7)]
        books.send(*(records[n] for n in known))
        receipt = books.send(*records)
        assert (receipt.accepted, receipt.duplicates) == (7 - len(known), len(known))
        assert totals(books.engine, "usage_minute", "requests", "uncached") == (7 * times, (2**7 - 1) * times)
        assert totals(books.engine, "usage_seen", "1") == (7 * times,)


def test_names_are_kept_letter_by_letter(books):
    names = ['say "hi", {twice}', "back\\slash\\", "NULL", "größe 東京", "two\nlines", " "]
    for number in (1, 2):  # added to rows that are new, and to rows that are there
        records = [books.record(f"{name}-{number}", 0, service=name) for name in names]
        books.send(*records, source=names[0])
    rows = books.all("SELECT service, SUM(requests) FROM usage_minute GROUP BY service")
    assert sorted(rows) == sorted((name, 2) for name in names)
    assert books.all("SELECT source, records FROM usage_source") == [(names[0], 2 * len(names))]

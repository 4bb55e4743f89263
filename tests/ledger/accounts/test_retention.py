"""What is forgotten is what nobody needs any more."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect, text

from controller.errors import LedgerError
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.partitions import MINUTES, SEEN, Partitions
from controller.ledger.accounts.retention import prune
from controller.ledger.accounts.verify import verify

BUSY = {"prompt_tokens": 3000.0, "output_tokens": 1000.0, "requests": 10.0, "prefill_s": 20.0, "decode_s": 30.0}


def counts(books):
    names = ("usage_minute", "usage_seen", "usage_hour", "cost_minute", "allocation_hour", "hour_state")
    return {name: books.scalar(f"SELECT COUNT(*) FROM {name}") for name in names}


def test_usage_goes_when_its_hour_was_settled_and_lines_stay(books):
    books.hour(0, **BUSY)
    books.send(books.record("r", 0))
    before = counts(books)
    prune(books.engine, books.at(24 * 60))
    assert counts(books) == before | {"usage_seen": 0}, "an open hour can still be worked out"
    books.settler.settle(books.at(3))
    paid = books.reader.lines(books.at(0), books.at(24)).cost_nanousd
    prune(books.engine, books.at(24 * 30))
    assert counts(books)["usage_minute"] == 1
    prune(books.engine, books.at(24 * 60))
    after = counts(books)
    assert (after["usage_seen"], after["usage_hour"], after["cost_minute"]) == (0, 0, 0)
    if books.engine.dialect.name == "sqlite":
        assert after["usage_minute"] == 0
    assert after["allocation_hour"] > 0
    assert books.reader.lines(books.at(0), books.at(24)).cost_nanousd == paid
    assert verify(books.url).balances


def test_partitions_are_made_when_needed_and_dropped_whole(books):
    books.send(books.record("r", 0), books.record("r2", 24 * 7))
    if books.engine.dialect.name != "postgresql":
        return
    assert len(partitions(books)) == 4
    Partitions().ensure(books.engine, MINUTES, [0, 1])
    Partitions().ensure(books.engine, SEEN, [0])
    books.settler.settle(books.at(0))
    prune(books.engine, books.at(24 * 80))
    assert [name.rsplit("_", 1)[0] for name in partitions(books)] == ["usage_minute"] * 3, "its hours are open"
    with books.engine.begin() as connection:
        hour = hour_of(books.at(24 * 20))
        connection.execute(
            text(
                "UPDATE hour_state SET hour = :hour, state = 'settled' WHERE hour = (SELECT MAX(hour) FROM hour_state)"
            ),
            {"hour": hour},
        )
    prune(books.engine, books.at(24 * 80))
    assert partitions(books) == []
    with pytest.raises(LedgerError, match=r"no partition .* send it again"):
        books.send(books.record("r3", 24 * 7))
    assert books.send(books.record("r3", 24 * 7)).accepted == 1


def partitions(books):
    names = inspect(books.engine).get_table_names()
    return sorted(name for name in names if name.startswith(("usage_minute_", "usage_seen_")))

"""Rows that are there already are merged by the rules of the call."""

from __future__ import annotations

from sqlalchemy import select

from controller.ledger.accounts.tables import UsageHourRow
from controller.ledger.engine import writer_engine
from controller.ledger.migrate import migrate
from controller.ledger.tables import table
from controller.ledger.upsert import added, replaced, upsert


def test_each_call_merges_by_its_own_rules_whatever_was_said_of_the_table_before(url):
    engine = writer_engine(url)
    migrate(engine)
    row = {"hour": 1, "source": "gateway", "records": 10, "settled_records": 3}
    kept = []
    with engine.begin() as connection:
        for merge in (
            {},
            {"records": added},
            {"records": added, "settled_records": replaced},
            {},
            {"settled_records": added, "records": added},
            {"records": replaced},
        ):
            upsert(connection, UsageHourRow, [row], merge)
            found = table(UsageHourRow).c
            kept.append(tuple(connection.execute(select(found.records, found.settled_records)).one()))
            row["settled_records"] += 1
        upsert(connection, UsageHourRow, [], {})
    engine.dispose()
    assert kept == [(10, 3), (20, 3), (30, 5), (30, 5), (40, 12), (10, 12)]

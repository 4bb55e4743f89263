"""Rows that are there already are merged by the rules of the call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from sqlalchemy import select

from controller.ledger.accounts.tables import UsageHourRow
from controller.ledger.engine import writer_engine
from controller.ledger.migrate import migrate
from controller.ledger.tables import DecisionRow, table
from controller.ledger.upsert import added, replaced, said, upsert


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


def test_what_is_written_is_read_as_it_was_with_the_columns_defaults_for_what_was_left_out(url):
    engine = writer_engine(url)
    migrate(engine)
    counts = dict.fromkeys(("replicas_current", "replicas_ready", "replicas_desired", "replicas_wanted"), 1)
    told = {"mode": "act", "service": "chat", "variant": "h100", "because": "", "signal": "", **counts}
    moments = [datetime(2026, 3, 2, 12, tzinfo=UTC), datetime(2026, 3, 2, 13, 30, tzinfo=timezone(timedelta(hours=1)))]
    rows = [
        {"id": f"d{number}", "at": at, "detail": f"100 % of\0it ({number})", **told}
        for number, at in enumerate([*moments, moments[0]])
    ]
    with engine.begin() as connection:
        upsert(connection, DecisionRow, rows, {"detail": said})
        upsert(connection, DecisionRow, [rows[0] | {"detail": ""}, rows[1] | {"detail": "other"}], {"detail": said})
        found = table(DecisionRow).c
        written = connection.execute(select(found.at, found.detail, found.change, found.epoch).order_by(found.id)).all()
    engine.dispose()
    assert [tuple(one) for one in written] == [
        (moments[0], "100 % of\ufffdit (0)", "", None),
        (moments[1], "other", "", None),
        (moments[0], "100 % of\ufffdit (2)", "", None),
    ]

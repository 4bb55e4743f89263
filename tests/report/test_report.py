"""Reports: what was spent, by whom, and why it is not what it was."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from controller.attribute.unit_costs import Basis
from controller.facts.account_reader import (
    HOUR,
    AdjustmentRow,
    BudgetState,
    Dimension,
    Effects,
    SpeculationSeen,
    Window,
)
from controller.facts.accounts import Tokens
from controller.facts.fleet import CapacityType
from controller.report.cells import Asked
from controller.report.query import Period, Report, report, windows
from controller.report.text import report_text
from tests.accounts_in_memory import (
    CHAT,
    MIDNIGHT,
    SEARCH,
    InMemoryAccounts,
    accounts,
    owned,
    parts,
    rate,
    seat,
)

TODAY = Window(start=MIDNIGHT, end=MIDNIGHT + 24 * HOUR)
YESTERDAY = Window(start=MIDNIGHT - 24 * HOUR, end=MIDNIGHT)


def asked(*by: str, basis: Basis = Basis.ALLOCATION, reader: InMemoryAccounts | None = None, **where: str) -> Report:
    question = Asked(
        by=tuple(Dimension(one) for one in by), where={Dimension(name): value for name, value in where.items()}
    )
    return report(reader or accounts(2), TODAY, YESTERDAY, question, basis)


@pytest.mark.parametrize(
    "by",
    [
        (),
        ("team",),
        ("team", "feature"),
        ("service", "variant"),
        ("capacity_type",),
        ("replica",),
        ("node", "replica"),
        ("replica", "team"),
        ("kind",),
        ("team", "kind"),
        ("replica", "team", "kind"),
    ],
    ids=lambda by: ",".join(by) or "nothing",
)
def test_by_any_dimensions_the_rows_add_up_to_what_the_capacity_cost(by: tuple[str, ...]) -> None:
    reader = accounts(2)
    found = asked(*by, reader=reader)
    whole = sum(one.effective_nanousd for one in reader.seats(TODAY))
    assert sum(row.cost_nanousd for row in found.rows) == whole == found.total.cost_nanousd
    for row in (*found.rows, found.total):
        assert row.bridge.change == row.cost_nanousd - row.last_nanousd


def test_a_replica_that_got_dearer_is_price() -> None:
    found = asked("replica")
    dearer = next(row for row in found.rows if row.key == ("chat-1",))
    assert dearer.bridge.price == dearer.bridge.change == 24 * 13_765_432_101
    assert found.total.bridge.driver == "price"
    assert found.total.bridge.volume == found.total.bridge.mix == 0


def test_only_what_was_asked_for_is_in_the_rows() -> None:
    found = asked("feature", team="search")
    assert [row.key for row in found.rows] == [("answers",)]
    assert found.rows[0].cost_nanousd == sum(
        sum(row.parts) for row in accounts(2).line_rows if row.identity == SEARCH and row.start >= MIDNIGHT
    )
    assert found.parts is None, "the kinds of idle are known of whole pools only"


def test_one_kind_of_cost_can_be_asked_for() -> None:
    by_kind = {row.key[0]: row.cost_nanousd for row in asked("kind").rows}
    only = asked("team", kind="output")
    assert sum(row.cost_nanousd for row in only.rows) == by_kind["output"]


def test_the_usage_basis_leaves_idle_and_overhead_out() -> None:
    allocation, usage = asked("service"), asked("service", basis=Basis.USAGE)
    chat = next(row for row in allocation.rows if row.key == ("chat",))
    same = next(row for row in usage.rows if row.key == ("chat",))
    assert same.cost_nanousd < chat.cost_nanousd
    assert isinstance(same.unit.output, Decimal)
    assert isinstance(chat.unit.output, Decimal)
    assert same.unit.output < chat.unit.output
    assert same.bridge.change == same.cost_nanousd - same.last_nanousd


def test_late_records_of_a_closed_month_are_in_the_sums() -> None:
    reader = accounts(2)
    before = {row.key: row.cost_nanousd for row in asked("team", reader=reader).rows}
    first = next(row for row in reader.line_rows if row.start >= MIDNIGHT and row.identity == SEARCH)
    posted = MIDNIGHT + timedelta(days=12)
    reader.line_rows += [
        replace(first, parts=parts(decode=-500), tokens=Tokens(), posted_at=posted),
        replace(first, parts=parts(decode=500), tokens=Tokens(), posted_at=posted, identity=CHAT),
    ]
    for by in (("team",), ("team", "replica")):
        after: dict[str, int] = {}
        for row in asked(*by, reader=reader).rows:
            after[row.key[0]] = after.get(row.key[0], 0) + row.cost_nanousd
        assert after["search"] == before["search",] - 500
        assert after["chat"] == before["chat",] + 500


def test_what_nobody_explains_is_a_share_of_the_work() -> None:
    found = asked("team").unattributed
    assert isinstance(found, Decimal)
    assert Decimal("0.16") < found < Decimal("0.20")


def test_more_work_on_more_replicas_is_volume() -> None:
    def day(start: datetime, replicas: int) -> InMemoryAccounts:
        seats = [seat(start + HOUR, f"r{place}", CapacityType.SPOT, 1_000) for place in range(replicas)]
        return InMemoryAccounts(seat_rows=seats, line_rows=owned(seats))

    last, this = day(YESTERDAY.start, 2), day(TODAY.start, 3)
    reader = InMemoryAccounts(seat_rows=last.seat_rows + this.seat_rows, line_rows=last.line_rows + this.line_rows)
    found = asked("service", reader=reader).total.bridge
    assert (found.volume, found.price, found.mix, found.efficiency) == (1_000, 0, 0, 0)


def test_the_text_says_what_was_spent_and_why_first() -> None:
    lines = report_text(asked("team", "feature")).splitlines()
    assert lines[0] == "Cost by team, feature"
    assert lines[1] == "2026-11-20 00:00 to 2026-11-21 00:00 UTC, allocation basis"
    assert lines[3] == (
        "$1,425.78: $330.37 (30.2 %) more than from 2026-11-19 to 2026-11-20 00:00 ($1,095.41). "
        "Price +$330.37, volume $0.00, mix $0.00, efficiency $0.00."
    )
    assert lines[5].split()[:4] == ["team", "feature", "cost", "share"]
    assert lines[6].split()[:4] == ["search", "answers", "$494.13", "34.7"]


def test_an_hour_without_a_price_is_told_and_not_counted_as_free() -> None:
    reader = accounts(2)
    reader.seat_rows.append(
        seat(MIDNIGHT, "chat-9", CapacityType.ON_DEMAND, 0, list_nanousd=None, unpriced_us=5_400_000_000)
    )
    reader.unsettled = 2
    text = report_text(asked("team", reader=reader))
    assert "chat/h100 ran 1.5 h without a known price: that cost is unknown and in no number here." in text
    assert "2 of the hours are not settled yet" in text


def test_commitments_budgets_savings_and_adjustments_come_below() -> None:
    reader = accounts(2)
    reader.budget_states.append(
        BudgetState(
            name="search-monthly",
            scope="team search",
            start=MIDNIGHT,
            end=MIDNIGHT + timedelta(days=10),
            limit_nanousd=10**12,
            spent_nanousd=7 * 10**11,
            p50_nanousd=9 * 10**11,
            p90_nanousd=None,
            state="on track",
        )
    )
    key = ("chat", "h100")
    reader.seen_effects = Effects(
        rates={key: rate("h100")},
        baselines={key: rate("h100-bf16", 1.7, "prior")},
        speculation={key: SpeculationSeen(accepted_length=2.4, draft_overhead_ratio=0.3)},
    )
    reader.adjusted.append(
        AdjustmentRow(
            id="a",
            posted_at=MIDNIGHT,
            day=MIDNIGHT.date(),
            identity=SEARCH,
            pool=None,
            cost="billed",
            amount_nanousd=-2_500_000_000,
            why="AWS bill of November",
        )
    )
    text = report_text(asked("team", reader=reader))
    assert "ri-0abc     $96.00  $24.00       75.0 %    44.4 %  +$168.00  2026-11-21" in text
    assert "search-monthly  team search  $700.00  $1,000.00  70.0 %         $900.00    ?  2026-11-30  on track" in text
    assert "the same tokens on h100-bf16 (modelled)" in text
    assert "AWS bill of November  billed  -$2.50" in text


def test_a_commitment_without_an_on_demand_price_to_hold_it_against_has_unknown_savings() -> None:
    reader = accounts(2)
    reader.uses = [replace(reader.uses[0], covered_on_demand_nanousd=None, eligible_on_demand_nanousd=None)]
    assert "ri-0abc     $96.00  $24.00       75.0 %         ?      ?  2026-11-21" in report_text(
        asked("team", reader=reader)
    )


@pytest.mark.parametrize(
    ("period", "day", "start", "end", "last_start", "last_end"),
    [
        ("day", "2026-11-20", "2026-11-20T00", "2026-11-21T00", "2026-11-19T00", "2026-11-20T00"),
        ("week", "2026-11-20", "2026-11-16T00", "2026-11-21T13", "2026-11-09T00", "2026-11-14T13"),
        ("week", "2026-11-15", "2026-11-09T00", "2026-11-16T00", "2026-11-02T00", "2026-11-09T00"),
        ("month", "2026-11-01", "2026-11-01T00", "2026-11-21T13", "2026-10-01T00", "2026-10-21T13"),
        ("month", "2026-03-05", "2026-03-01T00", "2026-04-01T00", "2026-02-01T00", "2026-03-01T00"),
    ],
)
def test_a_running_period_is_held_against_as_much_of_the_last(
    period: str, day: str, start: str, end: str, last_start: str, last_end: str
) -> None:
    def at(text: str) -> datetime:
        return datetime.strptime(text, "%Y-%m-%dT%H").replace(tzinfo=UTC)

    now = datetime(2026, 11, 21, 12, 7, tzinfo=UTC)
    this, last = windows(Period(period), date.fromisoformat(day), now)
    assert (this, last) == (
        Window(start=at(start), end=at(end)),
        Window(start=at(last_start), end=at(last_end)),
    )


def test_a_period_that_has_not_begun_is_refused() -> None:
    with pytest.raises(ValueError, match="the day of 2026-11-22 has not begun: it is 2026-11-21 12:07 UTC"):
        windows(Period.DAY, date(2026, 11, 22), datetime(2026, 11, 21, 12, 7, tzinfo=UTC))

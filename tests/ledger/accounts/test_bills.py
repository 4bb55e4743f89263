"""Bills, prices, budgets and closed months on a ledger: kept as they were told, and never counted twice."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest

from controller.attribute.charges import Adjustment, Bill, BillLine, ChargeKind, Cost, Estimated
from controller.attribute.estimated import borne, estimates
from controller.attribute.reconcile import adjustment_lines, reconciled
from controller.errors import LedgerError
from controller.facts.account_reader import OF_IDENTITY, OF_POOL, Statics, VariantStatics, Window
from controller.facts.accounts import ADJUSTMENT, Identity
from controller.facts.budgets import (
    Anomaly,
    Budget,
    BudgetMemory,
    BudgetPhase,
    BudgetStanding,
    BurnRates,
    SpendPromise,
)
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing
from controller.facts.prices import Price, Quote
from controller.ledger.accounts import cubes, months
from controller.ledger.accounts.bills import Bills
from controller.ledger.accounts.budgets import Budgets
from controller.ledger.accounts.quotes import QuoteBooks
from controller.ledger.accounts.reader import LedgerAccounts
from controller.ledger.accounts.retention import Keep, prune
from controller.ledger.accounts.size import size
from controller.ledger.accounts.verify import verify

BUSY = {"prompt_tokens": 3000.0, "output_tokens": 1000.0, "requests": 10.0, "prefill_s": 20.0, "decode_s": 30.0}
OFFER = "aws/us-east-1/p5.48xlarge"
STATIC = Statics(variants={("chat", "h100"): VariantStatics(offers={CapacityType.ON_DEMAND: OFFER})})
DAY = timedelta(days=1)


@pytest.fixture
def accounts(books):
    with closing(LedgerAccounts(books.url, STATIC)) as made:
        yield made


@pytest.fixture
def bills(books):
    with closing(Bills.open(books.url)) as made:
        yield made


@pytest.fixture
def settled_day(books):
    books.hour(3, **BUSY)
    books.send(books.record("r", 3), books.record("s", 3.01, identity=Identity(team="sales")))
    books.settler.settle(books.at(30), at_once=100)
    return books.midnight.date()


def bill(day, usd, sha256):
    line = BillLine(
        day=day, until=day + DAY, kind=ChargeKind.USAGE, billed=Decimal(usd), effective=Decimal(usd), offer=OFFER
    )
    return Bill(provider="aws", source="cur", sha256=sha256, first=day, until=day + DAY, lines=(line,))


def worked_out(accounts, bills, one, now):
    start = datetime.combine(one.first, time(), UTC)
    window = Window(start=start, end=start + DAY)
    ours: list[Estimated] = list(estimates(one.first, accounts.seats(window), (), references={}, offers={}))
    adjustments = reconciled(one, ours, bills.posted("aws"), now).adjustments
    weights = borne(one.first, accounts.lines(window, (*OF_IDENTITY, *OF_POOL), {}))
    return adjustments, [line for adjustment in adjustments for line in adjustment_lines(adjustment, weights)]


def posted(accounts, bills, one, now):
    adjustments, lines = worked_out(accounts, bills, one, now)
    return bills.post(one, adjustments, lines, now)


def adjusted(accounts, day, cost="effective"):
    return sum(row.amount_nanousd for row in accounts.adjustments(day) if row.cost == cost)


def test_a_bill_posts_its_difference_once_and_a_newer_one_only_what_is_new(books, accounts, bills, settled_day):
    paid = books.scalar("SELECT SUM(cost_nanousd) FROM replica_minute")
    first = bill(settled_day, "0.75", "a" * 64)
    assert posted(accounts, bills, first, books.at(40))
    assert adjusted(accounts, settled_day) == 750_000_000 - paid
    assert not posted(accounts, bills, first, books.at(41))
    newer = bill(settled_day, "0.5", "b" * 64)
    assert posted(accounts, bills, newer, books.at(50))
    assert adjusted(accounts, settled_day) == 500_000_000 - paid
    assert {row.identity.team for row in accounts.adjustments(settled_day)} >= {"search", "sales"}
    assert {row.offer for row in accounts.adjustments(settled_day)} == {OFFER}
    assert {row.invoice for row in accounts.adjustments(settled_day)} == {"a" * 16, "b" * 16}
    assert [(one.sha256[0], one.billed_nanousd, one.lines) for one in bills.imported()] == [
        ("a", 750_000_000, 1),
        ("b", 500_000_000, 1),
    ]
    assert len(bills.posted("aws")) == 4
    assert bills.posted("gcp") == ()
    assert verify(books.url).balances


def test_two_bills_that_were_worked_out_at_once_are_not_both_posted(books, accounts, bills, settled_day):
    one, other = bill(settled_day, "0.75", "a" * 64), bill(settled_day, "0.9", "b" * 64)
    first = worked_out(accounts, bills, one, books.at(40))
    second = worked_out(accounts, bills, other, books.at(40))
    assert bills.post(one, *first, books.at(40))
    with pytest.raises(LedgerError, match="nothing of this one was posted: import it again"):
        bills.post(other, *second, books.at(40))
    assert len(bills.imported()) == 1
    assert posted(accounts, bills, other, books.at(41))
    assert adjusted(accounts, settled_day, "billed") == 900_000_000


def test_lines_that_do_not_add_up_are_not_posted(books, accounts, bills, settled_day):
    one = bill(settled_day, "0.75", "a" * 64)
    adjustments, lines = worked_out(accounts, bills, one, books.at(40))
    with pytest.raises(LedgerError, match=r"miss .* nanodollars of it; nothing was posted"):
        bills.post(one, adjustments, lines[1:], books.at(40))
    assert bills.imported() == ()


def test_verify_tells_an_adjustment_whose_lines_are_wrong(books, accounts, bills, settled_day):
    posted(accounts, bills, bill(settled_day, "0.75", "a" * 64), books.at(40))
    books.run(
        "UPDATE adjustment_line SET amount_nanousd = amount_nanousd + 7 WHERE identity = (SELECT MAX(identity) FROM adjustment_line)"
    )
    assert "lines of the adjustment" in str(verify(books.url).differences[0])


def test_an_adjustment_of_nobody_has_a_line_of_its_own(books, accounts, bills):
    day = books.midnight.date()
    one = Adjustment(
        id="x",
        bill="a" * 64,
        posted_at=books.at(40),
        key=f"aws|{day}|{day + DAY}|account||",
        day=day,
        until=day + DAY,
        pool=None,
        commitment="",
        cost=Cost.BILLED,
        amount_nanousd=5,
        estimated_nanousd=0,
        billed_nanousd=5,
        why="tax",
    )
    assert bills.post(bill(day, "1", "a" * 64), [one], adjustment_lines(one, {}), books.at(40))
    (row,) = accounts.adjustments(day)
    assert (row.identity, row.pool, row.amount_nanousd, row.offer) == (ADJUSTMENT, None, 5, "")
    assert bills.posted("aws") == (one,)


def test_what_is_posted_after_its_month_was_closed_is_a_correction(books, accounts, bills):
    """The last evening of February."""
    books.hour(-27, **BUSY)
    books.send(books.record("r", -27))
    books.settler.settle(books.at(-22.5), at_once=100)
    february, day = books.at(-30).replace(day=1, hour=0), books.at(-27).date()
    with pytest.raises(LedgerError, match="2026-02 cannot be closed before its last hour is settled: the accounts are"):
        months.close(books.url, february, "ada", books.at(-22.5))
    books.settler.settle(books.at(-20), at_once=100)
    assert posted(accounts, bills, bill(day, "0.75", "a" * 64), books.at(-20))
    done = months.close(books.url, february, "ada", books.at(-19))
    assert (done.month, done.by, done.before) == ("2026-02", "ada", False)
    again = months.close(books.url, february, "bob", books.at(-18))
    assert (again.by, again.at, again.before) == ("ada", books.at(-19), True)
    assert [one.month for one in months.closed(books.url)] == ["2026-02"]
    posted(accounts, bills, bill(day, "0.5", "b" * 64), books.at(-10))
    assert {row.after_close for row in accounts.adjustments(day)} == {False, True}
    books.send(books.record("late", -26.99, identity=Identity(team="later")))
    books.settler.settle(books.at(-9), at_once=1)
    rows = list(accounts.hour_lines(day))
    corrections = [row for row in rows if row.posted_at is not None]
    assert {row.posted_at for row in corrections} == {books.at(-9)}
    assert sum(sum(row.parts) for row in corrections) == 0
    assert sum(sum(row.parts) for row in rows) == books.scalar("SELECT SUM(cost_nanousd) FROM replica_minute")
    assert verify(books.url).balances


def quote(books, hours, **changes):
    usual = {
        "offer": OFFER,
        "capacity_type": CapacityType.SPOT,
        "zone": "us-east-1a",
        "effective_at": books.at(hours),
        "currency": "USD",
        "nano_per_hour": 31_000_000_000,
        "fetched_at": books.at(100),
        "source": "aws_spot",
        "gpus": 8,
    }
    return Quote(**usual | changes)


def test_quotes_outlive_the_process_and_the_last_one_before_is_among_them(books):
    other = {"zone": "us-east-1b", "gpus": None}
    held = [quote(books, hours) for hours in (1, 5, 9)]
    with closing(QuoteBooks.open(books.url)) as store:
        store.keep([*held, quote(books, 2, **other), quote(books, 2, fetched_at=books.at(99), **other)])
        store.keep([quote(books, 3, capacity_type=CapacityType.ON_DEMAND, zone="")])
    with closing(QuoteBooks(books.url)) as store:
        assert list(store.kept(OFFER, CapacityType.SPOT, books.at(6))) == [*held[1:], quote(books, 2, **other)]
        assert len(store.kept(OFFER, CapacityType.SPOT, books.at(0))) == 4
        assert store.kept("aws/x/y", CapacityType.SPOT, books.at(0)) == []
        store.keep([replace(held[2], fetched_at=books.at(200))])
        assert store.kept(OFFER, CapacityType.SPOT, books.at(9))[0].fetched_at == books.at(200)
    prune(books.engine, books.at(8), Keep(hours=timedelta(hours=1)))
    assert books.scalar("SELECT COUNT(*) FROM price_quote") == 4, "the one of hour 5 held on, that of hour 1 is gone"


def test_prices_are_kept_when_they_change_and_date_the_seats(books, accounts, settled_day):
    key = ("chat", "h100", CapacityType.ON_DEMAND)
    price = Price(usd_per_gpu_hour=2.5, capacity_type=CapacityType.ON_DEMAND, source="book", as_of=date(2026, 2, 1))
    with closing(QuoteBooks(books.url)) as store:
        assert store.applied({key: price}, books.at(1)) == 1
        assert store.applied({key: price}, books.at(2)) == 0
        assert store.applied({key: Missing("price", "gone")}, books.at(5)) == 1
    rows = books.all("SELECT effective_nanousd, list_nanousd, why_missing FROM price_applied ORDER BY since")
    assert rows == [(2_500_000_000, 2_500_000_000, ""), (None, None, "gone")]
    (seat,) = accounts.seat_hours(settled_day)
    assert seat.price_as_of == date(2026, 2, 1)
    (seat,) = accounts.seats(Window(start=books.at(0), end=books.at(24)))
    assert seat.price_as_of is None, "nobody knew the price at the end"


def standing(books, spent):
    unknown = Missing("spend", "too new")
    return BudgetStanding(
        budget=Budget(name="chat", limit_nanousd=10**12),
        at=books.at(30),
        start=books.at(-24),
        end=books.at(24 * 30),
        spent_nanousd=spent,
        burn=BurnRates(hour=2.5, six_hours=unknown, day=unknown, three_days=unknown),
        p50_nanousd=7 * 10**11,
        p90_nanousd=unknown,
        phase=BudgetPhase.BURNING,
    )


def test_budgets_remember_what_was_told_and_reports_see_where_they_stand(books, accounts):
    told = BudgetMemory(start=books.at(-24), told_threshold=0.5, burning_fast=True, told_p50=date(2026, 3, 3))
    with closing(Budgets.open(books.url)) as store:
        assert store.memories() == {}
        store.keep_budgets([standing(books, 5)], {})
        store.keep_budgets([standing(books, 6)], {"chat": told})
    with closing(Budgets(books.url)) as store:
        assert store.memories() == {"chat": told}
    (state,) = accounts.budgets(books.at(30))
    assert (state.name, state.scope, state.spent_nanousd, state.state) == ("chat", "fleet", 6, "burning")
    assert (state.p50_nanousd, state.p90_nanousd) == (7 * 10**11, None)
    assert (state.at_limit, state.burn) == ("alert", {"1 h": 2.5})
    assert [one.name for one in accounts.budgets(books.at(24 * 30))] == ["chat"]
    assert list(accounts.budgets(books.at(24 * 30 + 1))) == []


def test_forecasts_are_kept_with_what_came_of_them_and_anomalies_until_they_end(books):
    made = SpendPromise(
        budget="chat", made=date(2026, 3, 2), horizon_days=7, due=date(2026, 3, 9), p50_nanousd=5, p90_nanousd=9
    )
    odd = Anomaly(
        scope="chat", began=books.at(3), last=books.at(5), expected_nanousd=2, actual_nanousd=9, by_driver={"price": 7}
    )
    with closing(Budgets(books.url)) as store:
        store.keep_promises([made])
        store.keep_promises([replace(made, actual_nanousd=6), replace(made, horizon_days=1)])
        assert list(store.promises()) == [replace(made, horizon_days=1), replace(made, actual_nanousd=6)]
        store.keep_anomalies([odd, replace(odd, scope="code", began=books.at(9), last=books.at(9))])
        assert next(iter(store.open_anomalies())) == odd
        store.keep_anomalies([replace(odd, last=books.at(7), ended=books.at(8), driver="price")])
        assert [one.scope for one in store.open_anomalies()] == ["code"]
        found = store.anomalies(Window(start=books.at(6), end=books.at(9)))
        assert [(one.driver, one.ended) for one in found] == [("price", books.at(8))]
        prune(books.engine, books.at(20), Keep(money=timedelta(hours=1)))
        assert [one.scope for one in store.anomalies(Window(start=books.at(0), end=books.at(99)))] == ["code"]


def test_the_ledgers_size_is_told_by_table_and_for_a_day_of_a_replica(books):
    books.whole_hour(0, **BUSY)
    books.settler.settle(books.at(27), at_once=100)
    found = size(books.url)
    tables = {one.name: one for one in found.tables}
    assert tables["replica_minute"].rows == 60
    assert tables["replica_minute"].replica_days == pytest.approx(1 / 24)
    assert tables["cost_hour"].replica_days == pytest.approx(1 / 24)
    assert tables["capacity_spend"].replica_days == 1
    assert tables["usage_minute"].replica_days is None
    assert all(one.bytes is not None for one in found.tables)  # PostgreSQL: 0 where no partition is yet
    assert found.bytes_per_replica_day > 1440 * 100
    assert sum(one.bytes for one in found.tables) <= found.bytes


def test_sums_can_be_made_anew(books):
    books.hour(3, **BUSY)
    books.settler.settle(books.at(27), at_once=100)
    before = books.all("SELECT * FROM spend WHERE grain = 24 ORDER BY 2, 3, 4, 5")
    books.run("DELETE FROM spend WHERE grain = 24")
    assert not verify(books.url).balances
    cubes.rebuild(books.engine, 24 * 20_514 + 24)
    assert books.all("SELECT * FROM spend WHERE grain = 24 ORDER BY 2, 3, 4, 5") == before
    assert verify(books.url).balances

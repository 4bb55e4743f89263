"""The accounts as reports read them: every sum is the ledger's own, whatever is asked."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controller.errors import LedgerError
from controller.facts.account_reader import (
    HOUR,
    AccountReader,
    Dimension,
    SpeculationSeen,
    Statics,
    VariantStatics,
    Window,
)
from controller.facts.accounts import Identity, Pool, WorkRate
from controller.facts.fleet import CapacityType
from controller.ledger.accounts.rates import keep_rates
from controller.ledger.accounts.reader import LedgerAccounts
from controller.ledger.migrate import MIGRATIONS
from controller.report.crossing import by_hour, crossed
from tests.ledger.accounts.conftest import opened

BUSY = {"prompt_tokens": 3000.0, "output_tokens": 1000.0, "requests": 10.0, "prefill_s": 20.0, "decode_s": 30.0}
STATIC = Statics(
    variants={
        ("chat", "h100"): VariantStatics(
            gpu="H100-80GB-SXM",
            gpus=2,
            model="llama",
            quantization="fp8",
            offers={CapacityType.ON_DEMAND: "aws/us-east-1/p5.48xlarge"},
            zone="us-east-1a",
        ),
        ("chat", "bf16"): VariantStatics(gpu="H100-80GB-SXM", gpus=2, model="llama", quantization="bf16"),
    },
    speculation={("chat", "h100"): SpeculationSeen(accepted_length=2.5, draft_overhead_ratio=0.1)},
)


@pytest.fixture(scope="module")
def books(shared_books):
    """Whoever writes has ``own_books``."""
    return shared_books


@pytest.fixture(scope="module")
def accounts(books):
    with closing(LedgerAccounts(books.url, STATIC)) as made:
        yield made


@pytest.fixture(scope="module")
def day(books):
    return six_hours(books)


@pytest.fixture
def own_books(url):
    with opened(url) as made:
        yield made


@pytest.fixture
def own_accounts(own_books):
    with closing(LedgerAccounts(own_books.url, STATIC)) as made:
        yield made


def six_hours(books):
    """Of two replicas of two variants, four of them settled, records of two teams, one of them late."""
    for hour in range(6):
        books.hour(hour, **BUSY)
        books.hour(hour, variant="bf16", replica="chat-9", capacity_type="spot", cost_nanousd=77_777_777, **BUSY)
        books.send(books.record(f"r{hour}", hour, identity=Identity(team="search", feature="rank")))
    books.settler.settle(books.at(6))
    books.send(books.record("late", 1, identity=Identity(team="sales")))
    books.settler.settle(books.at(6.1))
    return Window(start=books.at(0), end=books.at(6))


def paid(books):
    return books.scalar("SELECT SUM(cost_nanousd) FROM replica_minute")


def cost(rows):
    return sum(sum(row.parts) for row in rows)


def test_it_is_what_reports_ask(accounts):
    reader: AccountReader = accounts
    assert reader is accounts


@pytest.mark.parametrize("by", [(), (Dimension.TEAM,), (Dimension.SERVICE,), (Dimension.TEAM, Dimension.VARIANT)])
@pytest.mark.parametrize("step", [None, HOUR, 4 * HOUR])
def test_lines_add_up_to_what_was_paid_and_come_by_step(books, accounts, day, by, step):
    rows = accounts.lines(day, by, {}, step)
    assert sum(sum(row.parts) for row in rows) == paid(books)
    starts = range(0, 6, 6 if step is None else step // HOUR)
    assert {row.start for row in rows} == {day.start + start * HOUR for start in starts}
    assert all(row.end <= day.end for row in rows)
    assert {row.pool is None for row in rows} == {not set(by) & {Dimension.SERVICE, Dimension.VARIANT}}
    assert len({(row.start, row.identity, row.pool) for row in rows}) == len(rows)


def test_lines_can_be_narrowed_and_what_is_not_asked_for_is_empty(accounts, day):
    (row,) = accounts.lines(day, (Dimension.TEAM,), {Dimension.TEAM: "search", Dimension.CAPACITY_TYPE: "spot"})
    assert row.identity == Identity(team="search")
    assert row.pool is None
    rows = accounts.lines(day, (Dimension.VARIANT,), {Dimension.FEATURE: "rank"})
    kinds = {Pool(service="chat", variant="bf16", capacity_type=CapacityType.SPOT)}
    kinds |= {Pool(service="chat", variant="h100", capacity_type=CapacityType.ON_DEMAND)}
    assert {one.pool for one in rows} == kinds


def test_steps_that_begin_anywhere_count_from_the_windows_start(books, accounts, day):
    window = Window(start=books.at(1), end=books.at(6))
    rows = accounts.lines(window, (), {}, 3 * HOUR)
    assert [(row.start, row.end) for row in rows] == [(books.at(1), books.at(4)), (books.at(4), books.at(6))]


def test_every_hour_of_a_window_that_begins_and_ends_anywhere_is_counted_once(books, accounts, day):
    @settings(max_examples=20, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(
        first=st.integers(-90, 6 * 60), minutes=st.integers(1, 8 * 60), step=st.sampled_from([HOUR, 2 * HOUR, 5 * HOUR])
    )
    def check(first, minutes, step):
        begin, end = first // 60, -(-(first + minutes) // 60)
        asked = Window(start=books.at(first / 60), end=books.at((first + minutes) / 60))
        whole = Window(start=books.at(begin), end=books.at(end))
        rows = accounts.lines(asked, (), {}, step)
        assert rows == accounts.lines(whole, (), {}, step)
        assert accounts.lines(asked, (), {}) == accounts.lines(whole, (), {})
        assert cost(rows) == cost(accounts.lines(whole, (), {}))

    check()


@pytest.mark.parametrize("dim", [Dimension.REPLICA, Dimension.KIND])
def test_dimensions_of_seats_are_not_answered_by_lines(accounts, day, dim):
    with pytest.raises(LedgerError, match=f"not told by {dim}; expected some of team"):
        accounts.lines(day, (dim,), {})
    with pytest.raises(LedgerError, match="unknown dimension"):
        accounts.lines(day, (), {dim: "x"})
    with pytest.raises(LedgerError, match="whole hours"):
        accounts.lines(day, (), {}, timedelta(minutes=30))


def test_seats_know_what_the_fleet_file_says(books, accounts, day):
    seats = {seat.replica: seat for seat in accounts.seats(day)}
    assert sum(seat.effective_nanousd for seat in seats.values()) == paid(books)
    one = seats["chat-0"]
    assert (one.gpu, one.gpus, one.model, one.quantization, one.zone) == (
        "H100-80GB-SXM",
        2,
        "llama",
        "fp8",
        "us-east-1a",
    )
    assert (one.offer, seats["chat-9"].offer) == ("aws/us-east-1/p5.48xlarge", "")
    assert one.tokens.requests == 180


def test_a_seats_hour_tells_its_utilisation_and_its_last_decision(own_books, own_accounts):
    six_hours(own_books)
    own_books.run("UPDATE replica_minute SET mfu_ratio_integral = 24.0 WHERE replica = 'chat-0'")
    own_books.decided("d1", 2.1)
    own_books.decided("d2", 2.5)
    rows = list(own_accounts.seat_hours(own_books.midnight.date()))
    assert [row.start for row in rows] == sorted(row.start for row in rows)
    by_hour = {(row.start, row.replica): row for row in rows}
    third = by_hour[own_books.at(2), "chat-0"]
    assert (third.mfu, third.decision) == (pytest.approx(0.4), "d2")
    assert by_hour[own_books.at(3), "chat-0"].decision == ""
    assert by_hour[own_books.at(2), "chat-9"].mfu is None


def test_the_day_by_hour_can_be_crossed_replica_by_team(books, accounts, day):
    date = books.midnight.date()
    lines = list(accounts.hour_lines(date))
    assert {line.posted_at for line in lines} == {None}
    assert len({(line.start, line.identity, line.pool) for line in lines}) == len(lines)
    cells = [cell for seats, whose in by_hour(accounts.seat_hours(date), lines) for cell in crossed(seats, whose)]
    assert sum(cell.costs["effective"] for cell in cells) == paid(books)
    assert "sales" in {cell.identity.team for cell in cells}


def test_hours_that_ended_and_are_not_settled_are_counted(books, accounts, day):
    assert accounts.open_hours(day) == 2
    assert accounts.open_hours(Window(start=books.at(0), end=books.at(4))) == 0
    assert accounts.open_hours(Window(start=books.at(-9), end=books.at(5))) == 1
    assert accounts.open_hours(Window(start=books.at(0), end=books.at(40))) == 2, "what has not ended is not counted"


def test_a_ledger_without_accounts_answers_with_nothing(own_books, own_accounts):
    window = Window(start=own_books.at(0), end=own_books.at(6))
    assert list(own_accounts.lines(window, (Dimension.TEAM,), {})) == []
    assert list(own_accounts.seats(window)) == []
    assert list(own_accounts.seat_hours(own_books.midnight.date())) == []
    assert own_accounts.open_hours(window) == 0


def rate(books, variant, hours, **changes):
    usual = {
        **dict.fromkeys(("prefill_s_per_token", "prefill_s_per_square", "cached_s_per_cross"), 1e-6),
        **dict.fromkeys(("cached_s_per_token", "decode_s_per_token", "decode_s_per_context"), 1e-6),
        **dict.fromkeys(("mean_uncached", "mean_cached", "mean_output"), 100.0),
    }
    given = {"basis": "learned", "band_ratio": 0.1, **changes}
    return WorkRate(service="chat", variant=variant, at=books.at(hours), **usual, **given)


def test_a_quantized_variant_is_held_against_the_unquantized_one_beside_it(own_books, own_accounts):
    window = Window(start=own_books.at(0), end=own_books.at(6))
    keep_rates(own_books.engine, [rate(own_books, "h100", 1)])
    assert own_accounts.effects(window).baselines == {}
    keep_rates(own_books.engine, [rate(own_books, "bf16", 2), rate(own_books, "h100", 7, basis="profile")])
    effects = own_accounts.effects(window)
    assert effects.rates["chat", "h100"].basis == "learned", "as it was known at the end of the window"
    assert {key: one.variant for key, one in effects.baselines.items()} == {("chat", "h100"): "bf16"}
    assert effects.speculation == STATIC.speculation


def test_accounts_of_an_older_schema_are_refused_and_not_read_half(own_books, own_accounts):
    day = six_hours(own_books)
    with own_books.engine.begin() as connection:
        connection.exec_driver_sql(f"DELETE FROM schema_version WHERE version = {len(MIGRATIONS)}")
    for ask in (lambda: own_accounts.lines(day, (Dimension.TEAM,), {}), lambda: own_accounts.seats(day)):
        with pytest.raises(LedgerError, match=f"schema version {len(MIGRATIONS) - 1} of {len(MIGRATIONS)}"):
            ask()

"""Commitments on a ledger: what they cover is told apart, what they cost is all there, and it balances."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from controller.facts.account_reader import Dimension, Statics, VariantStatics, Window
from controller.facts.accounts import PARTS, Identity, Part
from controller.facts.commitments import Bought, Commitment, CommitmentKind, Power
from controller.facts.fleet import CapacityType
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.reader import LedgerAccounts
from controller.ledger.accounts.settle import Settler
from controller.ledger.accounts.tables import PART_COLUMNS
from controller.ledger.accounts.verify import verify
from controller.report.crossing import by_hour, crossed
from tests.ledger.accounts.conftest import opened

BUSY = {"prompt_tokens": 3000.0, "output_tokens": 1000.0, "requests": 10.0, "prefill_s": 20.0, "decode_s": 30.0}
OFFER = "aws/us-east-1/p5.48xlarge"
COST = f"SUM({' + '.join(PART_COLUMNS)})"
STATIC = Statics(variants={("chat", "h100"): VariantStatics(offers={CapacityType.ON_DEMAND: OFFER})})


def bought(pool):
    """The reserved pool names the reservation; on demand, everything is of one offer."""
    return Bought(offer=OFFER, commitment="ri-1" if pool.capacity_type is CapacityType.RESERVED else "")


def reservation(books, **changes):
    """Two GPUs for sixty hours from half an hour before midnight on, part of it paid at once."""
    usual = {
        "id": "ri-1",
        "kind": CommitmentKind.RESERVED_INSTANCE,
        "start": books.at(-0.5),
        "end": books.at(59.5),
        "quantity": 1,
        "gpus_per_unit": 2,
        "upfront_nanousd": 60_000_000_007,
        "recurring_nanousd_per_hour": 333_333_333,
        "offers": (OFFER,),
    }
    return Commitment(**usual | changes)


def plan(books, **changes):
    usual = {
        "id": "sp-1",
        "kind": CommitmentKind.SAVINGS_PLAN,
        "start": books.at(-24),
        "end": books.at(24 * 365),
        "quantity": 0.25,
        "recurring_nanousd_per_hour": 250_000_000,
        "rates_nanousd_per_gpu_hour": {OFFER: 1_500_000_001},
    }
    return Commitment(**usual | changes)


def owned(books):
    return reservation(
        books,
        id="own-1",
        kind=CommitmentKind.OWNED,
        offers=(),
        power=Power(watts_per_gpu=700.0, usd_per_kwh=0.2, pue=1.3),
        services=("chat",),
    )


def settling(books, *commitments, name=bought):
    return closing(Settler(books.url, commitments=lambda: commitments, bought=name))


def accounts(books):
    return closing(LedgerAccounts(books.url, STATIC))


def seats(books):
    with accounts(books) as reader:
        rows = list(reader.seats(Window(start=books.at(0), end=books.at(24))))
    return {(row.replica, row.commitment): row for row in rows}


def test_what_a_commitment_covers_is_a_row_of_its_own(books):
    books.whole_hour(0, list_nanousd=200_000_000, contracted_nanousd=180_000_000, gpus=4, **BUSY)
    books.send(books.record("r", 0))
    one = reservation(books)
    with settling(books, one) as settler:
        settler.settle(books.at(4))
    rows = seats(books)
    covered, rest = rows["chat-0", "ri-1"], rows["chat-0", ""]
    assert (covered.gpu_us, rest.gpu_us) == (2 * 3_600_000_000, 2 * 3_600_000_000)
    assert (covered.list_nanousd, rest.list_nanousd) == (6_000_000_000, 6_000_000_000)
    assert (covered.billed_nanousd, covered.contracted_nanousd) == (0, 5_400_000_000)
    assert abs(covered.effective_nanousd - 1_333_333_333) <= 2
    assert rest.effective_nanousd == 5_000_000_010
    assert covered.tokens.requests == rest.tokens.requests == 300
    assert covered.offer == OFFER
    assert covered.parts[PARTS.index(Part.IDLE_UNSCHEDULED)] > 0, "it is idle as the whole is"
    assert verify(books.url).balances


def test_what_nobody_used_of_a_commitment_costs_all_the_same(books):
    books.hour(0, gpus=1, **BUSY)
    with settling(books, reservation(books), plan(books)) as settler:
        settler.settle(books.at(6), at_once=100)
    rows = seats(books)
    assert {key for key in rows if key[1]} == {("chat-0", "ri-1"), ("ri-1", "ri-1"), ("sp-1", "sp-1")}
    unused = rows["ri-1", "ri-1"]
    assert (unused.service, unused.capacity_type, unused.billed_nanousd) == ("", CapacityType.RESERVED, 0)
    assert unused.gpu_us == (7 * 2 * 3600 - 3 * 60) * 1_000_000
    with accounts(books) as reader:
        uses = {use.id: use for use in reader.commitments(Window(start=books.at(0), end=books.at(7)))}
    ri, sp = uses["ri-1"], uses["sp-1"]
    assert ri.kind is CommitmentKind.RESERVED_INSTANCE
    assert ri.offer == OFFER
    assert ri.unused_nanousd == unused.effective_nanousd
    assert ri.used_nanousd == rows["chat-0", "ri-1"].effective_nanousd > 0
    assert sp.unused_nanousd == sp.amortised_nanousd == 7 * 250_000_000
    assert ri.eligible_on_demand_nanousd is None, "nobody knows the list price of what it could have covered"
    assert verify(books.url).balances


def test_capacity_that_names_a_commitment_is_told_by_it_alone(books):
    """Its own price and its empty places are the commitment's, which must not be paid twice."""
    books.whole_hour(0, capacity_type="reserved", list_nanousd=100_000_000, **BUSY)
    books.whole_hour(0, capacity_type="reserved", replica="", **BUSY)
    one = reservation(books, gpus_per_unit=4)
    with settling(books, one) as settler:
        settler.settle(books.at(1))
    rows = seats(books)
    assert set(rows) == {("chat-0", "ri-1"), ("ri-1", "ri-1")}
    with accounts(books) as reader:
        (use,) = reader.commitments(Window(start=books.at(0), end=books.at(24)))
    assert (use.start, use.end) == (one.start, one.end), "its term; the window is what was asked"
    assert sum(row.effective_nanousd for row in rows.values()) == use.amortised_nanousd
    assert use.eligible_on_demand_nanousd == use.covered_on_demand_nanousd == 6_000_000_000
    assert verify(books.url).balances


def test_what_is_over_a_named_commitment_costs_as_on_demand_and_is_unknown_without_a_price(books):
    books.whole_hour(0, capacity_type="reserved", gpus=4, list_nanousd=100_000_000, **BUSY)
    books.whole_hour(0, capacity_type="reserved", gpus=4, replica="chat-1", **BUSY)
    with settling(books, reservation(books)) as settler:
        settler.settle(books.at(1))
    rows = seats(books)
    assert rows["chat-0", ""].effective_nanousd == 3_000_000_000, "the list price, not the commitment's"
    assert rows["chat-1", ""].effective_nanousd == 0
    assert rows["chat-1", ""].unpriced_us == 3_600_000_000
    assert verify(books.url).balances


def test_hardware_of_ones_own_costs_its_power_and_bills_what_it_costs(books):
    books.hour(0, energy_j=120_000.0, **BUSY)
    with settling(books, owned(books), name=lambda pool: Bought(commitment="own-1")) as settler:
        settler.settle(books.at(1))
    rows = seats(books)
    assert all(row.billed_nanousd == row.effective_nanousd for row in rows.values())
    metered = round(3 * 120_000 / 3600 * 0.2 * 1.3 / 1000 * 1e9)
    assert rows["chat-0", "own-1"].effective_nanousd > metered
    with accounts(books) as reader:
        assert list(reader.purchases(books.midnight.date())) == []
    assert verify(books.url).balances


def test_fees_are_told_on_the_day_that_they_are_posted(books):
    books.minute(-1)
    books.hour(30)
    with settling(books, reservation(books), plan(books)) as settler:
        settler.settle(books.at(50), at_once=100)
    with accounts(books) as reader:
        before = list(reader.purchases((books.midnight - timedelta(days=1)).date()))
        today = list(reader.purchases(books.midnight.date()))
    (once,) = [one for one in before if one.one_time]
    assert (once.billed_nanousd, once.start, once.end) == (60_000_000_007, books.at(-0.5), books.at(59.5))
    assert once.quantity_gpu_us == 60 * 2 * 3_600_000_000
    assert {one.one_time for one in today} == {False}
    (whole,) = [one for one in today if one.commitment == "ri-1" and one.start == books.at(5)]
    assert whole.billed_nanousd in (333_333_333, 333_333_332, 333_333_334)
    assert (whole.posted_at, whole.quantity_gpu_us) == (books.at(5), 2 * 3_600_000_000)
    assert {one.quantity_gpu_us for one in today if one.commitment == "sp-1"} == {0}


def kept(books):
    """The first hour's costs."""
    hour = hour_of(books.at(0))
    return [books.all(f"SELECT * FROM {name} WHERE hour = {hour}") for name in ("cost_hour", "commitment_hour")]


def test_late_records_change_whose_it_is_and_no_cost_whatever_the_fleet_file_says_by_then(books):
    books.whole_hour(0, list_nanousd=200_000_000, gpus=4, **BUSY)
    books.send(books.record("r", 0))
    with settling(books, reservation(books)) as settler:
        settler.settle(books.at(4))
    before = kept(books)
    books.send(books.record("late", 0.1, identity=Identity(team="sales")))
    with settling(books) as settler:
        assert len(settler.settle(books.at(5)).corrected) == 1
    assert kept(books) == before
    assert books.reader.lines(books.at(0), books.at(1), where={"team": "sales"}).cost_nanousd > 0
    with settling(books, plan(books)) as settler:
        assert len(settler.reprice(books.at(0), books.at(1), books.at(6)).corrected) == 1
    mine = f"seat.id = seat WHERE commitment = 'ri-1' AND hour = {hour_of(books.at(0))}"
    cost = books.scalar(f"SELECT {COST} FROM cost_hour JOIN seat ON {mine}")
    assert cost == 0, "a correction takes it back"
    assert set(seats(books)) >= {("chat-0", "sp-1"), ("chat-0", "")}
    assert verify(books.url).balances


def test_an_hour_of_nothing_but_a_commitment_before_the_first_minute_can_be_priced_again(books):
    books.send(books.record("r", 0))
    books.hour(1, **BUSY)
    with settling(books, reservation(books)) as settler:
        settler.settle(books.at(5))
    with settling(books) as settler:
        repriced = settler.reprice(books.at(0), books.at(1), books.at(6))
    assert (repriced.problems, len(repriced.corrected)) == ((), 1)
    assert verify(books.url).balances


def test_verify_tells_a_commitment_that_does_not_add_up(books):
    books.hour(0, **BUSY)
    with settling(books, reservation(books)) as settler:
        settler.settle(books.at(4))
    books.run("UPDATE commitment_hour SET amortised_nanousd = amortised_nanousd + 1")
    first = str(verify(books.url).differences[0])
    assert "commitment ri-1, cost: its seats" in first
    assert "difference -1 nanodollars" in first


@st.composite
def histories(draw):
    """Minutes of replicas, some without a price or a list price; commitments; records, some of them late."""
    minutes = draw(
        st.lists(
            st.fixed_dictionaries(
                {
                    "hours": st.integers(0, 5 * 60 - 1).map(lambda minute: minute / 60),
                    "replica": st.sampled_from(["chat-0", "chat-1", ""]),
                    "capacity_type": st.sampled_from(["on_demand", "on_demand", "spot", "reserved"]),
                    "node": st.sampled_from(["", "n1"]),
                    "cost_nanousd": st.none() | st.integers(0, 10**12),
                    "list_nanousd": st.none() | st.integers(0, 10**12),
                    "energy_j": st.none() | st.floats(0, 1e6),
                    "ready_s": st.floats(0.0, 60.0),
                    "starting_s": st.sampled_from([0.0, 13.1]),
                }
            ),
            min_size=1,
            max_size=25,
            unique_by=lambda one: (one["hours"], one["replica"], one["capacity_type"]),
        )
    )
    kinds = draw(st.lists(st.sampled_from(["ri", "sp", "own"]), unique=True))
    return minutes, kinds, draw(st.integers(0, 3)), draw(st.booleans())


def test_whatever_happened_commitments_and_costs_balance(fresh_url):
    made = {"ri": reservation, "sp": plan, "own": owned}

    @settings(
        max_examples=12,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        derandomize=True,
    )
    @given(history=histories())
    def check(history):
        minutes, kinds, late, again = history
        with opened(fresh_url()) as books:
            books.minutes([one | measured(one) | BUSY for one in minutes])
            commitments = [made[kind](books) for kind in kinds]
            with settling(books, *commitments) as settler:
                books.send(books.record("first", 1))
                assert settler.settle(books.at(4)).problems == ()
                for number in range(late):
                    books.send(books.record(f"late{number}", number, identity=Identity(team="sales")))
                    settler.settle(books.at(4.1 + number))
            if again:
                with settling(books, *commitments[1:]) as settler:
                    assert settler.reprice(books.at(0), books.at(3), books.at(9)).problems == ()
            proof = verify(books.url)
            assert [str(one) for one in proof.differences] == []
            balanced(books)

    check()


def measured(one):
    time = one["ready_s"] + one["starting_s"]
    return {"covered_s": time, "unpriced_s": time if one["cost_nanousd"] is None else 0.0}


def balanced(books):
    """Every sum that can be asked for is the same."""
    window = Window(start=books.at(0), end=books.at(24))
    with accounts(books) as reader:
        rows = list(reader.seats(window))
        lines = list(reader.lines(window, (Dimension.TEAM,), {}))
        uses = list(reader.commitments(window))
        date = books.midnight.date()
        cells = [
            cell
            for one, other in by_hour(reader.seat_hours(date), reader.hour_lines(date))
            for cell in crossed(one, other)
        ]
    whole = sum(row.effective_nanousd for row in rows)
    assert sum(sum(line.parts) for line in lines) == whole
    assert sum(cell.costs["effective"] for cell in cells) == whole
    for use in uses:
        mine = [row for row in rows if row.commitment == use.id]
        assert sum(row.effective_nanousd for row in mine) == use.amortised_nanousd
        assert sum(row.effective_nanousd for row in mine if row.service) == use.used_nanousd
    assert all(row.gpu_us >= 0 and row.unpriced_us >= 0 for row in rows)


def test_hours_of_a_closed_month_keep_their_costs(books):
    books.hour(0, **BUSY)
    with settling(books, reservation(books)) as settler:
        settler.settle(books.at(4))
        with books.engine.begin() as connection:
            at = books.at(10)
            value = at if books.engine.dialect.name == "postgresql" else at.isoformat(timespec="microseconds")
            connection.execute(text("INSERT INTO billing_period VALUES ('2026-03', :at, 'ada')"), {"at": value})
    with settling(books) as settler:
        done = settler.reprice(books.at(0), books.at(3), books.at(20))
    assert done.corrected == ()
    assert done.problems == ("2026-03 is closed: its costs stay; import its bill to adjust them",)

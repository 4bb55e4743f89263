from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute.charges import Adjustment, Bill, BillLine, ChargeKind, Cost, Estimated, Reconciled, in_usd
from controller.attribute.reconcile import adjustment_lines, reconciled
from controller.facts.accounts import ADJUSTMENT, Identity, Pool
from controller.facts.fleet import CapacityType
from controller.facts.missing import Missing

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)
FIRST = date(2026, 10, 1)
DAY = timedelta(days=1)
USD = 1_000_000_000
P5, G6 = "aws/us-east-1/p5.48xlarge", "aws/us-east-1/g6.xlarge"
CHAT = Pool(service="chat", variant="h100", capacity_type=CapacityType.ON_DEMAND)
SPOT = replace(CHAT, capacity_type=CapacityType.SPOT)
SEARCH = replace(CHAT, service="search")
ARN = "arn:aws:ec2:us-east-1:1:reserved-instances/r1"


def charge(
    usd: str | None, day: int = 0, *, kind: ChargeKind = ChargeKind.USAGE, days: int = 1, **named: object
) -> BillLine:
    amount = None if usd is None else Decimal(usd)
    line = BillLine(day=FIRST + DAY * day, until=FIRST + DAY * (day + days), kind=kind, billed=amount, effective=amount)
    return replace(line, **named)  # type: ignore[arg-type]


def bill(*lines: BillLine, sha: str = "one", days: int = 31, first: int = 0, provider: str = "aws") -> Bill:
    return Bill(
        provider=provider,
        source="cur",
        sha256=sha,
        first=FIRST + DAY * first,
        until=FIRST + DAY * (first + days),
        lines=lines,
    )


def ours(usd: int, day: int = 0, *, pool: Pool | None = CHAT, offer: str = P5, **named: str) -> Estimated:
    amounts = {Cost.EFFECTIVE: usd * USD, Cost.BILLED: usd * USD}
    return Estimated(day=FIRST + DAY * day, pool=pool, offer=offer, nanousd=amounts, **named)


def effective(made: Iterable[Adjustment]) -> list[tuple[str, int]]:
    """About what, and by how many dollars."""
    return [
        (one.key.split("|")[3] + " " + one.key.split("|")[4], one.amount_nanousd // USD)
        for one in made
        if one.cost is Cost.EFFECTIVE
    ]


def test_a_charge_meets_the_machine_that_it_names_and_else_its_instance_type() -> None:
    said = bill(
        charge("110", resource_id="i-1", offer=P5),
        charge("130", resource_id="i-unknown", offer=P5),
        charge("40", offer=P5, spot=True),
    )
    made = reconciled(said, [ours(100, resource_id="i-1"), ours(100), ours(50, pool=SPOT)], [], NOW)
    assert sorted(effective(made.adjustments)) == [
        (f"offer {P5}, on demand or committed", 30),
        (f"offer {P5}, spot", -10),
        ("resource i-1", 10),
    ]
    assert made.outside == 0
    assert made.matched[Cost.EFFECTIVE] == 280 * USD


def test_a_difference_says_the_numbers_and_its_day() -> None:
    (one, _) = reconciled(bill(charge("110", 3, offer=P5)), [ours(100, 3)], [], NOW).adjustments
    assert (one.day, one.until, one.pool, one.posted_at) == (FIRST + DAY * 3, FIRST + DAY * 4, CHAT, NOW)
    assert one.why == f"cur: offer {P5}, on demand or committed: the bill says $110.00, we said $100.00"


def test_what_is_not_ours_is_outside_unless_the_whole_account_is() -> None:
    said = bill(charge("70", offer=G6), charge("5", kind=ChargeKind.TAX, days=31), charge("100", offer=P5))
    apart = reconciled(said, [ours(100)], [], NOW)
    assert (apart.adjustments, apart.outside) == ((), Decimal(75))
    whole = reconciled(said, [ours(100), ours(60, offer="aws/us-east-1/g5.xlarge")], [], NOW, whole_account=True)
    assert effective(whole.adjustments) == [("account ", 15)]
    assert whole.outside == 0


def test_with_the_whole_account_our_costs_come_to_the_bill() -> None:
    said = bill(charge("100", offer=P5))
    made = reconciled(said, [ours(100), ours(60, 2)], [], NOW, whole_account=True)
    assert sum(one.amount_nanousd for one in made.adjustments if one.cost is Cost.BILLED) == -60 * USD


def test_an_estimate_of_which_the_bill_says_nothing_is_left_as_it_is() -> None:
    made = reconciled(bill(charge("100", offer=P5)), [ours(100), ours(60, 2)], [], NOW)
    assert made.adjustments == ()
    assert len(made.left_alone) == 1
    assert "2026-10-03" in made.left_alone[0]


def test_the_bill_of_one_provider_says_nothing_of_another() -> None:
    made = reconciled(
        bill(charge("100", offer=P5)), [ours(100), ours(9, offer="gcp/x/a3")], [], NOW, whole_account=True
    )
    assert made.adjustments == ()


def test_days_that_the_bill_does_not_tell_in_full_wait() -> None:
    said = bill(charge("110", 1, offer=P5), charge("300", kind=ChargeKind.FEE, days=31, commitment=ARN), days=1)
    made = reconciled(said, [ours(100, 1)], [], NOW)
    assert (made.adjustments, made.waiting) == ((), Decimal(410))


def test_fees_and_what_is_unused_of_them_meet_the_commitment() -> None:
    fee = charge("300", kind=ChargeKind.FEE, days=31, commitment=ARN, effective=Decimal(0))
    unused = charge("40", kind=ChargeKind.UNUSED, days=31, commitment=ARN, billed=Decimal(0))
    estimates = [
        Estimated(
            day=FIRST + DAY * day,
            pool=None,
            offer=P5,
            commitment=ARN,
            nanousd={Cost.BILLED: 10 * USD, Cost.EFFECTIVE: USD},
        )
        for day in range(31)
    ]
    made = reconciled(bill(fee, unused), estimates, [], NOW).adjustments
    assert {one.cost: one.amount_nanousd // USD for one in made} == {Cost.BILLED: -10, Cost.EFFECTIVE: 9}
    assert {one.commitment for one in made} == {ARN}


def test_a_cost_that_we_did_not_know_is_all_new() -> None:
    unknown = Estimated(day=FIRST, pool=CHAT, offer=P5, nanousd={})
    assert effective(reconciled(bill(charge("100", offer=P5)), [unknown], [], NOW).adjustments) == [
        (f"offer {P5}, on demand or committed", 100)
    ]


def test_a_cost_that_the_bill_does_not_tell_is_not_adjusted() -> None:
    said = bill(charge(None, offer=P5, billed=Decimal(100)), charge("3", offer=P5))
    made = reconciled(said, [ours(90)], [], NOW).adjustments
    assert [(one.cost, one.amount_nanousd) for one in made] == [(Cost.BILLED, 13 * USD)]


def test_a_machine_of_two_pools_is_shared_as_they_were_accounted() -> None:
    said = bill(charge("130", resource_id="i-1"))
    both = [ours(60, resource_id="i-1"), ours(40, pool=SEARCH, resource_id="i-1")]
    made = [one for one in reconciled(said, both, [], NOW).adjustments if one.cost is Cost.EFFECTIVE]
    assert {one.pool: one.amount_nanousd // USD for one in made} == {CHAT: 18, SEARCH: 12}


def test_differences_within_the_tolerance_are_left() -> None:
    said, mine = bill(charge("100.004", offer=P5)), [ours(100)]
    assert reconciled(said, mine, [], NOW, tolerance_nanousd=5_000_000).adjustments == ()
    assert len(reconciled(said, mine, [], NOW, tolerance_nanousd=3_000_000).adjustments) == 2


def test_a_wider_bill_that_stands_is_not_told_again_by_a_narrower_one() -> None:
    tax = charge("30", kind=ChargeKind.TAX, days=31)
    wide = reconciled(bill(tax, sha="wide"), [ours(100)], [], NOW, whole_account=True)
    narrow = bill(charge("2", kind=ChargeKind.TAX), sha="narrow", days=5)
    again = reconciled(narrow, [ours(100)], wide.adjustments, NOW, whole_account=True)
    assert again.adjustments == ()
    assert any("account" in key for key in again.left_alone)


AMOUNTS = st.integers(0, 10**6).map(lambda cents: str(Decimal(cents) / 100))
CHARGES = st.builds(
    charge,
    AMOUNTS,
    st.integers(0, 4),
    kind=st.sampled_from(ChargeKind),
    resource_id=st.sampled_from(["", "", "i-1", "i-2"]),
    offer=st.sampled_from(["", P5, G6]),
    spot=st.booleans(),
    commitment=st.sampled_from(["", ARN]),
)
ESTIMATES = st.lists(
    st.builds(
        ours,
        st.integers(0, 10**4),
        st.integers(0, 4),
        pool=st.sampled_from([CHAT, SPOT, SEARCH]),
        offer=st.sampled_from([P5, G6]),
        resource_id=st.sampled_from(["", "i-1"]),
    )
    | st.builds(ours, st.integers(0, 100), st.integers(0, 4), pool=st.none(), commitment=st.just(ARN)),
    max_size=12,
)
LINES = st.lists(CHARGES, max_size=12)


def net(*posted: Sequence[Adjustment]) -> Mapping[tuple[str, Cost], int]:
    sums: dict[tuple[str, Cost], int] = {}
    for one in (one for some in posted for one in some):
        sums[one.key, one.cost] = sums.get((one.key, one.cost), 0) + one.amount_nanousd
    return {key: amount for key, amount in sums.items() if amount}


@given(LINES, ESTIMATES, st.booleans())
def test_importing_a_bill_twice_changes_nothing(lines: list[BillLine], mine: list[Estimated], whole: bool) -> None:
    said = bill(*lines)
    first = reconciled(said, mine, [], NOW, whole_account=whole).adjustments
    assert reconciled(said, mine, first, NOW + DAY, whole_account=whole).adjustments == ()
    packed_anew = replace(said, sha256="the same in another file")
    assert reconciled(packed_anew, mine, first, NOW + DAY, whole_account=whole).adjustments == ()
    assert len({one.id for one in first}) == len(first)


@given(LINES, LINES, ESTIMATES, st.booleans(), st.integers(1, 5), st.integers(0, 3))
def test_a_newer_bill_posts_the_difference_to_what_the_older_one_came_to(
    older: list[BillLine], newer: list[BillLine], mine: list[Estimated], whole: bool, days: int, cents: int
) -> None:
    def told(said: Bill, posted: Sequence[Adjustment]) -> Reconciled:
        return reconciled(said, mine, posted, NOW, whole_account=whole, tolerance_nanousd=cents * 10_000_000)

    first = told(bill(*older, days=days), []).adjustments
    second = bill(*newer, sha="two", days=5)
    posted = told(second, first).adjustments
    assert net(first, posted) == net(told(second, []).adjustments)
    ids = [one.id for one in [*first, *posted]]
    assert len(set(ids)) == len(ids)


@given(LINES, ESTIMATES, st.booleans())
def test_estimates_and_adjustments_come_to_what_the_bill_says(
    lines: list[BillLine], mine: list[Estimated], whole: bool
) -> None:
    made = reconciled(bill(*lines), mine, [], NOW, whole_account=whole)
    for cost in (Cost.EFFECTIVE, Cost.BILLED):
        posted = sum(one.amount_nanousd for one in made.adjustments if one.cost is cost)
        assert made.estimated[cost] + posted == made.matched[cost]
    billed = sum((line.billed or Decimal(0) for line in lines), Decimal(0))
    assert made.matched[Cost.BILLED] + (made.outside + made.waiting) * USD == billed * USD
    if whole and lines:
        assert made.estimated[Cost.BILLED] == sum(one.nanousd[Cost.BILLED] for one in mine)


TEAMS = [Identity(team=name) for name in ("chat", "ml", "search")]
BORNE = st.dictionaries(
    st.tuples(st.sampled_from([FIRST, FIRST + DAY]), st.sampled_from([CHAT, SEARCH]), st.sampled_from(TEAMS)),
    st.integers(0, 10**12),
)


@given(BORNE, st.integers(-(10**13), 10**13), st.sampled_from([CHAT, SEARCH, None]), st.integers(1, 2))
def test_an_adjustment_is_borne_in_proportion_and_to_the_nanodollar(
    borne: dict[tuple[date, Pool, Identity], int], amount: int, pool: Pool | None, days: int
) -> None:
    (template, _) = reconciled(bill(charge("110", offer=P5)), [ours(100)], [], NOW).adjustments
    one = replace(template, amount_nanousd=amount, pool=pool, until=FIRST + DAY * days)
    lines = adjustment_lines(one, borne)
    assert sum(line.amount_nanousd for line in lines) == amount
    weights = {
        (day, where, who): cost
        for (day, where, who), cost in borne.items()
        if cost and day < one.until and pool in (None, where)
    }
    for line in lines:
        if not weights:
            assert (line.identity, line.pool) == (ADJUSTMENT, pool)
        else:
            assert line.pool is not None
            exact = amount * weights[line.day, line.pool, line.identity] / sum(weights.values())
            assert line.amount_nanousd == pytest.approx(exact, abs=1.01, rel=1e-9)


def test_a_bill_in_another_currency_is_converted_at_the_rate_of_its_day() -> None:
    said = bill(charge("100", 0, currency="EUR"), charge("100", 9, currency="EUR"), charge("7"))
    rates = {"EUR": [(date(2026, 1, 1), 1.09), (date(2026, 10, 5), 1.2)]}
    usd = in_usd(said, rates)
    assert isinstance(usd, Bill)
    assert [line.billed for line in usd.lines] == [Decimal("109.00"), Decimal("120.0"), Decimal(7)]
    assert {line.currency for line in usd.lines} == {"USD"}


def test_a_bill_whose_currency_has_no_rate_is_missing() -> None:
    missing = in_usd(bill(charge("100", currency="EUR")), {"EUR": [(date(2026, 11, 1), 1.1)]})
    assert isinstance(missing, Missing)
    assert "EUR" in missing.why

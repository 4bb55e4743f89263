"""Whose the work was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from controller.attribute.identities import coverage
from controller.attribute.settle import HourSeen, Settled, settled
from controller.attribute.tables import UNATTRIBUTED_ID, HourLines, UsageSeen
from controller.facts.accounts import PARTS, Part
from tests.attribute.hours import EXAMPLES, FIRST, MINUTE_US, SALES, SEARCH, hour, hours, rate, usage

READY = {"ready_us": MINUTE_US, "cost": 1_000_000}
FULL = {**READY, "uncached": 3e5, "output": 6e3, "requests": 100}
"""30 s of prefill and 30 s of decode: half the cost each."""


def borne(result: Settled, part: Part) -> dict[int, int]:
    """Nanodollars of one part by identity."""
    amounts = result.lines.parts[:, PARTS.index(part)]
    return {who: one for who, one in zip(result.lines.identity.tolist(), amounts.tolist(), strict=True) if one}


def told(result: Settled) -> HourLines:
    """The lines of whoever told a record."""
    return result.lines.taken(result.lines.identity != UNATTRIBUTED_ID)


def tokens(lines: HourLines) -> dict[tuple[int, int], list[int]]:
    """By pool and identity."""
    keys = zip(lines.pool.tolist(), lines.identity.tolist(), strict=True)
    return {key: row for key, row in zip(keys, lines.tokens.tolist(), strict=True) if any(row)}


def test_identities_share_each_part_by_the_engine_time_of_their_own_tokens() -> None:
    records = usage({"identity": SEARCH, "uncached": 2 * 10**5}, {"identity": SALES, "uncached": 10**5, "output": 6000})
    got = settled(hour(FULL, records=records))
    assert borne(got, Part.PREFILL) == {SEARCH: 333_333, SALES: 166_667}
    assert borne(got, Part.DECODE) == {SALES: 500_000}


def test_long_prompts_pay_for_their_attention() -> None:
    """The same tokens, as one prompt or as a hundred."""
    records = usage(
        {"identity": SEARCH, "uncached": 10**5, "uncached_sq": 10**10},
        {"identity": SALES, "uncached": 10**5, "uncached_sq": 10**8},
    )
    rates = {1: rate(prefill_s_per_square=1e-8)}
    got = borne(settled(hour({**FULL, "uncached": 2e5}, records=records, rates=rates)), Part.PREFILL)
    assert got[SEARCH] / got[SALES] == pytest.approx((10 + 100) / (10 + 1), rel=1e-4)


def test_what_the_records_do_not_explain_is_unattributed() -> None:
    records = usage({"uncached": 3 * 10**5, "output": 4500})
    got = settled(hour(FULL, records=records))
    assert borne(got, Part.PREFILL) == {SEARCH: 500_000}
    assert borne(got, Part.DECODE) == {SEARCH: 375_000, UNATTRIBUTED_ID: 125_000}


def test_without_records_everything_is_unattributed() -> None:
    got = settled(hour(FULL))
    assert borne(got, Part.PREFILL) == borne(got, Part.DECODE) == {UNATTRIBUTED_ID: 500_000}
    assert tokens(got.lines) == {(1, UNATTRIBUTED_ID): [300_000, 0, 6_000, 100]}


def test_where_no_record_tells_cached_tokens_prompts_are_left_over_as_wholes() -> None:
    def left(**record: int) -> list[int]:
        got = settled(hour({**FULL, "cached": 2e5}, records=usage(record)))
        return tokens(got.lines)[1, UNATTRIBUTED_ID][:2]

    assert left(uncached=4 * 10**5) == [10**5, 0]
    assert left(uncached=10**5, cached=10**5) == [2 * 10**5, 10**5]


def test_records_of_more_than_the_engines_did_share_the_cost_and_no_more() -> None:
    got = settled(hour(FULL, records=usage({"uncached": 10**7, "output": 10**6})))
    assert borne(got, Part.PREFILL) == {SEARCH: 500_000}
    assert got.explained.tolist() == [[10**7, 0, 10**6, 1]]


def test_what_an_unreadable_engine_did_is_unattributed_although_records_tell_of_it() -> None:
    unread = {**READY, "missing_us": MINUTE_US, "uncached": np.nan, "output": np.nan}
    got = settled(hour(unread, records=usage({"uncached": 1000, "output": 1000})))
    assert borne(got, Part.UNMEASURED) == {UNATTRIBUTED_ID: 1_000_000}
    assert tokens(told(got)) == {(1, SEARCH): [1000, 0, 1000, 1]}


def test_a_minute_without_records_takes_the_hours_weights() -> None:
    """A request is recorded when it ends, and counted while it runs."""
    rows = ({**FULL, "minute": FIRST}, {**FULL, "minute": FIRST + 1})
    records = usage(
        {"minute": FIRST + 1, "identity": SEARCH, "output": 9000},
        {"minute": FIRST + 1, "identity": SALES, "output": 3000},
        {"minute": FIRST + 30, "identity": SALES, "output": 6000},
    )
    got = settled(hour(*rows, records=records))
    assert borne(got, Part.DECODE) == {SEARCH: 375_000 + 250_000, SALES: 125_000 + 250_000}


def test_records_that_do_not_tell_the_variant_follow_the_engines_tokens() -> None:
    rows = ({**FULL, "seat": 1}, {**FULL, "seat": 4, "uncached": 1e5, "output": 12e3})
    records = usage({"uncached": 400_001, "output": 18_000}, places=[("chat", "")])
    got = settled(hour(*rows, records=records))
    assert tokens(told(got)) == {(1, SEARCH): [300_001, 0, 6000, 1], (3, SEARCH): [100_000, 0, 12_000, 0]}
    assert set(borne(got, Part.PREFILL)) == {SEARCH}


def test_records_of_a_variant_without_a_pool_go_to_the_service() -> None:
    got = settled(hour(FULL, records=usage({"output": 6000}, places=[("chat", "int4")])))
    assert borne(got, Part.DECODE) == {SEARCH: 500_000}


def test_records_of_a_service_without_a_pool_are_told_apart() -> None:
    got = settled(hour(FULL, records=usage({"output": 6000}, places=[("code", "bf16")])))
    assert got.unplaced.output == got.logged.output == 6000
    assert borne(got, Part.DECODE) == {UNATTRIBUTED_ID: 500_000}


@pytest.mark.parametrize(
    ("what", "record", "expected"),
    [
        ("all cached tokens told", {"uncached": 200_000, "cached": 100_000}, [1.0, 1.0, 0.0]),
        ("half of them", {"uncached": 200_000, "cached": 50_000}, [1.0, 0.5, 0.0]),
        ("the source does not know of caches", {"uncached": 300_000}, [1.0, 1.0, 0.0]),
        ("nor of every prompt", {"uncached": 150_000}, [0.5, 0.5, 0.0]),
    ],
)
def test_coverage_is_by_kind_of_token(what: str, record: Mapping[str, Any], expected: list[float]) -> None:
    row = {**FULL, "uncached": 2e5, "cached": 1e5}
    got = settled(hour(row, records=usage(record)))
    by_pool = coverage(got.pools, told(got))
    assert by_pool.tolist() == [expected], what


def test_who_sent_the_prompts_bears_the_cached_work_where_no_record_tells_it() -> None:
    row = {**READY, "uncached": 1e5, "cached": 1e6, "output": 0.0, "requests": 1}
    got = settled(hour(row, records=usage({"uncached": 1_100_000})))
    assert borne(got, Part.CACHED) == {SEARCH: 16_667}


def test_without_a_rate_tokens_weigh_inside_their_kind() -> None:
    row = {**FULL, "prefill_s": 15.0, "decode_s": 45.0}
    records = usage({"identity": SEARCH, "output": 4000}, {"identity": SALES, "output": 2000})
    got = settled(hour(row, records=records, rates={}))
    assert borne(got, Part.DECODE) == {SEARCH: 500_000, SALES: 250_000}


def test_replicas_of_a_pool_cost_their_users_the_same() -> None:
    """A team pays for its work at its pool's price, whichever replica served it: records need not say."""
    cheap, dear = {**FULL, "cost": 400_000}, {**FULL, "seat": 2, "cost": 1_600_000}
    got = settled(hour(cheap, dear, records=usage({"uncached": 6 * 10**5, "output": 12_000})))
    assert told(got).pool.tolist() == [1]
    assert told(got).cost.tolist() == [2_000_000]


@EXAMPLES
@given(some=hours())
def test_every_minute_of_every_pool_is_on_lines_part_by_part(some: HourSeen) -> None:
    got = settled(some)
    for row, (pool, minute) in enumerate(zip(got.minutes.pool.tolist(), got.minutes.minute.tolist(), strict=True)):
        mine = (got.by_minute.pool == pool) & (got.by_minute.minute == minute)
        by_part = [int(got.by_minute.nanousd[mine & (got.by_minute.part == part)].sum()) for part in range(len(PARTS))]
        assert by_part == got.minutes.parts[row].tolist()
    assert (got.by_minute.nanousd > 0).all()


@EXAMPLES
@given(some=hours())
def test_records_weigh_alike_in_any_order(some: HourSeen) -> None:
    records = some.usage
    backwards: UsageSeen = records.taken(np.arange(len(records.place))[::-1])
    once, again = settled(some), settled(replace(some, usage=backwards))
    assert (once.lines.parts == again.lines.parts).all()
    assert (once.lines.tokens == again.lines.tokens).all()

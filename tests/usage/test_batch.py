"""Columns and their sums by the minute."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from hashlib import blake2b

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.attribute import batch as batches
from controller.attribute.batch import LONGEST, MOST_OUTPUT_TOKENS, MOST_PROMPT_TOKENS, SUMS, batch_of, digests, joined
from controller.facts.accounts import Identity
from controller.facts.usage import MOST_RECORDS, UsageRecord

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NOON_MINUTE = int(NOON.timestamp()) // 60
WHO = [Identity(team="search"), Identity(team="chat", feature="summary"), Identity()]


def record(**given):
    usual = {"id": "r1", "service": "chat", "prompt_tokens": 100, "output_tokens": 60}
    begin = given.pop("begin", 0)
    start = NOON + timedelta(seconds=begin)
    end = start + timedelta(seconds=given.pop("lasts", 0))
    return UsageRecord(**usual | {"started_at": start, "ended_at": end} | given)


def rows(minutes):
    """Sums by (minute after noon, place, identity)."""
    keys = zip(
        (minutes.minute - NOON_MINUTE).tolist(),
        [minutes.places[one] for one in minutes.place],
        [minutes.identities[one] for one in minutes.identity],
        strict=True,
    )
    return {key: dict(zip(SUMS, sums, strict=True)) for key, sums in zip(keys, minutes.sums.tolist(), strict=True)}


def test_the_sums_are_what_a_work_rate_needs():
    batch = batch_of([record(prompt_tokens=100, cached_tokens=30, output_tokens=20)], "gateway")
    (sums,) = rows(batch.minutes()).values()
    assert sums == {
        "requests": 1,
        "uncached": 70,
        "cached": 30,
        "output": 20,
        "uncached_sq": 70 * 70,
        "cached_cross": 2 * 30 * 70,
        "output_context": 20 * (2 * 100 + 20),
        "cached_responses": 0,
    }


def test_a_request_answered_without_an_engine_weighs_nothing():
    batch = batch_of([record(from_cache=True)], "gateway")
    (sums,) = rows(batch.minutes()).values()
    assert sums == dict.fromkeys(SUMS, 0) | {"cached_responses": 1}


def test_output_is_spread_over_the_time_it_took_and_the_prompt_stays_where_it_began():
    found = rows(batch_of([record(begin=30, lasts=90, output_tokens=90)], "gateway").minutes())
    assert {key[0]: (sums["requests"], sums["uncached"], sums["output"]) for key, sums in found.items()} == {
        0: (1, 100, 30),
        1: (0, 0, 60),
    }


def test_an_end_on_the_minute_leaves_nothing_in_the_next_one():
    assert [key[0] for key in rows(batch_of([record(begin=30, lasts=30)], "gateway").minutes())] == [0]


def test_a_request_of_no_time_on_the_minute_belongs_to_the_minute_it_begins():
    assert [key[0] for key in rows(batch_of([record(begin=60)], "gateway").minutes())] == [1]


def scalar(records):
    """The same one by one, in whole numbers of any size."""
    found = {}
    for one in records:
        first = int(one.started_at.timestamp()) // 60
        began_ms, length_us = (
            int(one.started_at.timestamp() * 1000),
            (one.ended_at - one.started_at) // timedelta(microseconds=1),
        )
        last = max(first, (int(one.ended_at.timestamp() * 1e6) - 1) // 60_000_000)
        length = max(1, length_us // 1000)
        o, context = one.output_tokens, one.output_tokens * (2 * one.prompt_tokens + one.output_tokens)
        done = 0
        for minute in range(first, last + 1):
            until = length if minute == last else min(max((minute + 1) * 60_000 - began_ms, 0), length)
            sums = found.setdefault((minute - NOON_MINUTE, (one.service, one.variant), one.identity), Counter())
            for name, total in (("output", o), ("output_context", context)):
                sums[name] += total * until // length - total * done // length
            done = until
            if minute == first:
                u, h = one.prompt_tokens - one.cached_tokens, one.cached_tokens
                sums.update(
                    {"requests": 1, "uncached": u, "cached": h, "uncached_sq": u * u, "cached_cross": 2 * h * u}
                )
    return {key: dict.fromkeys(SUMS, 0) | dict(sums) for key, sums in found.items()}


RECORDS = st.lists(
    st.builds(
        record,
        service=st.sampled_from(["chat", "search"]),
        variant=st.sampled_from(["", "h100"]),
        identity=st.sampled_from(WHO),
        begin=st.integers(0, 400_000).map(lambda ms: ms / 1000),
        lasts=st.one_of(st.just(0), st.integers(0, 300_000), st.integers(0, 86_400_000)).map(lambda ms: ms / 1000),
        prompt_tokens=st.integers(1000, MOST_PROMPT_TOKENS),
        cached_tokens=st.integers(0, 1000),
        output_tokens=st.integers(0, MOST_OUTPUT_TOKENS),
    ),
    max_size=6,
)


@given(RECORDS, st.integers(1, 50))
def test_sums_are_exact_however_long_the_requests_are(records, portion):
    before, batches.PIECES_AT_ONCE = batches.PIECES_AT_ONCE, portion
    try:
        minutes = batch_of(records, "gateway").minutes()
    finally:
        batches.PIECES_AT_ONCE = before
    assert rows(minutes) == scalar(records)
    keys = np.stack((minutes.minute, minutes.place, minutes.identity), axis=1).tolist()
    assert keys == sorted(keys)


@given(RECORDS)
def test_no_token_is_lost_or_invented_by_spreading(records):
    batch = batch_of(records, "gateway")
    totals = dict(zip(SUMS, batch.minutes().sums.sum(axis=0).tolist(), strict=True))
    assert totals["output"] == sum(one.output_tokens for one in records)
    assert totals["output_context"] == sum(
        one.output_tokens * (2 * one.prompt_tokens + one.output_tokens) for one in records
    )
    assert batch.tokens == sum(one.prompt_tokens + one.output_tokens for one in records)


def test_a_call_of_the_largest_requests_does_not_overflow():
    most = record(prompt_tokens=MOST_PROMPT_TOKENS, output_tokens=MOST_OUTPUT_TOKENS, lasts=LONGEST.total_seconds())
    small = batch_of([most], "gateway")
    batch = small.kept(np.zeros(MOST_RECORDS, dtype=np.int64))
    sums = batch.minutes(np.arange(MOST_RECORDS) < 1000).sums.sum(axis=0)
    assert sums[SUMS.index("output_context")] == 1000 * MOST_OUTPUT_TOKENS * (
        2 * MOST_PROMPT_TOKENS + MOST_OUTPUT_TOKENS
    )
    for most_of_one in (MOST_PROMPT_TOKENS**2, MOST_OUTPUT_TOKENS * (2 * MOST_PROMPT_TOKENS + MOST_OUTPUT_TOKENS)):
        assert most_of_one * MOST_RECORDS < 2**63


def test_only_the_chosen_records_count():
    batch = batch_of([record(id="r1"), record(id="r2", output_tokens=7)], "gateway")
    (sums,) = rows(batch.minutes(np.array([False, True]))).values()
    assert (sums["requests"], sums["output"]) == (1, 7)


def test_a_repeated_record_is_known_by_source_id_and_hour():
    repeated = [record(id="r1"), record(id="r2"), record(id="r1", output_tokens=1), record(id="r1", begin=3600)]
    batch = batch_of(repeated, "gateway")
    assert batch.first_of_each().tolist() == [True, True, False, True]
    other = batch_of(repeated, "another")
    assert batch.a.tolist() != other.a.tolist()


def test_a_digest_is_128_bits_of_blake2b_of_source_and_id():
    a, b = digests("gateway", ["r1", "ä" * 256])
    for at, one in enumerate(("r1", "ä" * 256)):
        told = blake2b(b"gateway\0" + one.encode(), digest_size=16).digest()
        assert int(a[at]).to_bytes(8, "little", signed=True) + int(b[at]).to_bytes(8, "little", signed=True) == told


def test_records_in_the_order_of_their_key_are_as_a_database_sorts_them():
    batch = batch_of([record(id=str(one), begin=1800 * (one % 7)) for one in range(50)], "gateway")
    keys = list(zip(batch.hour.tolist(), batch.a.tolist(), batch.b.tolist(), strict=True))
    assert [keys[place] for place in batch.by_digest()] == sorted(keys)


@given(st.lists(RECORDS, min_size=1, max_size=4))
def test_batches_that_are_joined_add_up_as_one(parts):
    whole = joined([batch_of(part, "gateway") for part in parts])
    assert rows(whole.minutes()) == rows(batch_of([one for part in parts for one in part], "gateway").minutes())
    assert len(set(whole.places)) == len(whole.places)


def test_the_newest_record_is_the_one_that_ended_last():
    batch = batch_of([record(lasts=600), record(id="r2", begin=60, lasts=2.5)], "gateway")
    assert batch.newest == NOON + timedelta(minutes=10)
    assert batch_of([], "gateway").newest is None


@pytest.mark.parametrize("records", [[], [record()]])
def test_an_empty_choice_has_no_minutes(records):
    batch = batch_of(records, "gateway")
    assert len(batch.minutes(np.zeros(len(batch), dtype=np.bool_))) == 0
    assert len(batch.first_of_each()) == len(records)

"""Bodies of ``POST /api/v1/usage``: what is taken, and what is told of the rest."""

import contextlib
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.errors import UsageError, UsageTooMuchError
from controller.facts.usage import MOST_BYTES, MOST_RECORDS, Reason
from controller.usage.decode import decoded, unpacked
from controller.usage.told import Told


def test_lines_and_arrays_say_the_same(made):
    records = [made.record(id=f"r{index}", prompt_tokens=index) for index in range(3)]
    lines, array = made.read(made.body(*records)), made.read(json.dumps(records).encode())
    assert lines.uncached.tolist() == array.uncached.tolist() == [0, 1, 2]
    assert lines.a.tolist() == array.a.tolist()
    assert not lines.refused


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\n\n \n"])
def test_line_ends_and_blank_lines_do_not_matter(made, end):
    batch = made.read(made.body(made.record(), made.record(id="r2")) + end.encode())
    assert len(batch) == 2


def test_gzip_is_unpacked_also_in_several_members(made):
    packed = gzip.compress(made.body(made.record()) + b"\n") + gzip.compress(made.body(made.record(id="r2")))
    assert len(made.read(packed, encoding="gzip")) == 2


def test_nothing_at_all_is_an_empty_batch(made):
    for body in (b"", b"\n \n", b"[]"):
        batch = made.read(body)
        assert (len(batch), batch.refused, len(batch.minutes())) == (0, (), 0)


@pytest.mark.parametrize(
    ("given", "prompt", "cached", "output"),
    [
        ({"prompt_tokens": 100, "output_tokens": 20}, 100, 0, 20),
        ({"input_tokens": 100, "completion_tokens": 20}, 100, 0, 20),
        ({"usage": {"prompt_tokens": 100, "completion_tokens": 20}}, 100, 0, 20),
        (
            {"usage": {"input_tokens": 100, "output_tokens": 20, "input_tokens_details": {"cached_tokens": 7}}},
            100,
            7,
            20,
        ),
        ({"prompt_tokens": 100, "output_tokens": 20, "cached_tokens": 7}, 100, 7, 20),
        ({"prompt_tokens": 100, "output_tokens": 20, "prompt_tokens_details": {"cached_tokens": 7}}, 100, 7, 20),
        (
            {"usage": {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 7}}},
            100,
            7,
            20,
        ),
        (
            {
                "usage": {
                    "prompt_tokens": 100,
                    "completion_tokens": 20,
                    "prompt_tokens_details": {"cached_tokens": None},
                }
            },
            100,
            0,
            20,
        ),
        (
            {"usage": {"prompt_tokens": 1, "completion_tokens": 1}, "prompt_tokens": 100, "output_tokens": 20},
            100,
            0,
            20,
        ),
    ],
)
def test_tokens_are_understood_in_every_usual_spelling(made, given, prompt, cached, output):
    batch = made.one(**{"prompt_tokens": None, "output_tokens": None, **given})
    assert not batch.refused
    assert (batch.uncached.tolist(), batch.cached.tolist(), batch.output.tolist()) == (
        [prompt - cached],
        [cached],
        [output],
    )


@pytest.mark.parametrize(
    "told",
    ["2026-11-21T11:59:30Z", "2026-11-21T12:59:30+01:00", "2026-11-21T11:59:30.000000Z", 1795262370, 1795262370.0],
)
def test_times_are_understood_with_an_offset_or_as_unix_seconds(made, told):
    batch = made.one(ended_at=told)
    assert batch.ended_us.tolist() == batch.started_us.tolist() == [1795262370_000000]


def test_microseconds_survive(made):
    batch = made.one(started_at="2026-11-21T11:58:00.123457Z", ended_at="2026-11-21T11:59:00.999999Z")
    assert (batch.started_us[0] % 1_000_000, batch.ended_us[0] % 1_000_000) == (123457, 999999)


COUNT = "expected a whole number from 0 to 10,000,000, found"
TIME = "expected a time with its offset such as 2026-11-21T12:00:00Z, or unix seconds, found"


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"id": None}, "id: expected text of 1 to 256 characters, found nothing"),
        ({"id": ""}, 'id: expected text of 1 to 256 characters, found ""'),
        ({"id": 7}, "id: expected text of 1 to 256 characters, found 7"),
        ({"prompt_tokens": None}, f"prompt_tokens: {COUNT} nothing"),
        ({"prompt_tokens": -1}, f"prompt_tokens: {COUNT} -1"),
        ({"prompt_tokens": 1.5}, f"prompt_tokens: {COUNT} 1.5"),
        ({"prompt_tokens": "100"}, f'prompt_tokens: {COUNT} "100"'),
        ({"prompt_tokens": True}, f"prompt_tokens: {COUNT} true"),
        ({"prompt_tokens": 10**40}, f"prompt_tokens: {COUNT} 1" + "0" * 40),
        ({"output_tokens": None}, "output_tokens: expected a whole number from 0 to 2,000,000, found nothing"),
        ({"output_tokens": 2_000_001}, "output_tokens: expected a whole number from 0 to 2,000,000, found 2000001"),
        ({"usage": {"prompt_tokens": "x"}}, f'usage.prompt_tokens: {COUNT} "x"'),
        ({"usage": [1]}, "usage: expected an object, found an array"),
        ({"cached_tokens": 101}, "cached_tokens: expected at most the 100 prompt_tokens, found 101"),
        ({"ended_at": None}, f"ended_at: {TIME} nothing"),
        ({"ended_at": "yesterday"}, f'ended_at: {TIME} "yesterday"'),
        ({"ended_at": "2026-11-21T11:59:00"}, f'ended_at: {TIME} "2026-11-21T11:59:00"'),
        ({"started_at": "2026-11-21T11:59:01Z"}, "ended_at: expected a time after started_at (2026-11-21T11:59:01Z), found 2026-11-21T11:59:00Z"),
        ({"started_at": "2026-11-20T11:58:00Z"}, "ended_at: expected at most 24 h after started_at, found 24.0 h"),
        ({"ended_at": "2026-11-21T12:06:00Z"}, "ended_at: expected at most 5 minutes after our 2026-11-21T12:00:00Z, found 2026-11-21T12:06:00Z"),
        ({"ended_at": 1795262370000}, "ended_at: expected at most 5 minutes after our 2026-11-21T12:00:00Z, found 1.79526e+12"),
        ({"ended_at": "2026-11-18T11:59:59Z"}, "started_at: expected 2026-11-18T12:00:00Z or later, found 2026-11-18T11:59:59Z"),
        ({"ended_at": -1e300}, "started_at: expected 2026-11-18T12:00:00Z or later, found -1e+300"),
        ({"team": 7}, "team: expected text of at most 128 characters, found 7"),
        ({"team": "x" * 129}, "team: expected text of at most 128 characters, found \"" + "x" * 59 + "…"),
        ({"team": "__idle__"}, 'team: "__idle__" begins with __, as only the ledger\'s own lines may'),
        ({"tenant": "a\x00b"}, "tenant: expected printable text, found 'a\\x00b'"),
        ({"service": "chta"}, 'service: "chta" is not in the fleet; expected one of chat, search'),
        ({"service": None}, "service: expected the name of a service (or `model`), found nothing"),
        ({"service": None, "model": "gpt-4o"}, 'model: no service of the fleet serves "gpt-4o"; expected one of chat, llama-3.1-70b, meta-llama/Llama-3.1-8B, search'),
    ],
)  # fmt: skip
def test_a_refused_record_is_told_its_field_and_what_was_expected(made, given, why):
    assert made.why(**given) == why


def test_a_refused_record_spoils_no_other_and_keeps_its_place(made):
    records = [
        made.record(id="r0"),
        made.record(id="r1", prompt_tokens=-1),
        made.record(id="r2", service="x"),
        made.record(id="r3"),
    ]
    for body in (made.body(*records), json.dumps(records).encode()):
        batch = made.read(body)
        assert len(batch) == 2
        assert [(one.index, one.id, one.reason) for one in batch.refused] == [
            (1, "r1", Reason.FIELD),
            (2, "r2", Reason.UNKNOWN_SERVICE),
        ]


def test_a_line_that_is_no_json_is_refused_alone(made):
    batch = made.read(
        b'{"id": \n' + made.body(made.record()) + b"\n\xff\n[1]\n" + b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}"
    )
    assert len(batch) == 1
    assert [(one.index, one.reason) for one in batch.refused] == [
        (0, Reason.NOT_JSON), (2, Reason.NOT_JSON), (3, Reason.FIELD), (4, Reason.NOT_JSON),
    ]  # fmt: skip
    assert batch.refused[2].why == "expected an object with the fields of a record, found an array"
    assert batch.refused[3].why == "not JSON: nested too deeply"


def test_what_is_on_one_line_with_another_record_is_not_taken_for_it(made):
    two = made.body(made.record(id="r1")) + made.body(made.record(id="r2"))
    batch = made.read(two + b"\n" + made.body(made.record(id="r3")))
    assert (len(batch), [one.index for one in batch.refused]) == (1, [0])


@pytest.mark.parametrize("body", [b"hello", b"\x1f\x8b\x08", b"[{]", b'[{"id": "r1"}', b"{\n}", b"id=r1&model=x"])
def test_a_body_that_is_no_json_at_all_is_told_so(made, body):
    with pytest.raises(
        UsageError, match=r"the body is not (a JSON array|one JSON object a line) \(.*\); nothing was taken"
    ):
        made.read(body)


def test_broken_gzip_is_told_so(made):
    packed = gzip.compress(made.body(made.record()))
    for body in (b"not gzip", packed[:-9], packed[:-4] + b"abcd"):
        with pytest.raises(UsageError, match="gzip"):
            made.read(body, encoding="gzip")
    with pytest.raises(UsageError, match="expected gzip or none, found 'br'"):
        made.read(b"", encoding="br")


def test_a_small_gzip_file_that_holds_gigabytes_is_not_unpacked():
    bomb = gzip.compress(bytes(MOST_BYTES + 1))
    assert len(bomb) < 20_000
    with pytest.raises(UsageTooMuchError, match="more than 16 MiB"):
        unpacked(bomb, "gzip")
    assert len(unpacked(gzip.compress(bytes(MOST_BYTES)), "gzip")) == MOST_BYTES


@pytest.mark.parametrize("one", [b"{}", b'{"id":"r","ended_at":1}'])
def test_more_records_than_a_call_may_send_are_not_taken(one):
    with pytest.raises(UsageTooMuchError, match=r"50,001 records in one call, more than 50,000; nothing was taken"):
        decoded(b"\n".join([one] * (MOST_RECORDS + 1)))
    with pytest.raises(UsageTooMuchError, match="50,001 records"):
        decoded(b"[" + b",".join([one] * (MOST_RECORDS + 1)) + b"]")


def test_blank_lines_do_not_count_towards_the_limit():
    assert len(decoded(b"\n\n".join([b'{"id":"r","ended_at":1}'] * MOST_RECORDS)).told) == MOST_RECORDS


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_no_bytes_whatsoever_are_an_accident(body):
    with contextlib.suppress(UsageError):
        decoded(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FIELDS = st.sampled_from(Told.__struct_fields__)


@given(st.lists(st.dictionaries(FIELDS, JSON, max_size=4), max_size=4), st.booleans())
def test_every_record_is_either_taken_or_refused_with_a_reason(made, changes, trusted):
    records = [made.record() | change for change in changes]
    batch = made.read(json.dumps(records).encode(), trusted=trusted)
    assert len(batch) + len(batch.refused) == len(records)
    assert len({one.index for one in batch.refused}) == len(batch.refused)
    assert all(one.why and len(one.why) < 400 for one in batch.refused)
    assert (batch.uncached >= 0).all()

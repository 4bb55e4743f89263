"""Access logs as JSON lines."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest

from controller.facts.accounts import Identity
from controller.facts.usage import Reason
from controller.usage.access_log import AccessLog, access_log
from controller.usage.identity import hashed_key
from controller.usage.pull import Mark

LINE = {
    "time": "2026-11-21T11:59:10Z",
    "request_id": "req-1",
    "model": "llama-3.1-70b",
    "usage": {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 30}},
    "duration_ms": 4000,
}


@pytest.fixture
def pages(made, tmp_path):
    """What a source brings of these lines."""
    path = tmp_path / "access.log"

    def read(*lines, mark=None, now=None, **given):
        with path.open("a") as file:
            file.writelines(f"{one if isinstance(one, str) else json.dumps(one)}\n" for one in lines)
        source = access_log("edge", path, lambda: made.rules, **given)
        return list(source.pages(mark or Mark(), now or made.now))

    return read


def test_a_line_is_a_record(pages):
    (page,) = pages(LINE)
    batch = page.batch
    assert not batch.refused
    assert (batch.uncached.tolist(), batch.cached.tolist(), batch.output.tolist()) == ([70], [30], [20])
    assert batch.places == (("chat", ""),)
    assert (batch.ended_us - batch.started_us).tolist() == [4_000_000]


def test_the_mark_says_how_far_it_was_read_and_how_new_it_is(pages, made):
    (first,) = pages(LINE)
    assert first.mark.at == made.now - timedelta(seconds=50)
    assert pages(mark=first.mark) == []
    (second,) = pages(LINE | {"request_id": "req-2"}, mark=first.mark)
    assert len(second.batch) == 1
    assert second.mark.id != first.mark.id


def test_a_line_of_a_wrong_clock_does_not_move_the_mark_into_the_future(pages, made):
    (page,) = pages(LINE | {"time": "2026-11-21T12:04:00Z"})
    assert page.mark.at == made.now


@pytest.mark.parametrize(
    "change",
    [
        {"timestamp": "2026-11-21T11:59:10Z", "time": None},
        {"ts": 1795262350, "time": None},
        {"time": 1795262350000},
        {"time": 1795262350000.0, "duration_ms": None, "latency_s": 4.0},
        {"started_at": "2026-11-21T11:59:06Z", "duration_ms": None},
    ],
)
def test_times_are_understood_as_logs_write_them(pages, change):
    (page,) = pages({key: value for key, value in (LINE | change).items() if value is not None})
    assert page.batch.ended_us.tolist() == [1795262350_000000]
    assert (page.batch.ended_us - page.batch.started_us).tolist() == [4_000_000]


def test_lines_about_other_things_are_skipped_and_broken_ones_told(pages):
    (page,) = pages(
        {"time": "2026-11-21T11:59:10Z", "path": "/health", "status": 200}, "GET /metrics 200", LINE, "", "[1]"
    )
    assert (len(page.batch), page.skipped) == (1, 1)
    assert [(one.index, one.reason) for one in page.batch.refused] == [(1, Reason.NOT_JSON), (4, Reason.NOT_JSON)]


def test_headers_count_only_from_a_gateway(pages, made):
    line = LINE | {
        "headers": {"X-Team": ["chat"], "X-Feature": "summary", "Authorization": f"Bearer {made.key}"},
        "user": 42,
    }
    mine = Identity(team="search", tenant="acme", environment="production", api_key=hashed_key(made.key))
    (page,) = pages(line)
    assert page.batch.identities == (mine,)
    (page,) = pages(trusted=True)
    assert page.batch.identities == (replace(mine, team="chat", tenant="42", feature="summary"),)


def test_fields_may_stand_elsewhere(pages):
    line = {
        "at": "2026-11-21T11:59:10Z",
        "req": {"id": "r"},
        "m": "chat",
        "tok": {"in": 5, "out": 6},
        "team.name": "chat",
    }
    fields = {
        "id": ("req.id",), "ended_at": ("at",), "model": ("m",), "team": ("team.name",),
        "prompt_tokens": ("tok.in",), "output_tokens": ("tok.out",),
    }  # fmt: skip
    (page,) = pages(line, trusted=True, fields=fields)
    assert (page.batch.uncached.tolist(), page.batch.output.tolist()) == ([5], [6])
    assert page.batch.identities[0].team == "chat"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"time": None},
            "ended_at: expected a time with its offset such as 2026-11-21T12:00:00Z, or unix seconds, found nothing",
        ),
        (
            {"time": "2026-11-21 11:59:10"},
            'ended_at: expected a time with its offset such as 2026-11-21T12:00:00Z, or unix seconds, found "2026-11-21 11:59:10"',
        ),
        (
            {"usage": {"completion_tokens": 5}},
            "prompt_tokens: expected a whole number from 0 to 10,000,000, found nothing",
        ),
        ({"usage": {"prompt_tokens": -5}}, "prompt_tokens: expected a whole number from 0 to 10,000,000, found -5"),
        ({"duration_ms": -1}, "duration: expected seconds from 0, found -0.001"),
        ({"request_id": {}}, "id: expected text of 1 to 256 characters, found an object"),
    ],
)
def test_a_line_that_is_no_record_says_why(pages, change, why):
    (page,) = pages({key: value for key, value in (LINE | change).items() if value is not None})
    assert [one.why for one in page.batch.refused] == [why]


def test_an_answer_without_output_is_an_embedding(pages):
    (page,) = pages(LINE | {"usage": {"prompt_tokens": 5, "total_tokens": 5}})
    assert (page.batch.uncached.tolist(), page.batch.output.tolist()) == ([5], [0])


@pytest.mark.parametrize("line", [b"null", b'"x"', b'{"usage": 1, "prompt_tokens": null}', b"{}"])
def test_no_line_is_an_accident(line):
    assert all(one.why for one in AccessLog().pick(line, 0))

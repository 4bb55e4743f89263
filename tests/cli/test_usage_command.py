"""`pennyweight usage` as it is typed: records in files of every kind, and where records come from."""

from __future__ import annotations

import gzip
import json
from datetime import timedelta

import pytest

from controller.daemon import utc_now

AGO = timedelta(minutes=90)


def lines(*objects):
    return "".join(json.dumps(one) + "\n" for one in objects)


def record(name, **given):
    usual = {
        "id": name,
        "model": "llama-3.1-8b",
        "prompt_tokens": 100,
        "output_tokens": 20,
        "ended_at": (utc_now() - AGO).isoformat(),
    }
    return usual | given


def span(name):
    nano = str(int((utc_now() - AGO).timestamp() * 1e9))
    told = {"gen_ai.request.model": "llama-3.1-8b", "gen_ai.operation.name": "chat"}
    attributes = [{"key": key, "value": {"stringValue": value}} for key, value in told.items()]
    for key in ("input", "output"):
        attributes.append({"key": f"gen_ai.usage.{key}_tokens", "value": {"intValue": "9"}})
    spans = [
        {"traceId": "t", "spanId": name, "startTimeUnixNano": nano, "endTimeUnixNano": nano, "attributes": attributes}
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}


def logged(name):
    usage = {"prompt_tokens": 3, "completion_tokens": 5}
    return {"time": (utc_now() - AGO).isoformat(), "request_id": name, "model": "llama-3.1-8b", "usage": usage}


def spent_row(name):
    at = (utc_now() - AGO).replace(tzinfo=None).isoformat(sep=" ")
    return {
        "request_id": name,
        "startTime": at,
        "endTime": at,
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "model": "hosted_vllm/llama-3.1-8b",
        "team_id": "search",
    }


def csv_of(row):
    return ",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n"


KINDS = {
    "records": lambda: lines(record("a"), record("b")),
    "access_log": lambda: lines(logged("a"), {"msg": "health"}, logged("b")),
    "otel": lambda: lines(span("a"), span("b")),
    "litellm": lambda: lines(spent_row("a"), spent_row("b")),
}


@pytest.fixture
def piped(pennyweight, monkeypatch):
    """Into a pipe: lines as long as they are."""
    monkeypatch.delenv("COLUMNS")
    return pennyweight


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_is_known_by_its_first_line_and_counted_once(piped, books, tmp_path, kind):
    (tmp_path / "usage.jsonl").write_text(KINDS[kind](), encoding="utf-8")
    skipped = ", 1 line without a request" if kind == "access_log" else ""
    said = piped("usage", "import", "usage.jsonl")
    assert (said.code, said.err) == (0, "")
    assert said.out == f"usage.jsonl ({kind}, as source {kind}): 2 counted{skipped}\n"
    said = piped("usage", "import", "usage.jsonl")
    assert said.out == f"usage.jsonl ({kind}, as source {kind}): 0 counted, 2 known already{skipped}\n"
    assert books.scalar("SELECT SUM(requests) FROM usage_minute") == 2


def test_litellm_rows_as_csv_and_their_teams(piped, books, tmp_path):
    (tmp_path / "spend.csv").write_text(csv_of(spent_row("a")), encoding="utf-8")
    assert piped("usage", "import", "spend.csv", "--source", "gateway").code == 0
    assert books.all("SELECT team FROM identity JOIN usage_minute ON identity = id") == [("search",)]


def test_folders_and_gzipped_files_are_read(piped, books, tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / ".hidden").write_text("not read")
    (tmp_path / "logs" / "1.jsonl.gz").write_bytes(gzip.compress(lines(record("a")).encode()))
    (tmp_path / "logs" / "2.json").write_text(json.dumps([record("a"), record("b")]))
    said = piped("usage", "import", "logs")
    assert said.out.splitlines() == [
        "logs/1.jsonl.gz (records, as source records): 1 counted",
        "logs/2.json (records, as source records): 1 counted, 1 known already",
    ]


def test_refused_records_are_told_by_file_line_and_what_was_expected(piped, books, tmp_path):
    wrong = record("b", prompt_tokens=-1), record("c", model="gpt-5"), record("d", ended_at=1.0)
    (tmp_path / "usage.jsonl").write_text(lines(record("a"), *wrong) + "oops\n")
    said = piped("usage", "import", "usage.jsonl")
    assert said.code == 1
    first, *told = said.out.splitlines()
    assert first == "usage.jsonl (records, as source records): 1 counted, 4 refused"
    assert told[0].startswith("  usage.jsonl:2: prompt_tokens: expected a whole number from 0 to 10,000,000, found -1")
    assert told[1].startswith('  usage.jsonl:3: model: no service of the fleet serves "gpt-5"; expected one of')
    assert told[2].startswith("  usage.jsonl:4: started_at: expected 20")
    assert told[3].startswith("  usage.jsonl:5: not JSON")


def test_many_refused_records_are_counted_by_reason(piped, books, tmp_path):
    (tmp_path / "usage.jsonl").write_text(lines(*(record(f"r{at}", ended_at=1.0) for at in range(30))))
    said = piped("usage", "import", "usage.jsonl")
    assert "  and 10 more: too old 30" in said.out


def test_what_a_file_says_of_teams_is_believed_only_when_somebody_says_so(piped, books, tmp_path):
    (tmp_path / "usage.jsonl").write_text(lines(record("a", team="search")))
    said = piped("usage", "import", "usage.jsonl")
    assert (said.code, said.out) == (1, "")
    assert "Give --trusted when a gateway of yours set the teams" in said.err
    assert books.scalar("SELECT COUNT(*) FROM usage_seen") == 0
    said = piped("usage", "import", "usage.jsonl", "--trusted", "--dry-run")
    assert said.out == "usage.jsonl (records, as source records): 1 would be counted, if they are new\n"
    assert books.scalar("SELECT COUNT(*) FROM usage_seen") == 0
    assert piped("usage", "import", "usage.jsonl", "--trusted").code == 0
    assert books.all("SELECT team FROM identity JOIN usage_minute ON identity = id") == [("search",)]
    said = piped("usage", "import", "usage.jsonl", "--no-trusted", "--source", "other")
    assert "1 say whose they are and were not believed" in said.out


def test_a_source_of_the_fleet_file_is_read_as_it_says(piped, books, fleet, tmp_path):
    block = "{path: access.log, trusted: true, fields: {team: who}}"
    fleet.file.write_text(fleet.file.read_text() + f"account: {{sources: [{{name: edge, access_log: {block}}}]}}\n")
    (tmp_path / "old.log").write_text(lines(logged("a") | {"who": "search"}))
    assert piped("usage", "import", "old.log", "--source", "edge").code == 0
    assert books.all("SELECT team FROM identity JOIN usage_minute ON identity = id") == [("search",)]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            "plain text\n",
            "usage.log:1: expected a JSON object, or the header of LiteLLM's spend logs, found b'plain text'",
        ),
        ("", "usage.log:1: expected a JSON object"),
    ],
)
def test_a_file_that_is_nothing_of_the_kind_is_told(piped, books, tmp_path, content, told):
    (tmp_path / "usage.log").write_text(content)
    said = piped("usage", "import", "usage.log")
    assert (said.code, said.out) == (1, "")
    assert told in said.err


def test_files_that_are_not_there_are_told_all_at_once(piped, fleet):
    said = piped("usage", "import", "a.log", "b.log")
    assert said.code == 2
    assert said.err == (
        "a.log: there is no such file or folder\nb.log: there is no such file or folder\n"
        "2 problems; nothing was started or changed\n"
    )


def test_sources_say_what_came_and_how_far_behind_they_are(piped, books, fleet):
    sources = "[{name: edge, access_log: {path: access.log}}]"
    fleet.file.write_text(fleet.file.read_text() + f"account: {{sources: {sources}}}\n")
    now = utc_now()
    books.send(books.record("a", 20), source="gateway")
    books.send(books.record("a", 20), source="gateway")
    books.intake.keep_mark("litellm", now - timedelta(minutes=7), "", now - timedelta(minutes=3))
    said = piped("usage", "sources")
    assert (said.code, said.err) == (0, "")
    rows = {line.split()[0]: line.split() for line in said.out.splitlines()}
    assert rows["source"] == ["source", "kind", "newest", "read", "records", "repeated", "refused", "tokens"]
    assert rows["edge"] == ["edge", "access_log", "never", "never", "0", "0", "0", "0"]
    assert rows["gateway"][1] == "imported"
    assert rows["gateway"][-4:] == ["1", "1", "0", "120"]
    assert rows["gateway"][2] != "0"  # to the hour: "this hour", or so many before it, and never minutes
    assert "min" not in rows["gateway"]
    assert rows["litellm"][2:8] == ["7", "min", "ago", "3", "min", "ago"]


def test_sources_say_why_records_were_refused(piped, books, fleet, tmp_path):
    wrong = (record("a", model="gpt"), record("b", output_tokens=-1), record("c", model="gpt"))
    (tmp_path / "some.jsonl").write_text(lines(record("d"), *wrong))
    assert piped("usage", "import", "some.jsonl", "--trusted").code == 1
    said = piped("usage", "sources")
    today = utc_now().date()
    told = f"refused of records: 2 of an unknown service (last on {today}), 1 with a missing or wrong field (last on {today})"
    assert told in said.out.splitlines()


def test_without_any_source_it_says_what_to_do(piped, books):
    said = piped("usage", "sources")
    assert (said.code, said.out) == (1, "")
    assert "no usage record has come yet" in said.err
    assert "docs/usage.md" in said.err

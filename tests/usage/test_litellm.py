"""LiteLLM's spend logs, in a real PostgreSQL and as exported files."""

import csv
import json
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from controller.errors import UsageError
from controller.facts.accounts import Identity
from controller.usage.identity import hashed_key
from controller.usage.litellm import SpendLogs
from controller.usage.pull import Mark
from controller.usage.spend_rows import SpendFile, SpendRows

TABLE = """CREATE TABLE "LiteLLM_SpendLogs" (
    request_id TEXT PRIMARY KEY, call_type TEXT NOT NULL, api_key TEXT NOT NULL DEFAULT '',
    spend DOUBLE PRECISION NOT NULL DEFAULT 0, total_tokens INTEGER NOT NULL DEFAULT 0,
    prompt_tokens INTEGER NOT NULL DEFAULT 0, completion_tokens INTEGER NOT NULL DEFAULT 0,
    "startTime" TIMESTAMP(3) NOT NULL, "endTime" TIMESTAMP(3) NOT NULL, "completionStartTime" TIMESTAMP(3),
    model TEXT NOT NULL DEFAULT '', model_id TEXT DEFAULT '', model_group TEXT DEFAULT '',
    custom_llm_provider TEXT DEFAULT '', api_base TEXT DEFAULT '', "user" TEXT DEFAULT '',
    metadata JSONB DEFAULT '{}', cache_hit TEXT DEFAULT '', cache_key TEXT DEFAULT '',
    request_tags JSONB DEFAULT '[]', team_id TEXT, organization_id TEXT, end_user TEXT, status TEXT,
    messages JSONB DEFAULT '{}', response JSONB DEFAULT '{}', proxy_server_request JSONB DEFAULT '{}'
)"""
OLD_TABLE = """CREATE TABLE "LiteLLM_SpendLogs" (
    request_id TEXT PRIMARY KEY, spend DOUBLE PRECISION, prompt_tokens INTEGER, completion_tokens INTEGER,
    "startTime" TIMESTAMP(3) NOT NULL, "endTime" TIMESTAMP(3), model TEXT
)"""
ROW = {
    "request_id": "chatcmpl-1",
    "call_type": "acompletion",
    "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
    "spend": 0.002,
    "prompt_tokens": 100,
    "completion_tokens": 20,
    "startTime": datetime(2026, 11, 21, 11, 58, 30),  # noqa: DTZ001 — as the database gives it
    "endTime": datetime(2026, 11, 21, 11, 58, 40, 500000),  # noqa: DTZ001
    "model": "hosted_vllm/llama-3.1-70b",
    "model_group": "chat",
    "api_base": "http://10.0.0.5:8000/v1",
    "metadata": {"user_api_key_team_alias": "search", "usage_object": {"prompt_tokens_details": {"cached_tokens": 30}}},
    "request_tags": ["feature:summary", "env:production", "User-Agent: curl"],
    "team_id": "6f2c",
    "organization_id": "acme",
    "end_user": "customer-7",
    "messages": {"secret": "my question"},
}
START = ROW["startTime"]


@pytest.fixture
def insert(execute):
    """Rows like ROW, each with its changes."""

    def run(*changes):
        for change in changes:
            row = ROW | change
            values = tuple(json.dumps(one) if isinstance(one, dict | list) else one for one in row.values())
            columns = ", ".join(f'"{name}"' for name in row)
            execute(f'INSERT INTO "LiteLLM_SpendLogs" ({columns}) VALUES ({", ".join(["%s"] * len(row))})', values)

    return run


@pytest.fixture
def logs(database, made):
    return lambda **given: SpendLogs(name="litellm", url=database, rules=lambda: made.rules, **given)


@pytest.fixture
def table(execute):
    execute(TABLE)


def found(pages):
    return [record for page in pages for record in page.batch.started_us.tolist()]


@pytest.mark.usefixtures("table")
def test_a_row_is_a_record(logs, insert, made):
    insert({})
    (page,) = logs().pages(Mark(), made.now)
    batch = page.batch
    assert not batch.refused
    assert (batch.uncached.tolist(), batch.cached.tolist(), batch.output.tolist()) == ([70], [30], [20])
    assert batch.places == (("chat", "h100"),)
    assert batch.identities == (
        Identity(
            team="search",
            tenant="acme",
            feature="summary",
            environment="production",
            api_key=hashed_key(ROW["api_key"]),
        ),
    )
    assert (batch.ended_us - batch.started_us).tolist() == [10_500_000]
    assert page.mark == Mark(at=START.replace(tzinfo=UTC))


@pytest.mark.usefixtures("table")
def test_rounds_go_through_all_rows_page_by_page_and_each_once(logs, insert, made):
    insert(*({"request_id": f"r{one}", "startTime": START + timedelta(seconds=one // 3)} for one in range(10)))
    pages = list(logs(page_rows=3).pages(Mark(), made.now))
    assert [len(page.batch) for page in pages] == [3, 3, 3, 1]
    assert len({(int(a), int(b)) for page in pages for a, b in zip(page.batch.a, page.batch.b, strict=True)}) == 10


@pytest.mark.usefixtures("table")
def test_a_round_goes_back_before_the_newest_row_for_what_was_written_late(logs, insert, made):
    insert({"request_id": "new"})
    (first,) = logs().pages(Mark(), made.now)
    insert({"request_id": "late", "startTime": START - timedelta(minutes=20)})
    insert({"request_id": "too late", "startTime": START - timedelta(minutes=31)})
    (second,) = logs().pages(first.mark, made.now)
    assert len(second.batch) == 2
    assert second.mark == first.mark
    (third,) = logs(overlap=timedelta(hours=1)).pages(second.mark, made.now)
    assert len(third.batch) == 3


@pytest.mark.usefixtures("table")
def test_without_a_mark_only_rows_are_read_that_would_be_taken(logs, insert, made):
    insert({"request_id": "old", "startTime": START - timedelta(days=4)}, {"request_id": "new"})
    (page,) = logs().pages(Mark(), made.now)
    assert (len(page.batch), page.batch.refused) == (1, ())


@pytest.mark.usefixtures("table")
def test_a_row_of_a_wrong_clock_does_not_hide_those_that_come_after_it(logs, insert, made):
    insert({"request_id": "r1", "startTime": START + timedelta(days=400), "endTime": START + timedelta(days=400)})
    (page,) = logs().pages(Mark(), made.now)
    assert page.mark == Mark(at=made.now)
    assert page.batch.refused[0].why.startswith("ended_at: expected at most 5 minutes after our")


@pytest.mark.usefixtures("table")
def test_an_answer_from_the_gateways_cache_weighs_nothing(logs, insert, made):
    insert(
        {"request_id": "hit", "cache_hit": "True"},
        {"request_id": "miss", "cache_hit": "False"},
        {"request_id": "none", "cache_hit": "None"},
    )
    (page,) = logs().pages(Mark(), made.now)
    assert sorted(page.batch.from_cache.tolist()) == [False, False, True]


@pytest.mark.usefixtures("table")
def test_rows_of_models_that_are_not_in_the_fleet_are_told(logs, insert, made):
    insert({"model_group": "gpt-4o", "model": "openai/gpt-4o", "api_base": "https://elsewhere"})
    (page,) = logs().pages(Mark(), made.now)
    assert page.batch.refused[0].why.startswith('model: no service of the fleet serves "gpt-4o"')


def test_an_old_version_with_few_columns_is_read(execute, logs, made):
    execute(OLD_TABLE)
    execute(
        'INSERT INTO "LiteLLM_SpendLogs" VALUES (%s, 0, 100, 20, %s, %s, %s)',
        ("r1", START, START, "chat"),
        ("r2", START, None, "chat"),
        ("r3", START, START, None),
        ("r4", START, START - timedelta(seconds=1), "chat"),
    )
    (page,) = logs().pages(Mark(), made.now)
    assert (len(page.batch), page.batch.identities) == (1, (Identity(),))
    assert [one.id for one in page.batch.refused] == ["r2", "r3", "r4"]


def test_times_with_a_zone_are_as_good(execute, logs, made):
    execute(OLD_TABLE.replace("TIMESTAMP(3)", "TIMESTAMPTZ"))
    execute(
        'INSERT INTO "LiteLLM_SpendLogs" VALUES (%s, 0, 100, 20, %s, %s, %s)',
        ("r1", "2026-11-21 13:58:30+02", "2026-11-21 13:58:40+02", "chat"),
    )
    (page,) = logs(page_rows=1).pages(Mark(), made.now)
    assert page.batch.started_us.tolist() == [int(START.replace(tzinfo=UTC).timestamp() * 1e6)]


@pytest.mark.usefixtures("table")
def test_a_user_who_may_read_no_messages_is_enough(logs, insert, execute, database, made):
    insert({})
    execute("DROP ROLE IF EXISTS pennyweight_reader")
    execute("CREATE ROLE pennyweight_reader LOGIN")
    execute(
        'GRANT SELECT (request_id, "startTime", "endTime", prompt_tokens, completion_tokens, model, model_group,'
        ' team_id) ON "LiteLLM_SpendLogs" TO pennyweight_reader'
    )
    url = database.replace("postgres@", "pennyweight_reader@")
    (page,) = SpendLogs(name="litellm", url=url, rules=lambda: made.rules).pages(Mark(), made.now)
    assert page.batch.identities == (Identity(team="6f2c"),)
    execute("DROP OWNED BY pennyweight_reader")
    execute("DROP ROLE pennyweight_reader")


@pytest.mark.usefixtures("table")
def test_reading_can_change_nothing(logs, insert, execute, made):
    """Rows come from a view here, whose function tries to write when it is read."""
    insert({})
    execute('ALTER TABLE "LiteLLM_SpendLogs" RENAME TO spend')
    execute("CREATE TABLE touched (at TEXT)")
    execute(
        "CREATE FUNCTION touch() RETURNS TEXT LANGUAGE plpgsql AS"
        " $$ BEGIN INSERT INTO touched VALUES ('now'); RETURN ''; END $$"
    )
    execute(
        'CREATE VIEW "LiteLLM_SpendLogs" AS SELECT request_id, "startTime", "endTime", prompt_tokens,'
        " completion_tokens, model, touch() AS api_key FROM spend"
    )
    with pytest.raises(
        UsageError, match="cannot execute INSERT in a read-only transaction; the next round tries again"
    ):
        list(logs().pages(Mark(), made.now))


def test_another_database_is_told(execute, logs, made):
    with pytest.raises(UsageError, match='the table "LiteLLM_SpendLogs" has no column request_id, startTime'):
        list(logs().pages(Mark(), made.now))
    execute(OLD_TABLE.replace("completion_tokens", "tokens"))
    with pytest.raises(UsageError, match="has no column completion_tokens that we may read"):
        list(logs().pages(Mark(), made.now))


@pytest.mark.parametrize(
    "url",
    ["postgresql://me:hunter2@127.0.0.1:1/litellm", "not a url with hunter2", "postgresql://me:hunter2@[/litellm"],
)
def test_a_database_that_is_not_there_is_told_without_its_password(made, url):
    logs = SpendLogs(name="litellm", url=url, rules=lambda: made.rules)
    with pytest.raises(UsageError, match="LiteLLM's database") as told:
        list(logs.pages(Mark(), made.now))
    assert "hunter2" not in str(told.value) + repr(logs)


@pytest.mark.usefixtures("table")
def test_a_page_can_be_written_while_the_next_one_is_read(logs, insert, execute, made):
    """Between pages no transaction is open: LiteLLM may do what it likes to its table."""
    insert({"request_id": "r1"}, {"request_id": "r2"})
    pages = logs(page_rows=1).pages(Mark(), made.now)
    next(pages)
    execute("SET lock_timeout = '5s'; " + 'ALTER TABLE "LiteLLM_SpendLogs" ADD COLUMN agent_id TEXT')
    assert len(next(pages).batch) == 1


EXPORTED = {
    name: value.isoformat(sep=" ") if isinstance(value, datetime) else value for name, value in ROW.items()
}  # fmt: skip


@pytest.fixture
def exported(tmp_path, made):
    """What the two kinds of files bring."""

    def read(kind, *rows, **given):
        path = tmp_path / f"spend.{kind}"
        if kind == "csv":
            with path.open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(
                    {name: json.dumps(one) if isinstance(one, dict | list) else one for name, one in row.items()}
                    for row in rows
                )
        else:
            path.write_text("\n".join(one if isinstance(one, str) else json.dumps(one) for one in rows))
        (page,) = SpendFile(name="export", path=path, rules=lambda: made.rules, **given).pages(Mark(), made.now)
        return page

    return read


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_an_exported_row_is_the_same_record(exported, kind):
    page = exported(kind, EXPORTED, rows=SpendRows(tenant="end_user"))
    batch = page.batch
    assert not batch.refused
    assert (batch.uncached.tolist(), batch.cached.tolist(), batch.output.tolist()) == ([70], [30], [20])
    assert batch.started_us.tolist() == [int(START.replace(tzinfo=UTC).timestamp() * 1e6)]
    assert batch.identities == (
        Identity(
            team="search",
            tenant="customer-7",
            feature="summary",
            environment="production",
            api_key=hashed_key(ROW["api_key"]),
        ),
    )
    assert page.mark.at == datetime(2026, 11, 21, 11, 58, 40, 500000, tzinfo=UTC)


def test_wrong_rows_of_an_export_are_told_by_their_place(exported):
    page = exported("csv", EXPORTED, EXPORTED | {"prompt_tokens": "many"}, EXPORTED | {"startTime": "soon"})
    assert [(one.index, one.why) for one in page.batch.refused] == [
        (1, 'prompt_tokens: expected a whole number from 0 to 10,000,000, found "many"'),
        (2, 'started_at: expected a time with its offset such as 2026-11-21T12:00:00Z, or unix seconds, found "soon"'),
    ]
    page = exported("jsonl", "{", EXPORTED, "[]")
    assert [one.index for one in page.batch.refused] == [0, 2]


def test_a_cell_with_a_long_prompt_stops_nothing(exported):
    assert len(exported("csv", EXPORTED | {"messages": "x" * 500_000}).batch) == 1


def test_a_file_without_its_columns_is_told(exported, tmp_path, made):
    with pytest.raises(UsageError, match=r"spend\.csv:1: the header has no column startTime, endTime"):
        exported("csv", {"request_id": "r1", "model": "chat", "prompt_tokens": 1, "completion_tokens": 1})
    with pytest.raises(UsageError, match=r"cannot read .*absent\.csv: No such file"):
        list(SpendFile(name="export", path=tmp_path / "absent.csv", rules=lambda: made.rules).pages(Mark(), made.now))
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="is not a CSV file in UTF-8"):
        list(SpendFile(name="export", path=tmp_path / "binary.csv", rules=lambda: made.rules).pages(Mark(), made.now))


@pytest.mark.parametrize(
    "metadata", [None, "", "{", "[]", '{"usage_object": 7, "additional_usage_values": null}', "null"]
)
def test_metadata_that_says_nothing_costs_only_what_it_would_have_said(exported, metadata):
    batch = exported("csv", EXPORTED | {"metadata": metadata, "request_tags": metadata}).batch
    assert (batch.cached.tolist(), batch.identities[0].team) == ([0], "6f2c")


def test_the_settings_of_a_source_do_not_show_its_password():
    source = SpendLogs(name="litellm", url="postgresql://me:hunter2@db/litellm", rules=dict)
    assert "hunter2" not in repr(source)
    assert psycopg.conninfo.conninfo_to_dict(source.url)["password"] == "hunter2"

"""OpenTelemetry GenAI spans as OTLP JSON files."""

import json

import pytest

from controller.facts.accounts import Identity
from controller.facts.usage import Reason
from controller.usage.otel import Spans, otel_spans
from controller.usage.pull import Mark


def attributes(**named):
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue"}
    return [
        {"key": key, "value": {kinds[type(one)]: str(one) if type(one) is int else one}} for key, one in named.items()
    ]


def span(number=1, start="1795262340000000000", end="1795262344500000000", **named):
    usual = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "llama-3.1-70b",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.output_tokens": 20,
    }
    return {
        "traceId": "5b8efff798038103d269b633813fc60c",
        "spanId": f"eee19b7ec3c1b1{number:02d}",
        "name": "chat llama-3.1-70b",
        "kind": 3,
        "startTimeUnixNano": start,
        "endTimeUnixNano": end,
        "attributes": attributes(**{key: one for key, one in (usual | named).items() if one is not None}),
        "events": [{"name": "gen_ai.content.prompt", "attributes": attributes(prompt="my secret question")}],
        "status": {},
    }


def line(*spans, **resource):
    scope = {"scope": {"name": "opentelemetry.instrumentation.openai"}, "spans": list(spans)}
    return json.dumps({"resourceSpans": [{"resource": {"attributes": attributes(**resource)}, "scopeSpans": [scope]}]})


@pytest.fixture
def page(made, tmp_path):
    path = tmp_path / "traces.json"

    def read(*lines, **given):
        path.write_text("".join(f"{one}\n" for one in lines))
        (found,) = otel_spans("traces", path, lambda: made.rules, **given).pages(Mark(), made.now)
        return found

    return read


def test_a_call_of_a_model_is_a_record(page):
    batch = page(line(span(**{"gen_ai.usage.cache_read.input_tokens": 30}))).batch
    assert not batch.refused
    assert (batch.uncached.tolist(), batch.cached.tolist(), batch.output.tolist()) == ([70], [30], [20])
    assert (batch.started_us.tolist(), batch.ended_us.tolist()) == ([1795262340_000000], [1795262344_500000])
    assert batch.places == (("chat", ""),)


def test_the_old_names_are_understood(page):
    old = span(**{
        "gen_ai.operation.name": None,
        "gen_ai.usage.input_tokens": None, "gen_ai.usage.prompt_tokens": 100,
        "gen_ai.usage.output_tokens": None, "gen_ai.usage.completion_tokens": 20,
        "gen_ai.usage.cache_read_input_tokens": 30,
        "server.address": "10.0.0.5", "server.port": 8000,
    })  # fmt: skip
    batch = page(line(old)).batch
    assert (batch.uncached.tolist(), batch.cached.tolist(), batch.output.tolist()) == ([70], [30], [20])
    assert batch.places == (("chat", "h100"),)


def test_other_spans_are_skipped(page):
    found = page(
        line(span(**{"gen_ai.operation.name": "invoke_agent"}), span(2, **{"gen_ai.operation.name": "execute_tool"})),
        line(span(3), span(4)),
    )
    assert (len(found.batch), found.skipped) == (2, 1)


IDENTITY = {"team": "search", "tenant.id": "acme", "service.name": "summary", "deployment.environment": "staging"}


def test_resources_say_who_it_was_only_when_the_file_is_trusted(page):
    told = line(span(), **IDENTITY)
    assert page(told).batch.identities == (Identity(),)
    mine = Identity(team="search", tenant="acme", feature="summary", environment="staging")
    assert page(told, trusted=True).batch.identities == (mine,)


def test_what_the_span_says_goes_before_its_resource_and_names_can_be_others(page):
    told = line(span(**{"team": "chat", "app.feature": "autocomplete"}), **IDENTITY)
    (found,) = page(told, trusted=True, fields={"feature": ("app.feature",)}).batch.identities
    assert (found.team, found.feature) == ("chat", "autocomplete")


def test_a_span_is_known_by_the_answer_or_by_itself(page):
    answers = [span(1, **{"gen_ai.response.id": "chatcmpl-1"}), span(2, **{"gen_ai.response.id": "chatcmpl-1"})]
    assert page(line(*answers, span(3), span(4))).batch.first_of_each().tolist() == [True, False, True, True]


def test_a_span_without_tokens_is_refused(page):
    (refused,) = page(line(span(**{"gen_ai.usage.input_tokens": None}))).batch.refused
    assert refused.why == "prompt_tokens: expected a whole number from 0 to 10,000,000, found nothing"
    assert refused.id == "5b8efff798038103d269b633813fc60c/eee19b7ec3c1b101"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("{", "not JSON: "),
        ("[]", "not OTLP JSON: Expected `object`, got `array`"),
        ('{"resourceSpans": {}}', "not OTLP JSON: Expected `array`, got `object` - at `$.resourceSpans`"),
    ],
)
def test_a_line_that_is_no_trace_is_told(page, told, why):
    (refused,) = page(told).batch.refused
    assert refused.why.startswith(why)
    assert refused.reason is Reason.NOT_JSON


@pytest.mark.parametrize("end", ["soon", "9" * 400, -5])
def test_a_time_that_is_none_is_refused(page, end):
    (refused,) = page(line(span(end=end))).batch.refused
    assert refused.why.startswith(("ended_at: expected", "started_at: expected"))


def test_other_signals_in_the_file_are_nothing():
    assert Spans().pick(b'{"resourceMetrics": []}', 0) == []

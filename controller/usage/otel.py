"""OpenTelemetry spans of generative AI calls, exported as OTLP JSON files (one ``resourceSpans`` object a line).

Names follow the GenAI semantic conventions, https://opentelemetry.io/docs/specs/semconv/gen-ai/, and their older
spellings. Prompts and answers, which spans may carry, are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from controller.facts.usage import Reason, Refused
from controller.usage.batch import Rules
from controller.usage.decode import BAD_JSON, not_json
from controller.usage.pull import LineSource, Picked
from controller.usage.told import convert

OPERATIONS = frozenset({"chat", "text_completion", "generate_content"})
"""``gen_ai.operation.name`` of calls that reach an engine once; agents and tools wrap such calls."""

SPAN_FIELDS: Mapping[str, tuple[str, ...]] = {
    "model": ("gen_ai.request.model", "gen_ai.response.model"),
    "prompt_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cached_tokens": (
        "gen_ai.usage.cache_read.input_tokens",
        "gen_ai.usage.cache_read_input_tokens",
        "gen_ai.usage.input_tokens.cached",
    ),
}
"""Field of a record: attributes of a span. Cached tokens are included in the input tokens."""

RESOURCE_FIELDS: Mapping[str, tuple[str, ...]] = {
    "team": ("team",),
    "tenant": ("tenant.id",),
    "feature": ("service.name",),
    "environment": ("deployment.environment.name", "deployment.environment"),
}
"""The same: attributes of the span's resource or, before them, of the span itself."""

NANOSECONDS_PER_S = 1e9


class Value(msgspec.Struct, gc=False, rename="camel"):
    """OTLP writes 64-bit integers as text."""

    string_value: str | None = None
    int_value: int | str | None = None
    double_value: float | None = None
    bool_value: bool | None = None

    @property
    def told(self) -> Any:
        values = (self.string_value, self.int_value, self.double_value, self.bool_value)
        return next((one for one in values if one is not None), None)


class Attribute(msgspec.Struct, gc=False):
    key: str
    value: Value | None = None


class Span(msgspec.Struct, rename="camel"):
    trace_id: str = ""
    span_id: str = ""
    start_time_unix_nano: str | int = 0
    end_time_unix_nano: str | int = 0
    attributes: list[Attribute] = []


class ScopeSpans(msgspec.Struct, rename="camel"):
    spans: list[Span] = []


class Resource(msgspec.Struct):
    attributes: list[Attribute] = []


class ResourceSpans(msgspec.Struct, rename="camel"):
    resource: Resource | None = None
    scope_spans: list[ScopeSpans] = []


class Traces(msgspec.Struct, rename="camel"):
    resource_spans: list[ResourceSpans] = []


_TRACES = msgspec.json.Decoder(Traces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spans:
    """How a line is read. ``fields``: names of attributes, for those that are called otherwise."""

    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def pick(self, line: bytes, index: int) -> list[Picked]:
        """A record for each call of a model; nothing for spans of other things."""
        try:
            traces = _TRACES.decode(line)
        except msgspec.ValidationError as error:
            why = f"not OTLP JSON: {error}"
            return [Refused(index=index, id="", why=why, reason=Reason.NOT_JSON)]
        except BAD_JSON as error:
            return [not_json(error, index)]
        return [convert(fields, index) for fields in self._calls(traces)]

    def _calls(self, traces: Traces) -> Iterator[dict[str, Any]]:
        for resource in traces.resource_spans:
            given = _plain(resource.resource.attributes) if resource.resource else {}
            for scope in resource.scope_spans:
                for span in scope.spans:
                    own = _plain(span.attributes)
                    if _is_call(own):
                        yield self._fields(span, own, given)

    def _fields(self, span: Span, own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        everywhere = {**given, **own}
        found: dict[str, Any] = {
            "id": own.get("gen_ai.response.id") or f"{span.trace_id}/{span.span_id}",
            "started_at": _seconds(span.start_time_unix_nano),
            "ended_at": _seconds(span.end_time_unix_nano),
        }
        for names, attributes in ((SPAN_FIELDS, own), (RESOURCE_FIELDS, everywhere)):
            for name, usual in names.items():
                keys = self.fields.get(name, usual)
                value = next((attributes[key] for key in keys if attributes.get(key) is not None), None)
                if value is not None:
                    found[name] = value
        if isinstance(own.get("server.address"), str):
            found["api_base"] = f"{own['server.address']}:{own.get('server.port', '')}".rstrip(":")
        if "prompt_tokens" in found:
            found.setdefault("output_tokens", 0)  # it failed before the first token
        return found


def otel_spans(
    name: str,
    path: Path,
    rules: Callable[[], Rules],
    *,
    trusted: bool = False,
    fields: Mapping[str, tuple[str, ...]] | None = None,
) -> LineSource:
    """The file at ``path``, which a collector's file exporter writes and rotates, as a source."""
    return LineSource(name=name, path=path, pick=Spans(fields=fields or {}).pick, rules=rules, trusted=trusted)


def _is_call(own: Mapping[str, Any]) -> bool:
    """Old instrumentations name no operation; a span that knows its tokens was a call."""
    operation = own.get("gen_ai.operation.name")
    return operation in OPERATIONS or (operation is None and any(key in own for key in SPAN_FIELDS["prompt_tokens"]))


def _plain(attributes: list[Attribute]) -> dict[str, Any]:
    return {one.key: one.value.told for one in attributes if one.value is not None}


def _seconds(nanoseconds: str | int) -> Any:
    """Unix seconds; what is no number as it stands, for its refusal to show."""
    try:
        return int(nanoseconds) / NANOSECONDS_PER_S
    except (ValueError, OverflowError):
        return nanoseconds

"""Access logs as JSON lines, as gateways and OpenAI-compatible servers write them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from controller.facts.usage import Reason, Refused
from controller.usage.batch import Rules
from controller.usage.decode import BAD_JSON, not_json
from controller.usage.pull import LineSource, Picked
from controller.usage.told import Told, convert

Paths = tuple[str, ...]
"""Where a value may stand, the first one that is there counts. Dotted; names of headers in any case."""

FIELDS: Mapping[str, Paths] = {
    "id": ("request_id", "id", "response.id"),
    "ended_at": ("ended_at", "time", "timestamp", "@timestamp", "ts"),
    "started_at": ("started_at",),
    "service": ("service",),
    "model": ("model", "request.model", "response.model"),
    "variant": ("variant",),
    "api_base": ("api_base", "upstream"),
    "prompt_tokens": (
        "usage.prompt_tokens",
        "usage.input_tokens",
        "prompt_tokens",
        "input_tokens",
        "response.usage.prompt_tokens",
    ),
    "output_tokens": (
        "usage.completion_tokens",
        "usage.output_tokens",
        "completion_tokens",
        "output_tokens",
        "response.usage.completion_tokens",
    ),
    "cached_tokens": (
        "usage.prompt_tokens_details.cached_tokens",
        "usage.input_tokens_details.cached_tokens",
        "prompt_tokens_details.cached_tokens",
        "cached_tokens",
        "response.usage.prompt_tokens_details.cached_tokens",
    ),
    "cache_hit": ("cache_hit",),
    "team": ("team", "headers.x-team"),
    "tenant": ("tenant", "headers.x-tenant", "user"),
    "feature": ("feature", "headers.x-feature"),
    "environment": ("environment", "headers.x-environment"),
    "api_key": ("api_key", "headers.authorization", "headers.x-api-key"),
}
"""Field of a record: where it stands in a line. ``account.sources`` may say otherwise, field by field."""

DURATIONS: Mapping[str, float] = {"duration_s": 1.0, "latency_s": 1.0, "duration_ms": 1e-3, "latency_ms": 1e-3}
"""How long a request took, and the seconds of its unit. The line's time is when it ended: logs are written then."""

MILLISECONDS_FROM = 1e11
"""A time above this is milliseconds: as seconds it would be the year 5138."""

BEARER = "bearer "


HEADERS = "headers"

Way = tuple[str, tuple[str, ...]]
"""A path whole, as some logs have it for a key, and in its steps."""


class AccessLog:
    """How a line is read."""

    def __init__(self, fields: Mapping[str, Paths] | None = None) -> None:
        """``fields``: as FIELDS, for those that stand elsewhere."""
        paths = {**FIELDS, **(fields or {})}
        self._ways = tuple((name, tuple(_way(path) for path in paths[name])) for name in FIELDS)

    def pick(self, line: bytes, index: int) -> list[Picked]:
        """The record of a line; nothing for a line without tokens, such as a health check's."""
        try:
            told = msgspec.json.decode(line)
        except BAD_JSON as error:
            return [not_json(error, index)]
        if not isinstance(told, dict):
            return [Refused(index=index, id="", why="expected a JSON object", reason=Reason.NOT_JSON)]
        if isinstance(told.get(HEADERS), dict):
            told[HEADERS] = {name.lower(): value for name, value in told[HEADERS].items()}
        found = {name: value for name, ways in self._ways if (value := _first(told, ways)) is not None}
        if "prompt_tokens" not in found and "output_tokens" not in found:
            return []
        return [_record(found, told, index)]


def access_log(
    name: str,
    path: Path,
    rules: Callable[[], Rules],
    *,
    trusted: bool = False,
    fields: Mapping[str, Paths] | None = None,
) -> LineSource:
    """The log at ``path`` as a source. Its identities count only when ``trusted``: headers are the client's."""
    return LineSource(name=name, path=path, pick=AccessLog(fields).pick, rules=rules, trusted=trusted)


def _record(found: dict[str, Any], line: Mapping[str, Any], index: int) -> Picked:
    for name in ("started_at", "ended_at"):
        if name in found:
            found[name] = _time(found[name])
    found.setdefault("output_tokens", 0)  # an embedding, or nothing came
    key = found.get("api_key")
    if isinstance(key, str) and key.lower().startswith(BEARER):
        found["api_key"] = key[len(BEARER) :].strip()
    for name in ("id", "team", "tenant", "feature", "environment"):
        if isinstance(found.get(name), int) and not isinstance(found[name], bool):
            found[name] = str(found[name])
    record = convert(found, index)
    return record if isinstance(record, Refused) else _with_start(record, line, index)


def _with_start(record: Told, line: Mapping[str, Any], index: int) -> Picked:
    """A log that tells how long a request took tells when it started."""
    seconds = next((line[name] * unit for name, unit in DURATIONS.items() if _is_number(line.get(name))), None)
    if record.started_at is not None or seconds is None:
        return record
    if not 0 <= seconds < 1e9:
        why = f"duration: expected seconds from 0, found {seconds:g}"
        return Refused(index=index, id=record.id, why=why)
    ended = record.ended_at
    record.started_at = (ended if isinstance(ended, float) else ended.timestamp()) - seconds
    return record


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _time(value: Any) -> Any:
    """Unix seconds of milliseconds; all else as it is."""
    return value / 1000 if _is_number(value) and value > MILLISECONDS_FROM else value


def _way(path: str) -> Way:
    steps = tuple(path.split("."))
    return path, tuple(one.lower() for one in steps) if steps[0] == HEADERS else steps


def _first(line: Mapping[str, Any], ways: tuple[Way, ...]) -> Any:
    """The first value that is there. Of a header that came several times, the first."""
    for path, steps in ways:
        found = line.get(path)
        if found is None and steps[0] in line:
            found = _at(line, steps)
        if isinstance(found, list):
            found = found[0] if found else None
        if found is not None and found != "":
            return found
    return None


def _at(found: Any, steps: tuple[str, ...]) -> Any:
    for step in steps:
        if not isinstance(found, dict):
            return None
        found = found.get(step)
    return found

"""Rows of LiteLLM's spend logs, from its database or from files that were exported from it, as usage records."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import msgspec

from controller.errors import UsageError
from controller.facts.usage import MOST_RECORDS, Refused
from controller.usage.batch import Rules, columns
from controller.usage.decode import BAD_JSON, not_json
from controller.usage.directory import Directory
from controller.usage.pull import Mark, Page, Picked, newest, sorted_out
from controller.usage.told import convert

REQUIRED = ("request_id", "startTime", "endTime", "prompt_tokens", "completion_tokens", "model")
COLUMNS = (
    *REQUIRED,
    "model_group",
    "api_base",
    "cache_hit",
    "api_key",
    "user",
    "team_id",
    "organization_id",
    "end_user",
    "request_tags",
    "metadata",
)
"""All that is ever read. Not the messages, the response or the request; and not ``spend``: records are weights."""

TAGS: Mapping[str, str] = {"feature": "feature", "env": "environment", "environment": "environment"}
"""A tag "feature:search" sets the feature. Tags come from clients unless LiteLLM is told to set them itself."""


CACHED = (
    ("additional_usage_values", "cache_read_input_tokens"),
    ("usage_object", "prompt_tokens_details", "cached_tokens"),
)
"""Where in ``metadata`` the cached tokens stand, by version."""

TEAM_ALIAS = ("user_api_key_team_alias",)

LONGEST_CELL = 16 * 1024 * 1024
"""Exports hold prompts in cells that we do not read; Python's limit of 128 KiB is too small for them."""

_ROW = msgspec.json.Decoder(dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendRows:
    """How a row is read.

    tenant   which column says whose customer it was: LiteLLM itself sets the organisation, clients set the end user
    tags     prefix of a tag: field of Identity
    """

    tenant: Literal["organization_id", "end_user", "user"] = "organization_id"
    tags: Mapping[str, str] = field(default_factory=lambda: dict(TAGS))

    def pick(self, row: Mapping[str, Any], index: int, directory: Directory) -> Picked:
        """The record of a row."""
        metadata = _read(row.get("metadata"))
        found = {
            "id": row.get("request_id"),
            "started_at": _time(row.get("startTime")),
            "ended_at": _time(row.get("endTime")),
            "model": _model(row, directory),
            "api_base": row.get("api_base"),
            "prompt_tokens": row.get("prompt_tokens"),
            "output_tokens": row.get("completion_tokens"),
            "cached_tokens": next((one for path in CACHED if (one := _at(metadata, path)) is not None), None),
            "cache_hit": row.get("cache_hit"),
            "team": _at(metadata, TEAM_ALIAS) or row.get("team_id"),
            "tenant": row.get(self.tenant),
            "api_key": row.get("api_key"),
            **self._tagged(row.get("request_tags")),
        }
        return convert({name: value for name, value in found.items() if value not in (None, "")}, index)

    def _tagged(self, told: Any) -> dict[str, str]:
        found: dict[str, str] = {}
        tags = _read(told)
        for tag in tags if isinstance(tags, list) else ():
            prefix, colon, value = tag.partition(":") if isinstance(tag, str) else ("", "", "")
            name = self.tags.get(prefix.strip().lower(), "")
            if name and colon and value.strip():
                found.setdefault(name, value.strip())
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class SpendFile:
    """Exported rows: a CSV file with a header, or JSON lines. Read as a whole, once."""

    name: str
    path: Path
    rules: Callable[[], Rules]
    rows: SpendRows = field(default_factory=SpendRows)

    def pages(self, mark: Mark, now: datetime) -> Iterator[Page]:
        """``mark`` says how new the newest record is; the file is read from its beginning."""
        try:
            for portion in _portions(self._rows()):
                rules = self.rules()
                picked = ((at, self._picked(at, row, rules.directory)) for at, row in portion)
                batch = columns(sorted_out(picked), rules, source=self.name, trusted=True, now=now)
                mark = Mark(at=newest(mark.at, batch.newest, now))
                yield Page(batch=batch, mark=mark)
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from error
        except (UnicodeDecodeError, csv.Error) as error:
            raise UsageError(f"{self.path} is not a CSV file in UTF-8: {error}") from error

    def _picked(self, at: int, row: Mapping[str, Any] | Refused, directory: Directory) -> Picked:
        return row if isinstance(row, Refused) else self.rows.pick(row, at, directory)

    def _rows(self) -> Iterator[Mapping[str, Any] | Refused]:
        if self.path.suffix.lower() == ".csv":
            with self.path.open(encoding="utf-8-sig", newline="") as file:
                csv.field_size_limit(LONGEST_CELL)
                reader = csv.DictReader(file)
                _check_header(self.path, reader.fieldnames or ())
                yield from reader
        else:
            with self.path.open("rb") as lines:
                for at, line in enumerate(one for one in lines if one.strip()):
                    yield _line(line, at)


def _portions(rows: Iterable[Any]) -> Iterator[list[tuple[int, Any]]]:
    numbered = enumerate(rows)
    while portion := list(islice(numbered, MOST_RECORDS)):
        yield portion


def _line(line: bytes, at: int) -> Mapping[str, Any] | Refused:
    try:
        return _ROW.decode(line)
    except BAD_JSON as error:
        return not_json(error, at)


def _check_header(path: Path, names: Sequence[str]) -> None:
    absent = [name for name in REQUIRED if name not in names]
    if absent:
        raise UsageError(f"{path}:1: the header has no column {', '.join(absent)}; nothing was taken")


def _read(told: Any) -> Any:
    """JSON in a column: as text or, in JSON lines, as it is. What cannot be read says nothing."""
    try:
        return msgspec.json.decode(told) if isinstance(told, str) and told else told
    except BAD_JSON:
        return None


def _at(found: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _model(row: Mapping[str, Any], directory: Directory) -> Any:
    """Of the group's name, which clients ask for, and the model's, the one that the fleet knows."""
    names = [name for name in (row.get("model_group"), row.get("model")) if isinstance(name, str) and name]
    return next((name for name in names if directory.service_of(name)), names[0] if names else None)


def _time(told: Any) -> Any:
    """LiteLLM writes UTC and, in its database, does not say so. What is no time stays, for its refusal to show."""
    try:
        at = datetime.fromisoformat(told) if isinstance(told, str) else told
    except ValueError:
        return told
    return at.replace(tzinfo=UTC) if isinstance(at, datetime) and at.tzinfo is None else at

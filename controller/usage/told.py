"""One usage record as its sender tells it: the contract of ``POST /api/v1/usage``, and its mistakes in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from controller.attribute.batch import MOST_OUTPUT_TOKENS, MOST_PROMPT_TOKENS
from controller.facts.usage import Reason, Refused

LONGEST_ID = 256
LONGEST_NAME = 128

Id = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
Name = Annotated[str, Meta(max_length=LONGEST_NAME)]
Text = Annotated[str, Meta(max_length=2048)]
Prompt = Annotated[int, Meta(ge=0, le=MOST_PROMPT_TOKENS)]
Output = Annotated[int, Meta(ge=0, le=MOST_OUTPUT_TOKENS)]
Time = Annotated[datetime, Meta(tz=True)] | float


class Details(msgspec.Struct, gc=False):
    """OpenAI's ``prompt_tokens_details``."""

    cached_tokens: Prompt | None = None


class Usage(msgspec.Struct, gc=False):
    """OpenAI's ``usage``, in both of its spellings."""

    prompt_tokens: Prompt | None = None
    input_tokens: Prompt | None = None
    completion_tokens: Output | None = None
    output_tokens: Output | None = None
    cached_tokens: Prompt | None = None
    prompt_tokens_details: Details | None = None
    input_tokens_details: Details | None = None


class Told(msgspec.Struct, gc=False):
    """Field names are the contract's. Unknown ones are ignored."""

    id: Id
    ended_at: Time
    started_at: Time | None = None
    service: Name | None = None
    model: Text | None = None
    variant: Name | None = None
    api_base: Text | None = None
    prompt_tokens: Prompt | None = None
    input_tokens: Prompt | None = None
    output_tokens: Output | None = None
    completion_tokens: Output | None = None
    cached_tokens: Prompt | None = None
    prompt_tokens_details: Details | None = None
    usage: Usage | None = None
    cache_hit: bool | str | None = None
    team: Name | None = None
    tenant: Name | None = None
    feature: Name | None = None
    environment: Name | None = None
    api_key: Text | None = None


PROMPT = f"a whole number from 0 to {MOST_PROMPT_TOKENS:,}"
OUTPUT = f"a whole number from 0 to {MOST_OUTPUT_TOKENS:,}"
TIME = "a time with its offset such as 2026-11-21T12:00:00Z, or unix seconds"
NAME = f"text of at most {LONGEST_NAME} characters"
OBJECT = "an object"
EXPECTED: Mapping[str, str] = {
    "id": f"text of 1 to {LONGEST_ID} characters",
    "started_at": TIME,
    "ended_at": TIME,
    "model": "text of at most 2,048 characters",
    "api_base": "text of at most 2,048 characters",
    "api_key": "text of at most 2,048 characters",
    "prompt_tokens": PROMPT,
    "input_tokens": PROMPT,
    "cached_tokens": PROMPT,
    "output_tokens": OUTPUT,
    "completion_tokens": OUTPUT,
    "cache_hit": "true or false",
    "usage": OBJECT,
    "prompt_tokens_details": OBJECT,
    "input_tokens_details": OBJECT,
}
"""What belongs into a field; the others hold names."""

SECRET = frozenset({"api_key"})
"""Never shown, not even to who sent it: answers end up in logs."""

SHOWN = 60
"""Characters of a wrong value that are shown."""

_PLACE = re.compile(r"`\$(?:\[\d+\])?\.?([^`]*)`$")
_ABSENT = re.compile(r"missing required field `([^`]+)`")


def convert(fields: Mapping[str, Any], index: int) -> Told | Refused:
    """A record whose fields were picked from somewhere else. Numbers may come as text, as in CSV files."""
    try:
        return msgspec.convert(fields, Told, strict=False)
    except msgspec.ValidationError as error:
        return mistaken(error, fields, index)


def mistaken(error: msgspec.ValidationError, found: object, index: int) -> Refused:
    """Why the object ``found`` is no record, by the validator's ``error``."""
    given = found if isinstance(found, Mapping) else {}
    return Refused(index=index, id=shown_id(given), why=_why(str(error), found), reason=Reason.FIELD)


def shown_id(given: Mapping[str, Any]) -> str:
    """The record's id, as far as it has one."""
    told = given.get("id")
    return told[:LONGEST_ID] if isinstance(told, str) else ""


def expected(field: str, found: object) -> str:
    """ "prompt_tokens: expected a whole number …, found -1". ``field`` is dotted; None: it is not there."""
    leaf = field.rpartition(".")[2]
    value = "another value" if leaf in SECRET else "nothing" if found is None else _shown(found)
    return f"{field}: expected {EXPECTED.get(leaf, NAME)}, found {value}"


def _why(message: str, found: object) -> str:
    if not isinstance(found, Mapping):
        kind = "text" if isinstance(found, str) else _shown(found)
        return f"expected an object with the fields of a record, found {kind}"
    place = _PLACE.search(message)
    field = place[1] if place else ""
    absent = _ABSENT.search(message)
    if absent:
        field = f"{field}.{absent[1]}".lstrip(".")
    return expected(field, _at(found, field))


def _at(found: object, field: str) -> object:
    for key in field.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _shown(value: object) -> str:
    """As JSON writes it, cut. Only the kind of what holds other values: a secret may be among them."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, list | tuple):
        return "an array"
    try:
        text = msgspec.json.encode(value).decode(errors="replace")
    except (TypeError, ValueError, OverflowError):
        text = repr(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"

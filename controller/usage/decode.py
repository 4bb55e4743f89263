"""The body of ``POST /api/v1/usage``: NDJSON or a JSON array, with or without gzip."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from datetime import datetime

import msgspec

from controller.attribute.batch import Batch
from controller.errors import UsageError, UsageTooMuchError
from controller.facts.usage import MOST_BYTES, MOST_RECORDS, Reason, Refused
from controller.usage.batch import Gathered, Rules, columns
from controller.usage.told import Told, mistaken

_ONE = msgspec.json.Decoder(Told)
_ALL = msgspec.json.Decoder(list[Told])
_APART = msgspec.json.Decoder(list[msgspec.Raw])

BAD_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What the decoder raises on bytes that are not JSON: also on text that is not UTF-8 and on absurd nesting."""

GZIP = 16 + zlib.MAX_WBITS
"""zlib's word for "with gzip's header and checksum"."""


def read_usage(body: bytes, encoding: str, rules: Rules, *, source: str, trusted: bool, now: datetime) -> Batch:
    """The records of one call of ``source``. ``trusted``: what it says of identities is true.

    UsageError when nothing of it can be read, UsageTooMuchError when it is too much; records that cannot be are among
    the batch's refused.
    """
    return columns(decoded(unpacked(body, encoding)), rules, source=source, trusted=trusted, now=now)


def unpacked(body: bytes, encoding: str) -> bytes:
    """``body`` without its Content-Encoding. It stops at the limit: a small gzip file can hold terabytes."""
    name = encoding.strip().lower()
    if name == "gzip":
        return _gunzipped(body)
    if name not in ("", "identity"):
        raise UsageError(f"Content-Encoding: expected gzip or none, found {name[:60]!r}; nothing was taken")
    if len(body) > MOST_BYTES:
        raise too_many_bytes()
    return body


def too_many_bytes() -> UsageTooMuchError:
    return UsageTooMuchError(
        f"more than {MOST_BYTES // 1024**2} MiB (unpacked) in one call; nothing was taken, send it in parts"
    )


def _gunzipped(body: bytes) -> bytes:
    """Of one or several gzip members after each other, as the format allows."""
    unpacked, rest = b"", body
    while rest:
        member = zlib.decompressobj(GZIP)
        try:
            unpacked += member.decompress(rest, MOST_BYTES + 1 - len(unpacked))
        except zlib.error as error:
            raise UsageError(f"the body is not gzip: {error}; nothing was taken") from error
        if len(unpacked) > MOST_BYTES:
            raise too_many_bytes()
        if not member.eof:
            raise UsageError("the body ends in the middle of its gzip data; nothing was taken")
        rest = member.unused_data
    return unpacked


def decoded(body: bytes) -> Gathered:
    """The records of an unpacked body. What it is, its first character says: headers are often wrong."""
    if body.lstrip()[:1] == b"[":
        return _array(body)
    return _lines(body)


def _array(body: bytes) -> Gathered:
    try:
        told = _ALL.decode(body)
    except BAD_JSON as error:
        if not isinstance(error, msgspec.ValidationError):
            raise _not_json(f"a JSON array ({error})") from error
        return _one_by_one(_apart(body))
    _check_count(len(told))
    return Gathered(told=told)


def _apart(body: bytes) -> Sequence[msgspec.Raw]:
    """The elements of an array that is well formed, though not all of records."""
    try:
        elements = _APART.decode(body)
    except BAD_JSON as error:
        raise _not_json(f"a JSON array ({error})") from error
    _check_count(len(elements))
    return elements


def _lines(body: bytes) -> Gathered:
    """All at once, which is fast; line by line when one of them is wrong, or is not one record."""
    ends = body.count(b"\n") + (not body.endswith(b"\n"))
    try:
        told = _ONE.decode_lines(body) if ends <= MOST_RECORDS else []
    except BAD_JSON:
        told = []
    if told and len(told) == ends:
        return Gathered(told=told)
    gathered = _one_by_one([line for line in body.split(b"\n") if line.strip()])
    if gathered.refused and not gathered.told and all(one.reason is Reason.NOT_JSON for one in gathered.refused):
        raise _not_json(f"one JSON object a line ({gathered.refused[0].why})")
    return gathered


def _one_by_one(parts: Sequence[bytes | msgspec.Raw]) -> Gathered:
    _check_count(len(parts))
    return one_by_one(enumerate(parts))


def one_by_one(parts: Iterable[tuple[int, bytes | msgspec.Raw]]) -> Gathered:
    """Each part for itself, with its index: a wrong one spoils no other."""
    told: list[Told] = []
    index: list[int] = []
    refused: list[Refused] = []
    for at, part in parts:
        one = _record(part, at)
        if isinstance(one, Refused):
            refused.append(one)
        else:
            told.append(one)
            index.append(at)
    return Gathered(told=told, index=index, refused=refused)


def _record(part: bytes | msgspec.Raw, index: int) -> Told | Refused:
    try:
        return _ONE.decode(part)
    except msgspec.ValidationError as error:
        problem = error
    except BAD_JSON as error:
        return not_json(error, index)
    try:
        return mistaken(problem, msgspec.json.decode(part), index)
    except BAD_JSON as error:
        return not_json(error, index)


def not_json(error: Exception, index: int) -> Refused:
    """A line that nothing can be read of."""
    return Refused(index=index, id="", why=f"not JSON: {_plain(error)}", reason=Reason.NOT_JSON)


def _plain(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nested too deeply"
    if isinstance(error, UnicodeDecodeError):
        return "not UTF-8"
    return str(error).removeprefix("JSON is malformed: ")


def _not_json(what: str) -> UsageError:
    return UsageError(f"the body is not {what}; nothing was taken")


def _check_count(found: int) -> None:
    if found > MOST_RECORDS:
        raise UsageTooMuchError(
            f"{found:,} records in one call, more than {MOST_RECORDS:,}; nothing was taken, send them in parts"
        )

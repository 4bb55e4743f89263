"""``POST /api/v1/usage``: whoever holds a token tells who used how many tokens. The answer comes when it is durable."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, HTTPException, Request, Security
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from controller.attribute.batch import Batch
from controller.errors import LedgerError, UsageError, UsageFullError, UsageTooMuchError
from controller.facts.usage import MOST_BYTES, MOST_RECORDS, Receipt, Refused

REFUSED_TOLD = 100
"""Refused records that an answer lists; it counts all."""

CALLS_AT_ONCE = 16
"""Each may hold 16 MiB and wait for a commit. A guess: gateways send from one or two workers each."""

DECODED_AT_ONCE = 2
"""Decoding is one core's work; more at once would only hold more memory."""

RETRY_AFTER_S = 1
LEDGER_RETRY_AFTER_S = 10
"""Guesses: a full desk is empty after a commit; a ledger that cannot be written takes longer."""

DRAINED_BYTES = 4 * MOST_BYTES
"""A guess: who sends more than that sends something else."""

TOO_LONG = f"more than {MOST_BYTES // 1024**2} MiB in one call; nothing was taken, send it in parts"

PATH = "/api/v1/usage"


class Intake(Protocol):
    """Where records go."""

    def add(self, source: str, batch: Batch) -> Receipt:
        """Count ``batch`` once, durably, then return. Any thread may call.

        ``source`` names who sent it. What ``batch.refused`` lists is in no column; it is there to be counted.
        UsageFullError when too many records wait; LedgerError when they cannot be written: then none of them counts.
        """
        ...


class Read(Protocol):
    """From a body to records."""

    def __call__(self, body: bytes, encoding: str, *, source: str, trusted: bool, now: datetime) -> Batch:
        """UsageError when nothing of it can be read; UsageTooMuchError when it is too much."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """Who may send. ``trusted``: a gateway that sets identities itself, so that what it says of them is true."""

    name: str
    secret: str = field(repr=False)
    trusted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the endpoint stands on. ``tokens`` is asked at each call, for the file may have changed."""

    intake: Intake
    read: Read
    tokens: Callable[[], Sequence[Token]]
    clock: Callable[[], datetime]


class RefusedTold(BaseModel):
    """A record that was not taken."""

    index: int = Field(description="Its place in what was sent, from 0; blank lines do not count.")
    id: str
    why: str


class ReceiptTold(BaseModel):
    """What became of a call's records."""

    accepted: int = Field(description="Counted, and durable.")
    duplicates: int = Field(description="Known already by their ids: not counted again.")
    refused: list[RefusedTold] = Field(description=f"The first {REFUSED_TOLD} that were not taken.")
    refused_total: int


class Problem(BaseModel):
    """Why nothing was taken."""

    detail: str


def ingest_router(desk: Desk) -> APIRouter:
    """The endpoint. It neither believes nor keeps the sender's address and other headers."""
    router = APIRouter()
    decoders = CapacityLimiter(DECODED_AT_ONCE)
    inside = _Inside(CALLS_AT_ONCE)

    @router.post(
        PATH,
        summary="Usage records: who asked for how many tokens",
        description=DESCRIPTION,
        response_model=ReceiptTold,
        responses=PROBLEMS,
        openapi_extra=BODY,
        dependencies=[Security(HTTPBearer(auto_error=False))],  # for the OpenAPI document; _allowed decides
    )
    async def usage(request: Request) -> ReceiptTold:
        token = _allowed(request.headers.get("authorization", ""), desk.tokens())
        with inside, _Told():
            body = await _body(request)
            encoding = request.headers.get("content-encoding", "")
            batch = await to_thread.run_sync(lambda: _read(desk, body, encoding, token), limiter=decoders)
            is_empty = not len(batch) and not batch.refused
            receipt = Receipt() if is_empty else await to_thread.run_sync(desk.intake.add, token.name, batch)
            return _receipt(batch.refused, receipt)

    return router


def _read(desk: Desk, body: bytes, encoding: str, token: Token) -> Batch:
    return desk.read(body, encoding, source=token.name, trusted=token.trusted, now=desk.clock())


def _allowed(header: str, tokens: Sequence[Token]) -> Token:
    """Whose token it is. All are compared, each in constant time: how long it takes tells nothing."""
    scheme, _, sent = header.partition(" ")
    if scheme.lower() != "bearer" or not sent.strip():
        raise HTTPException(401, "send Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})
    given = sent.strip().encode()
    equal = [one for one in tokens if hmac.compare_digest(one.secret.encode(), given) and one.secret]
    if not equal:
        raise HTTPException(403, "nobody has this token; tokens are listed in fleet.yaml under account.ingest.tokens")
    return equal[0]


async def _body(request: Request) -> bytes:
    """The body, up to its limit. What is beyond is thrown away, for senders hear nothing before they have sent all;
    and beyond DRAINED_BYTES the connection is closed."""
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size <= MOST_BYTES:
            parts.append(part)
        elif size > DRAINED_BYTES:
            raise HTTPException(413, TOO_LONG, {"Connection": "close"})
        else:
            parts.clear()
    if size > MOST_BYTES:
        raise HTTPException(413, TOO_LONG)
    return b"".join(parts)


def _receipt(unread: Sequence[Refused], receipt: Receipt) -> ReceiptTold:
    """Those that could not be read, and those that the ledger could not take, each once."""
    refused = sorted(dict.fromkeys((*unread, *receipt.refused)), key=lambda one: one.index)
    return ReceiptTold(
        accepted=receipt.accepted,
        duplicates=receipt.duplicates,
        refused=[RefusedTold(index=one.index, id=one.id, why=one.why) for one in refused[:REFUSED_TOLD]],
        refused_total=len(refused),
    )


class _Inside:
    """Counts the calls that are being served. One event loop serves them all, so that no lock is needed."""

    def __init__(self, most: int) -> None:
        self._most, self._now = most, 0

    def __enter__(self) -> None:
        if self._now >= self._most:
            raise _later(429, f"{self._now} calls are being served already; nothing was taken", RETRY_AFTER_S)
        self._now += 1

    def __exit__(self, *_: object) -> None:
        self._now -= 1


class _Told:
    """Failures as answers."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case UsageFullError():
                raise _later(429, str(error), error.retry_after_s) from error
            case UsageTooMuchError():
                raise HTTPException(413, str(error)) from error
            case UsageError():
                raise HTTPException(400, str(error)) from error
            case ClientDisconnect():
                raise HTTPException(400, "the call broke off; nothing was taken") from error
            case LedgerError():
                again = "nothing was counted: send it again, records are known by their ids"
                raise _later(503, f"{error}; {again}", LEDGER_RETRY_AFTER_S) from error


def _later(status: int, why: str, after_s: int) -> HTTPException:
    return HTTPException(status, why, {"Retry-After": str(after_s)})


DESCRIPTION = f"""One JSON object a line (NDJSON) or an array of them, with `Content-Encoding: gzip` or without; at most
{MOST_RECORDS:,} records and {MOST_BYTES // 1024**2} MiB unpacked. A record is known by its `id`: what is sent twice
counts once, so that sending again is always safe. An answer with 200 means that what was accepted is durable."""

_TIME = {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "number"}]}
_COUNT = {"type": "integer", "minimum": 0}
_NAME = {"type": "string", "maxLength": 128}

RECORD: dict[str, Any] = {
    "type": "object",
    "required": ["id", "ended_at"],
    "properties": {
        "id": {"type": "string", "minLength": 1, "maxLength": 256},
        "service": _NAME | {"description": "As in the fleet file; or `model`."},
        "model": {"type": "string", "description": "As requests name it."},
        "variant": _NAME,
        "api_base": {"type": "string", "description": "Where the request was sent to."},
        "started_at": _TIME,
        "ended_at": _TIME,
        "prompt_tokens": _COUNT | {"description": "Cached ones included; also `input_tokens`, `usage.prompt_tokens`."},
        "output_tokens": _COUNT | {"description": "Also `completion_tokens`, `usage.completion_tokens`."},
        "cached_tokens": _COUNT | {"description": "Also `prompt_tokens_details.cached_tokens`."},
        "cache_hit": {"type": "boolean", "description": "Answered without an engine: it weighs nothing."},
        "team": _NAME,
        "tenant": _NAME,
        "feature": _NAME,
        "environment": _NAME,
        "api_key": {"type": "string", "description": "Only its hash is kept."},
    },
}
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-ndjson": {"schema": RECORD},
            "application/json": {"schema": {"type": "array", "items": RECORD, "maxItems": MOST_RECORDS}},
        },
    },
}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Nothing of it can be read."},
    401: {"model": Problem, "description": "There is no token."},
    403: {"model": Problem, "description": "Nobody has this token."},
    413: {"model": Problem, "description": "More than one call may send."},
    429: {"model": Problem, "description": "Too much waits already; Retry-After says when to try again."},
    503: {"model": Problem, "description": "The ledger cannot be written; nothing was counted."},
}

"""Usage records: who asked for how many tokens. They are weights, never money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from controller.facts.accounts import Identity

MOST_BYTES = 16 * 1024 * 1024
MOST_RECORDS = 50_000
"""What one call may send, unpacked."""


class Reason(StrEnum):
    """Why a record is not taken: few words, to count by."""

    NOT_JSON = "not_json"
    FIELD = "field"
    UNKNOWN_SERVICE = "unknown_service"
    TIME = "time"
    TOO_OLD = "too_old"
    IN_FUTURE = "in_future"


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRecord:
    """One request, as a gateway, an engine's access log or a trace tells it.

    id              unique within its source: a record that comes twice counts once
    service         as in the fleet file; ``variant`` "" when the source does not know
    prompt_tokens   cached ones included; ``cached_tokens`` of them came from the engine's prefix cache
    from_cache      answered without an engine (the gateway's own cache): it weighs nothing
    """

    id: str
    service: str
    started_at: datetime
    ended_at: datetime
    prompt_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    variant: str = ""
    identity: Identity = field(default_factory=Identity)
    from_cache: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A record that was not taken, and why. ``index``: its place in what was sent, from 0."""

    index: int
    id: str
    why: str
    reason: Reason = Reason.FIELD


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What became of a batch. What was accepted is durable."""

    accepted: int = 0
    duplicates: int = 0
    refused: Sequence[Refused] = ()

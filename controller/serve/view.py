"""What the endpoints look at: the daemon as others may see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from controller.facts.passes import PassResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What became of one channel's alerts since the start."""

    sent: int
    failed: int
    dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How the daemon itself is doing. ``reasons`` is empty exactly when it is ready."""

    reasons: tuple[str, ...]
    overruns: int
    failed_passes: int
    reload_ok: bool
    reloaded_at: datetime | None
    delivered: Mapping[str, Delivered]
    leads: bool = True
    epoch: int | None = None
    terms_begun: int = 0
    standing_by: str = ""
    """Who leads instead, where this daemon stands by."""
    aws_calls: Mapping[str, int] = field(default_factory=dict)
    """By operation, as IAM writes it."""


class View(Protocol):
    """The daemon, seen from outside."""

    def latest(self) -> PassResult | None: ...

    def standing(self) -> Standing: ...

"""What a user's file is, whatever place it was given in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum


class FileKind(StrEnum):
    """As far as its first lines tell."""

    FLEET = "a fleet file"
    POLICY = "a policy"
    TABLE = "a CSV table"


GIVEN: Mapping[FileKind, str] = {
    FileKind.FLEET: "give it as --fleet",
    FileKind.POLICY: "backtest takes it as --policy, a fleet file names it under 'policies'",
    FileKind.TABLE: "backtest takes it as --trace",
}

_TELLING_BYTES = 1 << 16
_GZIP = b"\x1f\x8b"
_SERVICES, _SERVICE = re.compile(rb"^services:", re.M), re.compile(rb"^service:[ \t]+\w", re.M)
_PROMISES = re.compile(rb"^(slo|scaling|capacity_mix|alerts|budget):", re.M)
_HEADER = re.compile(rb"\A(\xef\xbb\xbf)?[\w .-]+(,[\w .-]+)+\r?\n")


def kind_of(data: bytes) -> FileKind | None:
    """By a few telling keys or a row of names; None where they do not tell."""
    start = data[:_TELLING_BYTES]
    if _SERVICES.search(start):
        return None if _PROMISES.search(start) else FileKind.FLEET
    if _SERVICE.search(start) and _PROMISES.search(start):
        return FileKind.POLICY
    return FileKind.TABLE if start.startswith(_GZIP) or _HEADER.match(start) else None


def misplaced(data: bytes, wanted: FileKind) -> str:
    """What the file is instead, and where it belongs; "" where it may be what is wanted."""
    found = kind_of(data)
    return "" if found in (None, wanted) else f"this is {found}, not {wanted}; {GIVEN[found]}"

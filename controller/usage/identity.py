"""Whose a record is. What a client says of itself counts only when a configured gateway says it for him."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

from controller.facts.accounts import Identity
from controller.usage.told import SHOWN

NAMES = ("team", "tenant", "feature", "environment")
"""Fields of Identity that have names; the fifth is a hash."""

_HASH = re.compile(r"[0-9a-f]{16}")
OURS = "__"
"""Names that begin so are the ledger's own: __idle__, __unattributed__ …"""

Said = tuple[str | None, str | None, str | None, str | None, str | None]
"""NAMES and the API key as they came."""


def hashed_key(raw: str) -> str:
    """The first 64 bits of BLAKE2b (RFC 7693), in 16 hexadecimal digits: how an API key stands in the ledger, in
    reports and in ``account.keys``. The raw key is kept nowhere."""
    return blake2b(raw.encode(), digest_size=8).hexdigest() if raw else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to believe.

    sent    what the source says of team, tenant, feature and environment is true: a gateway that sets them itself
    keys    whose an API key is, by its hash: fills what the source does not say, and is all there is without trust
    """

    sent: bool
    keys: Mapping[str, Identity] = field(default_factory=dict)

    def identity(self, said: Said) -> Identity | str:
        """Whose it is; or why that cannot be."""
        key = self._key(said[4] or "")
        known = self.keys.get(key, Identity()) if key else Identity()
        names = [one or "" for one in said[:4]] if self.sent else [""] * 4
        for name, value in zip(NAMES, names, strict=True):
            if value and (wrong := unfit(name, value)):
                return wrong
        told = {name: value or getattr(known, name) for name, value in zip(NAMES, names, strict=True)}
        return Identity(**told, api_key=key)

    def _key(self, raw: str) -> str:
        """A trusted source may send our hash itself. From others a hash proves nothing: it stands in reports, for all
        to read; only the key does."""
        return raw if self.sent and _HASH.fullmatch(raw) else hashed_key(raw)


def unfit(name: str, value: str) -> str:
    """Why ``value`` cannot be somebody's name; "" when it can."""
    if value.startswith(OURS):
        return f'{name}: "{value[:SHOWN]}" begins with {OURS}, as only the ledger\'s own lines may'
    if not value.isprintable():
        return f"{name}: expected printable text, found {value[:SHOWN]!a}"
    return ""

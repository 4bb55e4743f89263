"""Where other autoscalers ask us, and what they must show there."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM files, absolute; read again when they change.

    client_ca   who must have signed the caller's certificate; "": callers need none
    """

    certificate: str
    key: str
    client_ca: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """One address to ask at.

    token           that a caller must know; "": none is asked for
    allowed_names   common names that the caller's certificate may have; empty: any that the CA signed
    """

    host: str
    port: int
    tls: Tls | None = None
    token: str = field(default="", repr=False)
    allowed_names: tuple[str, ...] = ()

"""Fleets on one ledger whose files say different things of what they account for together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import blake2b
from typing import Any

from controller.accountant.alarms import Alarm

OF_SUMS = ("rules", "shared", "commitments")
"""Whoever settles does so by its own file's: where these differ, what an hour costs and who pays it would depend on
which daemon happened to settle it."""

Differing = Mapping[str, Sequence[str]]
"""By fleet, the keys under ``account:`` of which its file says something else."""


def digest(value: Any) -> str:
    """The same for the same value in every process. Of what is secret, which is not shown, nothing is in it."""
    return blake2b(_canonical(value).encode(), digest_size=16).hexdigest()


def _canonical(value: Any) -> str:
    if is_dataclass(value) and not isinstance(value, type):
        shown = (f"{one.name}={_canonical(getattr(value, one.name))}" for one in fields(value) if one.repr)
        return f"{type(value).__name__}({', '.join(shown)})"
    if isinstance(value, Mapping):
        return f"{{{', '.join(sorted(f'{_canonical(key)}: {_canonical(one)}' for key, one in value.items()))}}}"
    if isinstance(value, frozenset | set):
        return f"{{{', '.join(sorted(map(_canonical, value)))}}}"
    if isinstance(value, list | tuple):
        return f"({', '.join(map(_canonical, value))})"
    return repr(value)


def of_sums(differing: Differing) -> str:
    """Why no hour may be settled, in words; "" when hours may be."""
    found = {fleet: [key for key in keys if key in OF_SUMS] for fleet, keys in differing.items()}
    if not any(found.values()):
        return ""
    return f"{told({fleet: keys for fleet, keys in found.items() if keys})}: no hour is settled until they are alike"


def told(differing: Differing) -> str:
    """ "account.shared differs from that of the fleet us"."""
    said = []
    for fleet, keys in differing.items():
        verb = "differs from that of" if len(keys) == 1 else "differ from those of"
        whose = f"the fleet {fleet}" if fleet else "the fleet without a name"
        said.append(f"{', '.join(f'account.{key}' for key in keys)} {verb} {whose}")
    return "; ".join(said)


def alike_alarm(differing: Differing) -> Alarm:
    """Holds while the file of any other fleet that runs says something else."""
    return Alarm(
        service="",
        name="accounts_differ",
        holds=bool(differing),
        summary=told(differing) or "all fleets on the ledger account alike",
        do="Fleets on one ledger share its accounts: give their files the same, and reload them. While shared, "
        "commitments or rules differ, no hour is settled; of all else it depends on the daemon which one holds.",
        severity="critical" if of_sums(differing) else "warning",
    )

"""Who gets what is left of a limit: one replica after the other, those in need first, then whoever has had the least.

The order does not depend on how much is left, so a wider limit never gives anybody less.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What one limit leaves of its replicas, what it allows of dollars an hour, and what of these is spent.

    name   what it is called in reasons
    """

    name: str
    replicas: float = inf
    usd: float = inf
    spent: float = 0.0

    def fits(self, taken: int, usd: float) -> bool:
        """Whether what makes it ``taken`` replicas and ``usd`` dollars more in all may go. In an unspent period one
        replica may, whatever it costs: else a limit below its price would hold it for good."""
        if taken > self.replicas:
            return False
        return usd <= 0 or self.usd == inf or self.spent + usd <= self.usd or (self.spent <= 0 and taken == 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """What one decision asks for. ``usd``: of its first, second … replica; None: not known."""

    key: Hashable
    urgent: bool
    replicas: int
    usd: Callable[[int], float | None]


def shared(claims: Sequence[Claim], rooms: Sequence[Room]) -> tuple[Mapping[Hashable, int], str]:
    """What each claim gets, and the name of the limit that ended it; "" when all get everything.

    Where dollars are limited, a claim whose price is not known gets nothing: unknown is not zero.
    """
    priced = any(room.usd < inf for room in rooms)
    given: dict[Hashable, int] = {claim.key: 0 for claim in claims}
    taken, spent, why = 0, 0.0, ""
    for claim in _turns(claims):
        usd = claim.usd(given[claim.key]) if priced else 0.0
        if usd is None:
            continue
        full = next((room for room in rooms if not room.fits(taken + 1, spent + usd)), None)
        if full is not None:
            why = full.name
            break
        given[claim.key] += 1
        taken, spent = taken + 1, spent + usd
    if not why and any(given[claim.key] < claim.replicas for claim in claims):
        why = "no price is known, and dollars are limited"
    return given, why


def _turns(claims: Sequence[Claim]) -> Iterator[Claim]:
    """Round after round, each with one replica of everybody who wants one more."""
    for urgent in (True, False):
        waiting = sorted((one for one in claims if one.urgent is urgent), key=lambda one: repr(one.key))
        had = 0
        while waiting := [one for one in waiting if one.replicas > had]:
            yield from waiting
            had += 1

"""The totals of several fleets on one ledger, from what each of their daemons recorded. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from controller.ledger.rollup import ESTIMATE_LAST, ESTIMATE_MAXIMA
from controller.ledger.rows import ServiceMinute

HELD_FOR = timedelta(minutes=2)
"""A fleet that recorded nothing in a minute counts with its last one, for so long: not all passes are of one minute.
A guess: passes a minute apart are rare already."""

COUNTED = ("replicas_current", "replicas_ready", "replicas_desired", "gpus")
ADDED = (
    *("queue_depth", "running", "power_w", "requests_per_s", "prompt_tokens_per_s", "output_tokens_per_s"),
    "usd_per_hour",
)
"""Unknown when one fleet's is: a part of it would pass for the whole."""

KNOWN_ADDED = "rejections_per_s"
"""Not every engine counts them."""

HIGHEST = tuple(name for name in ESTIMATE_MAXIMA if name not in ADDED)
"""The worst of the fleets, as it is the worst of the minute already."""


def totals(minutes: Iterable[ServiceMinute]) -> tuple[ServiceMinute, ...]:
    """Minute by minute one row, from each fleet's own (``variant`` is its name)."""
    found: defaultdict[datetime, dict[str, ServiceMinute]] = defaultdict(dict)
    for one in minutes:
        found[one.minute][one.variant] = one
    held: dict[str, ServiceMinute] = {}
    told = []
    for at in sorted(found):
        held = {name: one for name, one in held.items() if at - one.minute <= HELD_FOR} | found[at]
        told.append(total(list(held.values()), at))
    return tuple(told)


def total(fleets: Sequence[ServiceMinute], at: datetime) -> ServiceMinute:
    """Of one moment. That of one fleet is what it recorded; of several, ratios that cannot be added are not known."""
    if len(fleets) == 1:
        return replace(fleets[0], minute=at, variant="")
    values: dict[str, Any] = dict.fromkeys((*ESTIMATE_MAXIMA, *ESTIMATE_LAST))
    values |= {name: _sum([getattr(one, name) for one in fleets]) for name in (*COUNTED, *ADDED)}
    values |= {name: max(_known(fleets, name), default=None) for name in HIGHEST}
    values[KNOWN_ADDED] = _sum(_known(fleets, KNOWN_ADDED) or [None])
    values["replicas_desired"] = _sum(_known(fleets, "replicas_desired") or [None])
    return ServiceMinute(minute=at, service="", variant="", **values | _money(values))


def _money(values: dict[str, Any]) -> dict[str, float | None]:
    """What a dollar bought, of sums."""
    usd, prompt, output = (values[name] for name in ("usd_per_hour", "prompt_tokens_per_s", "output_tokens_per_s"))
    tokens = _sum([prompt, output])
    return {
        "usd_per_million_output_tokens": _quotient(usd, output, 1e6 / 3600),
        "usd_per_million_tokens": _quotient(usd, tokens, 1e6 / 3600),
        "output_tokens_per_usd": _quotient(output, usd, 3600),
        "tokens_per_usd": _quotient(tokens, usd, 3600),
    }


def _known(fleets: Iterable[ServiceMinute], name: str) -> list[Any]:
    return [value for one in fleets if (value := getattr(one, name)) is not None]


def _sum(values: Collection[Any]) -> Any:
    return None if any(value is None for value in values) else sum(values)


def _quotient(one: float | None, by: float | None, factor: float) -> float | None:
    return None if not one or not by else one / by * factor

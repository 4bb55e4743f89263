"""What /readyz says beside yes or no: what cannot be read, who stopped what, and a reload that was refused.

Engines that are gone do not make the daemon unready. It does its work all the same: it holds, and says so. A pod that
turned unready for them would leave its Service, and with it the metrics and the API that tell what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from controller.facts.missing import Missing
from controller.facts.passes import PassResult
from controller.facts.readings import Observation, Target
from controller.serve.view import Standing

MOST_TOLD = 20
"""Variants whose targets are told. A guess: a screenful; `pennyweight_targets` has all of them."""

REFUSED = "the last reload was refused: the files of before are in force; `pennyweight check` lists the mistakes"


def health_told(standing: Standing, latest: PassResult | None) -> dict[str, Any]:
    """The body of /readyz. What is as it should be is not in it."""
    told: dict[str, Any] = {"ready": not standing.reasons, "reasons": list(standing.reasons)}
    if standing.standing_by:
        told["standing_by"] = standing.standing_by
    if not standing.reload_ok:
        told["reload"] = REFUSED
    if latest is not None:
        seen = {
            "stopped": [str(one) for one in latest.safety.stops],  # stopped is not broken: it is as ordered
            "blind": _blind(latest.observation),
            "unread": _first(list(_unread(latest.observation))),
        }
        told |= {name: what for name, what in seen.items() if what}
    return told


def _blind(seen: Observation) -> str:
    """Where nothing of the whole fleet could be read; "" otherwise."""
    serving = [one for one in seen.targets if _serves(one)]
    if not serving or any(not isinstance(seen.engines.get(one.url), Missing) for one in serving):
        return ""
    return f"none of {len(serving)} targets could be read: nothing shrinks, and nothing grows for load"


def _unread(seen: Observation) -> Iterator[str]:
    """One sentence for each variant whose serving targets do not answer, and one for what could not be discovered."""
    owned: dict[str, list[Target]] = {}
    for target in seen.targets:
        if _serves(target):
            owned.setdefault(f"{target.service}/{target.variant}", []).append(target)
    for where, targets in owned.items():
        lost = [read for one in targets if isinstance(read := seen.engines.get(one.url), Missing)]
        if lost:
            yield f"{where}: {len(lost)} of {len(targets)} targets cannot be read; the first: {lost[0].why}"
    yield from (str(one) for one in seen.discovery_problems)


def _first(told: list[str]) -> list[str]:
    more = len(told) - MOST_TOLD
    return told if more <= 0 else [*told[:MOST_TOLD], f"and {more} more"]


def _serves(target: Target) -> bool:
    """A replica that starts or drains need not answer."""
    return target.labels.get("phase", "ready") == "ready"

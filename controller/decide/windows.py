"""Stabilization windows and step limits: the only owner of both."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from math import ceil, floor

from controller.decide.rules import Behaviour, Step
from controller.facts.decisions import Recommendation, ScaleEvent


def stabilized(
    wanted: int, current: int, past: Sequence[Recommendation], up: Behaviour, down: Behaviour, now: datetime
) -> int:
    """Kubernetes' rule: grow to the least wanted in the up window, shrink to the most wanted in the down window; but of
    what was wanted in the longer window of the spare, one replica stays.

    The replica at the edge of what is wanted is the one that noise asks for again soon, and starting it costs more than
    its waiting (ski rental: Karlin et al., "Competitive snoopy caching", 1988); those further off are not asked for.
    Whatever of a window ``past`` does not cover is taken as wanting ``current``, as the HPA does after its start.
    A move in one direction never overshoots into the other.
    """
    if wanted > current:
        return max(current, min([wanted, *_window(past, up.stabilization_s, current, now)]))
    if wanted < current:
        lately = max([wanted, *_window(past, down.stabilization_s, current, now)])
        before = max([wanted, *_window(past, down.spare_s, current, now)])
        return min(current, max(lately, min(before, lately + 1)))
    return current


def _window(past: Sequence[Recommendation], length_s: float, current: int, now: datetime) -> list[int]:
    if length_s == 0:
        return []
    start = now - timedelta(seconds=length_s)
    inside = [recommendation.wanted for recommendation in past if recommendation.at >= start]
    if all(recommendation.at > start for recommendation in past):
        return [*inside, current]
    return inside or [_before(past, start)]


def _before(past: Sequence[Recommendation], start: datetime) -> int:
    """What was wanted when the window began, for a window in which no pass ran."""
    return max((one for one in past if one.at <= start), key=lambda one: one.at).wanted


def spare_until(current: int, past: Sequence[Recommendation], down: Behaviour, now: datetime) -> datetime:
    """When the spare goes, if nobody asks for it until then."""
    asked = [one.at for one in past if one.wanted >= current]
    since = max(asked) if asked else min((one.at for one in past), default=now)
    return since + timedelta(seconds=down.spare_s)


def step_limited(desired: int, current: int, events: Sequence[ScaleEvent], behaviour: Behaviour, now: datetime) -> int:
    """``desired``, cut so that no period of ``at_most`` sees a larger change than it allows in this direction."""
    step = behaviour.at_most
    if step is None or desired == current:
        return desired
    growing = desired > current
    start = now - timedelta(seconds=step.per_s)
    moved = sum(
        abs(event.after - event.before)
        for event in events
        if event.at > start and (event.after > event.before) == growing
    )
    if growing:
        return max(current, min(desired, current - moved + _allowed(step, current - moved, up=True)))
    return min(current, max(desired, current + moved - _allowed(step, current + moved, up=False)))


def _allowed(step: Step, at_period_start: int, *, up: bool) -> int:
    """Replicas that one period may add or remove; a share rounds up when growing, and down, to one at least, else."""
    if step.replicas is not None:
        return step.replicas
    share = at_period_start * (step.ratio or 0.0)
    return max(1, ceil(share) if up else floor(share))

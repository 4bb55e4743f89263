"""What the forecast wants: enough ready capacity at the moment when a replica ordered now would be ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil

from controller.decide.placement import growth_order
from controller.decide.rules import ForecastRule, Method, ServicePolicy
from controller.decide.shrink import victims
from controller.decide.signals import Wish
from controller.decide.situation import Situation
from controller.facts.demand import Forecast, Outlook
from controller.facts.missing import Missing
from controller.facts.performance import ReplicaCapacity

SIGNAL = "forecast"


def forecast_wish(situation: Situation, policy: ServicePolicy) -> Wish | Missing:
    """The replicas that the forecast asks for, or why it asks for nothing: then the reactive rules decide alone.

    Growing looks at the moment at which a replica ordered now would be ready: one for a nearer peak would come too
    late. Shrinking looks at every moment until then, because what is given away now is back no sooner; so a replica is
    kept through every gap that is shorter than a start-up, when starting again would cost more than staying.

        need(h) = the chosen quantile of the demand at now + h  [requests/s]
        grow    to the fewest replicas that carry need(start-up) and work off what will wait by then within drain_s
        keep    the fewest that carry the largest need(h), 0 <= h <= start-up
    """
    outlook = situation.outlook
    if policy.replicas.method is not Method.PREDICTIVE:
        return Missing(SIGNAL, "the policy's method is reactive")
    if isinstance(outlook, Missing):
        return outlook
    known = {name: one for name, one in outlook.capacity.items() if not isinstance(one, Missing)}
    for name, variant in situation.variants.items():
        if variant.current and name not in known:
            lost = outlook.capacity.get(name)
            return lost if isinstance(lost, Missing) else Missing(SIGNAL, f"the capacity of {name} is not known")
    best = next((one.name for one in growth_order(situation.variants, policy, (), known) if one.name in known), "")
    if not best or not outlook.forecasts:
        return Missing(SIGNAL, "no forecast yet" if best else "no variant with a known capacity may grow")
    return _wish(situation, policy, outlook, known, best)


def _wish(
    situation: Situation, policy: ServicePolicy, outlook: Outlook, known: Mapping[str, ReplicaCapacity], best: str
) -> Wish:
    rule, horizon_s = policy.replicas.forecast, outlook.start_up_s[best]
    supply = sum(
        known[name].requests_per_s * variant.current for name, variant in situation.variants.items() if name in known
    )
    needs = needs_until(outlook.forecasts, rule.quantile, horizon_s)
    grow_per_s = needs[-1] + _backlog_per_s(outlook, rule, supply, needs[-1], horizon_s)
    keep_per_s = max(needs)
    each = known[best].requests_per_s
    if grow_per_s > supply:
        wanted = situation.current + ceil(round((grow_per_s - supply) / each, 9))
    else:
        wanted = situation.current - _spare(situation, known, supply, max(grow_per_s, keep_per_s))
    ready = max(situation.ready, 1)
    per_s = grow_per_s if wanted > situation.current else max(grow_per_s, keep_per_s)
    return Wish(
        signal=SIGNAL,
        value=per_s / ready,
        target=each,
        wanted=wanted,
        saturates=False,
        words=(
            f"P{rule.quantile * 100:g} of the demand in {horizon_s:.0f} s is {per_s:.1f} requests/s, "
            f"a replica carries {each:.2f} ({known[best].source}, {known[best].binding} binds): wants {wanted}"
        ),
    )


def needs_until(forecasts: Sequence[Forecast], quantile: float, horizon_s: float) -> list[float]:
    """Requests/s at ``quantile`` for every forecast up to ``horizon_s``, the last one at it (or the nearest there is,
    between two by a straight line)."""
    points = [(one.horizon_s, at_quantile(one.quantiles, quantile)) for one in forecasts]
    nearer = [need for at_s, need in points if at_s < horizon_s]
    return [*nearer, _between(points, horizon_s)]


def at_quantile(quantiles: Mapping[float, float], wanted: float) -> float:
    """The value at probability ``wanted``: straight lines between the known ones, the outermost beyond them."""
    return _between(sorted(quantiles.items()), wanted)


def _between(points: Sequence[tuple[float, float]], at: float) -> float:
    if at <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left)
    return points[-1][1]


def _backlog_per_s(
    outlook: Outlook, rule: ForecastRule, supply_per_s: float, need_per_s: float, horizon_s: float
) -> float:
    """What must be worked off beside the demand: what waits now, and what more will wait until new replicas come."""
    waiting = outlook.demand.waiting_requests
    arriving = outlook.demand.requests_per_s
    if isinstance(waiting, Missing) or isinstance(arriving, Missing):
        return 0.0
    growth_per_s = (arriving + need_per_s) / 2 - supply_per_s
    return max(0.0, waiting + growth_per_s * horizon_s) / max(rule.drain_s, 1.0) if waiting > supply_per_s else 0.0


def _spare(situation: Situation, known: Mapping[str, ReplicaCapacity], supply_per_s: float, need_per_s: float) -> int:
    """How many of those that would go first can go while the rest carries ``need_per_s``."""
    gone = 0
    for name, _ in victims(situation.variants.values(), situation.current):
        supply_per_s -= known[name].requests_per_s if name in known else 0.0
        if supply_per_s < need_per_s:
            break
        gone += 1
    return gone

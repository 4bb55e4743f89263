"""What the forecast wants: enough ready capacity at the moment when a replica ordered now would be ready."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import ceil, isfinite
from typing import NamedTuple

from controller.decide.forecast_numbers import (
    AHEAD_S,
    CARRIED,
    GROWS_OVER_CARRIED,
    REST_CARRIES,
    SHRINKS_AFTER_S,
    SHRINKS_WITHIN_REST,
    SIGNAL,
)
from controller.decide.placement import growth_order, most, units_of
from controller.decide.reserve import at_quantile, between, share_of, worth_carrying
from controller.decide.rules import ForecastRule, Method, ServicePolicy
from controller.decide.shrink import victims
from controller.decide.signals import Wish, wishes
from controller.decide.situation import Situation, VariantSituation
from controller.facts.demand import Forecast, Outlook
from controller.facts.missing import Missing, first_missing
from controller.facts.performance import ReplicaCapacity

LEAST_SHARE = 0.02
"""Of one replica's capacity: a forecast of less is no demand. Upper quantiles never quite reach zero, so that a service
that may scale to zero would not. A guess: an idle hour after three at 5 requests/s leaves 0.004 requests/s."""


class Wished(NamedTuple):
    """What is wanted, and what is missing that a shrink needs."""

    found: tuple[Wish, ...]
    lost: tuple[Missing, ...]


def all_wishes(situation: Situation, policy: ServicePolicy) -> Wished:
    """What the live signals want and, where there is one, what the forecast wants; what is missing that a shrink needs.

    Beside a forecast the loads that the policy names are a floor, and what arrives must be known: a forecast lives on
    after the readings stop. Latency has no wish of its own then: what is missed trims the capacity that the forecast is
    divided by. Without a forecast the loads decide alone; where the policy names none, the forecast is what is missing.
    """
    found, lost = wishes(situation, policy)
    forecast, outlook = forecast_wish(situation, policy), situation.outlook
    if isinstance(forecast, Missing):
        return Wished(found, lost if policy.replicas.targets.named else (*lost, forecast))
    arriving = outlook if isinstance(outlook, Missing) else outlook.demand.requests_per_s
    unread = (arriving,) if isinstance(arriving, Missing) else ()
    return Wished((*(wish for wish in found if wish.saturates), forecast), (*lost, *unread))


def forecast_wish(situation: Situation, policy: ServicePolicy) -> Wish | Missing:
    """The replicas that the forecast asks for, or why it asks for nothing: then the reactive rules decide alone.

    Growing looks at the moment at which a replica ordered now would be ready: one for a nearer peak would come too
    late. Shrinking looks at every moment until then, because what is given away now is back no sooner; so a replica is
    kept through every gap that is shorter than a start-up, when starting again would cost more than staying.

        need(h) = what of the demand at now + h is worth being ready for (reserve.py)  [requests/s]
        grow    to the fewest replicas that carry need(start-up) and work off what will wait by then within drain_s
        keep    the fewest that carry the largest need(h), 0 <= h <= start-up, and work off what waits now as fast
    """
    outlook = situation.outlook
    if policy.replicas.method is not Method.PREDICTIVE:
        return Missing(SIGNAL, "the policy's method is reactive")
    if isinstance(outlook, Missing):
        return outlook
    if not outlook.forecasts:
        return Missing(SIGNAL, "no forecast yet")
    judged = {name: _carried(name, outlook) for name in situation.variants}
    known = {name: one for name, one in judged.items() if not isinstance(one, Missing)}
    present = [variant for variant in situation.variants.values() if variant.current]
    for variant in present:
        lost = judged[variant.name]
        if isinstance(lost, Missing):
            return lost
    each = {name: one.requests_per_s for name, one in known.items()}
    order = [one for one in growth_order(situation.variants, policy, (), each) if one.name in known] or present
    if not order:
        return first_missing(*judged.values()) or Missing(SIGNAL, "no variant may grow")
    return _wish(situation, policy, outlook, known, order)


def _carried(name: str, outlook: Outlook) -> ReplicaCapacity | Missing:
    """What a replica of the variant carries, where a forecast can be divided by it."""
    capacity = outlook.capacity.get(name, Missing(SIGNAL, f"the capacity of {name} is not known"))
    if isinstance(capacity, Missing):
        return capacity
    if not capacity.requests_per_s > 0:
        return Missing(SIGNAL, f"a replica of {name} carries nothing inside the SLO")
    if name not in outlook.start_up_s:
        return Missing(SIGNAL, f"how long {name} takes to start is not known")
    return capacity


def _wish(
    situation: Situation,
    policy: ServicePolicy,
    outlook: Outlook,
    known: Mapping[str, ReplicaCapacity],
    order: Sequence[VariantSituation],
) -> Wish | Missing:
    rule, best, down = policy.replicas.forecast, known[order[0].name], policy.replicas.scale_down
    horizon_s = outlook.start_up_s[order[0].name]
    supply = sum(
        known[name].requests_per_s * variant.current for name, variant in situation.variants.items() if name in known
    )
    needs = _needs(outlook, policy, best.requests_per_s, horizon_s)
    then, now = _backlog_per_s(outlook, rule, supply, needs[-1], horizon_s)
    if not all(map(isfinite, (*needs, then, now))):
        return Missing(SIGNAL, "it is not a number")
    grow = needs[-1] + then
    keep = max(grow, max(needs) + now)
    wanted = situation.current + _added(grow - supply, order, known, policy)
    leaving = _leaving(situation, policy, known)
    if grow <= supply:
        wanted = situation.current - _spare(leaving, supply, keep)
    growing = wanted > situation.current
    backlog = then if growing else now
    waiting = f" and {backlog:.1f} more for what waits" if backlog > 0 else ""
    return Wish(
        signal=SIGNAL,
        value=(grow if growing else keep) / max(situation.ready, 1),
        target=best.requests_per_s,
        wanted=wanted,
        saturates=False,
        words=(
            f"{_expected(outlook, policy, needs, horizon_s, growing=growing)}{waiting}, "
            f"a replica carries {best.requests_per_s:.2f} ({best.source}, {best.binding} binds): wants {wanted}"
        ),
        numbers={
            AHEAD_S: horizon_s,
            CARRIED: supply,
            GROWS_OVER_CARRIED: grow,
            REST_CARRIES: supply - leaving[0] if leaving else 0.0,
            SHRINKS_WITHIN_REST: keep,
            SHRINKS_AFTER_S: max(down.stabilization_s, down.spare_s),
        },
    )


def _added(
    missing_per_s: float,
    order: Sequence[VariantSituation],
    known: Mapping[str, ReplicaCapacity],
    policy: ServicePolicy,
) -> int:
    """How many replicas carry ``missing_per_s`` when variants are filled in ``order``, as they will be placed.

    What fits none is asked for all the same, as the first: so the decision says that capacity has run out.
    """
    added = 0
    for variant in order:
        each = known[variant.name].requests_per_s
        room = max(0.0, most(variant, policy) - variant.current)
        if missing_per_s <= room * each:
            return added + _ceil(missing_per_s / each)
        added += int(room)
        missing_per_s -= room * each
    return added + _ceil(missing_per_s / known[order[0].name].requests_per_s)


def _ceil(replicas: float) -> int:
    """Rounding first: (0.1 + 0.2) / 0.1 is 3.0000000000000004 in floats, and must not become 4 replicas."""
    return max(0, ceil(round(replicas, 9)))


def _needs(outlook: Outlook, policy: ServicePolicy, each_per_s: float, horizon_s: float) -> list[float]:
    """What to be ready for, in requests/s, at every moment until ``horizon_s``, the last one at it.

    Where nothing foresees the next surge the fleet stands still, and no replica of it could save more at another time:
    it carries as much as the SLO's share of the requests came with.
    """
    if outlook.surges:
        return [at_quantile(outlook.surges, policy.slo.attainment_ratio)]
    return needs_until(outlook.forecasts, _need(outlook, policy.replicas.forecast, each_per_s), horizon_s)


def _expected(
    outlook: Outlook, policy: ServicePolicy, needs: Sequence[float], horizon_s: float, *, growing: bool
) -> str:
    """What the fleet is to be ready for, in words."""
    if outlook.surges:
        share = policy.slo.attainment_ratio
        return f"{share * 100:.4g} % of the requests come while at most {needs[-1]:.1f} requests/s do"
    known_usual = not isinstance(outlook.usual_per_s, Missing)
    quantile = policy.replicas.forecast.quantile
    share = share_of(_at(outlook.forecasts, horizon_s), needs[-1]) if known_usual else quantile
    asked = f"in {horizon_s:.0f} s is {needs[-1]:.1f}" if growing else f"within {horizon_s:.0f} s is {max(needs):.1f}"
    return f"P{min(share * 100, 99.9):.3g} of the demand {asked} requests/s"


Need = Callable[[Mapping[float, float]], float]
"""Requests/s to be ready for, of the quantiles of what may come."""


def _need(outlook: Outlook, rule: ForecastRule, each_per_s: float) -> Need:
    """What is worth being ready for; while the usual demand is not known, the quantile as it stands."""

    def need(quantiles: Mapping[float, float]) -> float:
        told = at_quantile(quantiles, rule.quantile)
        if told < LEAST_SHARE * each_per_s:
            return 0.0
        if isinstance(outlook.usual_per_s, Missing):
            return told
        return worth_carrying(quantiles, each_per_s, outlook.usual_per_s, rule.quantile)

    return need


def needs_until(forecasts: Sequence[Forecast], need: Need, horizon_s: float) -> list[float]:
    """Requests/s by ``need`` for every forecast up to ``horizon_s``, the last one at it."""
    nearer = [need(one.quantiles) for one in forecasts if one.horizon_s < horizon_s]
    return [*nearer, need(_at(forecasts, horizon_s))]


def _at(forecasts: Sequence[Forecast], horizon_s: float) -> dict[float, float]:
    """The quantiles ``horizon_s`` ahead: the nearest there are, between two by straight lines."""
    known = set[float].intersection(*(set(one.quantiles) for one in forecasts))
    return {
        probability: between([(one.horizon_s, one.quantiles[probability]) for one in forecasts], horizon_s)
        for probability in sorted(known)
    }


def _backlog_per_s(
    outlook: Outlook, rule: ForecastRule, supply_per_s: float, need_per_s: float, horizon_s: float
) -> tuple[float, float]:
    """What must be worked off within drain_s beside the demand: what will wait when new replicas come; what waits now.

    A queue that the replicas serve within a second is none. What arrives just now may be a burst: until then what is
    expected next counts, on a straight line to what is expected then. What may come beside it is in the need already;
    as if it queued up, too, a burst of BurstGPT's ordered 50 replicas at once.
    """
    waiting = outlook.demand.waiting_requests
    if isinstance(waiting, Missing) or not waiting > supply_per_s:
        return 0.0, 0.0
    next_per_s = at_quantile(outlook.forecasts[0].quantiles, 0.5)
    then_per_s = min(at_quantile(_at(outlook.forecasts, horizon_s), 0.5), need_per_s)
    growth_per_s = (next_per_s + then_per_s) / 2 - supply_per_s
    drain_s = max(rule.drain_s, 1.0)
    return max(0.0, waiting + growth_per_s * horizon_s) / drain_s, waiting / drain_s


def _leaving(situation: Situation, policy: ServicePolicy, known: Mapping[str, ReplicaCapacity]) -> list[float]:
    """What each replica carries, in the order in which they would go."""
    each = {name: one.requests_per_s for name, one in known.items()}
    units = units_of(situation.variants.values(), policy, each)
    return [each.get(name, 0.0) for name, _ in victims(situation.variants.values(), situation.current, units)]


def _spare(leaving: Sequence[float], supply_per_s: float, need_per_s: float) -> int:
    """How many of those that would go first can go while the rest carries ``need_per_s``."""
    gone = 0
    for carried_per_s in leaving:
        supply_per_s -= carried_per_s
        if supply_per_s < need_per_s:
            break
        gone += 1
    return gone

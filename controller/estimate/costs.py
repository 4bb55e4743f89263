"""What every replica costs per hour, and what that makes a token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import repeat, takewhile
from math import fsum
from typing import NamedTuple

from controller.estimate.seats import Seat
from controller.estimate.stranded import stranded_gpus
from controller.facts.accounts import STRANDED
from controller.facts.estimates import Number, ReplicaCost
from controller.facts.fleet import Capacity, CapacityType, Fleet, Variant
from controller.facts.missing import Missing, mapped
from controller.facts.prices import UNKNOWN_RATES, FourRates, Price, Prices
from controller.facts.readings import Machine


def replica_costs(fleet: Fleet, seats: Sequence[Seat], prices: Prices) -> tuple[ReplicaCost, ...]:
    """One row a replica, whatever its phase: starting, draining and unreachable ones are paid for as well.

    A replica is bought as its target's label says. The others fill the variant's capacity by name: reserved up to its
    count, then the rest in the fleet file's order. Reserved capacity left over is paid for too: rows with replica "".
    Where only whole nodes are to be had, so are their GPUs that nobody uses: rows with replica STRANDED.
    """
    by_variant: dict[tuple[str, str], list[Seat]] = {}
    for seat in seats:
        by_variant.setdefault((seat.variant.service, seat.variant.name), []).append(seat)
    costs = [
        cost
        for variant in fleet.variants()
        for cost in _variant_costs(variant, by_variant.get((variant.service, variant.name), []), prices)
    ]
    stranded = [
        _cost(one.variant, STRANDED, one.bought, _priced(one.variant, one.bought, prices, gpus=one.gpus))
        for one in stranded_gpus(fleet, costs)
    ]
    return (*costs, *stranded)


def total_usd_per_hour(costs: Sequence[ReplicaCost]) -> Number:
    """The sum, or Missing as soon as one price is unknown: part of a bill is not the bill."""
    unknown = {
        cost.usd_per_hour.what: cost.usd_per_hour.why for cost in costs if isinstance(cost.usd_per_hour, Missing)
    }
    if unknown:
        return Missing("usd_per_hour", "; ".join(f"{what}: {why}" for what, why in unknown.items()))
    return fsum(cost.usd_per_hour for cost in costs if not isinstance(cost.usd_per_hour, Missing))


def usd_per_million(what: str, usd_per_hour: Number, tokens_per_s: Number) -> Number:
    """USD per million tokens = usd_per_hour / (tokens_per_s x 3600) x 1e6."""
    return mapped(tokens_per_usd(what, usd_per_hour, tokens_per_s), lambda tokens: 1e6 / tokens)


def tokens_per_usd(what: str, usd_per_hour: Number, tokens_per_s: Number) -> Number:
    """tokens_per_s x 3600 / usd_per_hour; Missing without tokens or without cost, never zero or infinite."""
    if isinstance(usd_per_hour, Missing):
        return Missing(what, usd_per_hour.why)
    if isinstance(tokens_per_s, Missing):
        return Missing(what, tokens_per_s.why)
    if usd_per_hour <= 0:
        return Missing(what, "nothing is paid for")
    tokens = tokens_per_s * 3600 / usd_per_hour
    # Below this the inverse is no finite number any more; a rate that small is no token.
    return tokens if tokens > 1e-300 else Missing(what, "no tokens in this window")


def _variant_costs(variant: Variant, seats: Sequence[Seat], prices: Prices) -> Iterator[ReplicaCost]:
    places = _places(variant, [seat.bought for seat in seats if seat.bought is not None])
    # Replicas that are bought alike, on machines alike, cost the same.
    priced = cache(lambda bought, machine: _priced(variant, bought, prices, machine))
    for seat in sorted(seats, key=lambda one: one.replica):
        bought = seat.bought or next(places, (None, False))[0]
        yield _cost(variant, seat.replica, bought, priced(bought, seat.machine), node=seat.node)
    for bought, _ in takewhile(lambda place: place[1], places):
        yield _cost(variant, "", bought, priced(bought, None))


def _places(variant: Variant, taken: list[CapacityType]) -> Iterator[tuple[CapacityType, bool]]:
    """The capacity type of the next replica and whether it is committed; ends where the fleet file's capacity ends.

    Committed (reserved, with a count) places come first. ``taken``: places that labelled replicas have already.
    """
    for capacity in sorted(variant.capacity, key=_buying_order):
        if capacity.replicas is None:
            yield from repeat((capacity.type, False))
        for _ in range(capacity.replicas or 0):
            if capacity.type in taken:
                taken.remove(capacity.type)
            else:
                yield capacity.type, capacity.type is CapacityType.RESERVED


def _buying_order(capacity: Capacity) -> tuple[bool, bool]:
    reserved = capacity.type is CapacityType.RESERVED
    return not reserved, reserved and capacity.replicas is None


def _cost(
    variant: Variant,
    replica: str,
    bought: CapacityType | None,
    priced: _Priced,
    *,
    node: str = "",
) -> ReplicaCost:
    return ReplicaCost(
        service=variant.service,
        variant=variant.name,
        replica=replica,
        capacity_type=bought or CapacityType.ON_DEMAND,
        usd_per_hour=priced.usd_per_hour,
        rates=priced.rates,
        gpus=priced.gpus,
        node=node,
    )


class _Priced(NamedTuple):
    """What so many GPUs cost."""

    usd_per_hour: Number
    rates: FourRates
    gpus: int


def _priced(
    variant: Variant,
    bought: CapacityType | None,
    prices: Prices,
    machine: Machine | None = None,
    gpus: int | None = None,
) -> _Priced:
    """``gpus``: as many as a replica has, unless it is told."""
    price = _other_machine(variant, bought, machine) or _price(variant, bought, prices)
    paid = variant.gpus_per_replica if gpus is None else gpus
    if isinstance(price, Missing):
        return _Priced(price, UNKNOWN_RATES, paid)
    return _Priced(price.usd_per_gpu_hour * paid, price.rates(paid), paid)


def _other_machine(variant: Variant, bought: CapacityType | None, machine: Machine | None) -> Missing | None:
    """Why an offer's price is not the price of what the replica lies on; None where it is, or nobody can tell.

    A price that the user wrote himself holds for whatever machine it is.
    """
    kind = bought or CapacityType.ON_DEMAND
    offers = [
        one.offer
        for one in variant.capacity
        if one.type is kind and one.offer and one.usd_per_gpu_hour is None and not one.dated_usd
    ]
    if machine is None or not offers or any(machine.is_sold_as(offer) for offer in offers):
        return None
    found = machine.offer or machine.type
    why = f"it runs on {found}" if found else "its node does not say which machine it is"
    listed = " or ".join(offers)
    return Missing(f"{kind} price of {variant.service}/{variant.name}", f"{why}, and the fleet file prices {listed}")


def _price(variant: Variant, bought: CapacityType | None, prices: Prices) -> Price | Missing:
    kind = bought or CapacityType.ON_DEMAND
    price = prices.get((variant.service, variant.name, kind))
    if price is not None:
        return price
    why = (
        f"the fleet file names no {kind} capacity"
        if bought is not None
        else "the fleet file names less capacity than there are replicas"
    )
    return Missing(f"{kind} price of {variant.service}/{variant.name}", why)

"""Where the replicas of a world stand: what each was bought as, who waits for a place, and what will befall them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from heapq import heappop, heappush
from math import inf

from controller.facts.fleet import CapacityType
from controller.simulate.buying import Kind, Lot
from controller.simulate.failures import Failures
from controller.simulate.spot import SpotMarket


class Mishap(StrEnum):
    """What befalls a replica."""

    NOTICE = "spot interruption notice"
    INTERRUPTION = "spot capacity taken away"
    CRASH = "crashed"
    FAILED_START = "failed to start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What a replica was bought as. ``zone``: of spot; "" else. ``ordered_s``: before it was had, where it waited."""

    kind: Kind
    lot: int
    zone: str
    ordered_s: float

    @property
    def bought(self) -> Lot:
        return self.kind.lots[self.lot]


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A replica that was ordered and cannot be had yet. ``delay_s``: its start-up, once it can."""

    name: str
    number: int
    kind: Kind
    ordered_s: float
    delay_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A replica that was lost without anybody's wish. ``leaving``: it was on its way out anyway."""

    at_s: float
    name: str
    place: Place
    mishap: Mishap
    leaving: bool


class Stock:
    """``places`` has every replica that there ever was, ``waiting`` the orders that found none yet, oldest first."""

    def __init__(self, kinds: tuple[Kind, ...], market: SpotMarket | None) -> None:
        self.kinds: Mapping[str, Kind] = {kind.name: kind for kind in kinds}
        self.first = kinds[0]
        self.places: dict[str, Place] = {}
        self.waiting: dict[str, Order] = {}
        self._market = market

    def place_for(self, order: Order, now_s: float, there: Collection[str]) -> Place | None:
        """The first lot with room that can be had now; None: it waits. ``there``: the replicas that hold places.

        Spot comes from the zone with the fewest of ours. Where no zone has any, the next lot is tried, as autoscalers
        of nodes do; where none is left, the order waits for the first zone that has.
        """
        for number, lot in enumerate(order.kind.lots):
            if not lot.open:
                continue
            if lot.replicas is not None and self._held(order.kind, number, there) >= lot.replicas:
                continue
            zone = self._zone(now_s, there) if lot.type is CapacityType.SPOT else ""
            if zone is not None:
                return Place(kind=order.kind, lot=number, zone=zone, ordered_s=order.ordered_s)
        return None

    def next_s(self, now_s: float) -> float:
        """When somebody who waits should be tried again."""
        return self._market.next_begin_s(now_s) if self.waiting and self._market is not None else inf

    @property
    def notice_s(self) -> float:
        """Between a notice and the end; 0 where nothing is ever taken."""
        return self._market.notice_s if self._market is not None else 0.0

    def notice_and_end(self, place: Place, now_s: float) -> tuple[float, float]:
        """When a replica placed now is warned, and when it is taken away; infinite: never."""
        market = self._market
        end_s = market.interruption_after(place.zone, now_s) if market is not None and place.zone else None
        if market is None or end_s is None:
            return inf, inf
        return max(now_s, end_s - market.notice_s), end_s

    def _held(self, kind: Kind, lot: int, there: Collection[str]) -> int:
        held = (self.places[name] for name in there)
        return sum(place.lot == lot and place.kind.name == kind.name for place in held)

    def _zone(self, now_s: float, there: Collection[str]) -> str | None:
        """Without a market spot can always be had, and is never taken."""
        if self._market is None:
            return ""
        ours = Counter(self.places[name].zone for name in there)
        up = [zone for zone in self._market.zones if self._market.lasts(zone, now_s)]
        return min(up, key=lambda zone: ours[zone], default=None)


class Hazards:
    """What will befall whom, and when; each is told once. It is drawn by the replica's number, so that controllers that
    start as many meet the same fates."""

    def __init__(self, failures: Failures, seed: int) -> None:
        self._failures = failures
        self._seed = seed
        self._coming: list[tuple[float, int, str, Mishap]] = []
        self._noted = 0

    def watch(self, order: Order, now_s: float, spot_s: tuple[float, float]) -> bool:
        """From now on; whether it will ever be ready. ``spot_s``: when it is warned, and taken away."""
        for at_s, mishap in zip(spot_s, (Mishap.NOTICE, Mishap.INTERRUPTION), strict=True):
            self._note(at_s, order.name, mishap)
        if self._failures.none:
            return True
        life_s, stillborn = self._failures.drawn(self._seed, order.number, order.kind.gpus_per_replica)
        self._note(now_s + life_s, order.name, Mishap.CRASH)
        if stillborn and order.delay_s > 0:
            self._note(now_s + order.delay_s, order.name, Mishap.FAILED_START)
        return not stillborn or order.delay_s <= 0

    def next_s(self) -> float:
        return self._coming[0][0] if self._coming else inf

    def due(self, now_s: float) -> Iterator[tuple[str, Mishap]]:
        while self._coming and self._coming[0][0] <= now_s:
            _, _, name, mishap = heappop(self._coming)
            yield name, mishap

    def _note(self, at_s: float, name: str, mishap: Mishap) -> None:
        if at_s < inf:
            self._noted += 1
            heappush(self._coming, (at_s, self._noted, name, mishap))

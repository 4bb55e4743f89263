"""SkyServe's way with spot: its request-rate target, all of it on spot, and on demand whatever of that is not ready.

https://docs.skypilot.co/en/latest/serving/spot-policy.html (dynamic_ondemand_fallback, num_overprovision); Mao et al.,
SkyServe: Serving AI Models across Regions and Clouds with Spot Instances, EuroSys 2025:

    spot       = target + overprovision
    on demand  = min(target, max(0, target + overprovision - ready spot))
"""

from __future__ import annotations

from dataclasses import dataclass

from controller.facts.readings import Phase
from controller.simulate.opponents.sky import Sky, SkySettings
from controller.simulate.sight import Sight
from controller.simulate.world import World

OVERPROVISION = 1
"""Spot replicas beyond the target. A guess: the documentation's examples have one or two."""

LOAD_RATIO = 0.8
"""The target's share of what a replica carries: as in the contest."""


@dataclass(slots=True, kw_only=True)
class SkySpot:
    """One service. ``spot``, ``on_demand``: names of the world's kinds."""

    world: World
    rule: Sky
    spot: str
    on_demand: str
    _seen: int = 0
    _at_s: float | None = None

    def play(self) -> None:
        """The whole workload; the world is closed at the end."""
        world = self.world
        while world.now_s < world.end_s:
            began_s = world.now_s
            target = self.rule.desired(self._look())
            world.advance(min(began_s + world.case.staleness_s, world.end_s))
            self._scale(self.spot, target + OVERPROVISION)
            missing = target + OVERPROVISION - self._ready(self.spot)
            self._scale(self.on_demand, min(target, max(0, missing)))
            world.advance(min(began_s + self.rule.sync_s, world.end_s))
        world.close()

    def _look(self) -> Sight:
        """It reads the rate at its load balancer and nothing else."""
        world = self.world
        span_s = world.now_s - self._at_s if self._at_s is not None else self.rule.sync_s
        rate = (world.fleet.seen - self._seen) / max(span_s, 1e-9)
        self._seen, self._at_s = world.fleet.seen, world.now_s
        return Sight(
            at_s=world.now_s,
            current=world.current,
            replicas=(),
            waiting_at_router=world.fleet.unrouted,
            arrivals_per_s=rate,
            finished_per_s=0.0,
            prompt_tokens_per_s=0.0,
            output_tokens_per_s=0.0,
            mean_prompt_tokens=None,
            mean_output_tokens=None,
            ttft_s=None,
            tpot_s=None,
            kv_capacity_tokens=world.case.spec.kv_capacity_tokens,
        )

    def _names(self, kind: str) -> list[str]:
        """Of a kind, those that go first first: waiting, then starting, then the youngest."""
        world = self.world
        waiting = [order.name for order in world.stock.waiting.values() if order.kind.name == kind]
        there = [one for one in world.alive if world.stock.places[one.name].kind.name == kind]
        there.sort(key=lambda one: (one.ready_s <= world.now_s, -one.created_s))
        return [*reversed(waiting), *(one.name for one in there)]

    def _ready(self, kind: str) -> int:
        world = self.world
        return sum(
            one.phase(world.now_s) is Phase.READY
            for one in world.alive
            if world.stock.places[one.name].kind.name == kind
        )

    def _scale(self, kind: str, desired: int) -> None:
        names = self._names(kind)
        if desired > len(names):
            self.world.order(desired - len(names), "skyserve", kind)
        elif desired < len(names):
            self.world.dismiss(names[: len(names) - desired], "skyserve")


def sky_of(world: World, requests_per_s: float, least: int, most: int, kinds: tuple[str, str]) -> SkySpot:
    """``requests_per_s``: what a replica carries; ``kinds``: spot, on demand."""
    settings = SkySettings(min_replicas=least, max_replicas=most, target_qps_per_replica=LOAD_RATIO * requests_per_s)
    return SkySpot(world=world, rule=Sky(settings), spot=kinds[0], on_demand=kinds[1])

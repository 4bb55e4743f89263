"""An opponent at work in a simulated world: it looks, its answer takes effect a little later, time goes on."""

from __future__ import annotations

from dataclasses import dataclass

from controller.facts.readings import Phase
from controller.simulate.compiled.layout import Count, Hist
from controller.simulate.fleet import Level
from controller.simulate.sight import Explaining, Opponent, ReplicaSight, Sight
from controller.simulate.world import World


def rehearse(world: World, opponent: Opponent, reason: str) -> None:
    """The whole workload under ``opponent``; the world is closed at the end. ``reason``: of moves that it does not
    explain."""
    eyes = _Eyes(world)
    while world.now_s < world.end_s:
        began_s = world.now_s
        # An assumption, the same for all: who sees no metrics keeps what there is.
        desired = len(world.alive) if world.blind else opponent.desired(eyes.look())
        world.advance(min(began_s + min(world.case.staleness_s, opponent.sync_s), world.end_s))
        world.scale_to(desired, reason if desired == world.current else _why(opponent, desired, reason))
        world.advance(min(began_s + opponent.sync_s, world.end_s))
    world.close()


def _why(opponent: Opponent, desired: int, reason: str) -> str:
    wish = opponent.wish() if isinstance(opponent, Explaining) else None
    return reason if wish is None else wish.told(desired)


@dataclass(slots=True)
class _Totals:
    """Sums over every replica that there was and is."""

    at_s: float
    arrived: int = 0
    finished: float = 0.0
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    ttft_s: float = 0.0
    decode_s: float = 0.0
    first_tokens: float = 0.0
    prompt_lengths: float = 0.0
    output_lengths: float = 0.0


class _Eyes:
    """What can be seen from outside, between two looks."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._before = _Totals(at_s=world.now_s)
        self._busy_s: dict[str, float] = {}
        self._last: dict[str, _Totals] = {}
        self._gone = _Totals(at_s=world.now_s)

    def look(self) -> Sight:
        world = self._world
        now = self._totals()
        before, span_s = self._before, max(world.now_s - self._before.at_s, 1e-9)
        finished = now.finished - before.finished
        tokens = now.output_tokens - before.output_tokens
        firsts = now.first_tokens - before.first_tokens
        gaps = now.output_lengths - before.output_lengths - finished
        sight = Sight(
            at_s=world.now_s,
            current=len(world.alive),
            replicas=tuple(self._replica(name, span_s) for name in self._ready()),
            waiting_at_router=world.fleet.unrouted,
            arrivals_per_s=(now.arrived - before.arrived) / span_s,
            finished_per_s=finished / span_s,
            prompt_tokens_per_s=(now.prompt_tokens - before.prompt_tokens) / span_s,
            output_tokens_per_s=tokens / span_s,
            mean_prompt_tokens=(now.prompt_lengths - before.prompt_lengths) / finished if finished else None,
            mean_output_tokens=(now.output_lengths - before.output_lengths) / finished if finished else None,
            ttft_s=(now.ttft_s - before.ttft_s) / firsts if firsts else None,
            tpot_s=(now.decode_s - before.decode_s) / gaps if gaps > 0 else None,
            kv_capacity_tokens=world.case.spec.kv_capacity_tokens,
        )
        self._before = now
        return sight

    def _ready(self) -> list[str]:
        now_s = self._world.now_s
        return [one.name for one in self._world.alive if one.phase(now_s) is Phase.READY]

    def _replica(self, name: str, span_s: float) -> ReplicaSight:
        level: Level = self._world.fleet.level(name)
        busy_s = level.busy_s - self._busy_s.get(name, 0.0)
        self._busy_s[name] = level.busy_s
        return ReplicaSight(
            running=level.running,
            waiting=level.waiting,
            kv_cache_ratio=level.kv_cache_ratio,
            gpu_utilization_ratio=min(1.0, busy_s / span_s),
        )

    def _totals(self) -> _Totals:
        """Counters add up over replicas; one that is gone keeps what it was last seen with, as `increase()` has it."""
        fleet = self._world.fleet
        for name in fleet.replicas:
            counts, buckets, totals = fleet.counts(name)
            self._last[name] = _Totals(
                at_s=fleet.now_s,
                finished=float(counts[Count.FINISHED]),
                prompt_tokens=float(counts[Count.PROMPT_TOKENS]),
                output_tokens=float(counts[Count.GENERATION_TOKENS]),
                ttft_s=float(totals[Hist.TTFT]),
                decode_s=float(totals[Hist.DECODE]),
                first_tokens=float(buckets[Hist.TTFT].sum()),
                prompt_lengths=float(totals[Hist.PROMPT_LENGTH]),
                output_lengths=float(totals[Hist.OUTPUT_LENGTH]),
            )
        for name in [name for name in self._last if name not in fleet.replicas]:
            _add(self._gone, self._last.pop(name))
        now = _Totals(at_s=fleet.now_s, arrived=fleet.seen)
        for one in (self._gone, *self._last.values()):
            _add(now, one)
        return now


SUMMED = (
    *("finished", "prompt_tokens", "output_tokens", "ttft_s", "decode_s"),
    *("first_tokens", "prompt_lengths", "output_lengths"),
)


def _add(to: _Totals, one: _Totals) -> None:
    for name in SUMMED:
        setattr(to, name, getattr(to, name) + getattr(one, name))

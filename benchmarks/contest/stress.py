"""What goes wrong: short cases that are reported apart, because no cost at equal attainment can be told of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import inf

from controller.backtest.run import Stage
from controller.simulate.arrivals import Requests
from controller.simulate.workload.blocks import BlockWorkload, joined, within
from controller.simulate.workload.modifiers import between, load_times, outputs_times, thinned
from controller.simulate.world import Trouble

HOURS = 2.0
"""Of the ground's day, from midnight on; what happens, happens after AFTER_S."""

AFTER_S, OUTAGE_S, SURGE_S, SILENCE_S = 2400.0, 300.0, 1800.0, 2400.0
RISE = 1.5
"""During the scrape outage the load is so many times what it was: standing still must not be the right answer."""

KEPT = 0.2
"""Of the load before it becomes five times as much: else no fleet of 60 replicas could follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stress:
    """One case. ``apply``: the stage and the requests as they are made to suffer."""

    told: str
    apply: Callable[[Stage, BlockWorkload], tuple[Stage, BlockWorkload]]


class _Switched(BlockWorkload):
    """One workload up to a moment, another form of it from then on."""

    def __init__(self, before: BlockWorkload, after: BlockWorkload, at_s: float) -> None:
        self._before, self._after, self._at_s = before, after, at_s
        notes = (*after.notes, f"the last from {at_s:g} s on")
        super().__init__(start_s=before.start_s, end_s=before.end_s, grid=before.grid, notes=notes)

    def block(self, index: int) -> Requests:
        first = within(self._before.block(index), -inf, self._at_s)
        return joined([first, within(self._after.block(index), self._at_s, inf)])


def _short(requests: BlockWorkload) -> tuple[BlockWorkload, float]:
    """The first hours, and the moment at which it happens."""
    part = between(requests, requests.start_s, requests.start_s + HOURS * 3600)
    return part, part.start_s + min(AFTER_S, part.hours * 3600 / 3)


def _troubled(stage: Stage, trouble: Trouble) -> Stage:
    return replace(stage, case=replace(stage.case, trouble=trouble))


def _calm(stage: Stage, requests: BlockWorkload) -> tuple[Stage, BlockWorkload]:
    return stage, _short(requests)[0]


def _surge(stage: Stage, requests: BlockWorkload) -> tuple[Stage, BlockWorkload]:
    """Up in four steps within a minute, and down again at once."""
    part, at_s = _short(requests)
    load = thinned(part, KEPT, seed=1)
    for step, factor in enumerate((2.0, 3.0, 4.0)):
        load = load_times(load, factor, at_s + 15 * step, at_s + 15 * (step + 1), seed=2 + step)
    initial = max(1, round(stage.case.initial_replicas * KEPT) + 1)
    calmer = replace(stage, case=replace(stage.case, initial_replicas=initial))
    if stage.earlier is not None:
        calmer = replace(calmer, earlier=stage.earlier * KEPT)
    return calmer, load_times(load, 5.0, at_s + 45, at_s + SURGE_S, seed=5)


def _outage(stage: Stage, requests: BlockWorkload) -> tuple[Stage, BlockWorkload]:
    part, at_s = _short(requests)
    risen = load_times(part, RISE, at_s, seed=2)
    return _troubled(stage, Trouble(outage_s=(at_s, at_s + OUTAGE_S))), risen


def _slow(stage: Stage, requests: BlockWorkload) -> tuple[Stage, BlockWorkload]:
    part, at_s = _short(requests)
    return _troubled(stage, Trouble(slow_at_s=at_s, slowness=2.0)), part


def _longer(stage: Stage, requests: BlockWorkload) -> tuple[Stage, BlockWorkload]:
    part, at_s = _short(requests)
    return stage, _Switched(part, outputs_times(part, 2.0), at_s)


def _silent(stage: Stage, requests: BlockWorkload) -> tuple[Stage, BlockWorkload]:
    part, at_s = _short(requests)
    rule = replace(stage.policy.replicas, min_replicas=0)
    quiet = load_times(part, 0.0, at_s, min(at_s + SILENCE_S, part.end_s - 600), seed=2)
    return replace(stage, policy=replace(stage.policy, replicas=rule)), quiet


STRESSES: Mapping[str, Stress] = {
    "calm": Stress(told="nothing goes wrong: what the others are compared with", apply=_calm),
    "surge": Stress(told="a fifth of the load, five times as much within a minute, for half an hour", apply=_surge),
    "outage": Stress(told="five minutes without a scrape while the load rises by half for good", apply=_outage),
    "slow": Stress(told="the oldest replica runs at half speed from then on", apply=_slow),
    "outputs": Stress(told="outputs twice as long from then on", apply=_longer),
    "silence": Stress(
        told="forty minutes without a request, then the full load at once; ours may go to zero", apply=_silent
    ),
}

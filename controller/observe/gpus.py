"""What every source of GPU readings shares: units, the energy counter, and why a MIG slice has no power of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from controller.facts.missing import Missing

PERCENT = 100.0
MEBIBYTE = 1024.0 * 1024.0
MILLIJOULES_PER_JOULE = 1000.0

FORGET_AFTER = timedelta(hours=1)
"""A GPU that vanished is remembered for so long. A guess: longer than a node takes to come back."""

BOARD_POWER = Missing("power_w", "a MIG slice has no power of its own: the driver repeats the whole board's")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyUse:
    """Joules used in the ``window_s`` seconds since the reading before."""

    window_s: float
    joules: float | Missing


NO_ENERGY_OF_ITS_OWN = EnergyUse(
    window_s=0.0,
    joules=Missing("energy_j", "a MIG slice has no energy of its own: the driver repeats the whole board's"),
)

Energy = Callable[[str, float | Missing], EnergyUse]
"""From a GPU's id and its energy counter (mJ) to what it used since the reading before."""


class EnergyBook:
    """The last energy counter of every GPU. One that fell was reset (the driver was loaded again): it counts from 0."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[datetime, float]] = {}

    def at(self, now: datetime) -> Energy:
        """What GPUs used until ``now``."""
        self._last = {gpu_id: last for gpu_id, last in self._last.items() if now - last[0] <= FORGET_AFTER}

        def use(gpu_id: str, millijoules: float | Missing) -> EnergyUse:
            return self._use(gpu_id, millijoules, now)

        return use

    def _use(self, gpu_id: str, millijoules: float | Missing, now: datetime) -> EnergyUse:
        if isinstance(millijoules, Missing):
            return EnergyUse(window_s=0.0, joules=millijoules)
        before = self._last.get(gpu_id)
        if before is None:
            self._last[gpu_id] = (now, millijoules)
            return _unknown("the first reading of this GPU; an increase needs two")
        window_s = (now - before[0]).total_seconds()
        if window_s <= 0:
            return _unknown("no newer sample than in the pass before")
        self._last[gpu_id] = (now, millijoules)
        increase = millijoules - before[1] if millijoules >= before[1] else millijoules
        return EnergyUse(window_s=window_s, joules=increase / MILLIJOULES_PER_JOULE)


def _unknown(why: str) -> EnergyUse:
    return EnergyUse(window_s=0.0, joules=Missing("energy_j", why))

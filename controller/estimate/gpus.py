"""What the GPU readings of one scope say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

from controller.facts.estimates import Number
from controller.facts.missing import Missing, first_missing, known
from controller.facts.readings import GpuReading, Observation

Readings = Sequence[GpuReading] | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuUse:
    """Means of the ratios over the GPUs that have them; the power of all, missing when one is: a part is no sum."""

    utilization: Number
    tensor: Number
    dram: Number
    power_w: Number


def gpu_use(readings: Readings) -> GpuUse:
    """The readings as one; every value missing, with the reason, when there are none."""
    if isinstance(readings, Missing):
        return GpuUse(utilization=readings, tensor=readings, dram=readings, power_w=readings)
    power = [one.power_w for one in readings]
    lost = first_missing(*power) if power else Missing("power_w", "no GPU was found")
    return GpuUse(
        utilization=_mean("gpu_utilization_ratio", [one.utilization_ratio for one in readings]),
        tensor=_mean("tensor_active_ratio", [one.tensor_active_ratio for one in readings]),
        dram=_mean("dram_active_ratio", [one.dram_active_ratio for one in readings]),
        power_w=lost if lost is not None else fsum(known(power)),
    )


def readings_of(observation: Observation, replicas: Sequence[tuple[str, str, str]], siblings: int = 0) -> Readings:
    """The readings of the GPUs behind ``replicas``, each by service, variant and name: whole variants, or one replica
    among ``siblings`` of its variant.

    A GPU that two variants share is taken once. One replica's GPUs are those whose pod has its name, or all of the
    variant's when it is the only one; anything else would be a guess.
    """
    found: dict[tuple[str, str], GpuReading] = {}
    for key in dict.fromkeys((service, variant) for service, variant, _ in replicas):
        readings = observation.gpus.get(key, Missing("gpus", f"no GPU readings are configured for {'/'.join(key)}"))
        if isinstance(readings, Missing):
            return readings
        found.update({(one.host, one.gpu_id): one for one in readings})
    if siblings > 1:
        replica = replicas[0][-1]
        found = {key: one for key, one in found.items() if one.pod == replica}
        if not found:
            return Missing("gpus", f"no GPU reading names the pod {replica}")
    return tuple(found.values()) if found else Missing("gpus", "no GPU was found")


def energy_j(readings: Readings) -> float | None:
    """Joules that the GPUs used in their own windows, or None when one of them does not say."""
    if isinstance(readings, Missing):
        return None
    energies = [one.energy_j for one in readings]
    return None if first_missing(*energies) is not None else fsum(known(energies))


def _mean(what: str, values: Sequence[Number]) -> Number:
    there = known(values)
    if there:
        return fsum(there) / len(there)
    return Missing(what, next((value.why for value in values if isinstance(value, Missing)), "no GPU was found"))

"""The GPUs of this host, read through NVML. Needs the extra ``nvml`` (package nvidia-ml-py) and NVIDIA's driver.

Units are NVML's (percent, mW, mJ, bytes) until ``NvmlSource.read`` converts them, once.
https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html; tensor and DRAM activity: group__nvmlGpm.html.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from controller.errors import ObserveError
from controller.facts.fleet import LocalNvml
from controller.facts.missing import Missing
from controller.facts.readings import GpuReading
from controller.observe.gpus import BOARD_POWER, NO_ENERGY_OF_ITS_OWN, PERCENT, Energy, EnergyUse

SOURCE = "nvml"
MILLIWATTS_PER_WATT = 1000.0

T = TypeVar("T")

Boards = Mapping[int, tuple[GpuReading, ...]]
"""By index: the GPU's reading; with MIG on its slices' readings, none when it has no slice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """What the performance monitor (GPM) measured since the sample before it, in percent."""

    tensor_percent: float
    dram_percent: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    used_bytes: float
    free_bytes: float


class Device(Protocol):
    """One GPU or MIG slice, in NVML's units. Every call raises ObserveError when the driver does not say."""

    def uuid(self) -> str: ...

    def name(self) -> str: ...

    def memory(self) -> Memory: ...

    def utilization_percent(self) -> float: ...

    def power_mw(self) -> float: ...

    def energy_mj(self) -> float: ...

    def activity(self) -> Activity: ...

    def slices(self) -> Sequence[Slice] | None:
        """The MIG slices; None when MIG is off or not known here."""
        ...


class Slice(Protocol):
    """One MIG slice. It has no power, energy or utilization of its own."""

    def instance_id(self) -> int: ...

    def name(self) -> str: ...

    def memory(self) -> Memory: ...

    def activity(self) -> Activity: ...


class Library(Protocol):
    """NVML on this host."""

    def devices(self) -> Sequence[Device]: ...

    def close(self) -> None: ...


class NvmlSource:
    """Reads this host's GPUs. ``load`` opens NVML on the first read, and again after it failed."""

    def __init__(self, load: Callable[[], Library], host: str) -> None:
        self._load = load
        self._host = host
        self._library: Library | None = None

    def read(self, energy: Energy, now: datetime) -> Boards | Missing:
        """All GPUs of this host, once a pass: activity and energy are measured between two reads."""
        try:
            self._library = self._library or self._load()
            return {index: self._board(device, energy, now) for index, device in enumerate(self._library.devices())}
        except ObserveError as error:
            self.close()
            return Missing("gpus", str(error))

    def close(self) -> None:
        library, self._library = self._library, None
        if library is not None:
            library.close()

    def _board(self, device: Device, energy: Energy, now: datetime) -> tuple[GpuReading, ...]:
        uuid, name, slices = device.uuid(), device.name(), device.slices()
        if slices is not None:
            return tuple(self._slice(one, f"{uuid}/{one.instance_id()}", name, now) for one in slices)
        used = energy(uuid, _asked("energy_j", device.energy_mj))
        power = _asked("power_w", lambda: device.power_mw() / MILLIWATTS_PER_WATT)
        busy = _asked("utilization_ratio", lambda: device.utilization_percent() / PERCENT)
        return (self._reading(device, uuid, name, now, "", busy, power, used),)

    def _slice(self, one: Slice, gpu_id: str, name: str, now: datetime) -> GpuReading:
        profile = one.name().rpartition("MIG ")[2]
        busy = Missing("utilization_ratio", "NVML reports no utilization of MIG slices")
        return self._reading(one, gpu_id, name, now, profile, busy, BOARD_POWER, NO_ENERGY_OF_ITS_OWN)

    def _reading(
        self,
        device: Device | Slice,
        gpu_id: str,
        name: str,
        now: datetime,
        profile: str,
        busy: float | Missing,
        power: float | Missing,
        used: EnergyUse,
    ) -> GpuReading:
        memory, activity = _asked("memory", device.memory), _asked("activity", device.activity)
        return GpuReading(
            gpu_id=gpu_id,
            model_name=name,
            host=self._host,
            at=now,
            window_s=used.window_s,
            source=SOURCE,
            mig_profile=profile,
            utilization_ratio=busy,
            tensor_active_ratio=_part("tensor_active_ratio", activity, lambda found: found.tensor_percent / PERCENT),
            dram_active_ratio=_part("dram_active_ratio", activity, lambda found: found.dram_percent / PERCENT),
            memory_used_bytes=_part("memory_used_bytes", memory, lambda found: found.used_bytes),
            memory_free_bytes=_part("memory_free_bytes", memory, lambda found: found.free_bytes),
            power_w=power,
            energy_j=used.joules,
        )


def chosen(boards: Boards, discovery: LocalNvml) -> tuple[GpuReading, ...] | Missing:
    """The readings of the GPUs that the fleet file names, all of them when it names none."""
    absent = [index for index in discovery.indices if index not in boards]
    if absent:
        return Missing("gpus", f"this host has {len(boards)} GPUs, and the fleet file names index {absent[0]}")
    readings = tuple(reading for index in discovery.indices or boards for reading in boards[index])
    return readings or Missing("gpus", f"none of this host's {len(boards)} GPUs can serve: MIG is on and has no slice")


def _asked(what: str, call: Callable[[], T]) -> T | Missing:
    try:
        return call()
    except ObserveError as error:
        return Missing(what, str(error))


def _part(what: str, whole: T | Missing, take: Callable[[T], float]) -> float | Missing:
    return Missing(what, whole.why) if isinstance(whole, Missing) else take(whole)

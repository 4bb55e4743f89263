"""NVML's GPUs become readings in our units; what the driver does not say stays Missing with the driver's words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import pytest

from controller.errors import ObserveError
from controller.facts.fleet import LocalNvml
from controller.facts.missing import Missing
from controller.facts.readings import GpuReading
from controller.observe.gpus import EnergyUse
from controller.observe.nvml import Activity, Boards, Memory, NvmlSource, chosen
from controller.observe.nvml_library import load

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class FakeDevice:
    """A GPU or slice that answers with its fields; None = the driver says not supported."""

    id: str = "GPU-1"
    model: str = "NVIDIA H100 80GB HBM3"
    busy_percent: float | None = 40.0
    milliwatts: float | None = 350_000.0
    millijoules: float | None = 5_000.0
    active: Activity | None = field(default_factory=lambda: Activity(tensor_percent=25.0, dram_percent=50.0))
    parts: tuple[FakeDevice, ...] | None = None
    instance: int = 0

    def uuid(self) -> str:
        return self.id

    def instance_id(self) -> int:
        return self.instance

    def name(self) -> str:
        return self.model

    def memory(self) -> Memory:
        return Memory(used_bytes=10.0, free_bytes=70.0)

    def utilization_percent(self) -> float:
        return said(self.busy_percent)

    def power_mw(self) -> float:
        return said(self.milliwatts)

    def energy_mj(self) -> float:
        return said(self.millijoules)

    def activity(self) -> Activity:
        if self.active is None:
            raise ObserveError("this GPU has no performance monitor")
        return self.active

    def slices(self) -> Sequence[FakeDevice] | None:
        return self.parts


def said(value: float | None) -> float:
    if value is None:
        raise ObserveError("Not Supported")
    return value


class FakeLibrary:
    def __init__(self, *devices: FakeDevice) -> None:
        self.found = devices
        self.broken = ""
        self.closed = 0

    def devices(self) -> Sequence[FakeDevice]:
        if self.broken:
            raise ObserveError(self.broken)
        return self.found

    def close(self) -> None:
        self.closed += 1


def energy(_gpu_id: str, millijoules: float | Missing) -> EnergyUse:
    return EnergyUse(window_s=10.0, joules=millijoules if isinstance(millijoules, Missing) else millijoules / 1000)


def boards(*devices: FakeDevice) -> Boards:
    found = NvmlSource(lambda: FakeLibrary(*devices), "host-a").read(energy, NOON)
    assert not isinstance(found, Missing)
    return found


def only(*devices: FakeDevice) -> GpuReading:
    found = chosen(boards(*devices), LocalNvml())
    assert not isinstance(found, Missing)
    (reading,) = found
    return reading


def test_a_gpu_is_read_in_our_units() -> None:
    gpu = only(FakeDevice())
    assert (gpu.gpu_id, gpu.model_name, gpu.host, gpu.source) == ("GPU-1", "NVIDIA H100 80GB HBM3", "host-a", "nvml")
    assert (gpu.utilization_ratio, gpu.tensor_active_ratio, gpu.dram_active_ratio) == (0.4, 0.25, 0.5)
    assert (gpu.power_w, gpu.energy_j, gpu.window_s) == (350.0, 5.0, 10.0)
    assert (gpu.memory_used_bytes, gpu.memory_free_bytes) == (10.0, 70.0)


@pytest.mark.parametrize(
    ("device", "quantity"),
    [
        (FakeDevice(busy_percent=None), "utilization_ratio"),
        (FakeDevice(milliwatts=None), "power_w"),
        (FakeDevice(millijoules=None), "energy_j"),
        (FakeDevice(active=None), "tensor_active_ratio"),
        (FakeDevice(active=None), "dram_active_ratio"),
    ],
)
def test_what_the_driver_does_not_say_is_missing_and_the_rest_is_read(device: FakeDevice, quantity: str) -> None:
    gpu = only(device)
    missing = getattr(gpu, quantity)
    assert isinstance(missing, Missing)
    assert missing.what == quantity
    assert gpu.memory_used_bytes == 10.0


def test_mig_slices_have_memory_and_activity_but_no_power_of_their_own() -> None:
    part = FakeDevice(model="NVIDIA H100 80GB HBM3 MIG 1g.10gb", instance=7)
    gpu = only(FakeDevice(parts=(part,)))
    assert (gpu.gpu_id, gpu.mig_profile, gpu.model_name) == ("GPU-1/7", "1g.10gb", "NVIDIA H100 80GB HBM3")
    assert (gpu.tensor_active_ratio, gpu.memory_free_bytes) == (0.25, 70.0)
    for missing in (gpu.power_w, gpu.energy_j, gpu.utilization_ratio):
        assert isinstance(missing, Missing)


def test_mig_on_without_a_slice_is_no_gpu_that_serves() -> None:
    found = chosen(boards(FakeDevice(parts=())), LocalNvml())
    assert isinstance(found, Missing)
    assert "MIG is on and has no slice" in found.why


def test_the_fleet_file_may_choose_gpus_by_index() -> None:
    all_of_them = boards(FakeDevice(id="GPU-0"), FakeDevice(id="GPU-1"), FakeDevice(id="GPU-2"))
    found = chosen(all_of_them, LocalNvml(indices=(2, 0)))
    assert not isinstance(found, Missing)
    assert [gpu.gpu_id for gpu in found] == ["GPU-2", "GPU-0"]
    absent = chosen(all_of_them, LocalNvml(indices=(0, 3)))
    assert absent == Missing("gpus", "this host has 3 GPUs, and the fleet file names index 3")


def test_a_driver_that_fails_is_missing_and_opened_again_on_the_next_pass() -> None:
    library = FakeLibrary(FakeDevice())
    opened: list[FakeLibrary] = []

    def open_it() -> FakeLibrary:
        opened.append(library)
        return library

    source = NvmlSource(open_it, "host-a")
    library.broken = "GPU is lost"
    assert source.read(energy, NOON) == Missing("gpus", "GPU is lost")
    library.broken = ""
    assert not isinstance(source.read(energy, NOON), Missing)
    assert not isinstance(source.read(energy, NOON), Missing)
    assert (len(opened), library.closed) == (2, 1)


def test_a_gpu_that_answers_less_than_another_does_not_hide_it() -> None:
    found = boards(FakeDevice(id="GPU-0"), replace(FakeDevice(), milliwatts=None))
    assert found[0][0].power_w == 350.0
    assert isinstance(found[1][0].power_w, Missing)


def test_the_real_library_opens_or_says_that_this_host_has_none() -> None:
    found = NvmlSource(load, "here").read(energy, NOON)
    if isinstance(found, Missing):
        assert found.what == "gpus"
        assert "no NVML library on this host: " in found.why
    else:
        assert all(gpu.host == "here" for board in found.values() for gpu in board)

"""GPUs as NVIDIA's dcgm-exporter describes them, with and without MIG.

Fields and units (percent, MiB, W, mJ): https://github.com/NVIDIA/dcgm-exporter/blob/main/etc/default-counters.csv;
they are converted here, once. All MIG slices of a board share its UUID, so a slice is known by UUID and GPU_I_ID,
and the board's power and energy, which every slice repeats, belong to none of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite

from controller.facts.missing import Missing
from controller.facts.readings import GpuReading
from controller.observe.gpus import BOARD_POWER, MEBIBYTE, NO_ENERGY_OF_ITS_OWN, PERCENT, Energy

Sample = tuple[str, Mapping[str, str], float]
"""Metric name, labels, value."""

UTILIZATION = ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_PROF_GR_ENGINE_ACTIVE")
"""First present wins: DCGM has no GPU_UTIL of MIG slices."""
TENSOR = "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE"
DRAM = "DCGM_FI_PROF_DRAM_ACTIVE"
FB_USED = "DCGM_FI_DEV_FB_USED"
FB_FREE = "DCGM_FI_DEV_FB_FREE"
POWER = "DCGM_FI_DEV_POWER_USAGE"
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
NAMES = (*UTILIZATION, TENSOR, DRAM, FB_USED, FB_FREE, POWER, ENERGY)
"""Every metric that is read."""

DATED = (POWER, FB_FREE)
"""Metrics that every exporter has, for telling how old its samples are."""

SCALE = {
    "DCGM_FI_DEV_GPU_UTIL": 1 / PERCENT,
    FB_USED: MEBIBYTE,
    FB_FREE: MEBIBYTE,
}
"""From the exporter's unit to ours; 1 when absent. Energy stays in mJ until its increase is known."""

PERCENT_ABOVE = 1.5
"""A PROF ratio above this was exported in percent. A guess: ratios overshoot 1 by a few percent at most."""

BLANKS = (
    (2147483632.0, 2147483647.0),  # DCGM_INT32_BLANK and the reasons after it (not found, not supported, no permission)
    (140737488355328.0, 140737488355343.0),  # DCGM_FP64_BLANK
    (9.2e18, float("inf")),  # DCGM_INT64_BLANK, and the largest doubles
)
"""Ranges of values that mean "no value", https://github.com/NVIDIA/DCGM/blob/master/dcgmlib/dcgm_structs.h.
dcgm-exporter let them through until 4.5.2-4.8.1 (February 2026)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Gpu:
    """One GPU or slice: its labels and its values in the exporter's units; a blank value is Missing."""

    uuid: str
    labels: Mapping[str, str]
    values: dict[str, float | Missing] = field(default_factory=dict)

    @property
    def slice_id(self) -> str:
        return self.labels.get("GPU_I_ID", "")

    @property
    def gpu_id(self) -> str:
        return f"{self.uuid}/{self.slice_id}" if self.slice_id else self.uuid

    @property
    def host(self) -> str:
        return self.labels.get("hostname") or self.labels.get("Hostname", "")

    @property
    def serves(self) -> bool:
        """Without framebuffer and utilization it is a board with MIG on and no slice: nothing can run there."""
        return bool(self.values.keys() & {FB_USED, FB_FREE, UTILIZATION[0]})


def read_gpus(
    samples: Iterable[Sample], *, at: datetime, source: str, energy: Energy
) -> tuple[GpuReading, ...] | Missing:
    """The GPUs and slices that ``samples`` (of one exporter, or many through a Prometheus server) tell of."""
    gpus = _grouped(samples)
    if not gpus:
        return Missing("gpus", f"no DCGM_FI_* metric with a GPU's UUID; expected names such as {FB_USED}")
    sliced = {gpu.uuid for gpu in gpus if gpu.slice_id}
    serving = [gpu for gpu in gpus if gpu.serves and (gpu.slice_id or gpu.uuid not in sliced)]
    if not serving:
        return Missing(
            "gpus", f"{len(gpus)} GPUs, but none can serve: MIG is on and has no slice (no {FB_USED}, no utilization)"
        )
    relabelled = any("exported_pod" in gpu.labels for gpu in gpus)
    in_percent = {name for name in (UTILIZATION[1], TENSOR, DRAM) if any(_above(gpu.values.get(name)) for gpu in gpus)}
    return tuple(_reading(gpu, relabelled, in_percent, at, source, energy) for gpu in serving)


def _grouped(samples: Iterable[Sample]) -> list[_Gpu]:
    gpus: dict[tuple[str, str], _Gpu] = {}
    for name, labels, value in samples:
        if name in NAMES and (uuid := labels.get("UUID") or labels.get("uuid")):
            gpu = gpus.setdefault((uuid, labels.get("GPU_I_ID", "")), _Gpu(uuid=uuid, labels=labels))
            gpu.values.setdefault(name, _checked(name, value))
    return list(gpus.values())


def _checked(name: str, value: float) -> float | Missing:
    if not isfinite(value) or value < 0:
        return Missing(name, f"{name} is {value}")
    if any(low <= value <= high for low, high in BLANKS):
        return Missing(name, f"{name} is {value:.0f}, which is DCGM's way of saying that it has no value")
    return value


def _above(value: float | Missing | None) -> bool:
    return isinstance(value, float) and value > PERCENT_ABOVE


def _reading(
    gpu: _Gpu, relabelled: bool, in_percent: set[str], at: datetime, source: str, energy: Energy
) -> GpuReading:
    def value(what: str, *names: str) -> float | Missing:
        name = next((name for name in names if name in gpu.values), None)
        if name is None:
            return Missing(what, f"the exporter has no {' or '.join(names)}")
        found = gpu.values[name]
        if isinstance(found, Missing):
            return Missing(what, found.why)
        return found / PERCENT if name in in_percent else found * SCALE.get(name, 1.0)

    used = NO_ENERGY_OF_ITS_OWN if gpu.slice_id else energy(gpu.gpu_id, value("energy_j", ENERGY))
    namespace, pod = _owner(gpu, relabelled)
    return GpuReading(
        gpu_id=gpu.gpu_id,
        model_name=gpu.labels.get("modelName", ""),
        host=gpu.host,
        at=at,
        window_s=used.window_s,
        source=source,
        pod=pod,
        namespace=namespace,
        mig_profile=gpu.labels.get("GPU_I_PROFILE", ""),
        utilization_ratio=value("utilization_ratio", *UTILIZATION),
        tensor_active_ratio=value("tensor_active_ratio", TENSOR),
        dram_active_ratio=value("dram_active_ratio", DRAM),
        memory_used_bytes=value("memory_used_bytes", FB_USED),
        memory_free_bytes=value("memory_free_bytes", FB_FREE),
        power_w=BOARD_POWER if gpu.slice_id else value("power_w", POWER),
        energy_j=used.joules,
    )


def _owner(gpu: _Gpu, relabelled: bool) -> tuple[str, str]:
    """Namespace and pod that own the GPU; "" when unassigned.

    A Prometheus server between renames the exporter's ``pod`` to ``exported_pod`` and puts the exporter's own pod in
    ``pod``, and drops empty labels: then a GPU without owner shows the exporter as its pod.
    """
    labels = gpu.labels
    if "exported_pod" in labels:
        return labels.get("exported_namespace", ""), labels["exported_pod"]
    own = relabelled or "dcgm-exporter" in labels.get("container", "") or labels.get("pod") == gpu.host
    return ("", "") if own else (labels.get("namespace", ""), labels.get("pod", ""))

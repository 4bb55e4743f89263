"""NVML through ``pynvml`` (package nvidia-ml-py): one call each, in NVML's own units, its errors turned into ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from controller.errors import ObserveError
from controller.observe.nvml import Activity, Library, Memory

TENSOR, DRAM = 5, 10
"""NVML_GPM_METRIC_ANY_TENSOR_UTIL and NVML_GPM_METRIC_DRAM_BW_UTIL, both 0-100 (nvml.h)."""


def load() -> Library:
    """Open NVML; ObserveError when this host has none."""
    try:
        import pynvml
    except ImportError:
        raise ObserveError(
            "no NVML library on this host: nvidia-ml-py is not installed; install the extra nvml"
        ) from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise ObserveError(f"no NVML library on this host: {error}") from error
    return PynvmlLibrary(pynvml)


class PynvmlLibrary:
    """The opened library, and the GPM sample before the newest of each GPU: activity is measured between two."""

    def __init__(self, pynvml: ModuleType) -> None:
        self._nvml: Any = pynvml
        self._samples: dict[str, Any] = {}

    def devices(self) -> Sequence[PynvmlDevice]:
        count = self.ask(self._nvml.nvmlDeviceGetCount)
        return [PynvmlDevice(self, self.ask(self._nvml.nvmlDeviceGetHandleByIndex, index)) for index in range(count)]

    def close(self) -> None:
        for sample in self._samples.values():
            self.ask(self._nvml.nvmlGpmSampleFree, sample)
        self._samples.clear()
        self.ask(self._nvml.nvmlShutdown)

    def ask(self, function: Callable[..., Any], *arguments: object) -> Any:
        """Call NVML; ObserveError names the call and what the driver answered."""
        try:
            return function(*arguments)
        except self._nvml.NVMLError as error:
            raise ObserveError(f"{function.__name__}: {error}") from error

    def call(self, name: str, *arguments: object) -> Any:
        return self.ask(getattr(self._nvml, name), *arguments)

    def activity(self, key: str, board: object, take: Callable[[Any], Any]) -> Activity:
        """Tensor and DRAM activity since the sample before; ``take`` fills a new sample of the GPU or slice ``key``."""
        if not self.call("nvmlGpmQueryDeviceSupport", board).isSupportedDevice:
            raise ObserveError("this GPU has no performance monitor (GPM); it needs Hopper or newer")
        newest = self.call("nvmlGpmSampleAlloc")
        try:
            take(newest)
        except ObserveError:
            self.call("nvmlGpmSampleFree", newest)
            raise
        before = self._samples.get(key)
        self._samples[key] = newest
        if before is None:
            raise ObserveError("activity is measured between two readings, and this is the first")
        try:
            return self._between(before, newest)
        finally:
            self.call("nvmlGpmSampleFree", before)

    def _between(self, before: object, newest: object) -> Activity:
        request = self._nvml.c_nvmlGpmMetricsGet_t()
        request.version = self._nvml.NVML_GPM_METRICS_GET_VERSION
        request.numMetrics = 2
        request.sample1, request.sample2 = before, newest
        request.metrics[0].metricId, request.metrics[1].metricId = TENSOR, DRAM
        self.call("nvmlGpmMetricsGet", request)
        for metric in request.metrics[:2]:
            if metric.nvmlReturn != self._nvml.NVML_SUCCESS:
                raise ObserveError(f"nvmlGpmMetricsGet: metric {metric.metricId}: NVML error {metric.nvmlReturn}")
        return Activity(tensor_percent=request.metrics[0].value, dram_percent=request.metrics[1].value)


class PynvmlDevice:
    """One whole GPU."""

    def __init__(self, library: PynvmlLibrary, handle: object) -> None:
        self._library = library
        self._handle = handle

    def uuid(self) -> str:
        return str(self._library.call("nvmlDeviceGetUUID", self._handle))

    def name(self) -> str:
        return str(self._library.call("nvmlDeviceGetName", self._handle))

    def memory(self) -> Memory:
        return _memory(self._library, self._handle)

    def utilization_percent(self) -> float:
        return float(self._library.call("nvmlDeviceGetUtilizationRates", self._handle).gpu)

    def power_mw(self) -> float:
        return float(self._library.call("nvmlDeviceGetPowerUsage", self._handle))

    def energy_mj(self) -> float:
        return float(self._library.call("nvmlDeviceGetTotalEnergyConsumption", self._handle))

    def activity(self) -> Activity:
        def take(sample: object) -> object:
            return self._library.call("nvmlGpmSampleGet", self._handle, sample)

        return self._library.activity(self.uuid(), self._handle, take)

    def slices(self) -> Sequence[PynvmlSlice] | None:
        try:
            enabled, _pending = self._library.call("nvmlDeviceGetMigMode", self._handle)
        except ObserveError:  # GPUs without MIG answer "not supported"
            return None
        if not enabled:
            return None
        most = self._library.call("nvmlDeviceGetMaxMigDeviceCount", self._handle)
        found = [self._slice(index) for index in range(most)]
        return [one for one in found if one is not None]

    def _slice(self, index: int) -> PynvmlSlice | None:
        try:
            handle = self._library.call("nvmlDeviceGetMigDeviceHandleByIndex", self._handle, index)
        except ObserveError:  # the places up to the maximum that no slice takes answer "not found"
            return None
        return PynvmlSlice(self._library, self._handle, self.uuid(), handle)


class PynvmlSlice:
    """One MIG slice of ``board``."""

    def __init__(self, library: PynvmlLibrary, board: object, board_uuid: str, handle: object) -> None:
        self._library = library
        self._board = board
        self._board_uuid = board_uuid
        self._handle = handle

    def instance_id(self) -> int:
        return int(self._library.call("nvmlDeviceGetGpuInstanceId", self._handle))

    def name(self) -> str:
        return str(self._library.call("nvmlDeviceGetName", self._handle))

    def memory(self) -> Memory:
        return _memory(self._library, self._handle)

    def activity(self) -> Activity:
        instance = self.instance_id()

        def take(sample: object) -> object:
            return self._library.call("nvmlGpmMigSampleGet", self._board, instance, sample)

        return self._library.activity(f"{self._board_uuid}/{instance}", self._board, take)


def _memory(library: PynvmlLibrary, handle: object) -> Memory:
    found = library.call("nvmlDeviceGetMemoryInfo", handle)
    return Memory(used_bytes=float(found.used), free_bytes=float(found.free))

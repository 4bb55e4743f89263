"""dcgm-exporter's pages become GPU readings in our units, and what a page cannot say stays Missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from controller.facts.missing import Missing
from controller.facts.readings import GpuReading
from controller.observe.dcgm import Sample, read_gpus
from controller.observe.gpus import EnergyBook, EnergyUse

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
RECORDED = Path(__file__).parent / "recorded"
MIB = 1024 * 1024
T4_BUSY, T4_IDLE = "GPU-7a2e92f2-be71-d37e-a744-541600ffc722", "GPU-5f587dd4-6505-0873-c6db-8324dbfe5ba9"


def samples(text: str) -> Iterator[Sample]:
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            yield sample.name.removesuffix("_total"), sample.labels, sample.value  # which that parser adds


def recorded(name: str) -> str:
    return (RECORDED / f"dcgm-exporter-3.1-{name}.prom").read_text()


def energy(_gpu_id: str, millijoules: float | Missing) -> EnergyUse:
    """As if every counter had started from zero ten seconds ago."""
    return EnergyUse(window_s=10.0, joules=millijoules if isinstance(millijoules, Missing) else millijoules / 1000)


def read(text: str) -> tuple[GpuReading, ...]:
    found = read_gpus(samples(text), at=NOON, source="scrape", energy=energy)
    assert not isinstance(found, Missing), found
    return found


def page(*lines: tuple[str, str, str]) -> str:
    return "".join(f"{name}{{{labels}}} {value}\n" for name, labels, value in lines)


def test_whole_gpus_are_read_in_our_units() -> None:
    busy, idle = read(recorded("t4x2-k8s"))
    assert (busy.gpu_id, busy.model_name, busy.host) == (T4_BUSY, "Tesla T4", "nvidia-dcgm-exporter-s228n")
    assert (busy.pod, busy.namespace) == ("runai-reservation-gpu-qa-mig-worker-gpu-1-kvltw", "runai-reservation")
    assert (idle.gpu_id, idle.pod, idle.namespace) == (T4_IDLE, "", "")
    assert (busy.memory_used_bytes, busy.memory_free_bytes) == (128 * MIB, 14831 * MIB)
    assert (busy.power_w, busy.energy_j) == (28.722, 9022.652)
    assert (busy.utilization_ratio, busy.tensor_active_ratio, busy.dram_active_ratio) == (0.0, 0.0, 0.000002)
    assert (busy.at, busy.window_s, busy.source, busy.mig_profile) == (NOON, 10.0, "scrape", "")


def test_mig_slices_are_kept_apart_and_the_boards_power_belongs_to_none() -> None:
    slices = read(recorded("a100-mig-3inst"))
    uuid = "GPU-7099682b-a20d-2bcc-74ab-b9060454d81e"
    assert {(one.gpu_id, one.mig_profile) for one in slices} == {
        (f"{uuid}/7", "1g.5gb"),
        (f"{uuid}/9", "1g.5gb"),
        (f"{uuid}/5", "2g.10gb"),
    }
    for one in slices:
        assert isinstance(one.power_w, Missing)
        assert "whole board's" in one.power_w.why
        assert isinstance(one.energy_j, Missing)
        assert "whole board's" in one.energy_j.why


def test_a_busy_slice_has_its_own_activity_and_memory() -> None:
    (busy,) = read(recorded("a100-mig-1g5gb-busy"))
    assert busy.dram_active_ratio == 0.622646
    assert busy.tensor_active_ratio == 0.000118
    assert busy.utilization_ratio == 0.999892  # no GPU_UTIL under MIG: the graphics engine's activity stands in
    assert busy.memory_used_bytes == 4384 * MIB


def test_a_board_with_mig_on_and_no_slice_serves_nothing() -> None:
    found = read_gpus(samples(recorded("a100-mig-enabled-empty")), at=NOON, source="scrape", energy=energy)
    assert isinstance(found, Missing)
    assert "none can serve: MIG is on and has no slice" in found.why


def test_a_page_without_dcgm_metrics_is_missing_not_empty() -> None:
    found = read_gpus(samples("up 1\n"), at=NOON, source="scrape", energy=energy)
    assert isinstance(found, Missing)
    assert "no DCGM_FI_* metric" in found.why


@pytest.mark.parametrize(
    "blank",
    ["9223372036854775794", "9223372036854775792", "2147483632", "2147483634", "140737488355328", "1.79e308", "NaN"],
)
@pytest.mark.parametrize(
    ("name", "value_of"),
    [
        ("DCGM_FI_DEV_FB_USED", lambda gpu: gpu.memory_used_bytes),
        ("DCGM_FI_DEV_GPU_UTIL", lambda gpu: gpu.utilization_ratio),
        ("DCGM_FI_PROF_DRAM_ACTIVE", lambda gpu: gpu.dram_active_ratio),
        ("DCGM_FI_DEV_POWER_USAGE", lambda gpu: gpu.power_w),
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", lambda gpu: gpu.energy_j),
    ],
)
def test_a_blank_sentinel_is_missing_and_named(name: str, value_of: object, blank: str) -> None:
    labels = 'UUID="GPU-1"'
    (gpu,) = read(page((name, labels, blank), ("DCGM_FI_DEV_FB_FREE", labels, "5")))
    got = value_of(gpu)  # type: ignore[operator]  # a lambda of the table above
    assert isinstance(got, Missing)
    assert name in got.why


def test_a_blank_does_not_make_its_neighbours_percentages() -> None:
    text = page(
        ("DCGM_FI_PROF_DRAM_ACTIVE", 'UUID="GPU-1"', "9223372036854775794"),
        ("DCGM_FI_PROF_DRAM_ACTIVE", 'UUID="GPU-2"', "0.5"),
        ("DCGM_FI_DEV_FB_FREE", 'UUID="GPU-1"', "5"),
        ("DCGM_FI_DEV_FB_FREE", 'UUID="GPU-2"', "5"),
    )
    assert read(text)[1].dram_active_ratio == 0.5


def test_activity_exported_in_percent_becomes_a_ratio_for_every_gpu_of_the_page() -> None:
    text = page(
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 'UUID="GPU-1"', "62.5"),
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", 'UUID="GPU-2"', "0.5"),
        ("DCGM_FI_PROF_DRAM_ACTIVE", 'UUID="GPU-1"', "0.5"),
        ("DCGM_FI_DEV_FB_FREE", 'UUID="GPU-1"', "5"),
        ("DCGM_FI_DEV_FB_FREE", 'UUID="GPU-2"', "5"),
    )
    one, two = read(text)
    assert (one.tensor_active_ratio, two.tensor_active_ratio, one.dram_active_ratio) == (0.625, 0.005, 0.5)


@pytest.mark.parametrize(
    ("labels", "owner"),
    [
        ('hostname="n1"', ("", "")),
        ('hostname="n1",pod="",namespace="",container=""', ("", "")),
        ('Hostname="n1",pod="chat-0",namespace="llm",container="vllm"', ("llm", "chat-0")),
        (
            'hostname="n1",pod="dcgm-x",namespace="gpu",exported_pod="chat-0",exported_namespace="llm"',
            ("llm", "chat-0"),
        ),
        ('hostname="n1",pod="dcgm-x",namespace="gpu",container="nvidia-dcgm-exporter"', ("", "")),
        ('hostname="dcgm-x",pod="dcgm-x",namespace="gpu"', ("", "")),
    ],
)
def test_a_gpus_owner_is_the_pod_that_uses_it_never_the_exporter(labels: str, owner: tuple[str, str]) -> None:
    (gpu,) = read(page(("DCGM_FI_DEV_FB_FREE", f'UUID="GPU-1",{labels}', "5")))
    assert (gpu.namespace, gpu.pod) == owner
    assert gpu.host in ("", "n1", "dcgm-x")


def test_the_host_is_found_under_both_spellings() -> None:
    for spelling in ("Hostname", "hostname"):
        (gpu,) = read(page(("DCGM_FI_DEV_FB_FREE", f'UUID="GPU-1",{spelling}="n1"', "5")))
        assert gpu.host == "n1"


def test_beside_an_owned_gpu_the_unowned_one_is_not_the_exporters() -> None:
    text = page(
        ("DCGM_FI_DEV_FB_FREE", 'UUID="GPU-1",pod="dcgm-x",exported_pod="chat-0"', "5"),
        ("DCGM_FI_DEV_FB_FREE", 'UUID="GPU-2",pod="dcgm-x"', "5"),
    )
    assert [gpu.pod for gpu in read(text)] == ["chat-0", ""]


def test_an_absent_field_is_missing_by_its_exporters_name() -> None:
    (gpu,) = read(page(("DCGM_FI_DEV_FB_FREE", 'UUID="GPU-1"', "5")))
    assert gpu.power_w == Missing("power_w", "the exporter has no DCGM_FI_DEV_POWER_USAGE")
    assert isinstance(gpu.energy_j, Missing)


def test_the_energy_counter_counts_from_zero_after_the_driver_was_loaded_again() -> None:
    book = EnergyBook()
    readings = [(0, 5_000.0), (10, 9_000.0), (20, 1_000.0), (20, 1_500.0), (30, 2_000.0)]
    used = [book.at(NOON + timedelta(seconds=at))("GPU-1", millijoules) for at, millijoules in readings]
    assert [one.joules for one in used if not isinstance(one.joules, Missing)] == [4.0, 1.0, 1.0]
    first, repeated = used[0].joules, used[3].joules
    assert isinstance(first, Missing)
    assert isinstance(repeated, Missing)
    assert "first reading" in first.why
    assert "no newer sample" in repeated.why

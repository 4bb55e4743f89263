from __future__ import annotations

import pytest

from controller.catalog.load import (
    find_gpu,
    find_model,
    gpus_named,
    is_another_gpu,
    load_gpus,
    load_models,
    mig_profiles,
    nearest,
)


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("H100-SXM", "H100-SXM"),
        ("h100-sxm", "H100-SXM"),
        ("NVIDIA H100 80GB HBM3", "H100-SXM"),
        ("H100-80GB-SXM", "H100-SXM"),
        ("H100 SXM5", "H100-SXM"),
        ("H100-NVL", "H100-NVL"),
        ("A100-80GB-SXM", "A100-80GB-SXM"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB-SXM"),
        ("a100 80gb pcie", "A100-80GB-PCIe"),
        ("RTX4090", "RTX 4090"),
        ("NVIDIA H200", "H200-SXM"),
        ("L40S", "L40S"),
    ],
)
def test_common_spellings_find_their_row(name: str, row: str) -> None:
    found = find_gpu(name)
    assert found is not None
    assert found.name == row


@pytest.mark.parametrize("name", ["H100", "A100-80GB", "GH200", "", "Z9000", "H100-SXM/9g.90gb", "L4/1g.10gb", "80gb"])
def test_a_name_that_fits_no_row_or_several_finds_none(name: str) -> None:
    assert find_gpu(name) is None


def test_an_ambiguous_name_lists_what_it_may_mean() -> None:
    assert {gpu.name for gpu in gpus_named("H100")} == {"H100-SXM", "H100-PCIe", "H100-NVL"}
    assert set(nearest("H100", load_gpus())) & {"H100-SXM", "H100-PCIe", "H100-NVL"}


@pytest.mark.parametrize(
    ("profile", "compute", "memory"),
    [
        ("1g.10gb", 1 / 7, 1 / 8),
        ("1g.10gb+me", 1 / 7, 1 / 8),
        ("1g.20gb", 1 / 7, 1 / 4),
        ("2g.20gb", 2 / 7, 1 / 4),
        ("3g.40gb", 3 / 7, 1 / 2),
        ("4g.40gb", 4 / 7, 1 / 2),
        ("7g.80gb", 1.0, 1.0),
    ],
)
def test_a_mig_slice_gets_its_share_of_the_board(profile: str, compute: float, memory: float) -> None:
    board, part = find_gpu("H100-SXM"), find_gpu(f"H100-80GB-SXM/{profile.upper()}")
    assert board is not None
    assert part is not None
    assert part.name == f"H100-SXM/{profile}"
    assert part.peak_flop_per_s["bf16"] == pytest.approx(board.peak_flop_per_s["bf16"] * compute)
    assert part.memory_bytes == pytest.approx(board.memory_bytes * memory)
    assert part.bandwidth_bytes_per_s == pytest.approx(board.bandwidth_bytes_per_s * memory)
    assert part.tdp_w is None


@pytest.mark.parametrize(
    ("gpu", "told", "another"),
    [
        ("H100-SXM", "NVIDIA-H100-80GB-HBM3", False),
        ("H100-PCIe", "NVIDIA-H100-80GB-HBM3", True),
        ("H100-SXM", "NVIDIA-A100-SXM4-80GB", True),
        ("A100-40GB-SXM", "NVIDIA-A100-SXM4-80GB", True),
        ("A10", "NVIDIA-A10G", True),
        ("H100-SXM", "nvidia-h100-80gb", False),  # GKE: SXM or PCIe
        ("H100-SXM", "nvidia-h100-mega-80gb", False),
        ("A100-80GB-SXM", "nvidia-h100-mega-80gb", True),
        ("A100-80GB-SXM", "nvidia-tesla-a100", False),
        ("L4", "nvidia-tesla-a100", True),
        ("H200-NVL", "h200", False),  # Karpenter: says no more
        ("H200-SXM", "h100", True),
        ("H100-SXM/1g.10gb", "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", False),
        ("A100-80GB-SXM/1g.10gb", "NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", True),
        ("L4", "NVIDIA-L4-SHARED", False),
        ("V100-SXM-32GB", "Tesla-V100-SXM2-16GB", False),
        ("H100-SXM", "NVIDIA-H20", False),
        ("H100-SXM", "", False),
        ("our own board", "NVIDIA-L4", False),
    ],
)
def test_another_gpu_is_told_only_where_that_is_sure(gpu: str, told: str, another: bool) -> None:
    assert is_another_gpu(gpu, told) is another


def test_every_row_is_itself_by_its_key_and_its_drivers_name() -> None:
    for gpu in load_gpus().values():
        for name in (gpu.name, *gpu.aliases):
            assert not is_another_gpu(gpu.name, name.replace(" ", "-")), (gpu.name, name)


def test_every_mig_profile_of_the_table_can_be_cut() -> None:
    profiles = [(name, profile) for name in load_gpus() for profile in mig_profiles(name)]
    assert len(profiles) > 50
    assert all(find_gpu(f"{name}/{profile}") is not None for name, profile in profiles)


def test_every_row_has_a_source_and_sane_numbers() -> None:
    assert len(load_gpus()) == 21
    assert len(load_models()) == 33
    assert all(gpu.source and 0 < gpu.peak_flop_per_s["bf16"] < 1e16 for gpu in load_gpus().values())
    assert all(
        model.source and 0 < model.matmul_params_active <= model.params_active <= model.params_total
        for model in load_models().values()
    )


def test_ampere_has_no_fp8_peak() -> None:
    assert "fp8" not in load_gpus()["A100-80GB-SXM"].peak_flop_per_s


@pytest.mark.parametrize(
    "name",
    ["llama-3.1-8b", "meta-llama/Llama-3.1-8B", "meta-llama/Meta-Llama-3.1-8B-Instruct", "LLAMA-3.1-8B"],
)
def test_a_model_is_found_by_either_name(name: str) -> None:
    found = find_model(name)
    assert found is not None
    assert found.name == "llama-3.1-8b"


def test_an_unknown_model_is_not_guessed() -> None:
    assert find_model("gpt-17") is None
    assert nearest("llama-3.1-7b", load_models())[0].startswith("llama-3.1-")


def test_an_mla_model_has_no_head_size() -> None:
    assert load_models()["deepseek-v3"].head_dim is None
    assert load_models()["deepseek-v3"].experts == 256

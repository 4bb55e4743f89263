"""The GPU table (gpus.csv) and looking a GPU up by the table's key, its driver's name or a common spelling."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from controller.catalog.names import compact, words
from controller.facts.fleet import Gpu

PEAK_COLUMNS: Mapping[str, str] = {
    "bf16": "fp16_bf16_dense_tflops",
    "fp8": "fp8_dense_tflops",
    "int8": "int8_dense_tops",
    "int4": "int4_dense_tops",
    "fp4": "fp4_dense_tflops",
}
"""Our compute precision -> column of gpus.csv. "bf16" is the 16-bit peak: Turing and Volta reach it with fp16 only."""

COMPUTE_SLICES = 7
"""Compute slices of a MIG-capable GPU. Source: NVIDIA's MIG user guide, supported profiles."""

MEMORY_EIGHTHS: Mapping[int, int] = {1: 1, 2: 2, 3: 4, 4: 4, 7: 8}
"""Memory slices (of 8) by compute slices. Source: NVIDIA's MIG user guide, supported profiles."""

SHARED = re.compile(r"-(MIG-.*|SHARED)$")
"""What NVIDIA's device plugin adds to a product's name: https://github.com/NVIDIA/k8s-device-plugin, GPU feature
discovery."""

PROFILE = re.compile(r"(?P<compute>[12347])g\.(?P<memory_gb>\d+)gb(\+me)?")


@cache
def load_gpus() -> Mapping[str, Gpu]:
    """Every row of gpus.csv by its key."""
    return MappingProxyType({row["gpu"]: _gpu(row) for row in _rows()})


def gpus_named(name: str) -> tuple[Gpu, ...]:
    """Every row that ``name`` may mean. "H100" means three; "H100-80GB-SXM" one; nonsense none.

    First match wins: the key or driver name, whatever its case and punctuation; else every row of which all the words
    of ``name`` are said (key, driver name, memory size, form factor, memory type), the family among them.
    """
    table = load_gpus()
    exact = [gpu for gpu in table.values() if compact(name) in {compact(one) for one in (gpu.name, *gpu.aliases)}]
    if exact:
        return tuple(exact)
    asked = set(words(name))
    return tuple(table[key] for key, (family, said) in _vocabulary().items() if family in asked and asked <= said)


def find_gpu(name: str) -> Gpu | None:
    """The one GPU that ``name`` means, or a MIG slice of it ("H100-SXM/1g.10gb"); None when none or several fit."""
    board, slash, profile = name.partition("/")
    found = gpus_named(board)
    if len(found) != 1:
        return None
    return _slice(found[0], profile) if slash else found[0]


def is_another_gpu(gpu: str, told: str) -> bool:
    """Whether a machine of which ``told`` is said surely has another GPU than ``gpu``, a row's key or a slice of it.

    Drivers, clouds and Kubernetes' labels spell differently, and some say less than the table: what several rows may
    mean, or no family of the table, is not sure.
    """
    board, asked = gpu.partition("/")[0], words(SHARED.sub("", told))
    if board not in load_gpus():
        return False
    family = {key for key, (name, _) in _vocabulary().items() if name in asked}
    meant = {one.name for one in gpus_named(" ".join(asked))} if len(asked) > 1 else family
    return bool(meant or family) and board not in (meant or family)


def mig_profiles(gpu: str) -> tuple[str, ...]:
    """The MIG profiles of the board with that key; empty when it cannot be cut."""
    return next(
        (tuple(row["mig_profiles"].split(";")) for row in _rows() if row["gpu"] == gpu and row["mig_profiles"]), ()
    )


@cache
def _rows() -> tuple[dict[str, str], ...]:
    text = files("controller.catalog").joinpath("gpus.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


@cache
def _vocabulary() -> Mapping[str, tuple[str, frozenset[str]]]:
    """By key: the family's word and every word that describes the row."""
    return {
        row["gpu"]: (
            words(row["gpu"])[0],
            frozenset(
                word
                for text in (
                    row["gpu"],
                    row["aliases"],
                    f"{row['mem_gb']}gb",
                    row["form_factor"],
                    row["form_factor"].rstrip("0123456789"),
                    row["mem_type"],
                )
                for word in words(text)
            ),
        )
        for row in _rows()
    }


def _gpu(row: Mapping[str, str]) -> Gpu:
    return Gpu(
        name=row["gpu"],
        memory_bytes=float(row["mem_gb"]) * 1e9,
        bandwidth_bytes_per_s=float(row["mem_bw_gbs"]) * 1e9,
        peak_flop_per_s={
            precision: float(row[column]) * 1e12 for precision, column in PEAK_COLUMNS.items() if row[column]
        },
        tdp_w=float(row["tdp_w"]) if row["tdp_w"] else None,
        aliases=(row["aliases"],),
        source=row["source"],
    )


def _slice(board: Gpu, profile: str) -> Gpu | None:
    """The board's share that a profile gets: compute in sevenths, memory and bandwidth in eighths.

    Power is a figure of the whole board, so a slice has none.
    """
    match = PROFILE.fullmatch(profile.lower())
    if match is None or profile.lower() not in mig_profiles(board.name):
        return None
    compute_share = int(match["compute"]) / COMPUTE_SLICES
    memory_share = _memory_eighths(board, int(match["compute"]), float(match["memory_gb"])) / 8
    return Gpu(
        name=f"{board.name}/{profile.lower()}",
        memory_bytes=board.memory_bytes * memory_share,
        bandwidth_bytes_per_s=board.bandwidth_bytes_per_s * memory_share,
        peak_flop_per_s={precision: peak * compute_share for precision, peak in board.peak_flop_per_s.items()},
        tdp_w=None,
        source=f"{board.source}; scaled to {profile.lower()}",
    )


def _memory_eighths(board: Gpu, compute: int, memory_gb: float) -> int:
    """1g comes with one eighth of the memory or, by its name, with two."""
    doubled = compute == 1 and memory_gb * 1e9 > 1.5 * board.memory_bytes / 8
    return 2 if doubled else MEMORY_EIGHTHS[compute]

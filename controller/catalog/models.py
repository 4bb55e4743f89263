"""The model table (models.csv) and looking a model up by our name or its Hugging Face name."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from controller.facts.fleet import Model

TUNED_SUFFIXES = ("-instruct", "-it", "-chat")
"""Endings that name a fine-tune of the same shape."""


@cache
def load_models() -> Mapping[str, Model]:
    """Every row of models.csv by our name."""
    return MappingProxyType({row["model"]: _model(row) for row in _rows()})


def find_model(name: str) -> Model | None:
    """The model called ``name``: our name or the Hugging Face name, in any case, with or without owner or
    "-Instruct"."""
    key = _names().get(_plain(name))
    return None if key is None else load_models()[key]


@cache
def _names() -> Mapping[str, str]:
    return {_plain(name): row["model"] for row in _rows() for name in (row["model"], row["hf_id"])}


def _plain(name: str) -> str:
    plain = name.lower().rpartition("/")[2].removeprefix("meta-")
    for suffix in TUNED_SUFFIXES:
        plain = plain.removesuffix(suffix)
    return plain


@cache
def _rows() -> tuple[dict[str, str], ...]:
    text = files("controller.catalog").joinpath("models.csv").read_text(encoding="utf-8")
    return tuple(csv.DictReader(text.splitlines()))


def _model(row: Mapping[str, str]) -> Model:
    return Model(
        name=row["model"],
        params_total=float(row["params_total_b"]) * 1e9,
        params_active=float(row["params_active_b"]) * 1e9,
        matmul_params_active=float(row["matmul_params_active_b"]) * 1e9,
        lm_head_params=float(row["lm_head_params_b"]) * 1e9,
        layers=int(row["layers"]),
        heads=int(row["heads"]),
        head_dim=_whole(row["head_dim"]),
        kv_bytes_per_token_16bit=float(row["kv_bytes_per_token_fp16"]),
        experts=_whole(row["n_experts"]),
        experts_per_token=_whole(row["experts_per_token"]),
        source=row["source"],
    )


def _whole(cell: str) -> int | None:
    return int(cell) if cell else None

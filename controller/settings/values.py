"""Single values of fleet.yaml, each with all that can be wrong with it alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from controller.catalog.load import find_gpu, find_model, gpus_named, load_gpus, load_models
from controller.catalog.load import nearest as nearest_rows
from controller.documents import nearest, otherwise
from controller.estimate.peaks import KV_BYTES, TIERS
from controller.quantities import DurationS, WholeRange

LONGEST_S = 3650 * 86_400.0
"""No duration of the fleet file may be longer: a guess, because ten years are past any use and far from overflow."""

Wait = Annotated[DurationS, Field(ge=0, le=LONGEST_S)]
Period = Annotated[DurationS, Field(gt=0, le=LONGEST_S)]
Whole = Annotated[int, Field(strict=True, ge=1)]
Amount = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Name = Annotated[str, Field(min_length=1)]

FLEET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
"""It is part of a file's name where the ledger is a file."""


def _meant(wrong: str, table: Mapping[str, object]) -> str:
    close = nearest_rows(wrong, table)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _gpu_row(name: str) -> str:
    if find_gpu(name) is not None:
        return name
    several = ", ".join(gpu.name for gpu in gpus_named(name))
    meant = f"; it may be {several}" if several else _meant(name, load_gpus())
    raise ValueError(otherwise(f"gpu '{name}' is not one row of the GPU table{meant}", "give its numbers"))


def _model_row(name: str) -> str:
    if find_model(name) is not None:
        return name
    meant = _meant(name, load_models())
    raise ValueError(otherwise(f"model '{name}' is not in the model table{meant}", "give its numbers"))


def _quantization(name: str) -> str:
    return _known("quantization", name, TIERS)


def _kv_cache_dtype(name: str) -> str:
    return _known("kv_cache_dtype", name, KV_BYTES)


def _known(key: str, name: str, table: Mapping[str, object]) -> str:
    if name.lower().replace("-", "_") in table:
        return name
    raise ValueError(f"{key} '{name}' is not known{_meant(name, table)}")


def _ports(ports: tuple[int, int]) -> tuple[int, int]:
    if ports[0] >= 1 and ports[1] <= 65_535:
        return ports
    raise ValueError(f"expected ports from 1 to 65535, found {ports[0]}-{ports[1]}")


def ledger_url(url: str) -> str:
    """``url``, if its beginning is one of the databases'. Raises ValueError."""
    if url.startswith(("sqlite:", "postgresql")):
        return url
    raise ValueError("expected sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE")


def _fleet_name(name: str) -> str:
    if not name or FLEET_NAME.fullmatch(name):
        return name
    raise ValueError(f"expected at most 63 letters, digits, '.', '_' and '-', found '{name}'")


PLACEHOLDERS = ("port", "replica", "model")


def _command(command: tuple[str, ...]) -> tuple[str, ...]:
    """Only known placeholders. The shell's ${NAME} is left to it, and JSON in an argument is not one word."""
    for part in command:
        for name in re.findall(r"(?<!\$)\{(\w+)\}", part):
            if name not in PLACEHOLDERS:
                raise ValueError(f"unknown placeholder {{{name}}} in '{part}'{nearest(name, PLACEHOLDERS)}")
    return command


GpuRow = Annotated[str, AfterValidator(_gpu_row)]
ModelRow = Annotated[str, AfterValidator(_model_row)]
Quantization = Annotated[str, AfterValidator(_quantization)]
KvCacheDtype = Annotated[str, AfterValidator(_kv_cache_dtype)]
FleetName = Annotated[str, AfterValidator(_fleet_name)]
LedgerUrl = Annotated[str, AfterValidator(ledger_url)]
Ports = Annotated[WholeRange, AfterValidator(_ports)]
Command = Annotated[tuple[str, ...], AfterValidator(_command)]

"""Replicas bought in several ways, and markets of spot capacity, as tests want both."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from controller.facts.fleet import CapacityType
from controller.simulate.buying import Kind, Lot
from controller.simulate.score import RunScore
from controller.simulate.scoring import scored
from controller.simulate.spot import SpotMarket
from controller.simulate.startup import StartUp
from controller.simulate.stepmodel import LLAMA_70B_FP8_2XH100
from controller.simulate.world import World

RESERVED, ON_DEMAND, SPOT = CapacityType.RESERVED, CapacityType.ON_DEMAND, CapacityType.SPOT
TIGHT = replace(LLAMA_70B_FP8_2XH100, kv_capacity_tokens=4000, max_model_len=3000, token_budget=256, max_sequences=16)
USD_PER_HOUR = {RESERVED: 3.6, ON_DEMAND: 7.2, SPOT: 1.8}


def lot(kind: CapacityType, replicas: int | None = None) -> Lot:
    return Lot(type=kind, usd_per_replica_hour=USD_PER_HOUR[kind], replicas=replicas)


def kind(bench: Any, *lots: Lot, name: str = "h100", **changes: Any) -> Kind:
    usual = {"spec": bench.CLOCKWORK, "start_up": StartUp.fixed(60.0)}
    return Kind(name=name, lots=lots, **{**usual, **changes})


def market(notice_s: float = 120.0, **up: list[tuple[float, float]]) -> SpotMarket:
    """Zones over half an hour, by name."""
    runs = {zone: np.array(some, np.float64).reshape(-1, 2) for zone, some in up.items()}
    return SpotMarket(start_s=0.0, end_s=1800.0, up=runs, notice_s=notice_s)


def closed(world: World) -> RunScore:
    world.advance(world.end_s)
    world.close()
    return scored(world, "by hand", 0)

"""What OpenCost's ``/allocation`` answers: its keys, exactly."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Told(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class PropertiesTold(_Told):
    """What all that is in the row has in common; "" where it differs or is not known."""

    cluster: str
    node: str
    container: str
    controller: str
    controller_kind: str
    namespace: str
    pod: str
    services: list[str]
    provider: str = Field(alias="providerID")
    labels: dict[str, str]
    annotations: dict[str, str] = {}
    namespace_labels: dict[str, str] = {}


class SpanTold(BaseModel):
    start: datetime
    end: datetime


class AllocationItem(_Told):
    """One row: its GPUs and their cost in USD. What we do not meter is 0; ``gpuCostIdle`` is the idle shared to it."""

    name: str
    properties: PropertiesTold
    window: SpanTold
    start: datetime
    end: datetime
    minutes: float
    cpu_cores: float = 0
    cpu_core_request_average: float = 0
    cpu_core_usage_average: float = 0
    cpu_core_hours: float = 0
    cpu_cost: float = 0
    cpu_cost_adjustment: float = 0
    cpu_cost_idle: float = 0
    cpu_efficiency: float = 0
    gpu_count: float
    gpu_request_average: float
    gpu_usage_average: float
    gpu_hours: float
    gpu_cost: float
    gpu_cost_adjustment: float
    gpu_cost_idle: float
    gpu_efficiency: float | None
    network_transfer_bytes: float = 0
    network_receive_bytes: float = 0
    network_cost: float = 0
    network_cross_zone_cost: float = 0
    network_cross_region_cost: float = 0
    network_internet_cost: float = 0
    network_cost_adjustment: float = 0
    load_balancer_cost: float = 0
    load_balancer_cost_adjustment: float = 0
    pv_bytes: float = 0
    pv_byte_hours: float = 0
    pv_cost: float = 0
    pvs: None = None
    pv_cost_adjustment: float = 0
    ram_bytes: float = 0
    ram_byte_request_average: float = 0
    ram_byte_usage_average: float = 0
    ram_byte_hours: float = 0
    ram_cost: float = 0
    ram_cost_adjustment: float = 0
    ram_cost_idle: float = 0
    ram_efficiency: float = 0
    external_cost: float = 0
    shared_cost: float = 0
    total_cost: float
    total_efficiency: float | None
    proportional_asset_resource_costs: None = None
    lb_allocations: None = None
    shared_cost_breakdown: None = None


class AllocationAnswer(BaseModel):
    """One object a step, rows by their names."""

    code: int = 200
    data: list[dict[str, AllocationItem]]


class Refusal(BaseModel):
    """OpenCost's way of saying no."""

    code: int
    message: str


REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Refusal, "description": "The question cannot be read; the answer says what was expected."},
    503: {"model": Refusal, "description": "The ledger cannot be read."},
}

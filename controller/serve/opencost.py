"""OpenCost's ``/allocation``, answered from our accounts, so that dashboards made for it work.

A service is a namespace and a variant its controller; a replica is a pod. All cost is GPU cost: what a node costs is in
the price of its GPUs. The idle is taken out of every row and shown, shared or left out as it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from math import isfinite
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse

from controller.attribute.apportion import largest_remainder
from controller.errors import LedgerError
from controller.facts.account_reader import HOUR, NO_PARTS, OF_IDENTITY, OF_POOL, OF_SEAT, Dimension, Window
from controller.facts.accounts import Tokens
from controller.facts.money import MICROSECONDS_PER_HOUR, NANOUSD_PER_USD
from controller.serve.accounts import Accounts, Row, check_crossing, line_rows, seat_rows, with_pools
from controller.serve.opencost_told import REFUSALS, AllocationAnswer, AllocationItem, PropertiesTold, SpanTold
from controller.serve.spans import DAY, cut, step_of, window_of

IDLE = "__idle__"
UNALLOCATED = "__unallocated__"
CONTROLLER_KIND = "variant"

PROPERTIES: Mapping[str, str] = {
    "node": "node",
    "namespace": "service",
    "controller": "variant",
    "service": "service",
    "pod": "replica",
    "container": "replica",
    "model": "model",
    "variant": "variant",
    **{str(dim): str(dim) for dim in (*OF_IDENTITY, Dimension.CAPACITY_TYPE)},
}
"""By what one may ask, and what it is of ours. Beside them cluster and controllerKind, of which a fleet has one."""

EVERYWHERE = ("cluster", "controllerKind")
SEATED = ("node", "namespace", "pod", "container")
"""Without ``aggregate``: every replica, by cluster and these."""

LABELS = (*(str(dim) for dim in (*OF_IDENTITY, *OF_POOL, *OF_SEAT)), "model", "quantization", "gpu", "zone")
"""What ``label:`` may name. Other labels, and all annotations, are on nothing."""

_AGGREGATES = ", ".join((*EVERYWHERE, *PROPERTIES, "label:x", "annotation:x"))
_SHORT = "true or false"


def opencost_router(accounts: Accounts) -> APIRouter:
    """``/allocation`` and ``/allocation/compute`` are one: nothing is computed ahead."""
    router = APIRouter(responses=REFUSALS)

    def allocation(
        window: Annotated[str, Query(description="As OpenCost's; widened to whole hours. Weeks begin on Monday.")] = "",
        aggregate: Annotated[str, Query(description=f"Joined by commas: {_AGGREGATES}")] = "",
        step: Annotated[str, Query(description="Whole hours, like 1h or 1d; without it, the window.")] = "",
        resolution: Annotated[str, Query(description="Taken and not needed: costs are exact.")] = "",
        includeIdle: Annotated[str, Query(description=_SHORT)] = "",  # noqa: N803 - OpenCost's name
        shareIdle: Annotated[str, Query(description=_SHORT)] = "",  # noqa: N803 - OpenCost's name
        idleByNode: Annotated[str, Query(description=_SHORT)] = "",  # noqa: N803 - OpenCost's name
        accumulate: Annotated[str, Query(description=_SHORT)] = "",
    ) -> Any:
        def answer() -> AllocationAnswer:
            span = window_of(window, accounts.clock())
            asked = _Asked(
                aggregate=_aggregate(aggregate),
                window=span,
                step=None if _flag("accumulate", accumulate) else step_of(step, span),
                include_idle=_flag("includeIdle", includeIdle),
                share_idle=_flag("shareIdle", shareIdle),
                idle_by_node=_flag("idleByNode", idleByNode),
            )
            return AllocationAnswer(data=_sets(accounts, asked))

        return answered(answer)

    for path in ("/allocation", "/allocation/compute"):
        router.add_api_route(
            path,
            allocation,
            methods=["GET"],
            response_model=AllocationAnswer,
            summary="Cost by workload, as OpenCost tells it",
            operation_id=path.strip("/").replace("/", "_") + "_as_opencost",
        )
    return router


def answered(answer: Callable[[], Any]) -> Any:
    """The answer, or a refusal in OpenCost's words."""
    try:
        return answer()
    except ValueError as error:
        return JSONResponse({"code": 400, "message": str(error)}, 400)
    except LedgerError as error:
        return JSONResponse({"code": 503, "message": str(error)}, 503)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    aggregate: tuple[str, ...]
    window: Window
    step: timedelta | None
    include_idle: bool
    share_idle: bool
    idle_by_node: bool


def _flag(name: str, text: str) -> bool:
    told = {"": False, "false": False, "0": False, "true": True, "1": True}
    if text.lower() not in told:
        raise ValueError(f"{name} is '{text[:80]}'; expected true or false")
    return told[text.lower()]


def _aggregate(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in PROPERTIES and name not in EVERYWHERE and not name.startswith(("label:", "annotation:")):
            raise ValueError(f"aggregate is '{name[:80]}'; expected of {_AGGREGATES}")
    return names


def value_of(row: Row, name: str, cluster: str) -> str:
    """Of one property; "" where the row has none."""
    if name in EVERYWHERE:
        return cluster if name == "cluster" else CONTROLLER_KIND
    kind, _, label = name.partition(":")
    if kind == "label":
        return row.values.get(label, "") if label in LABELS else ""
    return row.values.get(PROPERTIES.get(name, ""), "")


def dimensions_of(names: Iterable[str]) -> set[str]:
    """What of ours these properties stand on."""
    return {name.removeprefix("label:") if name.startswith("label:") else PROPERTIES.get(name, "") for name in names}


def rows_of(
    accounts: Accounts, names: Sequence[str], window: Window, step: timedelta | None
) -> list[tuple[Window, list[Row]]]:
    """Of each step: by identity, when the properties ask for one, with what was logged; else by replica."""
    dims = dimensions_of(names)
    check_crossing(dims)
    windows = cut(window, step)
    seats = [seat_rows(accounts.reader, one) for one in windows]
    if not dims & set(OF_IDENTITY):
        return list(zip(windows, seats, strict=True))
    by = (*(dim for dim in OF_IDENTITY if dim in dims), *OF_POOL)
    lines = line_rows(accounts.reader, window, by, {}, step)
    return [
        (one, list(with_pools(of_lines, of_seats)))
        for one, of_lines, of_seats in zip(windows, lines, seats, strict=True)
    ]


@dataclass(slots=True)
class _Group:
    """Rows of one name. Without their idle; ``shared``: what was shared to it of all idle. By node, for sharing."""

    cost: dict[str, int] = field(default_factory=dict)
    gpu_us: float = 0.0
    work_us: float = 0.0
    shared: int = 0
    adjusted: int = 0
    values: dict[str, str] | None = None
    services: dict[str, None] = field(default_factory=dict)

    def add(self, row: Row, node: str) -> None:
        self.cost[node] = self.cost.get(node, 0) + row.cost - row.idle
        if row.cost:
            self.gpu_us += row.gpu_us * (row.cost - row.idle) / row.cost
            self.work_us += row.gpu_us * row.work / row.cost
        self.merge(row.values)

    def merge(self, values: Mapping[str, str]) -> None:
        """Only what all have in common stays."""
        mine = dict(values) if self.values is None else self.values
        self.values = {name: value for name, value in mine.items() if values.get(name) == value}
        if values.get("service"):
            self.services[values["service"]] = None


@dataclass(slots=True)
class _Set:
    """One step. ``idle``: nanodollars and GPU time by node, "" when it is not asked by node."""

    groups: dict[str, _Group] = field(default_factory=dict)
    idle: dict[str, tuple[int, float]] = field(default_factory=dict)


def _sets(accounts: Accounts, asked: _Asked) -> list[dict[str, AllocationItem]]:
    names = asked.aggregate or ("cluster", *SEATED)
    found = []
    for window, rows in rows_of(accounts, names, asked.window, asked.step):
        one = _grouped(rows, names, asked, accounts.cluster)
        _adjust(accounts, one, names, window)
        if asked.share_idle:
            _share(one)
        found.append(_items(one, asked, window, accounts.cluster))
    return found


def _grouped(rows: Iterable[Row], names: Sequence[str], asked: _Asked, cluster: str) -> _Set:
    found = _Set()
    for row in rows:
        node = row.values.get("node", "") if asked.idle_by_node else ""
        idle, gpu_us = found.idle.get(node, (0, 0.0))
        idle_us = row.gpu_us * row.idle / row.cost if row.cost else 0.0
        found.idle[node] = (idle + row.idle, gpu_us + idle_us)
        if row.cost != row.idle or row.tokens.requests:
            found.groups.setdefault(_name(row, names, cluster), _Group()).add(row, node)
    return found


def _name(row: Row, names: Sequence[str], cluster: str) -> str:
    return "/".join(value_of(row, name, cluster) or UNALLOCATED for name in names)


def _adjust(accounts: Accounts, found: _Set, names: Sequence[str], window: Window) -> None:
    """What bills say beyond the estimates of the days that begin in the window."""
    day = window.start.date()
    while (at := datetime.combine(day, time(), UTC)) < window.end:
        for one in accounts.reader.adjustments(day) if at >= window.start else ():
            if one.cost == "effective":
                values = {str(dim): str(getattr(one.identity, dim)) for dim in OF_IDENTITY}
                if one.pool is not None:
                    values |= {str(dim): str(getattr(one.pool, dim)) for dim in OF_POOL}
                row = Row(values=values, parts=NO_PARTS, tokens=Tokens())
                group = found.groups.setdefault(_name(row, names, accounts.cluster), _Group())
                group.adjusted += one.amount_nanousd
                if group.values is None:
                    group.merge(values)
        day += DAY


def _share(found: _Set) -> None:
    """idle_i = cost_i / (total - idle) x idle, node by node. Where nothing but idle is, it stays idle."""
    for node, (idle, gpu_us) in list(found.idle.items()):
        costs = {name: max(group.cost.get(node, 0), 0) for name, group in found.groups.items()}
        whole = sum(costs.values())
        if idle <= 0 or whole <= 0:
            continue
        for name, share in zip(costs, largest_remainder(idle, list(costs.values())), strict=True):
            found.groups[name].shared += share
            found.groups[name].gpu_us += gpu_us * costs[name] / whole
        del found.idle[node]


def _items(found: _Set, asked: _Asked, window: Window, cluster: str) -> dict[str, AllocationItem]:
    items = {name: _item(name, group, window, cluster) for name, group in sorted(found.groups.items())}
    if asked.include_idle:
        for node, (idle, gpu_us) in sorted(found.idle.items()):
            if idle:
                name = f"{node}/{IDLE}" if node else IDLE
                group = _Group(cost={node: idle}, gpu_us=gpu_us, values={"node": node})
                items[name] = _item(name, group, window, cluster)
    return items


def _item(name: str, group: _Group, window: Window, cluster: str) -> AllocationItem:
    hours = (window.end - window.start) / HOUR
    gpu_hours = group.gpu_us / MICROSECONDS_PER_HOUR
    work_hours = group.work_us / MICROSECONDS_PER_HOUR
    cost = sum(group.cost.values()) + group.shared
    efficiency = number(work_hours / gpu_hours) if gpu_hours else None
    span = SpanTold(start=window.start, end=window.end)
    return AllocationItem(
        name=name,
        properties=_properties(group, cluster),
        window=span,
        start=window.start,
        end=window.end,
        minutes=hours * 60,
        gpu_count=gpu_hours / hours,
        gpu_request_average=gpu_hours / hours,
        gpu_usage_average=work_hours / hours,
        gpu_hours=gpu_hours,
        gpu_cost=cost / NANOUSD_PER_USD,
        gpu_cost_adjustment=group.adjusted / NANOUSD_PER_USD,
        gpu_cost_idle=group.shared / NANOUSD_PER_USD,
        gpu_efficiency=efficiency,
        total_cost=(cost + group.adjusted) / NANOUSD_PER_USD,
        total_efficiency=efficiency,
    )


def _properties(group: _Group, cluster: str) -> PropertiesTold:
    values = group.values or {}
    return PropertiesTold(
        cluster=cluster,
        node=values.get("node", ""),
        container=values.get("replica", ""),
        controller=values.get("variant", ""),
        controller_kind=CONTROLLER_KIND if values.get("variant") else "",
        namespace=values.get("service", ""),
        pod=values.get("replica", ""),
        services=list(group.services),
        providerID=values.get("offer", ""),
        labels={name: values[name] for name in LABELS if values.get(name)},
    )


def number(value: float) -> float | None:
    """JSON has no word for NaN and Inf."""
    return value if isfinite(value) else None

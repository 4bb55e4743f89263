"""``/api/v1/allocation`` and what belongs to it: who spent what, to the last nanodollar."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, HTTPException, Query

from controller.attribute.unit_costs import Basis, by_kind, on_basis, unit_costs
from controller.errors import LedgerError
from controller.facts.account_reader import (
    OF_IDENTITY,
    OF_POOL,
    OF_SEAT,
    BudgetState,
    CommitmentUse,
    Dimension,
    Window,
)
from controller.facts.accounts import IDLE, OVERHEAD, PARTS, UNATTRIBUTED, WORK, Part, Tokens
from controller.facts.budgets import Anomaly
from controller.facts.missing import Missing
from controller.serve.accounts import Accounts, Row, Total, check_crossing, line_rows, seat_rows
from controller.serve.allocation_told import (
    PROBLEMS,
    AllocationTold,
    AnomaliesTold,
    AnomalyTold,
    BudgetsTold,
    BudgetTold,
    CommitmentsTold,
    CommitmentTold,
    ItemTold,
    NanousdTold,
    StepTold,
    TokensTold,
    UnitCostsAnswer,
    UnitCostsTold,
    UnitCostTold,
    WindowTold,
)
from controller.serve.spans import cut, step_of, window_of

ASKABLE = (*OF_IDENTITY, *OF_POOL, *OF_SEAT)


WindowAsked = Annotated[
    str,
    Query(
        description="today, yesterday, week, lastweek, month, lastmonth, a length like 12h or 7d, or two times joined "
        "by a comma, RFC 3339 or seconds since 1970. Widened to whole hours, UTC."
    ),
]


def allocation_router(accounts: Accounts) -> APIRouter:
    """All of it only reads."""
    router = APIRouter(prefix="/api/v1", responses=PROBLEMS)

    @router.get("/allocation", summary="Who spent what, on what, to the last nanodollar")
    def allocation(
        *,
        window: WindowAsked = "today",
        by: Annotated[str, Query(description="Dimensions joined by commas: " + ", ".join(ASKABLE))] = "",
        step: Annotated[str, Query(description="Like 1h or 1d; without it, the whole window at once.")] = "",
        where: Annotated[list[str], Query(default_factory=list, description="dimension=value, any number of times.")],
        basis: Basis = Basis.ALLOCATION,
    ) -> AllocationTold:
        with Answered():
            asked = _asked(accounts, window, by, step, where, basis)
            return _allocation(accounts, asked)

    @router.get("/unit-costs", summary="What a token truly costs, by its kind and variant")
    def unit_cost(window: WindowAsked = "today") -> UnitCostsAnswer:
        with Answered():
            asked = window_of(window, accounts.clock())
            return UnitCostsAnswer(window=_window(asked), unit_costs=_unit_costs(accounts, asked))

    @router.get("/budgets", summary="What was spent of each budget, and what is expected")
    def budgets() -> BudgetsTold:
        with Answered():
            return BudgetsTold(budgets=[_budget(one) for one in accounts.reader.budgets(accounts.clock())])

    @router.get("/commitments", summary="How much of each commitment was used")
    def commitments(window: WindowAsked = "month") -> CommitmentsTold:
        with Answered():
            asked = window_of(window, accounts.clock())
            found = [_commitment(one) for one in accounts.reader.commitments(asked)]
            return CommitmentsTold(window=_window(asked), commitments=found)

    @router.get("/anomalies", summary="Cost that the same hours of other weeks do not know")
    def anomalies(window: WindowAsked = "7d") -> AnomaliesTold:
        with Answered():
            asked = window_of(window, accounts.clock())
            return AnomaliesTold(window=_window(asked), anomalies=[_anomaly(one) for one in accounts.anomalies(asked)])

    return router


class Answered:
    """Failures as answers."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ValueError):
            raise HTTPException(400, str(error)) from error
        if isinstance(error, LedgerError):
            raise HTTPException(503, str(error)) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    window: Window
    by: tuple[Dimension, ...]
    where: Mapping[Dimension, str]
    step: timedelta | None
    basis: Basis

    @property
    def dimensions(self) -> set[Dimension]:
        return {*self.by, *self.where}


def _asked(accounts: Accounts, window: str, by: str, step: str, where: Sequence[str], basis: Basis) -> _Asked:
    span = window_of(window, accounts.clock())
    dims = tuple(dict.fromkeys(_dimension(name.strip()) for name in by.split(",") if name.strip()))
    only = dict(_condition(one) for one in where)
    check_crossing({*dims, *only})
    return _Asked(window=span, by=dims, where=only, step=step_of(step, span), basis=basis)


def _dimension(name: str) -> Dimension:
    if name not in ASKABLE:
        raise ValueError(f"there is no dimension '{name[:80]}' here; there are {', '.join(ASKABLE)}")
    return Dimension(name)


def _condition(text: str) -> tuple[Dimension, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"where is '{text[:80]}'; expected dimension=value, like team=search")
    return _dimension(name.strip()), value


def _allocation(accounts: Accounts, asked: _Asked) -> AllocationTold:
    windows = cut(asked.window, asked.step)
    rows = _rows(accounts, asked, windows)
    unexplained = _unattributed(accounts, asked, windows)
    steps = [
        _step(asked, window, found, share) for window, found, share in zip(windows, rows, unexplained, strict=True)
    ]
    return AllocationTold(
        window=_window(asked.window),
        by=[str(dim) for dim in asked.by],
        basis=asked.basis,
        open_hours=accounts.reader.open_hours(asked.window),
        steps=steps,
    )


def _rows(accounts: Accounts, asked: _Asked, windows: Sequence[Window]) -> list[list[Row]]:
    """Of each step. Places are told by the seats; all else by the lines, with the other costs where seats know them."""
    if asked.dimensions & set(OF_SEAT):
        return [_only(seat_rows(accounts.reader, window), asked.where) for window in windows]
    by = tuple(dim for dim in ASKABLE if dim in asked.dimensions)
    lines = line_rows(accounts.reader, asked.window, by, asked.where, asked.step)
    if asked.dimensions & set(OF_IDENTITY):
        return lines
    seats = [_only(seat_rows(accounts.reader, window), asked.where) for window in windows]
    return [
        [replace(line, costs=(0, 0, 0)) for line in of_lines] + [_costs_only(seat) for seat in of_seats]
        for of_lines, of_seats in zip(lines, seats, strict=True)
    ]


def _costs_only(seat: Row) -> Row:
    return replace(seat, parts=(0,) * len(PARTS), tokens=Tokens(), gpu_us=0.0)


def _only(rows: Iterable[Row], where: Mapping[Dimension, str]) -> list[Row]:
    return [row for row in rows if all(row.values.get(dim, "") == value for dim, value in where.items())]


def _step(asked: _Asked, window: Window, rows: Sequence[Row], unattributed: Decimal | None) -> StepTold:
    total, items = Total(), dict[tuple[str, ...], Total]()
    for row in rows:
        total.add(row)
        items.setdefault(tuple(row.values.get(dim, "") for dim in asked.by), Total()).add(row)
    if not rows:
        total.costs = (None, None, None)
    told = sorted(items.items(), key=lambda item: (-sum(item[1].parts), item[0]))
    return StepTold(
        start=window.start,
        end=window.end,
        items=[_item(dict(zip(asked.by, key, strict=True)), one, asked.basis) for key, one in told],
        total=_item({}, total, asked.basis),
        unattributed_ratio=None if unattributed is None else f"{unattributed:f}",
    )


def _item(key: Mapping[Dimension, str], total: Total, basis: Basis) -> ItemTold:
    unit = unit_costs(by_kind(total.parts), total.tokens, basis)
    return ItemTold(
        key={str(dim): value for dim, value in key.items()},
        nanousd=_nanousd(total, basis),
        tokens=TokensTold(input=total.tokens.uncached, cached_input=total.tokens.cached, output=total.tokens.output),
        requests=total.tokens.requests,
        usd_per_million=UnitCostsTold(
            input=_number(unit.input), cached_input=_number(unit.cached_input), output=_number(unit.output)
        ),
        usd_per_request=_number(unit.request),
    )


def _nanousd(total: Total, basis: Basis) -> NanousdTold:
    parts = dict(zip(PARTS, total.parts, strict=True))

    def summed(of: Sequence[Part]) -> str:
        return str(sum(parts[part] for part in of))

    told: dict[str, str | None] = {
        "cost": str(on_basis(by_kind(total.parts), basis)),
        "work": summed(WORK),
        "idle": summed(IDLE),
        "overhead": summed(OVERHEAD),
        **{str(part): str(amount) for part, amount in parts.items()},
        **{name: _digits(one) for name, one in zip(("list", "contracted", "billed"), total.costs, strict=True)},
    }
    return NanousdTold.model_validate(told)


def _unattributed(accounts: Accounts, asked: _Asked, windows: Sequence[Window]) -> list[Decimal | None]:
    """Of each step, in the pools that were asked for; None where that is asked by replica."""
    if set(asked.where) & set(OF_SEAT):
        return [None] * len(windows)
    where = {dim: value for dim, value in asked.where.items() if dim in OF_POOL}
    by_team = (Dimension.TEAM,)
    return [_unexplained(rows) for rows in line_rows(accounts.reader, asked.window, by_team, where, asked.step)]


def _unexplained(rows: Iterable[Row]) -> Decimal | None:
    work: dict[str, int] = {}
    for row in rows:
        work[row.values[Dimension.TEAM]] = work.get(row.values[Dimension.TEAM], 0) + row.work
    whole = sum(work.values())
    return (Decimal(work.get(UNATTRIBUTED.team, 0)) / whole).quantize(Decimal("1e-6")) if whole > 0 else None


def _unit_costs(accounts: Accounts, window: Window) -> list[UnitCostTold]:
    variants: dict[tuple[str, str], Total] = {}
    for row in seat_rows(accounts.reader, window):
        if row.values[Dimension.SERVICE]:
            key = (row.values[Dimension.SERVICE], row.values[Dimension.VARIANT])
            variants.setdefault(key, Total()).add(row)
    return [_unit_cost(service, variant, total) for (service, variant), total in sorted(variants.items())]


def _unit_cost(service: str, variant: str, total: Total) -> UnitCostTold:
    amounts = by_kind(total.parts)

    def of(basis: Basis) -> UnitCostsTold:
        unit = unit_costs(amounts, total.tokens, basis)
        return UnitCostsTold(
            input=_number(unit.input), cached_input=_number(unit.cached_input), output=_number(unit.output)
        )

    whole = on_basis(amounts, Basis.ALLOCATION)
    used = Decimal(on_basis(amounts, Basis.USAGE)) / whole if whole > 0 else None
    return UnitCostTold(
        service=service,
        variant=variant,
        allocation=of(Basis.ALLOCATION),
        usage=of(Basis.USAGE),
        utilization=None if used is None else f"{used.quantize(Decimal('1e-6')):f}",
    )


def _budget(one: BudgetState) -> BudgetTold:
    return BudgetTold(
        name=one.name,
        scope=one.scope,
        start=one.start,
        end=one.end,
        limit_nanousd=str(one.limit_nanousd),
        spent_nanousd=str(one.spent_nanousd),
        p50_nanousd=_digits(one.p50_nanousd),
        p90_nanousd=_digits(one.p90_nanousd),
        state=one.state,
    )


def _commitment(one: CommitmentUse) -> CommitmentTold:
    return CommitmentTold(
        id=one.id,
        kind=str(one.kind),
        offer=one.offer,
        amortised_nanousd=str(one.amortised_nanousd),
        used_nanousd=str(one.used_nanousd),
        unused_nanousd=str(one.unused_nanousd),
        covered_on_demand_nanousd=_digits(one.covered_on_demand_nanousd),
        eligible_on_demand_nanousd=_digits(one.eligible_on_demand_nanousd),
    )


def _anomaly(one: Anomaly) -> AnomalyTold:
    return AnomalyTold(
        scope=one.scope,
        began=one.began,
        ended=one.ended,
        hours=one.hours,
        expected_nanousd=str(one.expected_nanousd),
        actual_nanousd=str(one.actual_nanousd),
        cost_nanousd=str(one.cost_nanousd),
        driver=one.driver,
        by_driver={name: str(amount) for name, amount in one.by_driver.items()},
    )


def _window(window: Window) -> WindowTold:
    return WindowTold(start=window.start.astimezone(UTC), end=window.end.astimezone(UTC))


def _digits(amount: int | None) -> str | None:
    return None if amount is None else str(amount)


def _number(value: Decimal | Missing) -> str | None:
    return None if isinstance(value, Missing) else f"{value:f}"

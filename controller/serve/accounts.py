"""What the answers about money stand on, and the rows that they add up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from controller.facts.account_reader import (
    NO_PARTS,
    OF_IDENTITY,
    OF_POOL,
    OF_SEAT,
    AccountReader,
    AllocationRow,
    Dimension,
    SeatRow,
    Window,
    added_parts,
    added_tokens,
)
from controller.facts.accounts import IDLE, PARTS, WORK, Identity, Pool, Tokens
from controller.facts.budgets import Anomaly
from controller.serve.spans import cut

_IS_IDLE = tuple(part in IDLE for part in PARTS)
_IS_WORK = tuple(part in WORK for part in PARTS)


def _no_anomalies(_: Window) -> Sequence[Anomaly]:
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The ledger's accounts as the endpoints may see them.

    anomalies   those of which an hour is in the window
    cluster     what the fleet is called where a cluster's name is asked for
    """

    reader: AccountReader
    clock: Callable[[], datetime]
    anomalies: Callable[[Window], Sequence[Anomaly]] = _no_anomalies
    cluster: str = "pennyweight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Cost of one place or one identity in a step. ``values``: what is known of it, dimensions and more.

    costs   list, contracted and billed nanodollars; None where nobody knows
    """

    values: Mapping[str, str]
    parts: tuple[int, ...]
    tokens: Tokens
    gpu_us: float = 0.0
    costs: tuple[int | None, int | None, int | None] = (None, None, None)

    @property
    def cost(self) -> int:
        return sum(self.parts)

    @property
    def idle(self) -> int:
        return sum(amount for amount, is_idle in zip(self.parts, _IS_IDLE, strict=True) if is_idle)

    @property
    def work(self) -> int:
        return sum(amount for amount, is_work in zip(self.parts, _IS_WORK, strict=True) if is_work)


@dataclass(slots=True)
class Total:
    """Rows added up."""

    parts: tuple[int, ...] = NO_PARTS
    tokens: Tokens = field(default_factory=Tokens)
    costs: tuple[int | None, int | None, int | None] = (0, 0, 0)

    def add(self, row: Row) -> None:
        self.parts = added_parts(self.parts, row.parts)
        self.tokens = added_tokens(self.tokens, row.tokens)
        mine, more = self.costs, row.costs
        self.costs = (_both(mine[0], more[0]), _both(mine[1], more[1]), _both(mine[2], more[2]))


def _both(one: int | None, other: int | None) -> int | None:
    """Unknown in part is unknown."""
    return None if one is None or other is None else one + other


def check_crossing(dims: Iterable[str]) -> None:
    """ValueError when replicas are crossed with identities: a team pays its pool's price, whichever replica served."""
    of_seats = sorted(dim for dim in dims if dim in OF_SEAT)
    of_identities = sorted(dim for dim in dims if dim in OF_IDENTITY)
    if of_seats and of_identities:
        raise ValueError(
            f"{', '.join(of_seats)} cannot be crossed with {', '.join(of_identities)} here: a team pays for its work "
            "at its pool's price. Ask for one or the other; `pennyweight report` and the FOCUS export tell both at once"
        )


def seat_rows(reader: AccountReader, window: Window) -> list[Row]:
    """Every place in the fleet, with the engines' own tokens and all of its costs."""
    return [_of_seat(seat) for seat in reader.seats(window)]


def _of_seat(seat: SeatRow) -> Row:
    values: dict[str, str] = {
        **_pool_values(seat.pool),
        str(Dimension.REPLICA): seat.replica,
        str(Dimension.NODE): seat.node,
        "model": seat.model,
        "quantization": seat.quantization,
        "gpu": seat.gpu,
        "zone": seat.zone,
        "offer": seat.offer,
    }
    return Row(
        values=values,
        parts=seat.parts,
        tokens=seat.tokens,
        gpu_us=float(seat.gpu_us),
        costs=(seat.list_nanousd, seat.contracted_nanousd, seat.billed_nanousd),
    )


def line_rows(
    reader: AccountReader,
    window: Window,
    by: Sequence[Dimension],
    where: Mapping[Dimension, str],
    step: timedelta | None = None,
) -> list[list[Row]]:
    """Of each step: who spent what in which pool, with the tokens that were logged."""
    windows = cut(window, step)
    found: list[list[Row]] = [[] for _ in windows]
    for line in reader.lines(window, by, where, step):
        place = (line.start - window.start) // step if step else 0
        if 0 <= place < len(found):
            found[place].append(_of_line(line))
    return found


def _of_line(line: AllocationRow) -> Row:
    values = _identity_values(line.identity)
    if line.pool is not None:
        values |= _pool_values(line.pool)
    return Row(values=values, parts=line.parts, tokens=line.tokens)


def with_pools(rows: Iterable[Row], seats: Sequence[Row]) -> Iterator[Row]:
    """Lines with their model, and with the share of their pool's GPU time that they have of its cost."""
    pools: dict[tuple[str, ...], tuple[int, float]] = {}
    models: dict[tuple[str, str], dict[str, str]] = {}
    for seat in seats:
        cost, gpu_us = pools.get(_pool_key(seat), (0, 0.0))
        pools[_pool_key(seat)] = (cost + seat.cost, gpu_us + seat.gpu_us)
        variant = (seat.values[Dimension.SERVICE], seat.values[Dimension.VARIANT])
        models.setdefault(variant, {name: seat.values[name] for name in ("model", "quantization", "gpu")})
    for row in rows:
        cost, gpu_us = pools.get(_pool_key(row), (0, 0.0))
        known = models.get((row.values[Dimension.SERVICE], row.values[Dimension.VARIANT]), {})
        share = gpu_us * row.cost / cost if cost else 0.0
        yield Row(values={**known, **row.values}, parts=row.parts, tokens=row.tokens, gpu_us=share)


def _pool_key(row: Row) -> tuple[str, ...]:
    return tuple(row.values[dim] for dim in OF_POOL)


def _identity_values(identity: Identity) -> dict[str, str]:
    return {str(dim): getattr(identity, dim) for dim in OF_IDENTITY}


def _pool_values(pool: Pool) -> dict[str, str]:
    return {str(dim): str(getattr(pool, dim)) for dim in OF_POOL}

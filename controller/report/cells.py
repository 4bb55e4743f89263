"""What a report adds up: cost by the asked dimensions and by pool, whichever side of the accounts can tell them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from controller.attribute.unit_costs import OF_TOKENS, TokenKind, by_kind
from controller.facts.account_reader import (
    OF_IDENTITY,
    OF_POOL,
    OF_SEAT,
    AccountReader,
    AllocationRow,
    Dimension,
    SeatRow,
    Window,
    added_tokens,
)
from controller.facts.accounts import Identity, Pool, Tokens
from controller.report.crossing import by_hour, crossed

Key = tuple[str, ...]
"""Values of the asked dimensions, in their order."""


@dataclass(slots=True)
class Sum:
    """Cost, tokens and GPU time of one key in one pool. ``gpu_us``: its share of the pool's, by cost."""

    amounts: dict[TokenKind, int] = field(default_factory=dict)
    tokens: Tokens = field(default_factory=Tokens)
    gpu_us: int = 0

    def add(self, other: Sum) -> None:
        for kind, amount in other.amounts.items():
            self.amounts[kind] = self.amounts.get(kind, 0) + amount
        self.tokens = added_tokens(self.tokens, other.tokens)
        self.gpu_us += other.gpu_us

    @classmethod
    def of(cls, parts: Sequence[Sum]) -> Sum:
        kinds = dict.fromkeys([kind for one in parts for kind in one.amounts])
        return cls(
            amounts={kind: sum([one.amounts.get(kind, 0) for one in parts]) for kind in kinds},
            tokens=Tokens(
                uncached=sum([one.tokens.uncached for one in parts]),
                cached=sum([one.tokens.cached for one in parts]),
                output=sum([one.tokens.output for one in parts]),
                requests=sum([one.tokens.requests for one in parts]),
            ),
            gpu_us=sum([one.gpu_us for one in parts]),
        )


Sums = dict[tuple[Key, Pool], Sum]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """By what, and of what only."""

    by: tuple[Dimension, ...] = ()
    where: Mapping[Dimension, str] = field(default_factory=dict)

    @property
    def dimensions(self) -> set[Dimension]:
        return {*self.by, *self.where}


def sums(reader: AccountReader, window: Window, seats: Sequence[SeatRow], asked: Asked) -> Sums:
    """Cost in ``window`` by key and pool. ``seats``: what the window's seats cost.

    Replicas and nodes are told by the seats, identities by the lines; both at once by their crossing, hour by hour.
    """
    found: Sums = {}
    of_seats = any(dim in OF_SEAT for dim in asked.dimensions)
    of_identities = any(dim in OF_IDENTITY for dim in asked.dimensions)
    if of_seats and of_identities:
        pieces = _crossed(reader, window, asked)
    elif of_seats:
        pieces = _of_seats(seats)
    else:
        pieces = _of_lines(reader, window, seats, asked)
    for values, pool, amounts, tokens, gpu_us in pieces:
        if all(values.get(dim, wanted) == wanted for dim, wanted in asked.where.items()):
            _add(found, asked, values, pool, Sum(amounts=amounts, tokens=tokens, gpu_us=gpu_us))
    return found


_Piece = tuple[dict[Dimension, str], Pool, dict[TokenKind, int], Tokens, int]


def _add(found: Sums, asked: Asked, values: dict[Dimension, str], pool: Pool, piece: Sum) -> None:
    if Dimension.KIND not in asked.dimensions:
        key = tuple(values[dim] for dim in asked.by)
        _put(found, (key, pool), piece)
        return
    wanted, whole = asked.where.get(Dimension.KIND), sum(piece.amounts.values())
    for kind, amount in piece.amounts.items():
        tokens = only_of(piece.tokens, kind)
        if (amount or tokens != Tokens()) and wanted in (None, kind):
            key = tuple(str(kind) if dim is Dimension.KIND else values[dim] for dim in asked.by)
            gpu_us = piece.gpu_us * amount // whole if whole else 0
            _put(found, (key, pool), Sum(amounts={kind: amount}, tokens=tokens, gpu_us=gpu_us))


def _put(found: Sums, at: tuple[Key, Pool], piece: Sum) -> None:
    there = found.get(at)
    if there is None:
        found[at] = piece
    else:
        there.add(piece)


def only_of(tokens: Tokens, kind: TokenKind) -> Tokens:
    """The tokens of one kind. Requests are of no kind."""
    return Tokens(
        uncached=tokens.uncached if kind is TokenKind.INPUT else 0,
        cached=tokens.cached if kind is TokenKind.CACHED_INPUT else 0,
        output=tokens.output if kind is TokenKind.OUTPUT else 0,
    )


def _of_lines(reader: AccountReader, window: Window, seats: Sequence[SeatRow], asked: Asked) -> Iterator[_Piece]:
    """GPU time goes with the cost: a line has the share of its pool's that it has of the pool's cost."""
    pools = pool_hours(seats)
    by = tuple(dim for dim in (*OF_IDENTITY, *OF_POOL) if dim in asked.dimensions or dim in OF_POOL)
    where: dict[Dimension, str] = {dim: value for dim, value in asked.where.items() if dim in by}
    for line in reader.lines(window, by, where):
        pool = line.pool
        if pool is None:
            raise ValueError(f"asked for lines by {', '.join(by)}, and one came without a pool")
        cost, gpu_us = pools.get(pool, (0, 0))
        share = gpu_us * sum(line.parts) // cost if cost > 0 else 0
        yield _values(line.identity, pool, "", ""), pool, by_kind(line.parts), line.tokens, share


def pool_hours(seats: Iterable[SeatRow]) -> dict[Pool, tuple[int, int]]:
    """Of each pool its effective cost and its GPU-microseconds."""
    found: dict[Pool, tuple[int, int]] = {}
    for seat in seats:
        cost, gpu_us = found.get(seat.pool, (0, 0))
        found[seat.pool] = (cost + seat.effective_nanousd, gpu_us + seat.gpu_us)
    return found


def _of_seats(seats: Sequence[SeatRow]) -> Iterator[_Piece]:
    for seat in seats:
        values = _values(Identity(), seat.pool, seat.replica, seat.node)
        yield values, seat.pool, by_kind(seat.parts), seat.tokens, seat.gpu_us


def _crossed(reader: AccountReader, window: Window, asked: Asked) -> Iterator[_Piece]:
    for day in days(window):
        seats = (seat for seat in reader.seat_hours(day) if window.start <= seat.start < window.end)
        lines = (line for line in reader.hour_lines(day) if window.start <= line.start < window.end)
        for of_seats, of_lines in by_hour(seats, lines):
            first = [line for line in of_lines if line.posted_at is None]
            for cell in crossed(of_seats, first):
                values = _values(cell.identity, cell.seat.pool, cell.seat.replica, cell.seat.node)
                share, whole = cell.share
                amounts = {cell.kind: cell.costs["effective"]}
                tokens = _counted(cell.tokens, cell.kind)
                yield values, cell.seat.pool, amounts, tokens, cell.seat.gpu_us * share // whole
            yield from (piece for line in of_lines if line.posted_at for piece in _corrected(line))


def _corrected(line: AllocationRow) -> Iterator[_Piece]:
    """Corrections are of no replica."""
    if line.pool is not None:
        yield _values(line.identity, line.pool, "", ""), line.pool, by_kind(line.parts), line.tokens, 0


def _counted(count: int, kind: TokenKind) -> Tokens:
    names = dict(zip(OF_TOKENS, ("uncached", "cached", "output"), strict=True))
    return Tokens(**{names[kind]: count}) if kind in names else Tokens()


def _values(identity: Identity, pool: Pool, replica: str, node: str) -> dict[Dimension, str]:
    return {
        Dimension.TEAM: identity.team,
        Dimension.TENANT: identity.tenant,
        Dimension.FEATURE: identity.feature,
        Dimension.ENVIRONMENT: identity.environment,
        Dimension.API_KEY: identity.api_key,
        Dimension.SERVICE: pool.service,
        Dimension.VARIANT: pool.variant,
        Dimension.CAPACITY_TYPE: str(pool.capacity_type),
        Dimension.REPLICA: replica,
        Dimension.NODE: node,
    }


def days(window: Window) -> Iterator[date]:
    """Every day (UTC) of which a part is in ``window``."""
    day = window.start.date()
    while datetime.combine(day, time(), window.end.tzinfo) < window.end:
        yield day
        day += timedelta(days=1)

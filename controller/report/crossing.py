"""Replica x identity: what of each replica's cost was whose, with both margins exact.

A team pays for its work at its pool's price, whichever replica served it. So the cell of a replica and a team is the
replica's share of the pool times the team's share of it, rounded so that every replica's cells add up to the replica
and every team's to the team, in each kind of cost. Worked out when asked for, never stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby

from controller.attribute.apportion import cross, largest_remainder
from controller.attribute.unit_costs import KIND_PARTS, OF_TOKENS, TokenKind, kind_nanousd, kind_tokens
from controller.errors import UnbalancedError
from controller.facts.account_reader import AllocationRow, SeatRow
from controller.facts.accounts import IDLE_OWN, Identity, Pool

FOUR = ("list", "contracted", "effective", "billed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One kind of cost of one identity on one seat. ``costs``: nanodollars by the names of FOUR.

    tokens   of this kind; ``share``: of the seat's effective cost, numerator and denominator
    """

    seat: SeatRow
    identity: Identity
    kind: TokenKind
    costs: Mapping[str, int]
    tokens: int
    share: tuple[int, int]


def costs_of(seat: SeatRow) -> dict[str, int]:
    """The four costs. A list or contracted price that nobody knows is taken as the next one known in the order of FOUR;
    a bill that has not come, as the effective cost."""
    effective = seat.effective_nanousd
    contracted = effective if seat.contracted_nanousd is None else seat.contracted_nanousd
    return {
        "list": contracted if seat.list_nanousd is None else seat.list_nanousd,
        "contracted": contracted,
        "effective": effective,
        "billed": effective if seat.billed_nanousd is None else seat.billed_nanousd,
    }


def crossed(seats: Sequence[SeatRow], lines: Sequence[AllocationRow]) -> Iterator[Cell]:
    """Cells of one hour (or of any one window). Cells without cost and tokens are left out."""
    of_pool: dict[Pool, list[AllocationRow]] = {}
    for line in lines:
        if line.pool is not None:
            of_pool.setdefault(line.pool, []).append(line)
    seats_of: dict[Pool, list[SeatRow]] = {}
    for seat in seats:
        seats_of.setdefault(seat.pool, []).append(seat)
    for pool in sorted({*of_pool, *seats_of}):
        yield from _pool_cells(pool, seats_of.get(pool, []), of_pool.get(pool, []))


def by_hour(
    seats: Iterable[SeatRow], lines: Iterable[AllocationRow]
) -> Iterator[tuple[list[SeatRow], list[AllocationRow]]]:
    """Both cut by their start, in order of time. Holds one hour of each at a time."""
    seat_hours = groupby(seats, key=lambda seat: seat.start)
    line_hours = groupby(lines, key=lambda line: line.start)
    seat_hour, line_hour = next(seat_hours, None), next(line_hours, None)
    while seat_hour or line_hour:
        start = min(hour[0] for hour in (seat_hour, line_hour) if hour)
        of_seats, of_lines = [], []
        if seat_hour and seat_hour[0] == start:
            of_seats, seat_hour = list(seat_hour[1]), next(seat_hours, None)
        if line_hour and line_hour[0] == start:
            of_lines, line_hour = list(line_hour[1]), next(line_hours, None)
        yield of_seats, of_lines


def _pool_cells(pool: Pool, seats: list[SeatRow], lines: list[AllocationRow]) -> Iterator[Cell]:
    identities = sorted({line.identity for line in lines})
    place = {identity: index for index, identity in enumerate(identities)}
    # (seat, identity, kind) -> [nanodollars, tokens]
    found: dict[tuple[int, Identity, TokenKind], list[int]] = {}
    for kind in KIND_PARTS:
        rows = [kind_nanousd(seat.parts, kind) for seat in seats]
        columns = [0] * len(identities)
        counts = [0] * len(identities)
        for line in lines:
            columns[place[line.identity]] += kind_nanousd(line.parts, kind)
            counts[place[line.identity]] += kind_tokens(line.tokens, kind)
        if sum(rows) != sum(columns):
            start = (seats or lines)[0].start
            raise _unbalanced(pool, kind, start, sum(rows), sum(columns))
        _fill(found, kind, seats, identities, (rows, columns, counts))
    yield from _with_costs(seats, found)


def _fill(
    found: dict[tuple[int, Identity, TokenKind], list[int]],
    kind: TokenKind,
    seats: list[SeatRow],
    identities: list[Identity],
    margins: tuple[list[int], list[int], list[int]],
) -> None:
    rows, columns, counts = margins
    if sum(rows):
        cells = cross(rows, columns)
        for seat, whose in zip(*(places.tolist() for places in cells.nonzero()), strict=True):
            found[seat, identities[whose], kind] = [int(cells[seat, whose]), 0]
    if kind not in OF_TOKENS or not seats:
        return
    for whose, count in enumerate(counts):
        if count <= 0:
            continue
        weights = [found.get((seat, identities[whose], kind), (0, 0))[0] for seat in range(len(seats))]
        for seat, tokens in enumerate(largest_remainder(count, _some(weights, seats, kind))):
            if tokens:
                found.setdefault((seat, identities[whose], kind), [0, 0])[1] += tokens


def _some(weights: list[int], seats: list[SeatRow], kind: TokenKind) -> list[int]:
    """Weights that are not all zero: else the replicas' own tokens, else their cost, else all alike."""
    for candidate in (
        weights,
        [kind_tokens(seat.tokens, kind) for seat in seats],
        [seat.effective_nanousd for seat in seats],
    ):
        if sum(candidate) > 0:
            return candidate
    return [1] * len(seats)


def _with_costs(seats: list[SeatRow], found: Mapping[tuple[int, Identity, TokenKind], list[int]]) -> Iterator[Cell]:
    """The three other costs of each seat, spread over its cells like the effective one."""
    of_seat: dict[int, list[tuple[Identity, TokenKind, int, int]]] = {index: [] for index in range(len(seats))}
    for (seat, identity, kind), (cost, tokens) in found.items():
        of_seat[seat].append((identity, kind, cost, tokens))
    for index, cells in of_seat.items():
        costs = costs_of(seats[index])
        if not cells and not any(costs.values()):
            continue
        cells = cells or [(IDLE_OWN, TokenKind.IDLE, 0, 0)]  # it costs something, and nothing of it is effective
        weights = [cost for _, _, cost, _ in cells]
        weights = weights if sum(weights) else [1] * len(cells)
        spread = {name: largest_remainder(costs[name], weights) for name in FOUR if name != "effective"}
        for place, (identity, kind, cost, tokens) in enumerate(cells):
            yield Cell(
                seat=seats[index],
                identity=identity,
                kind=kind,
                costs={"effective": cost} | {name: values[place] for name, values in spread.items()},
                tokens=tokens,
                share=(weights[place], sum(weights)),
            )


def without_keys(line: AllocationRow) -> AllocationRow:
    """``line`` told apart by team, tenant, feature and environment only."""
    return replace(line, identity=replace(line.identity, api_key="")) if line.identity.api_key else line


def _unbalanced(pool: Pool, kind: TokenKind, hour: datetime, seats: int, lines: int) -> UnbalancedError:
    name = f"{pool.service}/{pool.variant} ({pool.capacity_type})"
    return UnbalancedError(
        f"{hour:%Y-%m-%dT%H:%MZ}: {kind} of {name} cost {seats:,} nanodollars by replica and {lines:,} by identity; "
        "no file was written. `pennyweight ledger verify` names the line that is wrong"
    )

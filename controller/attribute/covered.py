"""Seats of a settled hour, cut where commitments cover a part of them: what is covered is a seat of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from controller.attribute.apportion import Ints, cross, largest_remainder
from controller.attribute.settle import SeatCosts
from controller.attribute.tables import COSTS, EFFECTIVE, Flags, SeatHours


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What one commitment covers of a seat's hour. ``seat``: the piece's own id; ``of``: whose part it is."""

    seat: int
    of: int
    costs: SeatCosts
    gpu_us: int


def cut(seats: SeatHours, pieces: Sequence[Piece], unpriced_us: Mapping[int, int]) -> SeatHours:
    """``seats`` with a row for every piece, and what is left of the seats they are of: all columns add up as before.

    unpriced_us   by seat, of those whose time without a price is not what it was

    A seat that is covered whole has no row of its own any more.
    """
    of: dict[int, list[Piece]] = {}
    for piece in pieces:
        of.setdefault(piece.of, []).append(piece)
    whole = np.isin(seats.seat, list(of))
    rows = [_cut(seats, at, of[int(seats.seat[at])]) for at in np.flatnonzero(whole).tolist()]
    joined = _sorted(_joined([seats.taken(~whole), *rows]))
    times = zip(joined.seat.tolist(), joined.unpriced_us.tolist(), strict=True)
    return replace(joined, unpriced_us=np.array([unpriced_us.get(seat, us) for seat, us in times], dtype=np.int64))


def _cut(seats: SeatHours, at: int, pieces: Sequence[Piece]) -> SeatHours:
    seat, gpu_us = int(seats.seat[at]), int(seats.gpu_us[at])
    left = gpu_us - sum(piece.gpu_us for piece in pieces)
    if left < 0:
        raise ArithmeticError(f"commitments cover {gpu_us - left} GPU-microseconds of the {gpu_us} of seat {seat}")
    costs, known = _costs(seats, at, pieces)
    share = [*(piece.gpu_us for piece in pieces), left]
    effective = costs[:, EFFECTIVE].tolist()
    made = SeatHours(
        seat=np.array([*(piece.seat for piece in pieces), seat], dtype=np.int64),
        parts=cross(effective, seats.parts[at].tolist()),
        costs=costs,
        known=known,
        gpu_us=np.array(share, dtype=np.int64),
        covered_us=np.array(largest_remainder(int(seats.covered_us[at]), share), dtype=np.int64),
        unpriced_us=np.zeros(len(share), dtype=np.int64),
        energy_j=np.array([seats.energy_j[at] * part / gpu_us for part in share], dtype=np.float64),
        tokens=_spread(seats.tokens[at].tolist(), share),
    )
    return made if left or effective[-1] else made.taken(np.arange(len(pieces)))


def _costs(seats: SeatHours, at: int, pieces: Sequence[Piece]) -> tuple[Ints, Flags]:
    """The four costs of the pieces and of what is left, and whether each is known."""
    taken = np.array([[amount or 0 for amount in piece.costs] for piece in pieces], dtype=np.int64)
    known = np.array([[amount is not None for amount in piece.costs] for piece in pieces], dtype=np.bool_)
    rest = np.where(seats.known[at], seats.costs[at] - taken.sum(axis=0), 0)
    rest[EFFECTIVE] = seats.parts[at].sum() - taken[:, EFFECTIVE].sum()
    return np.vstack((taken, rest)).reshape(-1, len(COSTS)), np.vstack((known, seats.known[at]))


def _spread(amounts: Sequence[int], weights: Sequence[int]) -> Ints:
    """A row a weight, a column an amount."""
    return np.array([largest_remainder(amount, weights) for amount in amounts], dtype=np.int64).T


def _joined(tables: Sequence[SeatHours]) -> SeatHours:
    return SeatHours(
        **{one.name: np.concatenate([getattr(table, one.name) for table in tables]) for one in fields(SeatHours)}
    )


def _sorted(seats: SeatHours) -> SeatHours:
    return seats.taken(np.argsort(seats.seat, kind="stable"))

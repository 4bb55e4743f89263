"""Which stored sums make up a window: the coarsest that lie in it whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.ledger.accounts.hours import DAY, MONDAY, SHIFT, WEEK, begin

GRAINS = (WEEK, DAY, SHIFT, 1)


@dataclass(frozen=True, slots=True)
class Tile:
    """Sums of one ``grain`` from hour ``start`` to hour ``end``: one or several that follow each other."""

    grain: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Summed:
    """Which sums there are beside those of hours. ``through``: the last settled hour, of open ones there are none.
    ``shifts_from``: the first hour from which there are shifts, None: there are none."""

    through: int
    shifts_from: int | None = None

    def has(self, start: int, grain: int) -> bool:
        there = grain != SHIFT or (self.shifts_from is not None and start >= self.shifts_from)
        return grain == 1 or (there and start + grain <= self.through + 1)


def tiled(start: int, end: int, summed: Summed) -> list[Tile]:
    """Hours ``start`` to ``end``, without ``end``, in order, from the coarsest sums there are."""
    tiles: list[Tile] = []
    at = start
    while at < end:
        grain = _grain(at, end, summed)
        upto = at + grain if grain > 1 else min(end, begin(at, SHIFT) + SHIFT)
        if tiles and tiles[-1].grain == grain and tiles[-1].end == at:
            tiles[-1] = Tile(grain, tiles[-1].start, upto)
        else:
            tiles.append(Tile(grain, at, upto))
        at = upto
    return tiles


def steps(start: int, end: int, step: int | None) -> list[tuple[int, int]]:
    """``start`` to ``end`` in pieces of ``step`` hours as the calendar has them: days from midnight, weeks from Monday;
    the first and the last may be shorter. None: one piece."""
    if step is None:
        return [(start, end)]
    first = (start - MONDAY) // step * step + MONDAY
    return [(max(at, start), min(at + step, end)) for at in range(first, end, step)]


Pieces = Sequence[tuple[int, int]]
"""Hours since 1970, each without its end: one after the other."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Every piece begins a multiple of ``length`` hours after ``first``, but for the very first, which may be later."""

    first: int
    length: int


def beat(pieces: Pieces) -> Beat | None:
    """Of two pieces or more; None: they have none."""
    length, second = max(end - start for start, end in pieces), pieces[1][0]
    even = all(start == second + place * length for place, (start, _) in enumerate(pieces[1:]))
    return Beat(second - length, length) if even else None


def all_tiled(pieces: Pieces, summed: Summed) -> list[Tile]:
    """The tiles of each piece; neighbours of one grain are one."""
    merged: list[Tile] = []
    for tile in (tile for start, end in pieces for tile in tiled(start, end, summed)):
        last = merged[-1] if merged else None
        if last and last.grain == tile.grain and last.end == tile.start:
            merged[-1] = Tile(tile.grain, last.start, tile.end)
        else:
            merged.append(tile)
    return merged


def _grain(at: int, end: int, summed: Summed) -> int:
    return next(grain for grain in GRAINS if begin(at, grain) == at and at + grain <= end and summed.has(at, grain))

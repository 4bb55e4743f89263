"""Which stored sums make up a window: the coarsest that lie in it whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from controller.ledger.accounts.hours import DAY, MONDAY, WEEK, begin

GRAINS = (WEEK, DAY, 1)


@dataclass(frozen=True, slots=True)
class Tile:
    """Sums of one ``grain`` from hour ``start`` to hour ``end``: one or several that follow each other."""

    grain: int
    start: int
    end: int


def tiled(start: int, end: int, through: int) -> list[Tile]:
    """Hours ``start`` to ``end``, without ``end``, in order. Days and weeks only as far as hour ``through``, the last
    settled one: sums of open hours there are none."""
    tiles: list[Tile] = []
    at = start
    while at < end:
        grain = _grain(at, end, through)
        upto = at + grain if grain > 1 else _next_coarse(at, end, through)
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


def all_tiled(pieces: Sequence[tuple[int, int]], through: int) -> list[Tile]:
    """The tiles of each piece; neighbours of one grain are one."""
    merged: list[Tile] = []
    for tile in (tile for start, end in pieces for tile in tiled(start, end, through)):
        last = merged[-1] if merged else None
        if last and last.grain == tile.grain and last.end == tile.start:
            merged[-1] = Tile(tile.grain, last.start, tile.end)
        else:
            merged.append(tile)
    return merged


def _grain(at: int, end: int, through: int) -> int:
    return next(grain for grain in GRAINS if begin(at, grain) == at and (grain == 1 or _fits(at, grain, end, through)))


def _fits(at: int, grain: int, end: int, through: int) -> bool:
    return at + grain <= end and at + grain <= through + 1


def _next_coarse(at: int, end: int, through: int) -> int:
    """The first hour after ``at`` from which a day can be taken; at most ``end``."""
    midnight = begin(at, DAY) + DAY
    return end if midnight >= end or not _fits(midnight, DAY, end, through) else midnight

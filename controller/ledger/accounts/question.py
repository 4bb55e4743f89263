"""The rows that answer a question: as few as hold the answer, found by their key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from sqlalchemy import Connection

from controller.attribute.apportion import Ints
from controller.facts.accounts import Identity, Pool
from controller.ledger.accounts import dictionaries
from controller.ledger.accounts.cubes import BY_POOL, BY_TEAM, PER_POOL, POOLED
from controller.ledger.accounts.tables import ALL_POOLS, LINE_COLUMNS
from controller.ledger.accounts.tiling import Pieces, Tile, beat

IDENTITY_DIMENSIONS = dictionaries.IDENTITY_COLUMNS
POOL_DIMENSIONS = dictionaries.POOL_COLUMNS
DIMENSIONS = (*IDENTITY_DIMENSIONS, *POOL_DIMENSIONS)

LISTED = 500
"""Numbers in one IN list; more are filtered after reading."""

NAMES = ", ".join(LINE_COLUMNS)
SUMMED = ", ".join(f"CAST(SUM({name}) AS BIGINT)" for name in LINE_COLUMNS)
"""PostgreSQL sums BIGINT as a decimal, which costs more to read than to add up."""

Names = Mapping[int, Identity] | Mapping[int, Pool]


def _chosen(names: Names, wanted: Mapping[str, str], dimensions: Sequence[str]) -> list[int] | None:
    """The ids whose names are as ``wanted``; None: all are."""
    mine = {name: value for name, value in wanted.items() if name in dimensions}
    if not mine:
        return None
    return [number for number, one in names.items() if all(str(getattr(one, name)) == mine[name] for name in mine)]


def scope_of(names: Sequence[str]) -> int:
    """The smallest sums that tell ``names`` apart. Of nobody in particular it is the pools': they are fewer."""
    of_people = {name for name in names if name in IDENTITY_DIMENSIONS}
    if not of_people:
        return PER_POOL
    if not _any_of(POOL_DIMENSIONS, names):
        return POOLED
    return BY_TEAM if of_people == {"team"} else BY_POOL


def _any_of(dimensions: Sequence[str], names: Sequence[str]) -> bool:
    return any(name in dimensions for name in names)


Ids = tuple[list[int] | None, list[int] | None]
"""Identities and pools that are wanted; None: all of them."""


def wanted_ids(who: Mapping[int, Identity], pools: Mapping[int, Pool], wanted: Mapping[str, str], scope: int) -> Ids:
    """An identity is looked up by the key only together with a pool: then all pools are named."""
    people, chosen = _chosen(who, wanted, IDENTITY_DIMENSIONS), _chosen(pools, wanted, POOL_DIMENSIONS)
    if people is not None and chosen is None:
        chosen = [ALL_POOLS] if scope == POOLED else list(pools)
    return people, chosen


def read_sums(
    connection: Connection, tiles: Sequence[Tile], scope: int, pieces: Pieces, by: Sequence[str], ids: Ids
) -> Ints:
    """Rows of (hour, pool, identity, LINE_COLUMNS), of ``by`` apart; several may be of the same. The hour is one of its
    piece; 0 in the place of a pool or identity that nobody asked for.

    The engines add up twice as fast as they hand rows out, so what is not told apart is one row, but where
    that saves less than half of them.
    """
    width = 3 + len(LINE_COLUMNS)
    if not tiles or any(one is not None and not one for one in ids):
        return np.zeros((0, width), dtype=np.int64)
    listed = [one if one is not None and len(one) <= LISTED else None for one in ids]
    told = _told(scope, by, [one is not None and len(one) > LISTED for one in ids])
    query = " UNION ALL ".join(_part(tile, scope, listed, told, pieces) for tile in tiles)
    starts = sum((tile.end - tile.start) // tile.grain for tile in tiles)
    if starts > 2 * len(pieces) or told != _told(scope, DIMENSIONS, (False, False)):
        query = f"SELECT start, pool, identity, {SUMMED} FROM ({query}) AS tiles GROUP BY start, pool, identity"
    cursor = connection.exec_driver_sql(query).cursor
    rows = cursor.fetchall() if cursor is not None else []
    whole = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(rows) * width).reshape(-1, width)
    for column, one in zip((2, 1), ids, strict=True):
        if one is not None and len(one) > LISTED:
            whole = whole[np.isin(whole[:, column], one)]
    return whole


def _told(scope: int, by: Sequence[str], filtered: Sequence[bool]) -> list[str]:
    """What is to be told apart of what ``scope`` does: by what was asked, and what is filtered after reading."""
    people, pools = filtered
    asked = {
        "pool": scope != POOLED and (pools or _any_of(POOL_DIMENSIONS, by)),
        "identity": scope != PER_POOL and (people or _any_of(IDENTITY_DIMENSIONS, by)),
    }
    return [column for column, there in asked.items() if there]


def _part(tile: Tile, scope: int, ids: Sequence[list[int] | None], told: Sequence[str], pieces: Pieces) -> str:
    """Whole numbers only: nothing in here comes from outside. Starts are listed, so that each is looked up by the key
    together with the pools and identities that are wanted."""
    by_hour = scope in (BY_POOL, BY_TEAM) and tile.grain == 1
    starts = range(tile.start, tile.end, tile.grain)
    time = "hour" if by_hour else "start"
    inside = (
        f"{time} >= {tile.start} AND {time} < {tile.end}" if len(starts) > LISTED else f"{time} IN ({_list(starts)})"
    )
    where = inside if by_hour else f"grain = {tile.grain} AND scope = {scope} AND {inside}"
    for column, one in zip(("identity", "pool"), ids, strict=True):
        where += "" if one is None else f" AND {column} IN ({_list(one)})"
    key = ", ".join(column if column in told else f"0 AS {column}" for column in ("pool", "identity"))
    source = "allocation_hour" if by_hour else "spend"
    return f"SELECT {_piece(time, tile, pieces)} AS start, {key}, {NAMES} FROM {source} WHERE {where}"


def _piece(time: str, tile: Tile, pieces: Pieces) -> str:
    """Which piece a row of ``tile`` is of, as an hour; the same one for all of a piece, so that they are one row."""
    if len(pieces) == 1:
        return "0"
    regular = beat(pieces)
    if regular is None or tile.grain == regular.length:
        return time
    return f"({time} - {regular.first}) / {regular.length} * {regular.length} + {regular.first}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))

"""The rows that answer a question: as few as hold the answer, found by their key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np
from sqlalchemy import Connection

from controller.attribute.apportion import Ints
from controller.facts.accounts import Identity, Pool
from controller.ledger.accounts import bulk, dictionaries
from controller.ledger.accounts.cubes import BY_POOL, PER_POOL, POOLED
from controller.ledger.accounts.tables import ALL_POOLS, LINE_COLUMNS
from controller.ledger.accounts.tiling import Tile

IDENTITY_DIMENSIONS = dictionaries.IDENTITY_COLUMNS
POOL_DIMENSIONS = dictionaries.POOL_COLUMNS
DIMENSIONS = (*IDENTITY_DIMENSIONS, *POOL_DIMENSIONS)

LISTED = 500
"""Numbers in one IN list; more are filtered after reading."""

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
    """The smallest sums that tell ``names`` apart."""
    of_pools = any(name in POOL_DIMENSIONS for name in names)
    of_identities = any(name in IDENTITY_DIMENSIONS for name in names)
    return (BY_POOL if of_identities else PER_POOL) if of_pools else POOLED


Ids = tuple[list[int] | None, list[int] | None]
"""Identities and pools that are wanted; None: all of them."""


def wanted_ids(who: Mapping[int, Identity], pools: Mapping[int, Pool], wanted: Mapping[str, str], scope: int) -> Ids:
    """An identity is looked up by the key only together with a pool: then all pools are named."""
    people, chosen = _chosen(who, wanted, IDENTITY_DIMENSIONS), _chosen(pools, wanted, POOL_DIMENSIONS)
    if people is not None and chosen is None:
        chosen = [ALL_POOLS] if scope == POOLED else list(pools)
    return people, chosen


def read_sums(connection: Connection, tiles: Sequence[Tile], scope: int, by_time: bool, ids: Ids) -> Ints:
    """Rows of (hour, pool, identity, LINE_COLUMNS); several may be of the same."""
    width = 3 + len(LINE_COLUMNS)
    if not tiles or any(one is not None and not one for one in ids):
        return np.zeros((0, width), dtype=np.int64)
    listed = [one if one is not None and len(one) <= LISTED else None for one in ids]
    query = " UNION ALL ".join(_part(tile, scope, listed) for tile in tiles)
    if bulk.on_postgresql(connection) and not by_time:  # there, adding up is fast and reading rows is not
        query = f"SELECT 0, pool, identity, {SUMMED} FROM ({query}) AS tiles GROUP BY pool, identity"
    cursor = connection.exec_driver_sql(query).cursor
    rows = cursor.fetchall() if cursor is not None else []
    whole = np.fromiter(chain.from_iterable(rows), dtype=np.int64, count=len(rows) * width).reshape(-1, width)
    for column, one in zip((2, 1), ids, strict=True):
        if one is not None and len(one) > LISTED:
            whole = whole[np.isin(whole[:, column], one)]
    return whole


def _part(tile: Tile, scope: int, ids: Sequence[list[int] | None]) -> str:
    """Whole numbers only: nothing in here comes from outside. Starts are listed, so that each is looked up by the key
    together with the pools and identities that are wanted."""
    names = ", ".join(LINE_COLUMNS)
    by_hour = scope == BY_POOL and tile.grain == 1
    starts = range(tile.start, tile.end, tile.grain)
    time = "hour" if by_hour else "start"
    inside = (
        f"{time} >= {tile.start} AND {time} < {tile.end}" if len(starts) > LISTED else f"{time} IN ({_list(starts)})"
    )
    where = inside if by_hour else f"grain = {tile.grain} AND scope = {scope} AND {inside}"
    for column, one in zip(("identity", "pool"), ids, strict=True):
        where += "" if one is None else f" AND {column} IN ({_list(one)})"
    source = "allocation_hour" if by_hour else "spend"
    return f"SELECT {time} AS start, pool, identity, {names} FROM {source} WHERE {where}"


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))

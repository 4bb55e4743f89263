"""A ledger of months: days and weeks as cubes, the last of them by the hour. Random, and as dense as it can be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from sqlalchemy import Connection, Engine, text

from controller.attribute.tables import HourLines
from controller.facts.accounts import PARTS, Identity
from controller.ledger.accounts import bulk, cubes, dictionaries, lines
from controller.ledger.accounts.hours import DAY, SHIFT, WEEK, begin, hour_of
from controller.ledger.accounts.tables import CAPACITY_COLUMNS, LINE_COLUMNS

END = datetime(2026, 11, 21, tzinfo=UTC)
GPU_HOUR_NANOUSD = 2_500_000_000
MINUTE_US = 60_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """As many replicas, services of two pools each, and identities of ``teams`` x ``features``."""

    replicas: int = 200
    services: int = 10
    teams: int = 50
    features: int = 3
    days: int = 90
    hours_kept: int = 7 * DAY

    @property
    def identities(self) -> int:
        return self.teams * self.features + 5


@dataclass(frozen=True, slots=True)
class Numbers:
    pools: list[int]
    seats: list[int]
    people: list[int]


def named(engine: Engine, fleet: Fleet) -> Numbers:
    pools = [(f"service-{one}", "h100", kind) for one in range(fleet.services) for kind in ("on_demand", "spot")]
    pool_ids = dictionaries.pools().ids(engine, pools)
    seats = [
        (
            *pools[number % len(pools)][:2],
            f"replica-{number}",
            pools[number % len(pools)][2],
            "",
            "",
            pool_ids[number % len(pools)],
        )
        for number in range(fleet.replicas)
    ]
    people = [
        dictionaries.identity_key(Identity(team=f"team-{team}", feature=f"feature-{feature}"))
        for team in range(fleet.teams)
        for feature in range(fleet.features)
    ]
    own = [1, 2, 3, 4, 5]
    return Numbers(
        pool_ids, dictionaries.seats().ids(engine, seats), [*own, *dictionaries.identities().ids(engine, people)]
    )


def fill(engine: Engine, fleet: Fleet) -> None:
    """Hours and shifts of the last ``hours_kept``, days and weeks of all ``days``."""
    numbers = named(engine, fleet)
    made = np.random.default_rng(1)
    end = hour_of(END)
    kept = begin(end - fleet.hours_kept, DAY)
    for day in range(end - fleet.days * DAY, kept, DAY):
        with engine.begin() as connection:
            _day(connection, numbers, made, day)
    for hour in range(kept, end):
        with engine.begin() as connection:
            _hour(connection, numbers, made, hour)
            _states(connection, [hour])
            for grain in (SHIFT, DAY):
                if begin(hour + 1, grain) == hour + 1:
                    cubes.build(connection, grain, 1, hour + 1 - grain)
    with engine.begin() as connection:
        for week in range(begin(end - fleet.days * DAY, WEEK), end - WEEK + 1, WEEK):
            cubes.build(connection, WEEK, DAY, week)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def _lines(numbers: Numbers, made: np.random.Generator) -> HourLines:
    """Every identity in every pool: nothing is denser."""
    count = len(numbers.pools) * len(numbers.people)
    parts = made.integers(0, GPU_HOUR_NANOUSD // count, size=(count, len(PARTS)), dtype=np.int64)
    return HourLines(
        pool=np.repeat(numbers.pools, len(numbers.people)),
        identity=np.tile(numbers.people, len(numbers.pools)),
        parts=parts,
        tokens=made.integers(0, 100_000, size=(count, 4), dtype=np.int64),
    )


def _seats(numbers: Numbers, made: np.random.Generator) -> Iterator[tuple[int | float, ...]]:
    for seat in numbers.seats:
        parts = made.integers(0, GPU_HOUR_NANOUSD // len(PARTS), size=len(PARTS)).tolist()
        cost = sum(parts)
        yield seat, *parts, cost, cost, cost, 2 * 60 * MINUTE_US, 60 * MINUTE_US, 0, 4.2e6, 10**6, 10**5, 10**5, 1000


def _hour(connection: Connection, numbers: Numbers, made: np.random.Generator, hour: int) -> None:
    found = _lines(numbers, made)
    lines.insert_lines(connection, hour, 0, found)
    lines.insert_seats(connection, hour, 0, list(_seats(numbers, made)))
    cubes.replace_hour(connection, hour, found)


def _day(connection: Connection, numbers: Numbers, made: np.random.Generator, day: int) -> None:
    found = _lines(numbers, made)
    whole = np.column_stack((found.pool, found.identity, found.parts * DAY, found.tokens * DAY)).tolist()
    bulk.insert(connection, "spend", (*cubes.SPEND_KEY, *LINE_COLUMNS), [(DAY, 1, day, *row) for row in whole])
    cubes.roll_up(connection, DAY, day)
    rows = [(DAY, day, *row) for row in _seats(numbers, made)]
    bulk.insert(connection, "capacity_spend", (*cubes.CAPACITY_KEY, *CAPACITY_COLUMNS), rows)
    _states(connection, range(day, day + DAY))


def _states(connection: Connection, hours: range | list[int]) -> None:
    at = "2026-11-21T00:00:00.000000+00:00"
    columns = (
        *("hour", "state", "revision", "worked_at", "settled_at", "method", "note", "measured_nanousd", "cost_nanousd"),
        *(f"{who}_{name}" for who in ("engine", "logged") for name in ("uncached", "cached", "output", "requests")),
    )
    bulk.insert(
        connection, "hour_state", columns, [(hour, "settled", 0, at, at, "", "", 1, 1, *[0] * 8) for hour in hours]
    )

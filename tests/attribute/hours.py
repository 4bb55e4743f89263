"""Small hours to settle, written down or generated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from controller.attribute.rules import Group, Rule, RuleKind
from controller.attribute.settle import HourSeen
from controller.attribute.tables import Book, ReplicaMinuteSeen, Seat, UsageSeen
from controller.facts.accounts import (
    ADJUSTMENT,
    IDLE_OWN,
    OTHER,
    OVERHEAD_OWN,
    SHARED,
    STRANDED,
    UNATTRIBUTED,
    Identity,
    Pool,
    WorkRate,
)
from controller.facts.fleet import CapacityType

HOUR = 490_000
FIRST = HOUR * 60
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
MINUTE_US = 60_000_000

POOLS = {
    1: Pool(service="chat", variant="bf16", capacity_type=CapacityType.ON_DEMAND),
    2: Pool(service="chat", variant="bf16", capacity_type=CapacityType.SPOT),
    3: Pool(service="chat", variant="fp8", capacity_type=CapacityType.RESERVED),
    4: Pool(service="code", variant="bf16", capacity_type=CapacityType.ON_DEMAND),
    5: Pool(service="", variant="", capacity_type=CapacityType.RESERVED),
    6: Pool(service="", variant="__shared__", capacity_type=CapacityType.RESERVED),
}


def seat(pool: int, replica: str) -> Seat:
    """A place in one of POOLS."""
    of = POOLS[pool]
    return Seat(service=of.service, variant=of.variant, replica=replica, capacity_type=of.capacity_type, pool=pool)


SEATS = {
    1: seat(1, "a"),
    2: seat(1, "b"),
    3: seat(2, "spot"),
    4: seat(3, "small"),
    5: seat(3, ""),
    6: seat(3, STRANDED),
    7: seat(4, "coder"),
    8: seat(5, "ri-1"),
    9: seat(6, "gateway"),
}
SEARCH, SALES, SEARCH_TEAM, SALES_TEAM = 10, 11, 12, 13
IDENTITIES = {
    **dict(enumerate((UNATTRIBUTED, IDLE_OWN, OVERHEAD_OWN, OTHER, SHARED, ADJUSTMENT), start=1)),
    SEARCH: Identity(team="search", feature="rank"),
    SALES: Identity(team="sales", tenant="acme"),
    SEARCH_TEAM: Identity(team="search"),
    SALES_TEAM: Identity(team="sales"),
    14: Identity(),
}
BOOK = Book(seats=SEATS, pools=POOLS, identities=IDENTITIES)


def rate(**changes: Any) -> WorkRate:
    """100 us a prompt token, 1 us a cached one, 5 ms an output token."""
    values: dict[str, Any] = {
        "service": "chat",
        "variant": "bf16",
        "at": NOON,
        "prefill_s_per_token": 1e-4,
        "prefill_s_per_square": 0.0,
        "cached_s_per_cross": 0.0,
        "cached_s_per_token": 1e-6,
        "decode_s_per_token": 5e-3,
        "decode_s_per_context": 0.0,
        "mean_uncached": 1000.0,
        "mean_cached": 500.0,
        "mean_output": 200.0,
        "basis": "profile",
        "band_ratio": 0.1,
    }
    return WorkRate(**{**values, **changes})


RATES = dict.fromkeys(range(1, 5), rate())

USUAL: Mapping[str, Any] = {
    "seat": 1,
    "minute": FIRST,
    "costs": (0, 0, 0, 0),
    "known": (True,) * 4,
    "uncached": 0.0,
    "cached": 0.0,
    "output": 0.0,
    "requests": 0.0,
    "energy_j": np.nan,
    "prefill_s": np.nan,
    "decode_s": np.nan,
    "gpus": 1,
}


def seen(*rows: Mapping[str, Any]) -> ReplicaMinuteSeen:
    """Replica-minutes; ``cost`` stands for four equal costs, everything unsaid is nothing."""
    empty = ReplicaMinuteSeen.empty()
    columns = {}
    for name in ReplicaMinuteSeen.__dataclass_fields__:
        column = getattr(empty, name)
        values = [_value(name, row) for row in rows]
        columns[name] = np.array(values, dtype=column.dtype).reshape(len(rows), *column.shape[1:])
    return ReplicaMinuteSeen(**columns)


def _value(name: str, row: Mapping[str, Any]) -> Any:
    if name == "pool":
        return SEATS[row.get("seat", 1)].pool
    if name == "costs" and "cost" in row:
        return (row["cost"],) * 4
    return row.get(name, USUAL.get(name, 0))


def usage(*rows: Mapping[str, Any], places: Sequence[tuple[str, str]] = (("chat", "bf16"),)) -> UsageSeen:
    """Recorded tokens by minute, place and identity; squares as if each row were one request."""
    columns: dict[str, list[int]] = {name: [] for name in UsageSeen.__dataclass_fields__ if name != "places"}
    for row in rows:
        u, h, o = (row.get(name, 0) for name in ("uncached", "cached", "output"))
        values = {
            "minute": FIRST,
            "place": 0,
            "identity": SEARCH,
            "requests": 1,
            "uncached_sq": u * u,
            "cached_cross": 2 * h * u,
            "output_context": o * (2 * (u + h) + o),
            **row,
        }
        for name, column in columns.items():
            column.append(values.get(name, 0))
    return UsageSeen(**{name: np.array(column, dtype=np.int64) for name, column in columns.items()}, places=places)


def hour(*rows: Mapping[str, Any], records: UsageSeen | None = None, **changes: Any) -> HourSeen:
    """Rows of replica-minutes and what was recorded."""
    values: dict[str, Any] = {
        "hour": HOUR,
        "seen": seen(*rows),
        "usage": usage() if records is None else records,
        "book": BOOK,
        "rates": RATES,
    }
    return HourSeen(**{**values, **changes})


class Chance:
    """What may be in an hour, by a seed: hypothesis chooses the seed and the sizes, so a failure shrinks to few rows."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)

    def count(self, most: int) -> int:
        """Often none, else up to ``most`` on a scale of powers."""
        return self.random.choice((0, int(most ** self.random.random()), self.random.randint(0, most)))

    def measured(self, most: int) -> float:
        return float("nan") if self.random.random() < 0.2 else float(self.count(most))

    def yes(self, share: float = 0.5) -> bool:
        return self.random.random() < share

    def replica_minute(self, seat: int, minute: int) -> dict[str, Any]:
        """A minute with anything in it that a fleet may do to it."""
        left, times = MINUTE_US, {}
        for phase in self.random.sample(("starting_us", "ready_us", "draining_us", "failed_us"), 4):
            times[phase] = self.random.choice((0, left, self.random.randint(0, left)))
            left -= times[phase]
        counts = dict.fromkeys(("uncached", "cached", "output", "requests"), 10**7)
        levels = {"running": 100, "queue_depth": 10, "prefill_s": 5000, "decode_s": 5000, "energy_j": 10**5}
        return {
            "seat": seat,
            "minute": minute,
            "costs": tuple(self.count(10**12) for _ in range(4)),
            "known": tuple(self.yes() for _ in range(4)),
            **times,
            "missing_us": self.random.choice((0, MINUTE_US, self.random.randint(0, MINUTE_US))),
            **{name: self.measured(most) for name, most in {**counts, **levels}.items()},
            "swapping": self.yes(),
            "replaces_interrupted": self.yes(),
        }

    def records(self, size: int) -> UsageSeen:
        """Usage of known and unknown places, services and identities."""
        places = (("chat", ""), ("chat", "bf16"), ("chat", "gone"), ("code", ""), ("nobody", ""))
        sizes = {"requests": 1000, "uncached": 10**6, "cached": 10**6, "output": 10**6}
        rows = [
            {
                "minute": FIRST + self.random.randint(0, 5),
                "place": self.random.randrange(len(places)),
                "identity": self.random.choice((4, 10, 11, 12, 13, 14)),
                **{name: self.count(most) for name, most in sizes.items()},
            }
            for _ in range(size)
        ]
        return usage(*rows, places=places)

    def rule(self) -> Rule:
        teams = {team: self.random.uniform(0, 50) for team in ("search", "sales") if self.yes(0.7)}
        return Rule(kind=self.random.choice(list(RuleKind)), teams=teams)

    def hour(self, replica_minutes: int, records: int) -> HourSeen:
        """Gaps, unknown prices, engines without counters, pools without a rate, every rule."""
        keys = [(seat, FIRST + minute) for seat in SEATS for minute in range(4)]
        services, variants = ("", "chat", "code"), ("bf16", "fp8")
        return hour(
            *(self.replica_minute(*key) for key in self.random.sample(keys, replica_minutes)),
            records=self.records(records),
            rates={pool: one for pool, one in RATES.items() if self.yes(0.7)},
            asked={("chat", one, FIRST + at): self.random.uniform(0, 5) for one in variants for at in range(4)},
            rules={(service, group): self.rule() for service in services for group in Group if self.yes(0.4)},
            applied={
                seat: tuple(self.count(10**12) if self.yes(0.8) else None for _ in range(4))
                for seat in SEATS
                if self.yes(0.2)
            },
        )


EXAMPLES = settings(max_examples=50)
"""An hour has dozens of arrays: fifty different ones are enough to meet every branch many times over."""

SEEDS = st.integers(0, 2**32 - 1)


def hours() -> st.SearchStrategy[HourSeen]:
    """Any hour."""
    made = st.tuples(SEEDS, st.integers(0, 12), st.integers(0, 15))
    return made.map(lambda drawn: Chance(drawn[0]).hour(drawn[1], drawn[2]))


def records() -> st.SearchStrategy[UsageSeen]:
    """Any usage."""
    return st.tuples(SEEDS, st.integers(0, 15)).map(lambda drawn: Chance(drawn[0]).records(drawn[1]))


def fleet_hour(services: int, replicas: int, identities: int) -> HourSeen:
    """A busy hour of so many replicas and identities a service, each identity in each minute."""
    random = np.random.default_rng(4)
    pools = {1 + one: Pool(service=f"s{one}", variant="v", capacity_type=CapacityType.SPOT) for one in range(services)}
    seats = {
        number: Seat(
            service=pools[1 + number % services].service,
            variant="v",
            replica=f"r{number}",
            capacity_type=CapacityType.SPOT,
            pool=1 + number % services,
        )
        for number in range(services * replicas)
    }
    number, minute = (one.reshape(-1) for one in np.meshgrid(np.arange(len(seats)), FIRST + np.arange(60)))
    counts = {name: random.integers(0, 5000, len(number)) for name in ("uncached", "cached", "output", "requests")}
    nothing = ReplicaMinuteSeen.empty()
    blank = {
        name: np.zeros((len(number), *getattr(nothing, name).shape[1:]), dtype=getattr(nothing, name).dtype)
        for name in ReplicaMinuteSeen.__dataclass_fields__
    }
    blank |= {name: count.astype(np.float64) for name, count in counts.items()}
    blank |= {"seat": number, "minute": minute, "pool": 1 + number % services, "gpus": blank["gpus"] + 1}
    blank |= {"ready_us": blank["ready_us"] + MINUTE_US, "costs": random.integers(10**7, 10**9, (len(number), 4))}
    grid = np.meshgrid(FIRST + np.arange(60), np.arange(services), 10 + np.arange(identities))
    when, place, who = (one.reshape(-1) for one in grid)
    sums = {name: random.integers(0, 10**4, len(when)) for name in UsageSeen.__dataclass_fields__ if name != "places"}
    sums |= {"minute": when, "place": place, "identity": who}
    return HourSeen(
        hour=HOUR,
        seen=ReplicaMinuteSeen(**blank),
        usage=UsageSeen(**sums, places=[(f"s{one}", "") for one in range(services)]),
        book=Book(
            seats=seats, pools=pools, identities={10 + one: Identity(team=f"t{one}") for one in range(identities)}
        ),
        rates=dict.fromkeys(pools, rate()),
        rules={("", Group.IDLE): Rule(kind=RuleKind.BY_USE)},
    )

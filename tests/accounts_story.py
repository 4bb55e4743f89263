"""Accounts of two months of a fleet, in memory: what the pages about money show in their tests.

Three services, four teams that tell who they are and one service whose callers do not, weekends that are calmer, a
commitment of which a part lies idle, budgets in every state. The same on every run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from math import cos, pi

from controller.attribute.apportion import largest_remainder
from controller.facts.account_reader import HOUR, AllocationRow, BudgetState, CommitmentUse, Effects, SeatRow
from controller.facts.accounts import IDLE_OWN, OVERHEAD_OWN, PARTS, UNATTRIBUTED, WORK, Identity, Tokens, WorkRate
from controller.facts.budgets import Anomaly, AtLimit, BudgetPhase
from controller.facts.commitments import CommitmentKind
from controller.facts.fleet import CapacityType
from controller.facts.money import nanousd
from controller.facts.usage import Reason
from controller.ledger.accounts.rows import RefusedFor, SourceState
from controller.ledger.accounts.standing import Standing
from tests.accounts_in_memory import InMemoryAccounts, parts

NOW = datetime(2026, 11, 21, 14, tzinfo=UTC)
FIRST = datetime(2026, 10, 1, tzinfo=UTC)

SEARCH = Identity(team="search", tenant="acme", feature="answers")
SUGGEST = Identity(team="search", tenant="globex", feature="suggestions")
ASSIST = Identity(team="assistant", tenant="acme", feature="copilot")
GROWTH = Identity(team="growth", feature="newsletter")
PLATFORM = Identity(team="platform", feature="evaluation")


@dataclass(frozen=True)
class Bought:
    """Replicas of one price. ``who``: identities and their weights, None for work that no record explains.

    shares   of a replica's cost: work, warm, unscheduled, stuck, stranded, starting, draining, swapping, interrupted
    """

    service: str
    variant: str
    capacity_type: CapacityType
    usd_per_hour: float
    list_usd_per_hour: float | None
    gpus: int
    replicas: float
    shares: tuple[int, ...]
    who: tuple[tuple[Identity | None, int], ...]
    tokens_per_usd: int = 400_000


CHAT = ((SEARCH, 380), (SUGGEST, 150), (ASSIST, 300), (PLATFORM, 152), (None, 18))
FLEET = (
    Bought(
        "chat", "h100-fp8", CapacityType.RESERVED, 6.9, 12.4, 2, 12, (780, 120, 40, 0, 12, 20, 14, 6, 0), CHAT, 900_000
    ),
    Bought(
        "chat", "h100-fp8", CapacityType.ON_DEMAND, 11.2, 12.4, 2, 5, (640, 190, 60, 9, 0, 60, 25, 16, 0), CHAT, 610_000
    ),
    Bought(
        "code",
        "l40s",
        CapacityType.SPOT,
        1.1,
        2.3,
        1,
        8,
        (700, 110, 20, 4, 0, 60, 20, 0, 86),
        ((ASSIST, 700), (GROWTH, 287), (None, 13)),
        2_400_000,
    ),
    Bought(
        "rerank",
        "a10",
        CapacityType.ON_DEMAND,
        0.75,
        0.75,
        1,
        2,
        (350, 500, 100, 0, 0, 30, 20, 0, 0),
        ((None, 1),),
        5_000_000,
    ),
)
WORKS = ("prefill", "cached", "decode")
WASTES = (
    *("idle_warm", "idle_unscheduled", "idle_stuck", "idle_stranded"),
    *("overhead_starting", "overhead_draining", "overhead_swapping", "overhead_interrupted"),
)


def story(until: datetime = NOW, each: timedelta = HOUR * 24, *, priced: bool = True) -> InMemoryAccounts:
    """From FIRST to ``until``, in rows of ``each``. ``priced``: whether anybody knows what the GPUs cost."""
    seats, lines = _rows(until, each, priced=priced)
    return InMemoryAccounts(
        seat_rows=list(seats),
        line_rows=list(lines),
        uses=[COMMITTED, replace(COMMITTED, **LOSING)] if priced else [],
        budget_states=budgets() if priced else [],
        seen_effects=Effects(rates={("chat", "h100-fp8"): RATE}, baselines={("chat", "h100-fp8"): SLOWER}),
        unsettled=2,
    )


@cache
def _rows(until: datetime, each: timedelta, *, priced: bool) -> tuple[tuple[SeatRow, ...], tuple[AllocationRow, ...]]:
    seats: list[SeatRow] = []
    lines: list[AllocationRow] = []
    start = FIRST
    while start < until:
        for bought in FLEET:
            seat = _seat(bought, start, min(start + each, until), priced=priced)
            seats.append(seat)
            lines += _lines(bought, seat)
        start += each
    return tuple(seats), tuple(lines)


def _load(at: datetime) -> float:
    """Calmer at night and at the weekend, growing by an eighth a month."""
    day = 1.0 if at.weekday() < 5 else 0.62
    night = 1 - 0.35 * cos(2 * pi * (at.hour - 4) / 24)
    return day * night * (1 + 0.125 * ((at - FIRST) / timedelta(days=30)))


def _seat(bought: Bought, start: datetime, end: datetime, *, priced: bool) -> SeatRow:
    hours = (end - start) / HOUR
    load = 1.0 if bought.capacity_type is CapacityType.RESERVED else _load(start + (end - start) / 2)
    replica_hours = bought.replicas * load * hours
    cost = nanousd(round(bought.usd_per_hour * replica_hours, 6)) if priced else 0
    work, *rest = largest_remainder(cost, bought.shares) if cost else (0, *[0] * 8)
    prefill, cached, decode = largest_remainder(work, [23, 2, 75]) if work else (0, 0, 0)
    made = round(bought.usd_per_hour * replica_hours * bought.tokens_per_usd)
    amounts = dict(zip((*WORKS, *WASTES), (prefill, cached, decode, *rest), strict=True))
    at_list = bought.list_usd_per_hour
    return SeatRow(
        start=start,
        end=end,
        service=bought.service,
        variant=bought.variant,
        replica=f"{bought.service}-{bought.capacity_type}",
        capacity_type=bought.capacity_type,
        parts=parts(**amounts),
        list_nanousd=None if at_list is None or not priced else nanousd(round(at_list * replica_hours, 6)),
        contracted_nanousd=None if not priced else max(cost, nanousd(round((at_list or 0) * 0.95 * replica_hours, 6))),
        billed_nanousd=None if not priced else 0 if bought.capacity_type is CapacityType.RESERVED else cost,
        gpu_us=round(replica_hours * bought.gpus * 3_600_000_000),
        unpriced_us=0 if priced else round(replica_hours * 3_600_000_000),
        gpus=bought.gpus,
        tokens=Tokens(uncached=made * 5 // 10, cached=made * 3 // 10, output=made * 2 // 10, requests=made // 1800),
    )


def _lines(bought: Bought, seat: SeatRow) -> Iterator[AllocationRow]:
    """Work by the weights; idle and overhead as lines of their own."""
    amounts = dict(zip(PARTS, seat.parts, strict=True))
    weights = [weight for _, weight in bought.who]
    split = {part: largest_remainder(amounts[part], weights) if amounts[part] else [0] * len(weights) for part in WORK}
    for place, (identity, _) in enumerate(bought.who):
        mine = parts(**{str(part): shares[place] for part, shares in split.items()})
        told = Tokens() if identity is None else _told(seat.tokens, weights, place)
        yield _line(bought, seat, identity or UNATTRIBUTED, mine, told)
    for owner, prefix in ((IDLE_OWN, "idle"), (OVERHEAD_OWN, "overhead")):
        own = parts(**{str(part): amount for part, amount in amounts.items() if part.startswith(prefix)})
        if any(own):
            yield _line(bought, seat, owner, own, Tokens())


def _told(tokens: Tokens, weights: list[int], place: int) -> Tokens:
    def share(count: int) -> int:
        return largest_remainder(count, weights)[place]

    return Tokens(
        uncached=share(tokens.uncached),
        cached=share(tokens.cached),
        output=share(tokens.output),
        requests=share(tokens.requests),
    )


def _line(bought: Bought, seat: SeatRow, who: Identity, amounts: tuple[int, ...], tokens: Tokens) -> AllocationRow:
    return AllocationRow(start=seat.start, end=seat.end, identity=who, pool=seat.pool, parts=amounts, tokens=tokens)


COMMITTED = CommitmentUse(
    id="ri-0abc",
    kind=CommitmentKind.RESERVED_INSTANCE,
    start=datetime(2026, 3, 1, tzinfo=UTC),
    end=datetime(2027, 3, 1, tzinfo=UTC),
    offer="aws/us-east-1/p5.48xlarge",
    amortised_nanousd=nanousd(40_737.6),
    used_nanousd=nanousd(38_211.07),
    unused_nanousd=nanousd(40_737.6) - nanousd(38_211.07),
    covered_on_demand_nanousd=nanousd(68_667.11),
    eligible_on_demand_nanousd=nanousd(97_310.02),
)
LOSING = {
    "id": "cr-0def",
    "kind": CommitmentKind.CAPACITY_BLOCK,
    "amortised_nanousd": nanousd(6_000.0),
    "used_nanousd": nanousd(2_400.0),
    "unused_nanousd": nanousd(3_600.0),
    "covered_on_demand_nanousd": nanousd(4_312.5),
    "eligible_on_demand_nanousd": None,
    "end": datetime(2026, 12, 1, tzinfo=UTC),
}


def _budget(name: str, scope: str, limit: float, spent: float, p50: float, phase: BudgetPhase) -> BudgetState:
    return BudgetState(
        name=name,
        scope=scope,
        start=datetime(2026, 11, 1, tzinfo=UTC),
        end=datetime(2026, 12, 1, tzinfo=UTC),
        limit_nanousd=nanousd(limit),
        spent_nanousd=nanousd(spent),
        p50_nanousd=nanousd(p50),
        p90_nanousd=nanousd(round(p50 + (p50 - spent) * 0.2, 2)),
        state=str(phase),
        at_limit=str(AtLimit.ALERT),
        burn={"1 h": 0.9, "6 h": 1.04, "1 d": 1.02, "3 d": 0.97},
    )


def budgets() -> list[BudgetState]:
    """One in each state, one of a week without a forecast."""
    week = _budget("code by the week", "service=code", 2_400.0, 1_213.4, 1_900.0, BudgetPhase.WITHIN)
    return [
        _budget("fleet", "fleet", 110_000.0, 80_214.55, 113_900.0, BudgetPhase.EXPECTED_OVER),
        replace(
            _budget("search", "team=search", 24_000.0, 24_812.07, 35_100.0, BudgetPhase.OVER),
            at_limit=str(AtLimit.ALERT),
            burn={"1 h": 1.4, "6 h": 1.5, "1 d": 1.6, "3 d": 1.62},
        ),
        replace(
            _budget("chat", "service=chat", 130_000.0, 70_100.0, 99_000.0, BudgetPhase.BURNING),
            at_limit=str(AtLimit.CAP),
            burn={"1 h": 7.4, "6 h": 6.2, "1 d": 1.3, "3 d": 1.1},
        ),
        _budget("growth", "team=growth, environment=production", 4_000.0, 1_750.0, 2_500.0, BudgetPhase.WITHIN),
        replace(
            week,
            start=datetime(2026, 11, 16, tzinfo=UTC),
            end=datetime(2026, 11, 23, tzinfo=UTC),
            p50_nanousd=None,
            p90_nanousd=None,
            at_limit=str(AtLimit.REFUSE_GROWTH),
            burn={"1 h": 0.4},
        ),
    ]


RATE = WorkRate(
    service="chat",
    variant="h100-fp8",
    at=FIRST,
    prefill_s_per_token=1e-5,
    prefill_s_per_square=1e-10,
    cached_s_per_cross=1e-10,
    cached_s_per_token=0.0,
    decode_s_per_token=2e-4,
    decode_s_per_context=1e-9,
    mean_uncached=1000,
    mean_cached=600,
    mean_output=400,
    basis="learned",
    band_ratio=0.1,
)
SLOWER = replace(RATE, variant="h100-bf16", prefill_s_per_token=1.7e-5, decode_s_per_token=3.4e-4, basis="prior")

SOURCES = (
    SourceState(
        source="litellm",
        watermark_at=NOW - timedelta(minutes=34),
        watermark_id="chatcmpl-91f",
        read_at=NOW - timedelta(minutes=4),
        records=41_902_113,
        duplicates=18_220,
        refused=41,
        refused_for=(
            RefusedFor(reason=Reason.UNKNOWN_SERVICE, records=38, last=NOW.date()),
            RefusedFor(reason=Reason.TOO_OLD, records=3, last=NOW.date() - timedelta(days=2)),
        ),
        tokens=88_231_556_012,
        beyond_cap=0,
    ),
    SourceState(
        source="gateway",
        watermark_at=None,
        watermark_id="",
        read_at=NOW - timedelta(seconds=21),
        records=9_114_870,
        duplicates=12,
        refused=0,
        tokens=12_004_118_442,
        beyond_cap=0,
    ),
)
ANOMALIES = (
    Anomaly(
        scope="service=chat",
        began=NOW - timedelta(hours=5),
        last=NOW - timedelta(hours=1),
        expected_nanousd=nanousd(912.4),
        actual_nanousd=nanousd(1_640.11),
        driver="efficiency",
        by_driver={
            "price": 0,
            "volume": nanousd(81.2),
            "mix": nanousd(-12.08),
            "efficiency": nanousd(658.59),
        },
    ),
    Anomaly(
        scope="team=growth",
        began=NOW - timedelta(days=9),
        last=NOW - timedelta(days=8, hours=18),
        ended=NOW - timedelta(days=8, hours=17),
        expected_nanousd=nanousd(31.0),
        actual_nanousd=nanousd(119.9),
    ),
)
STANDING = Standing(measured=True, first=FIRST, until=NOW, settled_until=NOW - 2 * HOUR)

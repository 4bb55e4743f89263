"""Accounts held in memory: what reports read, without a ledger. ``accounts()`` holds two days of a small fleet."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from controller.attribute.apportion import largest_remainder
from controller.facts.account_reader import (
    HOUR,
    NO_PARTS,
    OF_IDENTITY,
    OF_POOL,
    AdjustmentRow,
    AllocationRow,
    BudgetState,
    CommitmentUse,
    Dimension,
    Effects,
    Purchase,
    SeatRow,
    Window,
    added_parts,
    added_tokens,
)
from controller.facts.accounts import (
    IDLE_OWN,
    OVERHEAD_OWN,
    PARTS,
    UNATTRIBUTED,
    Identity,
    Part,
    Tokens,
    WorkRate,
)
from controller.facts.commitments import CommitmentKind
from controller.facts.fleet import CapacityType

MIDNIGHT = datetime(2026, 11, 20, tzinfo=UTC)
SEARCH = Identity(team="search", tenant="acme", feature="answers", environment="production", api_key="0f" * 8)
CHAT = Identity(team="chat", feature="assistant")
HOUR_US = 3_600_000_000


@dataclass
class InMemoryAccounts:
    """An AccountReader over plain lists. Sums are recomputed on every question."""

    seat_rows: list[SeatRow] = field(default_factory=list)
    line_rows: list[AllocationRow] = field(default_factory=list)
    uses: list[CommitmentUse] = field(default_factory=list)
    fees: list[Purchase] = field(default_factory=list)
    adjusted: list[AdjustmentRow] = field(default_factory=list)
    budget_states: list[BudgetState] = field(default_factory=list)
    seen_effects: Effects = field(default_factory=Effects)
    unsettled: int = 0

    def lines(
        self,
        window: Window,
        by: Sequence[Dimension],
        where: Mapping[Dimension, str],
        step: timedelta | None = None,
    ) -> Sequence[AllocationRow]:
        merged: dict[tuple[object, ...], AllocationRow] = {}
        for row in self.line_rows:
            if not window.start <= row.start < window.end or any(
                _value(row, dim) != want for dim, want in where.items()
            ):
                continue
            start = window.start + (row.start - window.start) // step * step if step else window.start
            end = min(start + step, window.end) if step else window.end
            asked = _only(replace(row, start=start, end=end, posted_at=None), by)
            key = (start, asked.identity, asked.pool)
            had = merged.get(key)
            merged[key] = asked if had is None else _sum(had, asked)
        return list(merged.values())

    def seats(self, window: Window) -> Sequence[SeatRow]:
        merged: dict[tuple[object, ...], SeatRow] = {}
        for row in self.seat_rows:
            if window.start <= row.start < window.end:
                key = (row.pool, row.replica, row.node, row.commitment)
                whole = replace(row, start=window.start, end=window.end)
                merged[key] = whole if key not in merged else _seat_sum(merged[key], whole)
        return list(merged.values())

    def hour_lines(self, day: date) -> Iterable[AllocationRow]:
        return sorted((row for row in self.line_rows if row.start.date() == day), key=lambda row: row.start)

    def seat_hours(self, day: date) -> Iterable[SeatRow]:
        return sorted((row for row in self.seat_rows if row.start.date() == day), key=lambda row: row.start)

    def commitments(self, window: Window) -> Sequence[CommitmentUse]:
        return self.uses

    def purchases(self, day: date) -> Sequence[Purchase]:
        return [fee for fee in self.fees if fee.posted_at.date() == day]

    def adjustments(self, day: date) -> Sequence[AdjustmentRow]:
        return [row for row in self.adjusted if row.day == day]

    def budgets(self, at: datetime) -> Sequence[BudgetState]:
        return self.budget_states

    def effects(self, window: Window) -> Effects:
        return self.seen_effects

    def open_hours(self, window: Window) -> int:
        return self.unsettled


def _value(row: AllocationRow, dim: Dimension) -> str:
    return str(getattr(row.identity if dim in OF_IDENTITY else row.pool, dim))


def _only(row: AllocationRow, by: Sequence[Dimension]) -> AllocationRow:
    identity = Identity(**{str(dim): getattr(row.identity, dim) for dim in OF_IDENTITY if dim in by})
    pool = row.pool
    if pool is None or not any(dim in OF_POOL for dim in by):
        return replace(row, identity=identity, pool=None)
    return replace(row, identity=identity)


def _sum(one: AllocationRow, other: AllocationRow) -> AllocationRow:
    return replace(one, parts=added_parts(one.parts, other.parts), tokens=added_tokens(one.tokens, other.tokens))


def _seat_sum(one: SeatRow, other: SeatRow) -> SeatRow:
    def both(a: int | None, b: int | None) -> int | None:
        return None if a is None or b is None else a + b

    return replace(
        one,
        parts=added_parts(one.parts, other.parts),
        list_nanousd=both(one.list_nanousd, other.list_nanousd),
        contracted_nanousd=both(one.contracted_nanousd, other.contracted_nanousd),
        billed_nanousd=both(one.billed_nanousd, other.billed_nanousd),
        gpu_us=one.gpu_us + other.gpu_us,
        unpriced_us=one.unpriced_us + other.unpriced_us,
        tokens=added_tokens(one.tokens, other.tokens),
    )


def parts(**amounts: int) -> tuple[int, ...]:
    """By name: parts(prefill=3, idle_warm=2)."""
    values = list(NO_PARTS)
    for name, amount in amounts.items():
        values[PARTS.index(Part(name))] = amount
    return tuple(values)


def seat(start: datetime, replica: str, capacity_type: CapacityType, cost: int, **changes: Any) -> SeatRow:
    """A busy hour of one replica of chat/h100 with 2 GPUs: 3/4 work, the rest idle and overhead."""
    prefill, cached, decode, unmeasured, warm, starting = largest_remainder(cost, [20, 3, 50, 2, 20, 5])
    row = SeatRow(
        start=start,
        end=start + HOUR,
        service="chat",
        variant="h100",
        replica=replica,
        capacity_type=capacity_type,
        parts=parts(
            prefill=prefill,
            cached=cached,
            decode=decode,
            unmeasured=unmeasured,
            idle_warm=warm,
            overhead_starting=starting,
        ),
        list_nanousd=cost,
        contracted_nanousd=cost,
        billed_nanousd=cost,
        gpu_us=2 * HOUR_US,
        node="node-7",
        offer="aws/us-east-1/p5.48xlarge",
        zone="us-east-1a",
        gpu="H100-80GB-SXM",
        gpus=2,
        model="llama-3.1-8b",
        quantization="fp8",
        price_as_of=date(2026, 11, 1),
        mfu=0.31,
        decision="decision-1",
        tokens=Tokens(uncached=1_000_000, cached=400_000, output=250_001, requests=900),
    )
    return replace(row, **changes)


def owned(seats: Sequence[SeatRow]) -> list[AllocationRow]:
    """Whose the hour was: of the work 1/2 search, 1/3 chat, the rest nobody; idle and overhead are lines of their own."""
    rows = []
    for pool in sorted({one.pool for one in seats}):
        mine = [one for one in seats if one.pool == pool]
        total = [sum(column) for column in zip(*(one.parts for one in mine), strict=True)]
        tokens = Tokens()
        for one in mine:
            tokens = added_tokens(tokens, one.tokens)
        shares = {SEARCH: 3, CHAT: 2, UNATTRIBUTED: 1}
        split = {who: list(NO_PARTS) for who in (*shares, IDLE_OWN, OVERHEAD_OWN)}
        for place, part in enumerate(PARTS):
            if part.startswith("idle"):
                split[IDLE_OWN][place] = total[place]
            elif part.startswith("overhead"):
                split[OVERHEAD_OWN][place] = total[place]
            elif part is Part.UNMEASURED:
                split[UNATTRIBUTED][place] = total[place]
            else:
                for who, amount in zip(shares, largest_remainder(total[place], list(shares.values())), strict=True):
                    split[who][place] = amount
        counted = {who: _tokens(tokens, place) for place, who in enumerate(shares)}
        rows += [
            AllocationRow(
                start=mine[0].start,
                end=mine[0].end,
                identity=who,
                pool=pool,
                parts=tuple(amounts),
                tokens=counted.get(who, Tokens()),
            )
            for who, amounts in split.items()
            if any(amounts) or who in counted
        ]
    return rows


def _tokens(whole: Tokens, place: int) -> Tokens:
    def share(count: int) -> int:
        return largest_remainder(count, [3, 2, 1])[place]

    return Tokens(
        uncached=share(whole.uncached),
        cached=share(whole.cached),
        output=share(whole.output),
        requests=share(whole.requests),
    )


RI = CommitmentUse(
    id="ri-0abc",
    kind=CommitmentKind.RESERVED_INSTANCE,
    start=MIDNIGHT,
    end=MIDNIGHT + 24 * HOUR,
    offer="aws/us-east-1/p5.48xlarge",
    amortised_nanousd=24 * 4_000_000_001,
    used_nanousd=24 * 3_000_000_000,
    unused_nanousd=24 * 1_000_000_001,
    covered_on_demand_nanousd=24 * 11_000_000_000,
    eligible_on_demand_nanousd=24 * 24_765_432_101,
)
BLOCK = replace(RI, id="cr-0def", kind=CommitmentKind.CAPACITY_BLOCK)
PLAN = replace(RI, id="sp-0fff", kind=CommitmentKind.SAVINGS_PLAN)


def hour_of_seats(start: datetime, scale: int = 1) -> list[SeatRow]:
    """On demand, spot, covered by each kind of commitment, their unused parts, an owned one, and a shared item."""
    rows = [
        seat(start, "chat-1", CapacityType.ON_DEMAND, 13_765_432_101 * scale),
        seat(start, "chat-2", CapacityType.ON_DEMAND, 13_765_432_100),
        seat(start, "chat-3", CapacityType.SPOT, 4_111_111_117, list_nanousd=13_765_432_101, zone="us-east-1b"),
        seat(start, "own-1", CapacityType.RESERVED, 2_000_000_003, offer="", zone="", commitment=""),
    ]
    for commitment in (RI, BLOCK, PLAN):
        rows.append(
            seat(
                start,
                f"under-{commitment.id}",
                CapacityType.RESERVED,
                3_000_000_000,
                list_nanousd=11_000_000_000,
                contracted_nanousd=10_500_000_007,
                billed_nanousd=0,
                commitment=commitment.id,
            )
        )
        rows.append(
            SeatRow(
                start=start,
                end=start + HOUR,
                service="",
                variant="",
                replica=commitment.id,
                capacity_type=CapacityType.RESERVED,
                parts=parts(idle_unscheduled=1_000_000_001),
                list_nanousd=3_666_666_667,
                contracted_nanousd=3_666_666_667,
                billed_nanousd=0,
                gpu_us=0 if commitment is PLAN else HOUR_US // 3,
                offer=commitment.offer,
                gpu="H100-80GB-SXM",
                commitment=commitment.id,
            )
        )
    return rows


def fees() -> list[Purchase]:
    """The RI and the plan pay by the hour, the block up front."""
    hourly = [
        Purchase(
            commitment=one.id,
            start=MIDNIGHT + hour * HOUR,
            end=MIDNIGHT + (hour + 1) * HOUR,
            billed_nanousd=4_000_000_001,
            quantity_gpu_us=0 if one is PLAN else 2 * HOUR_US,
            one_time=False,
            posted_at=MIDNIGHT + hour * HOUR,
        )
        for one in (RI, PLAN)
        for hour in range(24)
    ]
    upfront = Purchase(
        commitment=BLOCK.id,
        start=MIDNIGHT,
        end=MIDNIGHT + 24 * HOUR,
        billed_nanousd=24 * 4_000_000_001,
        quantity_gpu_us=48 * HOUR_US,
        one_time=True,
        posted_at=MIDNIGHT,
    )
    return [*hourly, upfront]


def accounts(days: int = 1) -> InMemoryAccounts:
    """``days`` days before and with 20 November; on the last one chat-1 costs twice as much."""
    found = InMemoryAccounts(uses=[RI, BLOCK, PLAN], fees=fees())
    for hour in range(24 * days):
        start = MIDNIGHT - (days - 1) * 24 * HOUR + hour * HOUR
        seats = hour_of_seats(start, scale=1 if start < MIDNIGHT or days == 1 else 2)
        found.seat_rows += seats
        found.line_rows += owned(seats)
    return found


def rate(variant: str, scale: float = 1.0, basis: str = "learned") -> WorkRate:
    return WorkRate(
        service="chat",
        variant=variant,
        at=MIDNIGHT,
        prefill_s_per_token=1e-5 * scale,
        prefill_s_per_square=1e-10 * scale,
        cached_s_per_cross=1e-10 * scale,
        cached_s_per_token=0.0,
        decode_s_per_token=2e-4 * scale,
        decode_s_per_context=1e-9 * scale,
        mean_uncached=1000,
        mean_cached=400,
        mean_output=250,
        basis=basis,
        band_ratio=0.1,
    )

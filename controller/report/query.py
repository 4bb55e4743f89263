"""One report: what was spent in a period, by whom and on what, and why it is not what it was in the period before."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum

from controller.attribute.bridge import Bridge, PoolUse, bridge
from controller.attribute.savings import Saving, Worked, prefix_cache, quantization, speculation
from controller.attribute.unit_costs import (
    OF_WORK,
    Amounts,
    Basis,
    Reference,
    TokenKind,
    UnitCosts,
    by_kind,
    on_basis,
    reference,
    unit_costs,
    utilization,
    work_units,
)
from controller.facts.account_reader import (
    NO_PARTS,
    AccountReader,
    BudgetState,
    CommitmentUse,
    Dimension,
    Effects,
    SeatRow,
    Window,
    added_parts,
    added_tokens,
    part_sum,
)
from controller.facts.accounts import PARTS, UNATTRIBUTED, Part, Pool, Tokens
from controller.facts.missing import Missing
from controller.report.cells import Asked, Key, Sum, Sums, days, sums


class Period(StrEnum):
    """Of a report. Weeks begin on Monday; all of them in UTC."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table, in this period and the last."""

    key: Key
    amounts: Amounts
    tokens: Tokens
    unit: UnitCosts
    cost_nanousd: int
    last_nanousd: int
    bridge: Bridge

    def of(self, *kinds: TokenKind) -> int:
        return sum(self.amounts.get(kind, 0) for kind in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything the formats show.

    total          of all rows. Its bridge is between pools, whatever the rows are: what moves from one row to another
                   is mix there, and volume in the rows, so only a row's own four add up to its change
    parts          of all capacity in the period, nanodollars in the order of PARTS; None when only some was asked for
    unattributed   the share of the work's cost that no usage record explains
    adjustments    nanodollars that bills say beyond our estimates, by (why, which of the four costs)
    unpriced       hours of seats without a price: their cost is in no number here
    until          when the period ends, while it is running; None: it is over
    """

    window: Window
    last: Window
    asked: Asked
    basis: Basis
    rows: tuple[Row, ...]
    total: Row
    parts: tuple[int, ...] | None
    unattributed: Decimal | Missing
    utilization: Decimal | Missing
    commitments: tuple[CommitmentUse, ...] = ()
    budgets: tuple[BudgetState, ...] = ()
    savings: tuple[Saving, ...] = ()
    adjustments: Mapping[tuple[str, str], int] = field(default_factory=dict)
    open_hours: int = 0
    unpriced: Mapping[str, Decimal] = field(default_factory=dict)
    until: datetime | None = None


def windows(period: Period, day: date, now: datetime) -> tuple[Window, Window]:
    """The period ``day`` is in and the one before. A period that is still running is held against as much of the last.

    Raises ValueError when the period has not begun.
    """
    start, end = _bounds(period, day)
    if start >= now:
        raise ValueError(f"the {period} of {day.isoformat()} has not begun: it is {now:%Y-%m-%d %H:%M} UTC")
    before, _ = _bounds(period, (start - timedelta(days=1)).date())
    until = min(end, now + (start - now) % timedelta(hours=1))  # the running hour is in it
    last_end = start if until == end else min(before + (until - start), start)
    return Window(start=start, end=until), Window(start=before, end=last_end)


def until(period: Period, day: date, now: datetime) -> datetime | None:
    """When the period that ``day`` is in will be over; None when it is."""
    _, end = _bounds(period, day)
    return end if now < end else None


def _bounds(period: Period, day: date) -> tuple[datetime, datetime]:
    start = datetime.combine(day, time(), UTC)
    if period is Period.DAY:
        return start, start + timedelta(days=1)
    if period is Period.WEEK:
        start -= timedelta(days=day.weekday())
        return start, start + timedelta(days=7)
    start = start.replace(day=1)
    return start, (start + timedelta(days=32)).replace(day=1)


def report(
    reader: AccountReader, window: Window, last: Window, asked: Asked, basis: Basis = Basis.ALLOCATION
) -> Report:
    """Reads the accounts and adds them up."""
    seats = reader.seats(window)
    this_sums, last_sums = sums(reader, window, seats, asked), sums(reader, last, reader.seats(last), asked)
    at = reference((_by_service(last_sums), _by_service(this_sums)))
    this_keys, last_keys = _by_key(this_sums), _by_key(last_sums)
    keys = dict.fromkeys((*this_keys, *last_keys))
    rows = [_row(key, this_keys.get(key, {}), last_keys.get(key, {}), at, basis) for key in keys]
    rows.sort(key=lambda row: (-row.cost_nanousd, -row.last_nanousd, row.key))
    total = _row((), _together(this_sums), _together(last_sums), at, basis)
    return Report(
        window=window,
        last=last,
        asked=asked,
        basis=basis,
        rows=tuple(rows),
        total=total,
        parts=None if asked.where else _all_parts(seats),
        unattributed=_unattributed(reader, window),
        utilization=utilization(total.amounts),
        commitments=tuple(reader.commitments(window)),
        budgets=tuple(reader.budgets(window.end)),
        savings=tuple(_savings(seats, reader.effects(window))),
        adjustments=_adjusted(reader, window),
        open_hours=reader.open_hours(window),
        unpriced=_unpriced(seats),
    )


_ByPool = dict[Pool, Sum]


def _by_key(found: Sums) -> dict[Key, _ByPool]:
    keys: dict[Key, _ByPool] = {}
    for (key, pool), one in found.items():
        keys.setdefault(key, {})[pool] = one
    return keys


def _together(found: Sums) -> _ByPool:
    pools: dict[Pool, list[Sum]] = {}
    for (_, pool), one in found.items():
        pools.setdefault(pool, []).append(one)
    return {pool: Sum.of(parts) for pool, parts in pools.items()}


def _by_service(found: Sums) -> Iterator[tuple[Hashable, Amounts, Tokens]]:
    return ((pool.service, one.amounts, one.tokens) for (_, pool), one in found.items())


def _row(key: Key, this: _ByPool, last: _ByPool, at: Reference, basis: Basis) -> Row:
    whole = Sum.of(list(this.values()))
    return Row(
        key=key,
        amounts=whole.amounts,
        tokens=whole.tokens,
        unit=unit_costs(whole.amounts, whole.tokens, basis),
        cost_nanousd=on_basis(whole.amounts, basis),
        last_nanousd=sum(on_basis(one.amounts, basis) for one in last.values()),
        bridge=bridge(_uses(last, at, basis), _uses(this, at, basis)),
    )


def _uses(found: _ByPool, at: Reference, basis: Basis) -> dict[Hashable, PoolUse]:
    """On the usage basis, a pool's GPU time is that of its work."""
    uses: dict[Hashable, PoolUse] = {}
    for pool, one in found.items():
        cost = everything = on_basis(one.amounts, Basis.ALLOCATION)
        if basis is not Basis.ALLOCATION:
            cost = on_basis(one.amounts, basis)
        gpu_us = one.gpu_us if cost == everything else one.gpu_us * cost // everything if everything else 0
        uses[pool] = PoolUse(cost_nanousd=cost, gpu_us=gpu_us, work=work_units(pool.service, one.tokens, at))
    return uses


def _all_parts(seats: Iterable[SeatRow]) -> tuple[int, ...]:
    parts = NO_PARTS
    for seat in seats:
        parts = added_parts(parts, seat.parts)
    return parts


def _unattributed(reader: AccountReader, window: Window) -> Decimal | Missing:
    work = {
        line.identity.team: sum(by_kind(line.parts)[kind] for kind in OF_WORK)
        for line in reader.lines(window, (Dimension.TEAM,), {})
    }
    whole = sum(work.values())
    if whole <= 0:
        return Missing("unattributed share", "no work was paid for in this window")
    return (Decimal(work.get(UNATTRIBUTED.team, 0)) / Decimal(whole)).quantize(Decimal("1e-6"))


def _adjusted(reader: AccountReader, window: Window) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for day in days(window):
        for row in reader.adjustments(day):
            found[row.why, row.cost] = found.get((row.why, row.cost), 0) + row.amount_nanousd
    return found


def _unpriced(seats: Iterable[SeatRow]) -> dict[str, Decimal]:
    """Hours without a price, by service/variant."""
    found: dict[str, int] = {}
    for seat in seats:
        if seat.unpriced_us:
            name = f"{seat.service}/{seat.variant}" if seat.service else seat.replica
            found[name] = found.get(name, 0) + seat.unpriced_us
    return {name: (Decimal(us) / 3_600_000_000).quantize(Decimal("0.1")) for name, us in sorted(found.items())}


def _savings(seats: Sequence[SeatRow], effects: Effects) -> Iterator[Saving]:
    for (service, variant), worked in sorted(_worked(seats).items()):
        rate = effects.rates.get((service, variant))
        if rate is None:
            continue
        found: list[Saving | Missing] = [prefix_cache(worked, rate)]
        baseline = effects.baselines.get((service, variant))
        if baseline is not None:
            found.append(quantization(worked, rate, baseline, of=baseline.variant))
        seen = effects.speculation.get((service, variant))
        if seen is not None:
            found.append(
                speculation(
                    worked,
                    rate,
                    accepted_length=seen.accepted_length,
                    draft_overhead_ratio=seen.draft_overhead_ratio,
                )
            )
        yield from (one for one in found if not isinstance(one, Missing))


def _worked(seats: Iterable[SeatRow]) -> dict[tuple[str, str], Worked]:
    """By (service, variant): the engines' own tokens, and what they cost."""
    sums_of: dict[tuple[str, str], tuple[tuple[int, ...], Tokens]] = {}
    for seat in seats:
        parts, tokens = sums_of.get((seat.service, seat.variant), (NO_PARTS, Tokens()))
        sums_of[seat.service, seat.variant] = (added_parts(parts, seat.parts), added_tokens(tokens, seat.tokens))
    return {
        key: Worked(
            tokens=tokens,
            prefill_nanousd=part_sum(parts, (Part.PREFILL,)),
            cached_nanousd=part_sum(parts, (Part.CACHED,)),
            decode_nanousd=part_sum(parts, (Part.DECODE,)),
        )
        for key, (parts, tokens) in sums_of.items()
        if key[0]
    }


def parts_of(found: Report) -> list[tuple[Part, int]]:
    """What the capacity went into, where it is known for all of it."""
    return [] if found.parts is None else list(zip(PARTS, found.parts, strict=True))

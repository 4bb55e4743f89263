"""Commitments applied to one hour of usage, and what they cost spread over their term. Integer nanodollars, exact."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from controller.attribute.apportion import largest_remainder
from controller.facts.commitments import Commitment, CommitmentHour, CommitmentKind, Power, Share
from controller.facts.fleet import CapacityType
from controller.facts.money import MICROSECONDS_PER_HOUR, nanousd
from controller.facts.prices import FourCosts

HOUR = timedelta(hours=1)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageLine:
    """What one seat used in one hour, and what that costs without any commitment. Committed places that stand empty are
    no usage: leave them out, the commitment's unused part is what they cost.

    key          the caller's own; lines come back in the order in which they went in
    offer        "provider/region/instance_type"; "" unknown
    commitment   id of the commitment that its capacity names: no other covers it. "": any that fits
    gpu_us       GPUs x microseconds
    costs        at on-demand prices for reserved capacity too: that is what the uncovered part of it costs
    energy_j     measured; None: not
    """

    key: object
    service: str
    variant: str
    capacity_type: CapacityType
    gpu_us: int
    costs: FourCosts
    offer: str = ""
    commitment: str = ""
    energy_j: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cover:
    """The part of a line that one commitment pays for: ``gpu_us`` of it, effectively for ``effective_nanousd``.

    list_, contracted   that part without the commitment; None: unknown
    billed_nanousd      0, as its fee is billed; owned hardware has no invoice and bills what it costs
    """

    commitment: str
    kind: CommitmentKind
    gpu_us: int
    effective_nanousd: int
    billed_nanousd: int
    list_nanousd: int | None
    contracted_nanousd: int | None

    @property
    def costs(self) -> FourCosts:
        return FourCosts(
            list_=self.list_nanousd,
            contracted=self.contracted_nanousd,
            effective=self.effective_nanousd,
            billed=self.billed_nanousd,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CoveredLine:
    """A line after the commitments: ``costs`` = the covers' + ``rest``, the part that nothing covers."""

    usage: UsageLine
    covers: tuple[Cover, ...]
    rest: FourCosts

    @property
    def covered_gpu_us(self) -> int:
        return sum(cover.gpu_us for cover in self.covers)

    @property
    def costs(self) -> FourCosts:
        return sum((cover.costs for cover in self.covers), start=self.rest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """One hour. The commitments' unused money is in no line: it has none."""

    lines: tuple[CoveredLine, ...]
    commitments: tuple[CommitmentHour, ...]


def amortised(commitment: Commitment, start: datetime, end: datetime) -> int:
    """What ``commitment`` costs from ``start`` to ``end``, spread over its term; outside of the term nothing.

        cost(start, end) = G(end) - G(start)
        G(t) = floor(upfront x us(t) / us(term)) + floor(recurring x us(t) / 3.6e9)

    with us(t) the microseconds of the term until t: exactly additive, however the time is cut, and the whole fee over
    the whole term. Owned hardware: power as assumed is in the recurring part.
    """
    return _spread(commitment, start, end) + _power(commitment, start, end)


def billed(commitment: Commitment, start: datetime, end: datetime) -> int:
    """What its invoices say of that time: the upfront fee at the start of the term, the recurring one as it runs.

    Owned hardware has no invoice in the hour: it bills what it costs.
    """
    if commitment.kind is CommitmentKind.OWNED:
        return amortised(commitment, start, end)
    upfront = commitment.upfront_nanousd if start <= commitment.start < end else 0
    return upfront + _recurring(commitment.recurring_nanousd_per_hour, commitment, start, end)


def units(commitment: Commitment, start: datetime, end: datetime) -> int:
    """What it can cover in that time: GPU-microseconds, or nanodollars of a savings plan."""
    if commitment.spends:
        return _recurring(_committed_nanousd_per_hour(commitment), commitment, start, end)
    return commitment.gpus * (_term_us(commitment, end) - _term_us(commitment, start))


def applied(hour: datetime, usage: Sequence[UsageLine], commitments: Iterable[Commitment]) -> Applied:
    """The commitments on the usage of the hour that begins at ``hour``.

    Instances and owned hardware first, then savings plans; of each the most specific first: those for variants, then
    for services, then for everybody, then the plan for the fewest offers. A commitment covers what names it, then
    on-demand usage of its offers by its ``share``. Nothing is covered twice, and spot not at all.
    """
    desk = _Desk(hour=hour, end=hour + HOUR, lines=usage, left=[line.gpu_us for line in usage])
    ordered = sorted(commitments, key=_turn)
    hours = tuple(desk.apply(one) for one in ordered if one.start < desk.end and one.end > hour)
    return Applied(
        lines=tuple(
            CoveredLine(usage=line, covers=tuple(desk.covers.get(at, ())), rest=_rest(line, desk.left[at]))
            for at, line in enumerate(usage)
        ),
        commitments=hours,
    )


def may_cover(one: Commitment, line: UsageLine) -> bool:
    """Whether ``one`` is for such usage: it names the commitment, or it is on demand, of its offers and names none."""
    if not _in_scope(one, line):
        return False
    if line.commitment:
        return line.commitment == one.id
    offers = one.rates_nanousd_per_gpu_hour if one.spends else one.offers
    return line.capacity_type is CapacityType.ON_DEMAND and line.offer in offers


@dataclass(slots=True, kw_only=True)
class _Desk:
    """An hour in work. ``left``: GPU-microseconds of each line that nothing covers yet."""

    hour: datetime
    end: datetime
    lines: Sequence[UsageLine]
    left: list[int]
    covers: dict[int, list[Cover]] = field(default_factory=dict)

    def apply(self, one: Commitment) -> CommitmentHour:
        """Covers what ``one`` can, and says what became of it."""
        whole = units(one, self.hour, self.end)
        taken = self._spent(one, whole) if one.spends else self._hosted(one, whole)
        used_units = sum(use for _, use in taken.values())
        cost = _spread(one, self.hour, self.end)
        weights = [use for _, use in taken.values()]
        shares = largest_remainder(cost, [*weights, whole - used_units]) if whole else [*[0] * len(weights), cost]
        drawn, drawn_unused = self._drawn(one, taken)
        covers = [
            self._cover(one, at, gpu_us, share + power)
            for (at, (gpu_us, _)), share, power in zip(taken.items(), shares, drawn, strict=False)
        ]
        used = sum(cover.effective_nanousd for cover in covers)
        total = cost + sum(drawn) + drawn_unused
        return CommitmentHour(
            hour=self.hour,
            commitment=one.id,
            kind=one.kind,
            amortised_nanousd=total,
            used_nanousd=used,
            billed_nanousd=total if one.kind is CommitmentKind.OWNED else billed(one, self.hour, self.end),
            covered_on_demand_nanousd=_known_sum(cover.list_nanousd for cover in covers),
            units=whole,
            used_units=used_units,
            used_gpu_us=sum(cover.gpu_us for cover in covers),
        )

    def _hosted(self, one: Commitment, whole: int) -> dict[int, tuple[int, int]]:
        """By line the GPU-microseconds that committed GPUs cover, which are also the units."""
        taken: dict[int, tuple[int, int]] = {}
        for group in self._eligible(one):
            room = whole - sum(use for _, use in taken.values())
            wants = {at: self.left[at] for at in group}
            for at, gpu_us in _shared(room, wants, one.share).items():
                taken[at] = (gpu_us, gpu_us)
        return taken

    def _spent(self, one: Commitment, whole: int) -> dict[int, tuple[int, int]]:
        """By line the GPU-microseconds that the plan's money buys at its rates, and the money.

        An amount that buys no whole microsecond is not spent.
        """
        taken: dict[int, tuple[int, int]] = {}
        for group in self._eligible(one):
            rates = {at: one.rates_nanousd_per_gpu_hour.get(self.lines[at].offer, 0) for at in group}
            wants = {at: -(-rates[at] * self.left[at] // MICROSECONDS_PER_HOUR) for at in group if rates[at]}
            room = whole - sum(use for _, use in taken.values())
            for at, money in _shared(room, wants, one.share).items():
                gpu_us = min(self.left[at], money * MICROSECONDS_PER_HOUR // rates[at])
                if gpu_us:
                    taken[at] = (gpu_us, money)
        return taken

    def _eligible(self, one: Commitment) -> tuple[list[int], list[int]]:
        """Lines that name the commitment; and the others that it may cover, the best first."""
        here = [at for at, line in enumerate(self.lines) if self.left[at] > 0 and may_cover(one, line)]
        named = [at for at in here if self.lines[at].commitment]
        fitting = [at for at in here if not self.lines[at].commitment]
        fitting.sort(key=lambda at: _worth(one, self.lines[at]))
        return named, fitting

    def _drawn(self, one: Commitment, taken: Mapping[int, tuple[int, int]]) -> tuple[list[int], int]:
        """What the power of every covered line costs, by its meter where it has one; and of the unused part."""
        if one.power is None:
            return [0] * len(taken), 0
        rest = _power(one, self.hour, self.end)
        whole = units(one, self.hour, self.end)
        parts = [gpu_us for gpu_us, _ in taken.values()]
        assumed = largest_remainder(rest, [*parts, whole - sum(parts)]) if whole else [0] * (len(parts) + 1)
        metered = [_metered(one.power, self.lines[at], gpu_us) for at, (gpu_us, _) in taken.items()]
        costs = [guess if meter is None else meter for meter, guess in zip(metered, assumed, strict=False)]
        return costs, assumed[-1]

    def _cover(self, one: Commitment, at: int, gpu_us: int, effective: int) -> Cover:
        line, left = self.lines[at], self.left[at]
        self.left[at] = left - gpu_us
        cover = Cover(
            commitment=one.id,
            kind=one.kind,
            gpu_us=gpu_us,
            effective_nanousd=effective,
            billed_nanousd=effective if one.kind is CommitmentKind.OWNED else 0,
            list_nanousd=_cut(line.costs.list_, line.gpu_us, left, left - gpu_us),
            contracted_nanousd=_cut(line.costs.contracted, line.gpu_us, left, left - gpu_us),
        )
        self.covers.setdefault(at, []).append(cover)
        return cover


def _turn(one: Commitment) -> tuple[bool, int, int, str]:
    scope = 0 if one.variants else 1 if one.services else 2
    return one.spends, scope, len(one.rates_nanousd_per_gpu_hour), one.id


def _in_scope(one: Commitment, line: UsageLine) -> bool:
    if one.variants and f"{line.service}/{line.variant}" in one.variants:
        return True
    return line.service in one.services if one.services else not one.variants


def _worth(one: Commitment, line: UsageLine) -> tuple[float, float]:
    """Sorts the usage that a commitment saves most on to the front; usage without a list price to the end.

    Instances: the dearest list price a GPU-hour. A plan: the largest saving, 1 - rate / list price, and of equals the
    lowest rate, as AWS applies it.
    """
    if line.costs.list_ is None:
        return 2.0, 0.0
    per_hour = line.costs.list_ * MICROSECONDS_PER_HOUR / line.gpu_us
    if not one.spends:
        return 0.0, -per_hour
    rate = one.rates_nanousd_per_gpu_hour[line.offer]
    return (rate / per_hour if per_hour > 0 else 1.0) - 1.0, rate


def _shared(room: int, wants: Mapping[int, int], share: Share) -> dict[int, int]:
    """``room`` among the lines that want it, in their order; none gets more than it wants."""
    total = sum(wants.values())
    if room <= 0 or total <= 0:
        return {}
    if total <= room:
        given = dict(wants)
    elif share is Share.BY_USE:
        given = dict(zip(wants, largest_remainder(room, list(wants.values())), strict=True))
    else:
        given = {}
        for at, want in wants.items():
            given[at] = min(want, room)
            room -= given[at]
    return {at: part for at, part in given.items() if part > 0}


def _cut(cost: int | None, gpu_us: int, start: int, end: int) -> int | None:
    """The cost of a line between two marks of its GPU time: additive, whatever the marks."""
    return None if cost is None else cost * start // gpu_us - cost * end // gpu_us


def _rest(line: UsageLine, left: int) -> FourCosts:
    """What the uncovered part costs. Nothing left costs nothing, even where the price is unknown."""
    if left == 0 and line.gpu_us > 0:
        return FourCosts(list_=0, contracted=0, effective=0, billed=0)
    if left == line.gpu_us:
        return line.costs
    costs = line.costs
    return FourCosts(
        list_=_cut(costs.list_, line.gpu_us, left, 0),
        contracted=_cut(costs.contracted, line.gpu_us, left, 0),
        effective=_cut(costs.effective, line.gpu_us, left, 0),
        billed=_cut(costs.billed, line.gpu_us, left, 0),
    )


def _term_us(one: Commitment, at: datetime) -> int:
    """Microseconds of the term that are over at ``at``."""
    return (min(max(at, one.start), one.end) - one.start) // MICROSECOND


def _spread(one: Commitment, start: datetime, end: datetime) -> int:
    """The fees of that time, without power."""
    term = (one.end - one.start) // MICROSECOND
    first, last = _term_us(one, start), _term_us(one, end)
    upfront = one.upfront_nanousd * last // term - one.upfront_nanousd * first // term
    return upfront + _recurring(one.recurring_nanousd_per_hour, one, start, end)


def _recurring(rate: int, one: Commitment, start: datetime, end: datetime) -> int:
    first, last = _term_us(one, start), _term_us(one, end)
    return rate * last // MICROSECONDS_PER_HOUR - rate * first // MICROSECONDS_PER_HOUR


def _committed_nanousd_per_hour(one: Commitment) -> int:
    return nanousd(one.quantity)


def _power(one: Commitment, start: datetime, end: datetime) -> int:
    """What all its GPUs draw in that time as assumed."""
    if one.power is None:
        return 0
    watts = Decimal(repr(one.power.watts_per_gpu)) * one.gpus
    return _recurring(nanousd(watts * _usd_per_watt_hour(one.power)), one, start, end)


def _metered(power: Power, line: UsageLine, gpu_us: int) -> int | None:
    """What the measured energy of the covered part of a line costs."""
    if line.energy_j is None:
        return None
    joules = Decimal(repr(line.energy_j)) * gpu_us / line.gpu_us
    return nanousd(joules / 3600 * _usd_per_watt_hour(power))


def _usd_per_watt_hour(power: Power) -> Decimal:
    return Decimal(repr(power.usd_per_kwh)) * Decimal(repr(power.pue)) / 1000


def _known_sum(costs: Iterable[int | None]) -> int | None:
    total = 0
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total

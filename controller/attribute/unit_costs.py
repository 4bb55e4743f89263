"""What a token truly costs, by its kind, and how much work tokens are at constant unit costs."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from math import lcm

from controller.facts.accounts import IDLE, OVERHEAD, PARTS, Part, Tokens
from controller.facts.missing import Missing
from controller.facts.money import NANOUSD_PER_USD

MILLION = 1_000_000


class Basis(StrEnum):
    """Of what cost a number speaks.

    allocation   everything: the work, and the idle and overhead that came with it. It ties to the invoice, and it is
                 the one to hold against the price of a bought token
    usage        the work alone: what it would cost on a fleet that is never idle
    """

    ALLOCATION = "allocation"
    USAGE = "usage"


class TokenKind(StrEnum):
    """The lines of a token bill. Every part of a cost belongs to one."""

    INPUT = "input"
    CACHED_INPUT = "cached input"
    OUTPUT = "output"
    UNMEASURED = "unmeasured"
    IDLE = "idle share"
    OVERHEAD = "overhead"


KIND_PARTS: Mapping[TokenKind, tuple[Part, ...]] = {
    TokenKind.INPUT: (Part.PREFILL,),
    TokenKind.CACHED_INPUT: (Part.CACHED,),
    TokenKind.OUTPUT: (Part.DECODE,),
    TokenKind.UNMEASURED: (Part.UNMEASURED,),
    TokenKind.IDLE: IDLE,
    TokenKind.OVERHEAD: OVERHEAD,
}
OF_TOKENS = (TokenKind.INPUT, TokenKind.CACHED_INPUT, TokenKind.OUTPUT)
OF_WORK = (*OF_TOKENS, TokenKind.UNMEASURED)
_PLACES = {kind: tuple(PARTS.index(part) for part in parts) for kind, parts in KIND_PARTS.items()}
_SPANS = {kind: slice(places[0], places[-1] + 1) for kind, places in _PLACES.items()}
"""The parts of a kind stand together."""


def kind_nanousd(parts: Sequence[int], kind: TokenKind) -> int:
    return sum([parts[place] for place in _PLACES[kind]])


Amounts = Mapping[TokenKind, int]
"""Nanodollars by kind; what is absent is nothing."""


def by_kind(parts: Sequence[int]) -> dict[TokenKind, int]:
    return {kind: sum(parts[span]) for kind, span in _SPANS.items()}


def on_basis(amounts: Amounts, basis: Basis) -> int:
    """All of it; or the work alone."""
    return sum(amounts.values()) if basis is Basis.ALLOCATION else sum([amounts.get(kind, 0) for kind in OF_WORK])


def kind_tokens(tokens: Tokens, kind: TokenKind) -> int:
    """Tokens of a kind; 0 for the kinds that have none."""
    if kind is TokenKind.INPUT:
        return tokens.uncached
    if kind is TokenKind.CACHED_INPUT:
        return tokens.cached
    return tokens.output if kind is TokenKind.OUTPUT else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitCosts:
    """USD per million tokens of each kind, and per request, on one basis.

    Each kind carries its share of what is no kind's: of unmeasured work; on the allocation basis also of the idle and
    the overhead. The shares are those of its own measured work.
    """

    basis: Basis
    input: Decimal | Missing
    cached_input: Decimal | Missing
    output: Decimal | Missing
    request: Decimal | Missing


def unit_costs(amounts: Amounts, tokens: Tokens, basis: Basis) -> UnitCosts:
    """No tokens of a kind: its unit cost is Missing, not zero."""
    told = sum(amounts.get(kind, 0) for kind in OF_TOKENS)
    whole = on_basis(amounts, basis)

    def of(kind: TokenKind) -> Decimal | Missing:
        if told <= 0:
            return Missing(f"cost of {kind} tokens", "no work was measured in this window")
        share = Fraction(amounts.get(kind, 0) * whole, told)
        return _per(share, kind_tokens(tokens, kind), MILLION, f"{kind} tokens")

    return UnitCosts(
        basis=basis,
        input=of(TokenKind.INPUT),
        cached_input=of(TokenKind.CACHED_INPUT),
        output=of(TokenKind.OUTPUT),
        request=_per(Fraction(whole), tokens.requests, 1, "requests"),
    )


def _per(nanousd: Fraction, count: int, units: int, what: str) -> Decimal | Missing:
    if count <= 0:
        return Missing(f"cost of {what}", f"no {what} in this window")
    exact = nanousd * units / (count * NANOUSD_PER_USD)
    return (Decimal(exact.numerator) / Decimal(exact.denominator)).quantize(Decimal("1e-9"))


def utilization(amounts: Amounts) -> Decimal | Missing:
    """Usage cost / allocation cost: the share of the money that bought work."""
    whole = on_basis(amounts, Basis.ALLOCATION)
    if whole <= 0:
        return Missing("utilization", "nothing was spent in this window")
    return (Decimal(on_basis(amounts, Basis.USAGE)) / Decimal(whole)).quantize(Decimal("1e-6"))


@dataclass(frozen=True, slots=True)
class Worth:
    """Picodollars of work a token: of uncached, cached and output ones, in whole numbers of 1/``unit``."""

    amounts: tuple[int, int, int]
    unit: int


Reference = Mapping[Hashable, Worth]
"""What a service's tokens are worth."""


def reference(periods: Iterable[Iterable[tuple[Hashable, Amounts, Tokens]]]) -> Reference:
    """Constant unit costs: of each service and kind, in the first period that has tokens of it.

    ``periods``: for each, (service, amounts, tokens). The service's mean over its variants and ways of buying: a token
    is the same work wherever it runs, so that moving it elsewhere is mix and not volume.
    """
    found: dict[Hashable, dict[TokenKind, Fraction]] = {}
    for period in periods:
        for service, sums in _by_service(period).items():
            for kind, cost, count in zip(OF_TOKENS, sums[:3], sums[3:], strict=True):
                if count > 0 and cost > 0:
                    found.setdefault(service, {}).setdefault(kind, Fraction(cost, count))
    return {service: _worth(of_kind) for service, of_kind in found.items()}


def _by_service(period: Iterable[tuple[Hashable, Amounts, Tokens]]) -> dict[Hashable, list[int]]:
    """The costs and then the counts of OF_TOKENS."""
    sums: dict[Hashable, list[int]] = {}
    for service, amounts, tokens in period:
        mine = sums.setdefault(service, [0, 0, 0, 0, 0, 0])
        mine[0] += amounts.get(TokenKind.INPUT, 0)
        mine[1] += amounts.get(TokenKind.CACHED_INPUT, 0)
        mine[2] += amounts.get(TokenKind.OUTPUT, 0)
        mine[3] += tokens.uncached
        mine[4] += tokens.cached
        mine[5] += tokens.output
    return sums


def _worth(of_kind: Mapping[TokenKind, Fraction]) -> Worth:
    unit = lcm(*(cost.denominator for cost in of_kind.values()))
    first, second, third = (int(of_kind.get(kind, Fraction()) * 1000 * unit) for kind in OF_TOKENS)
    return Worth((first, second, third), unit)


def work_units(service: Hashable, tokens: Tokens, at: Reference) -> int:
    """``tokens`` at constant unit costs, in picodollars: whole numbers fine enough for one token."""
    worth = at.get(service)
    if worth is None:
        return 0
    uncached, cached, output = worth.amounts
    return _nearest(tokens.uncached * uncached + tokens.cached * cached + tokens.output * output, worth.unit)


def _nearest(amount: int, unit: int) -> int:
    """As ``round`` has it: of two that are equally near, the even one."""
    whole, rest = divmod(amount, unit)
    return whole + (2 * rest > unit or (2 * rest == unit and whole % 2 == 1))

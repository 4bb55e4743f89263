"""Why a cost changed: price, volume, mix and efficiency, adding up to the difference to the last nanodollar."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from math import prod

DRIVERS = ("price", "volume", "mix", "efficiency")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolUse:
    """One pool in one period.

    cost_nanousd   whatever is being explained: all of the pool's cost, or a team's share of it
    gpu_us         GPU-microseconds that this cost bought
    work           what was done with them, in any unit that is the same in all pools and both periods: take tokens
                   at constant unit costs (attribute/unit_costs.py)
    """

    cost_nanousd: int
    gpu_us: int
    work: int


NOTHING = PoolUse(cost_nanousd=0, gpu_us=0, work=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """The change of a cost in nanodollars, by what drove it. The four add up to ``change``.

    price        a GPU-hour cost more or less; and whatever costs without GPU time, like fees and adjustments
    volume       more or less work was asked for
    mix          the work moved between pools: another model, GPU, quantization, or spot for on-demand
    efficiency   a pool took more or fewer GPU-hours for its work, idle and overhead included
    """

    price: int = 0
    volume: int = 0
    mix: int = 0
    efficiency: int = 0

    @property
    def change(self) -> int:
        return self.price + self.volume + self.mix + self.efficiency

    @property
    def driver(self) -> str:
        """The greatest of the four, whichever its sign."""
        return max(DRIVERS, key=lambda name: abs(getattr(self, name)))

    def __add__(self, other: Bridge) -> Bridge:
        return Bridge(**{name: getattr(self, name) + getattr(other, name) for name in DRIVERS})


def bridge(last: Mapping[Hashable, PoolUse], this: Mapping[Hashable, PoolUse]) -> Bridge:
    """From the period ``last`` to the period ``this``, both by pool.

        cost = sum over pools of  W x m x g x p
        W   work of all pools            volume
        m   the pool's share of W        mix
        g   its GPU time per work        efficiency
        p   its cost per GPU time        price

    Each driver gets its Shapley value: the mean of what changing it adds, over the 24 orders in which the four can
    change. Exact fractions, rounded by pool so that the four add up to the pool's difference.

    A pool absent in one period takes g and p of the other, so its coming or going is mix. A pool with GPU time and no
    work in a period has cost = GPU time x p: the GPU time is efficiency, or volume when no pool worked in one of the
    periods. Cost without GPU time is price.
    """
    worked = (sum(use.work for use in last.values()), sum(use.work for use in this.values()))
    pools = dict.fromkeys((*last, *this))
    terms = [_of_pool(last.get(pool, NOTHING), this.get(pool, NOTHING), worked) for pool in pools]
    return Bridge(**dict(zip(DRIVERS, map(sum, zip(*terms, strict=True)), strict=True))) if terms else Bridge()


def _of_pool(last: PoolUse, this: PoolUse, worked: tuple[int, int]) -> Sequence[int]:
    """What each of DRIVERS adds."""
    difference = this.cost_nanousd - last.cost_nanousd
    uses = (last, this)
    there = [use for use in uses if use != NOTHING]
    if not there:
        return (0, 0, 0, 0)
    if any(use.gpu_us <= 0 for use in there):
        return (difference, 0, 0, 0)
    prices = [(use.cost_nanousd, use.gpu_us) for use in there]
    if all(worked) and all(use.work > 0 for use in there):
        efficiencies = [(use.gpu_us, use.work) for use in there]
        shares = ((last.work, worked[0]), (this.work, worked[1]))
        factors = (_both(prices, uses), ((worked[0], 1), (worked[1], 1)), shares, _both(efficiencies, uses))
    else:
        hours = ((last.gpu_us, 1), (this.gpu_us, 1))
        factors = (
            (_both(prices, uses), _SAME, _SAME, hours) if all(worked) else (_both(prices, uses), hours, _SAME, _SAME)
        )
    terms, unit = _shapley(factors)
    return _rounded(terms, unit, difference)


_Ratio = tuple[int, int]
"""Numerator and denominator, not in lowest terms: whole numbers grow, which costs less than what would shorten them."""

_Change = tuple[_Ratio, _Ratio]
_Four = tuple[_Change, _Change, _Change, _Change]
_SAME: _Change = ((1, 1), (1, 1))


def _both(values: list[_Ratio], uses: tuple[PoolUse, PoolUse]) -> _Change:
    """In both periods: where the pool was absent, as in the other one."""
    return (values[0], values[-1]) if NOTHING not in uses else (values[0], values[0])


def _shapley(factors: _Four) -> tuple[list[int], int]:
    """What each factor adds when it goes from its first value to its second, meaned over all orders of change.

    In whole numbers of a unit: (terms, units in a nanodollar). Of the 24 orders, 6 change a factor first, 6 last, and 2
    after any one and after any two of the other three, which go from a, b, c to x, y, z:

        6 abc + 2 (xbc + ayc + abz) + 2 (xyc + xbz + ayz) + 6 xyz = 2 (a + x)(b + y)(c + z) + 4 (abc + xyz)
    """
    unit = 12 * prod(before[1] * after[1] for before, after in factors)
    changes = [(before[0] * after[1], after[0] * before[1]) for before, after in factors]
    terms = []
    for place, (old, new) in enumerate(changes):
        (a, x), (b, y), (c, z) = changes[:place] + changes[place + 1 :]
        terms.append((new - old) * ((a + x) * (b + y) * (c + z) + 2 * (a * b * c + x * y * z)))
    return terms, unit


def _rounded(terms: list[int], unit: int, total: int) -> list[int]:
    """``terms`` / ``unit`` as whole numbers that add up to ``total``, as the fractions do: largest remainders first."""
    whole = [term // unit for term in terms]
    order = sorted(range(len(terms)), key=lambda place: (-(terms[place] % unit), place))
    for place in order[: total - sum(whole)]:
        whole[place] += 1
    return whole

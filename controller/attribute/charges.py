"""A bill's charges, what we accounted for the same days, and what reconciling them makes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum

from controller.facts.accounts import Identity, Pool
from controller.facts.missing import Missing
from controller.facts.prices import Exchange, usd_for_one


class ChargeKind(StrEnum):
    """What a charge is for. Fees are billed and cost nothing effectively; what is unused of them is the reverse."""

    USAGE = "usage"
    FEE = "fee"
    UNUSED = "unused"
    TAX = "tax"
    CREDIT = "credit"
    REFUND = "refund"


class Cost(StrEnum):
    """Which of the four costs an adjustment is of."""

    LIST = "list"
    CONTRACTED = "contracted"
    EFFECTIVE = "effective"
    BILLED = "billed"


@dataclass(frozen=True, slots=True, kw_only=True)
class BillLine:
    """A charge from ``day`` up to ``until``, UTC. Several of a bill's rows may be added up in one.

    offer                   "provider/region/instance_type"; "" when it is for nothing of the kind
    spot                    bought on the spot market
    commitment              the provider's id of the commitment that it is for
    billed … contracted     in ``currency``; None: the bill does not say
    """

    day: date
    until: date
    kind: ChargeKind
    billed: Decimal | None = None
    effective: Decimal | None = None
    list_: Decimal | None = None
    contracted: Decimal | None = None
    currency: str = "USD"
    service_code: str = ""
    resource_id: str = ""
    offer: str = ""
    spot: bool = False
    commitment: str = ""

    def amount(self, cost: Cost) -> Decimal | None:
        return {
            Cost.LIST: self.list_,
            Cost.CONTRACTED: self.contracted,
            Cost.EFFECTIVE: self.effective,
            Cost.BILLED: self.billed,
        }[cost]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What was read of a bill.

    provider       "aws" …: the bill speaks of this provider's offers only
    source         "cost_explorer", "cur" or "focus"
    sha256         of what was read: the same bill is known again by it
    first, until   the days that the bill tells in full; charges of other days wait for the next one
    """

    provider: str
    source: str
    sha256: str
    first: date
    until: date
    lines: tuple[BillLine, ...]

    def tells(self, day: date, until: date) -> bool:
        """Whether all of that time is told in full."""
        return self.first <= day and until <= self.until

    @property
    def period(self) -> str:
        """ "2026-10", or "2026-10 to 2026-11"; "" when no day is complete."""
        if self.first >= self.until:
            return ""
        months = (f"{self.first:%Y-%m}", f"{self.until - timedelta(days=1):%Y-%m}")
        return months[0] if months[0] == months[1] else " to ".join(months)

    def total(self, cost: Cost) -> Decimal:
        """Of all lines, of whatever day, as far as the bill says."""
        return sum((amount for line in self.lines if (amount := line.amount(cost)) is not None), Decimal(0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimated:
    """What we accounted for one seat, or the unused part and the fees of one commitment, on one day.

    pool         None: a commitment's own; ``commitment`` is its ``reference`` on the bill
    resource_id  as bills name the machine; "" unknown
    offer        a commitment's: any of its offers. Hardware of one's own has none that a bill knows
    nanousd      of the costs that are known; one that is absent is unknown, and the bill's amount is all new
    """

    day: date
    pool: Pool | None
    nanousd: Mapping[Cost, int]
    resource_id: str = ""
    offer: str = ""
    commitment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """A difference that a bill made, posted at ``posted_at`` for the days from ``day`` up to ``until``.

    id      of the bill, the key and the cost: posting it twice is posting it once
    key     what it is about, the same in every bill of the provider
    pool    None: of a commitment, or of the whole account
    """

    id: str
    bill: str
    posted_at: datetime
    key: str
    day: date
    until: date
    pool: Pool | None
    commitment: str
    cost: Cost
    amount_nanousd: int
    estimated_nanousd: int
    billed_nanousd: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdjustmentLine:
    """What of an adjustment falls on whom."""

    adjustment: str
    day: date
    pool: Pool | None
    identity: Identity
    amount_nanousd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """A bill against the ledger. For each cost: estimated + earlier adjustments + these adjustments = matched.

    matched       what the bill says of what is ours, by cost, in nanodollars
    estimated     what we accounted for it
    outside       billed for what is not ours
    waiting       billed for days that the bill does not tell in full yet
    left_alone    keys of ours of which the bill says nothing, or of which an earlier bill told more days
    """

    adjustments: tuple[Adjustment, ...]
    matched: Mapping[Cost, int]
    estimated: Mapping[Cost, int]
    outside: Decimal
    waiting: Decimal
    left_alone: tuple[str, ...]


def in_usd(bill: Bill, exchange: Exchange) -> Bill | Missing:
    """``bill`` with every amount in USD, at the rate of its day; Missing when a rate is not written down."""
    lines = []
    for line in bill.lines:
        one = usd_for_one(line.currency, datetime.combine(line.day, time(), UTC), exchange)
        if isinstance(one, Missing):
            return one
        lines.append(line if line.currency == "USD" else _converted(line, Decimal(repr(one))))
    return replace(bill, lines=tuple(lines))


def _converted(line: BillLine, one: Decimal) -> BillLine:
    def usd(amount: Decimal | None) -> Decimal | None:
        return None if amount is None else amount * one

    return replace(
        line,
        currency="USD",
        billed=usd(line.billed),
        effective=usd(line.effective),
        list_=usd(line.list_),
        contracted=usd(line.contracted),
    )

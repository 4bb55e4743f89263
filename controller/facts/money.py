"""Money. Floats may estimate in USD; whatever is accounted is an integer number of nanodollars (1e-9 USD)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal

NANOUSD_PER_USD = 1_000_000_000
MICROSECONDS_PER_HOUR = 3_600_000_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def nanousd(usd: float | Decimal) -> int:
    """Whole nanodollars nearest to ``usd``. A float is taken at its printed digits: 0.1 USD is 100,000,000."""
    exact = usd if isinstance(usd, Decimal) else Decimal(repr(usd))
    return int((exact * NANOUSD_PER_USD).to_integral_value(rounding=ROUND_HALF_EVEN))


def usd(amount_nanousd: int) -> float:
    """``amount_nanousd`` as USD, for showing only."""
    return amount_nanousd / NANOUSD_PER_USD


def accrued_nanousd(rate_nanousd_per_hour: int, start: datetime, end: datetime) -> int:
    """What ``rate`` costs from ``start`` to ``end``, exactly additive.

        cost(start, end) = F(end) - F(start),   F(t) = floor(rate x microseconds since 1970 / 3.6e9)

    so cost(a, b) + cost(b, c) = cost(a, c) to the nanodollar, however an interval is cut.
    """
    if end < start:
        raise ValueError(f"an interval cannot end ({end}) before it starts ({start})")
    return _until(rate_nanousd_per_hour, end) - _until(rate_nanousd_per_hour, start)


def _until(rate_nanousd_per_hour: int, at: datetime) -> int:
    microseconds = (at - EPOCH) // timedelta(microseconds=1)
    return rate_nanousd_per_hour * microseconds // MICROSECONDS_PER_HOUR

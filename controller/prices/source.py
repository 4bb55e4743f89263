"""What every price source can do."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from controller.facts.fleet import Capacity, Variant
from controller.facts.missing import Missing
from controller.facts.prices import Price


class PriceSource(Protocol):
    """``price`` answers for one way of buying one variant: a Price, or why not. It may raise PriceError."""

    @property
    def name(self) -> str: ...

    def price(self, capacity: Capacity, variant: Variant, now: datetime) -> Price | Missing: ...

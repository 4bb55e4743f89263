"""Capacity that is paid for whether it is used or not, and what became of an hour of it. Money: integer nanodollars."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class CommitmentKind(StrEnum):
    """What was promised to whom.

    reserved_instance   so many instances of one type, for a term
    savings_plan        so many dollars an hour, at the plan's own rates
    capacity_block      instances on fixed days, paid ahead
    owned               hardware of one's own: it loses value and draws power
    """

    RESERVED_INSTANCE = "reserved_instance"
    SAVINGS_PLAN = "savings_plan"
    CAPACITY_BLOCK = "capacity_block"
    OWNED = "owned"


class Share(StrEnum):
    """Whose usage a commitment covers when there is more usage than commitment.

    first    the dearest usage whole, then the next, as a cloud provider applies it
    by_use   everybody's, in proportion to the use
    """

    FIRST = "first"
    BY_USE = "by_use"


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What owned hardware draws. ``watts_per_gpu``: its whole server's share, wherever no meter read it.

    pue   power usage effectiveness: what the building draws per watt of the servers
    """

    watts_per_gpu: float
    usd_per_kwh: float
    pue: float = 1.0

    def __post_init__(self) -> None:
        if self.watts_per_gpu < 0 or self.usd_per_kwh < 0 or self.pue < 1:
            raise ValueError(f"power needs watts and a price of at least 0 and a pue of at least 1, found {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """One purchase, all its units together.

    start, end                   the term, UTC; owned: from its first day to its last in the books
    quantity                     instances, or GPUs with ``gpus_per_unit`` 1; a savings plan: USD an hour
    upfront_nanousd              paid at the start; owned: purchase price minus what it will be sold for
    recurring_nanousd_per_hour   paid as the term goes on; owned: racks, network, people
    offers                       "provider/region/instance_type" that it covers; none: only usage that names it
    rates_nanousd_per_gpu_hour   a savings plan's rate by offer; only these offers are covered
    services, variants           whom it may cover; a variant is "service/variant"; both empty: everybody
    power                        owned only
    reference                    its id on the provider's bill, such as an ARN
    """

    id: str
    kind: CommitmentKind
    start: datetime
    end: datetime
    quantity: float
    upfront_nanousd: int = 0
    recurring_nanousd_per_hour: int = 0
    gpus_per_unit: int = 1
    offers: tuple[str, ...] = ()
    rates_nanousd_per_gpu_hour: Mapping[str, int] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    share: Share = Share.FIRST
    power: Power | None = None
    reference: str = ""

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise ValueError(f"commitment {self.id} ends ({self.end}) before it starts ({self.start})")
        if self.quantity <= 0 or self.gpus_per_unit <= 0:
            raise ValueError(f"commitment {self.id} is for nothing: {self.quantity} x {self.gpus_per_unit} GPUs")
        if self.upfront_nanousd < 0 or self.recurring_nanousd_per_hour < 0:
            raise ValueError(f"commitment {self.id} costs less than nothing")
        if any(rate <= 0 for rate in self.rates_nanousd_per_gpu_hour.values()):
            raise ValueError(f"commitment {self.id} has a rate of zero; leave the offer out when it is unknown")
        if self.spends and not self.rates_nanousd_per_gpu_hour:
            raise ValueError(f"savings plan {self.id} needs its rates: without them nobody knows what it covers")
        if not self.spends and not float(self.quantity * self.gpus_per_unit).is_integer():
            raise ValueError(f"commitment {self.id} is for {self.quantity} x {self.gpus_per_unit} GPUs, not whole ones")

    @property
    def spends(self) -> bool:
        """Whether it is dollars an hour that are committed, rather than GPUs."""
        return self.kind is CommitmentKind.SAVINGS_PLAN

    @property
    def gpus(self) -> int:
        """GPUs that are committed at any moment; 0 for dollars."""
        return 0 if self.spends else int(self.quantity * self.gpus_per_unit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bought:
    """How a pool's capacity is bought, as the fleet file says.

    offer        "provider/region/instance_type", "" unknown
    commitment   id of the commitment that it names: no other covers it. "": any that fits
    """

    offer: str = ""
    commitment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitmentHour:
    """One hour of one commitment: amortised = used + unused, to the nanodollar.

    units, used_units            GPU-microseconds, or nanodollars of a savings plan's commitment
    amortised_nanousd            what the hour of it costs, power included
    billed_nanousd               what its invoices say of the hour: the upfront fee in the first; owned: as amortised
    covered_on_demand_nanousd    the covered usage at list prices; None: some list price is unknown
    """

    hour: datetime
    commitment: str
    kind: CommitmentKind
    amortised_nanousd: int
    used_nanousd: int
    billed_nanousd: int
    covered_on_demand_nanousd: int | None
    units: int
    used_units: int
    used_gpu_us: int

    @property
    def unused_nanousd(self) -> int:
        return self.amortised_nanousd - self.used_nanousd

    @property
    def unused_units(self) -> int:
        return self.units - self.used_units

    @property
    def unit(self) -> str:
        """In which ``quantity`` and ``used_quantity`` are told."""
        return "USD" if self.kind is CommitmentKind.SAVINGS_PLAN else "GPU Hours"

    @property
    def quantity(self) -> float:
        return self.units / self._scale

    @property
    def used_quantity(self) -> float:
        return self.used_units / self._scale

    @property
    def _scale(self) -> float:
        return 1e9 if self.kind is CommitmentKind.SAVINGS_PLAN else 3.6e9

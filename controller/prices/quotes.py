"""Prices that somebody must be asked for: asked outside the pass, kept with history, and too old at some point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol, runtime_checkable

from controller.errors import PriceError
from controller.facts.fleet import Capacity, CapacityType, Variant
from controller.facts.missing import Missing
from controller.facts.money import NANOUSD_PER_USD
from controller.facts.prices import Exchange, Price, Quote, usd_for_one
from controller.prices.book import Offer, sells

LOOK_BACK = timedelta(days=7)
"""How much history the first question asks for. A guess: a week shows what a price does; AWS keeps 90 days."""

MEDIAN_WINDOW = timedelta(hours=1)
"""Over which the median of all zones is taken where nobody says the zone. A guess: prices of a zone change a few times
a day, and a jump of one zone should not move the price of a fleet back and forth within the hour."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgeLimits:
    """``ask_after``: how old an answer may be before it is asked for again. ``stale_after``: before it is unknown."""

    ask_after: timedelta
    stale_after: timedelta


AGES: Mapping[CapacityType, AgeLimits] = {
    CapacityType.ON_DEMAND: AgeLimits(ask_after=timedelta(hours=24), stale_after=timedelta(days=7)),
    CapacityType.SPOT: AgeLimits(ask_after=timedelta(minutes=10), stale_after=timedelta(hours=1)),
}
"""Guesses: list prices change a few times a year, spot prices a few times a day."""


class Quoter(Protocol):
    """Who is asked. ``fetch`` gives all prices of ``offer`` that held between ``since`` and ``now``, or PriceError.

    provider   the first part of the offers that it sells
    """

    @property
    def name(self) -> str: ...

    @property
    def provider(self) -> str: ...

    @property
    def capacity_type(self) -> CapacityType: ...

    def fetch(self, offer: str, since: datetime, now: datetime) -> Sequence[Quote]: ...


@runtime_checkable
class Scores(Protocol):
    """A quoter that also learns how likely capacity is to be had."""

    def score(self, offer: str) -> int | None:
        """1 to 10, as last heard; None: not heard."""


class QuoteStore(Protocol):
    """Where quotes outlive the process: the ledger's table, or a dictionary in tests.

    keep    adds them; one that is there (same offer, capacity type, zone, effective_at) gets the newer ``fetched_at``
    kept    those of an offer that held after ``since``: the last one of each zone before ``since`` is among them
    """

    def keep(self, quotes: Sequence[Quote]) -> None: ...

    def kept(self, offer: str, capacity_type: CapacityType, since: datetime) -> Sequence[Quote]: ...


class Quotes:
    """A price source over what was asked. ``refresh`` asks, in a job of its own; ``price`` never does.

    offers     the price book's: instances whose GPUs the quote does not count, and which GPU they have
    zone_of    where a variant's capacity is bought; "": not said, so the median of all zones counts
    exchange   for quotes that are not in USD
    """

    def __init__(
        self,
        *,
        quoter: Quoter,
        store: QuoteStore,
        offers: Mapping[str, Offer],
        ages: AgeLimits | None = None,
        exchange: Exchange | None = None,
        zone_of: Callable[[Variant], str] = lambda variant: "",
    ) -> None:
        self._quoter = quoter
        self._store = store
        self._offers = offers
        self._ages = ages or AGES[quoter.capacity_type]
        self._exchange = exchange or {}
        self._zone_of = zone_of
        self._held: dict[str, tuple[Quote, ...]] = {}
        self._refused: dict[str, str] = {}

    @property
    def name(self) -> str:
        return self._quoter.name

    @property
    def capacity_type(self) -> CapacityType:
        return self._quoter.capacity_type

    def sells(self, offer: str) -> bool:
        """Whether ``offer`` is one that may be asked for here."""
        return offer.startswith(f"{self._quoter.provider}/")

    def refresh(self, offers: Iterable[str], now: datetime) -> Mapping[str, str]:
        """Asks for every offer whose last answer is too old. Gives what went wrong by offer; those are asked again."""
        for offer in sorted(set(offers)):
            held = self._of(offer, now)
            asked_at = max((quote.fetched_at for quote in held), default=now - LOOK_BACK)
            if held and now - asked_at < self._ages.ask_after:
                continue
            try:
                fetched = self._quoter.fetch(offer, min(asked_at, now), now)
            except PriceError as error:
                self._refused[offer] = str(error)
                continue
            self._store.keep(fetched)
            self._refused.pop(offer, None)
            self._load(offer, now)
        return dict(self._refused)

    def age_s(self, offer: str, now: datetime) -> float | Missing:
        """Seconds since the last answer about ``offer``."""
        held = self._of(offer, now)
        if not held:
            return Missing("price age", self._never(offer))
        return (now - max(quote.fetched_at for quote in held)).total_seconds()

    def price(self, capacity: Capacity, variant: Variant, now: datetime) -> Price | Missing:
        """What was last answered, per GPU-hour; Missing when that is too long ago, or was never."""
        if capacity.type is not self._quoter.capacity_type:
            return Missing("price", f"it sells {self._quoter.capacity_type} capacity only")
        if capacity.offer is None:
            return Missing("price", f"the {capacity.type} capacity names no offer")
        book = self._offers.get(capacity.offer)
        if book is not None and not sells(book, variant):
            return Missing("price", f"{capacity.offer} has {book.gpu} GPUs, the variant runs on {variant.gpu.name}")
        fresh = self._fresh(capacity.offer, now)
        if isinstance(fresh, Missing):
            return fresh
        gpus = next((one.gpus for one in reversed(fresh) if one.gpus), book.gpu_count if book else None)
        if gpus is None:
            return Missing("price", f"nobody says how many GPUs {capacity.offer} has; set usd_per_gpu_hour")
        return self._priced(fresh, gpus, self._zone_of(variant), now)

    def _priced(self, quotes: Sequence[Quote], gpus: int, zone: str, now: datetime) -> Price | Missing:
        here = [quote for quote in quotes if quote.zone == zone]
        chosen, where = (here[-1], zone) if here else _median(quotes, now)
        one = usd_for_one(chosen.currency, now, self._exchange)
        if isinstance(one, Missing):
            return Missing("price", one.why)
        said = f"{self.name}: {chosen.offer}" + (f", {where}" if where else "")
        return Price(
            usd_per_gpu_hour=chosen.nano_per_hour / NANOUSD_PER_USD / gpus * one,
            capacity_type=chosen.capacity_type,
            source=f"{said}, since {chosen.effective_at:%Y-%m-%d %H:%M}",
            as_of=chosen.effective_at.date(),
            currency=chosen.currency,
            valid_from=chosen.effective_at,
            fetched_at=chosen.fetched_at,
            placement_score=self._quoter.score(chosen.offer) if isinstance(self._quoter, Scores) else None,
        )

    def _fresh(self, offer: str, now: datetime) -> Sequence[Quote] | Missing:
        """Quotes of the zones that were answered lately, by time. A zone that AWS names no more has no price."""
        held = self._of(offer, now)
        if not held:
            return Missing("price", self._never(offer))
        newest = {quote.zone: quote.fetched_at for quote in sorted(held, key=lambda one: one.fetched_at)}
        alive = {zone for zone, at in newest.items() if now - at <= self._ages.stale_after}
        fresh = [quote for quote in held if quote.zone in alive and quote.effective_at <= now]
        if fresh:
            return fresh
        age, limit = now - max(newest.values()), self._ages.stale_after
        why = f"the last quote of {offer} is {_long(age)} old, more than the {_long(limit)} it is good for"
        return Missing("price", why + self._since_then(offer))

    def _of(self, offer: str, now: datetime) -> tuple[Quote, ...]:
        return self._held[offer] if offer in self._held else self._load(offer, now)

    def _load(self, offer: str, now: datetime) -> tuple[Quote, ...]:
        """From the store, once at the start and after each answer. Put in place whole: passes read beside the job."""
        kept = self._store.kept(offer, self._quoter.capacity_type, now - LOOK_BACK)
        self._held[offer] = found = tuple(sorted(kept, key=lambda quote: quote.effective_at))
        return found

    def _never(self, offer: str) -> str:
        return f"no quote of {offer} yet{self._since_then(offer) or '; it is asked for outside the passes'}"

    def _since_then(self, offer: str) -> str:
        return f"; {self._refused[offer]}" if offer in self._refused else ""


def _median(quotes: Sequence[Quote], now: datetime) -> tuple[Quote, str]:
    """The quote in the middle by time over all zones, and how that is told. ``quotes`` by time, not empty.

    Every quote weighs the time for which it held within the window that ends now.
    """
    ends: dict[str, datetime] = {}
    weighted: list[tuple[int, datetime, float, Quote]] = []
    for quote in reversed(quotes):
        end = ends.get(quote.zone, now)
        held = (end - max(quote.effective_at, now - MEDIAN_WINDOW)).total_seconds()
        if held > 0 or quote.zone not in ends:
            weighted.append((quote.nano_per_hour, quote.effective_at, max(held, 1e-6), quote))
        ends[quote.zone] = quote.effective_at
    weighted.sort(key=lambda row: row[:2])
    half, so_far = sum(row[2] for row in weighted) / 2, 0.0
    middle = weighted[-1][3]
    for *_, seconds, quote in weighted:
        so_far += seconds
        if so_far >= half:
            middle = quote
            break
    return middle, f"median of {len(ends)} zones" if len(ends) > 1 else middle.zone


def _long(time: timedelta) -> str:
    """As people say it, in whole units: 3 h, 12 min."""
    seconds = time.total_seconds()
    for unit, size in (("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"

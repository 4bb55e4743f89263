"""Usage records as columns, and what is kept of them: their digests and their sums by minute and identity.

The ledger takes a Batch, drops what it has seen (by ``hour``, ``a`` and ``b``) and adds ``minutes()`` of the rest. The
sums are sufficient for any work rate, which is why requests themselves need not be kept. All of it is integers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from controller.facts.accounts import Identity
from controller.facts.usage import Refused, UsageRecord

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Place = tuple[str, str]
"""Service and variant; variant "" where nobody knows it."""

T = TypeVar("T")

MOST_PROMPT_TOKENS = 10_000_000
MOST_OUTPUT_TOKENS = 2_000_000
"""Of one request. Their squares, times MOST_RECORDS of a call, stay below 2^63: no sum can overflow."""

LONGEST = timedelta(days=1)
"""A request that took longer is a mistake of somebody's clock. A guess: engines give up long before."""

SUMS = (
    "requests",
    "uncached",
    "cached",
    "output",
    "uncached_sq",
    "cached_cross",
    "output_context",
    "cached_responses",
)
"""Columns of ``UsageMinutes.sums``. With u uncached, h cached and o output tokens, p = u + h: the sums of u^2, of 2 h u
and of o (2 p + o). ``cached_responses`` were answered without an engine: they count there and nowhere else."""

OUTPUT_SUMS = (SUMS.index("output"), SUMS.index("output_context"))
"""These are spread over a request's time; the rest belongs to the minute in which it started."""

MINUTE_US = 60_000_000
MINUTE_MS = 60_000
HOUR_US = 60 * MINUTE_US
MICROSECOND = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
PIECES_AT_ONCE = 1 << 18
"""Records longer than their minute are cut in portions of about this many pieces: some 30 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageMinutes:
    """Sums by minute, place and identity, in that order, each key once.

    minute     whole minutes since 1970 UTC
    place      index into ``places``; ``identity`` into ``identities``
    sums       a row a key, a column a name of SUMS
    """

    minute: Ints
    place: Ints
    identity: Ints
    sums: Ints
    places: tuple[Place, ...]
    identities: tuple[Identity, ...]

    def __len__(self) -> int:
        return len(self.minute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """Records of one source, a column a field, and the refused ones, which are in no column.

    a, b                    128 bits of digest of source and id, as two signed numbers
    started_us, ended_us    microseconds since 1970 UTC
    uncached, cached        prompt tokens that an engine had to compute, and those that it found in its prefix cache
    from_cache              answered without an engine
    place, identity         index into ``places`` and ``identities``
    """

    a: Ints
    b: Ints
    started_us: Ints
    ended_us: Ints
    uncached: Ints
    cached: Ints
    output: Ints
    from_cache: Bools
    place: Ints
    identity: Ints
    places: tuple[Place, ...]
    identities: tuple[Identity, ...]
    refused: tuple[Refused, ...] = ()

    def __len__(self) -> int:
        return len(self.a)

    @property
    def hour(self) -> Ints:
        """Whole hours since 1970 UTC in which the records started."""
        return self.started_us // HOUR_US

    @property
    def tokens(self) -> int:
        """Of all kinds."""
        return int(self.uncached.sum() + self.cached.sum() + self.output.sum())

    @property
    def newest(self) -> datetime | None:
        """When the last of them ended. None: there are none."""
        return EPOCH + int(self.ended_us.max()) * MICROSECOND if len(self) else None

    def kept(self, chosen: Bools | Ints) -> Self:
        """Only the ``chosen`` records (a mask or places); nothing refused."""
        columns = {name: getattr(self, name)[chosen] for name in COLUMNS}
        return replace(self, **columns, refused=())

    def by_digest(self) -> Ints:
        """The places of the records in the order of (hour, a, b), the key under which they are seen once."""
        return np.lexsort((self.b, self.a, self.hour))

    def first_of_each(self) -> Bools:
        """True for the first record of each (hour, a, b): the others are duplicates within the batch."""
        order = self.by_digest()
        key = np.stack((self.hour, self.a, self.b))[:, order]
        first = np.ones(len(self), dtype=np.bool_)
        first[order[1:]] = (key[:, 1:] != key[:, :-1]).any(axis=0)
        return first

    def minutes(self, chosen: Bools | None = None) -> UsageMinutes:
        """The sums of the ``chosen`` records; all without. A record's prompt counts where it started; its output is
        spread evenly up to its end, in whole tokens that add up to it again exactly."""
        records = self if chosen is None else self.kept(chosen)
        totals = [_summed(*pieces, records) for pieces in _pieces(records)]
        return _merged(totals, records)


COLUMNS = ("a", "b", "started_us", "ended_us", "uncached", "cached", "output", "from_cache", "place", "identity")


def joined(batches: Sequence[Batch]) -> Batch:
    """All of ``batches`` as one, in their order: what a group commit writes. The refused ones are left out: their
    places are those of the calls that sent them."""
    places, place = _renumbered([batch.places for batch in batches], [batch.place for batch in batches])
    identities, identity = _renumbered([batch.identities for batch in batches], [batch.identity for batch in batches])
    columns: dict[str, Any] = {
        name: np.concatenate([getattr(batch, name) for batch in batches]) for name in COLUMNS[:-2]
    }
    return Batch(**columns, place=place, identity=identity, places=places, identities=identities)


def batch_of(records: Sequence[UsageRecord], source: str) -> Batch:
    """The same of records one by one. They are taken as they are: nothing is refused here."""
    place, places = indexed((one.service, one.variant) for one in records)
    identity, identities = indexed(one.identity for one in records)
    a, b = digests(source, [one.id for one in records])
    return Batch(
        a=a,
        b=b,
        started_us=_column(records, lambda one: (one.started_at - EPOCH) // MICROSECOND),
        ended_us=_column(records, lambda one: (one.ended_at - EPOCH) // MICROSECOND),
        uncached=_column(records, lambda one: one.prompt_tokens - one.cached_tokens),
        cached=_column(records, lambda one: one.cached_tokens),
        output=_column(records, lambda one: one.output_tokens),
        from_cache=np.array([one.from_cache for one in records], dtype=np.bool_),
        place=place,
        identity=identity,
        places=places,
        identities=identities,
    )


def digests(source: str, ids: Iterable[str]) -> tuple[Ints, Ints]:
    """128 bits of BLAKE2b (RFC 7693) of source, NUL, id: two signed numbers a record."""
    prefix = source.encode() + b"\0"
    told = b"".join([blake2b(prefix + one.encode(), digest_size=16).digest() for one in ids])
    pairs = np.frombuffer(told, dtype="<i8").reshape(-1, 2).astype(np.int64)
    return pairs[:, 0].copy(), pairs[:, 1].copy()


def indexed(values: Iterable[T]) -> tuple[Ints, tuple[T, ...]]:
    """For each value its place among the different ones, and these, in the order in which they first came."""
    seen: dict[T, int] = {}
    places = [seen.setdefault(value, len(seen)) for value in values]
    return np.array(places, dtype=np.int64), tuple(seen)


def _column(records: Sequence[UsageRecord], of: Callable[[UsageRecord], int]) -> Ints:
    return np.array([of(one) for one in records], dtype=np.int64)


def _renumbered(tables: Sequence[tuple[T, ...]], columns: Sequence[Ints]) -> tuple[tuple[T, ...], Ints]:
    """One table for all, and the columns that point into it."""
    number, merged = indexed(value for table in tables for value in table)
    starts = np.cumsum([0, *map(len, tables)])
    return merged, np.concatenate([number[column + start] for column, start in zip(columns, starts, strict=False)])


Pieces = tuple[Ints, Ints, Ints]
"""Which record, in which minute, the sums it leaves there."""


def _pieces(batch: Batch) -> Iterator[Pieces]:
    """Every record cut at the minute."""
    first = batch.started_us // MINUTE_US
    last = np.maximum(first, (batch.ended_us - 1) // MINUTE_US)  # an end on the boundary leaves nothing behind it
    whole = _whole(batch)
    short = np.flatnonzero(first == last)
    yield short, first[short], whole[short]
    crossing = np.flatnonzero(first != last)
    counts = last[crossing] - first[crossing] + 1
    portions = np.cumsum(counts) // PIECES_AT_ONCE
    for portion in np.unique(portions):
        chosen = crossing[portions == portion]
        yield _cut(batch, whole, chosen, first[chosen], counts[portions == portion])


def _whole(batch: Batch) -> Ints:
    """What each record leaves in total."""
    u, h, o = (np.where(batch.from_cache, 0, tokens) for tokens in (batch.uncached, batch.cached, batch.output))
    answered = (~batch.from_cache).astype(np.int64)
    return np.stack((answered, u, h, o, u * u, 2 * h * u, o * (2 * (u + h) + o), 1 - answered), axis=1)


def _cut(batch: Batch, whole: Ints, chosen: Ints, first: Ints, counts: Ints) -> Pieces:
    """Records of several minutes: a piece for each."""
    record = np.repeat(chosen, counts)
    step = np.arange(len(record)) - np.repeat(np.cumsum(counts) - counts, counts)
    minute = np.repeat(first, counts) + step
    # In milliseconds, so that the products of _share fit: a request's length is far below 2^31 of them.
    began, length = batch.started_us[record] // 1000, (batch.ended_us - batch.started_us)[record] // 1000
    length = np.maximum(length, 1)
    is_last = step == np.repeat(counts, counts) - 1
    until = np.where(is_last, length, np.clip((minute + 1) * MINUTE_MS - began, 0, length))
    since = np.where(step == 0, 0, np.clip(minute * MINUTE_MS - began, 0, length))
    sums = np.where((step == 0)[:, None], whole[record], 0)
    for column in OUTPUT_SUMS:
        total = whole[record, column]
        sums[:, column] = _share(total, until, length) - _share(total, since, length)
    return record, minute, sums


def _share(total: Ints, part: Ints, length: Ints) -> Ints:
    """floor(total * part / length), 0 <= part <= length < 2^31, exactly and without overflow."""
    return total // length * part + total % length * part // length


def _summed(record: Ints, minute: Ints, sums: Ints, batch: Batch) -> tuple[Ints, Ints]:
    """Keys (minute, place, identity) and their sums."""
    keys = np.stack((minute, batch.place[record], batch.identity[record]), axis=1)
    return _grouped(keys, sums)


def _grouped(keys: Ints, sums: Ints) -> tuple[Ints, Ints]:
    """Rows with equal keys added up, in the order of the keys. Sums stay integers: floats would round."""
    if not len(keys):
        return keys, sums
    low, high = keys.min(axis=0), keys.max(axis=0)
    spans = (high - low + 1).tolist()
    packed = ((keys[:, 0] - low[0]) * spans[1] + keys[:, 1] - low[1]) * spans[2] + keys[:, 2] - low[2]
    order = np.argsort(packed, kind="stable")
    begins = np.flatnonzero(np.diff(packed[order], prepend=-1))
    return keys[order[begins]], np.add.reduceat(sums[order], begins, axis=0)


def _merged(totals: Sequence[tuple[Ints, Ints]], batch: Batch) -> UsageMinutes:
    keys, sums = _grouped(*(np.concatenate(parts) for parts in zip(*totals, strict=True)))
    return UsageMinutes(
        minute=keys[:, 0],
        place=keys[:, 1],
        identity=keys[:, 2],
        sums=sums,
        places=batch.places,
        identities=batch.identities,
    )

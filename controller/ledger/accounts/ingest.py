"""Usage records into the ledger: durable when answered, counted once however often they come."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Self

import numpy as np
from sqlalchemy import select

from controller.attribute.batch import HOUR_US, MINUTE_US, SUMS, Batch, Ints, UsageMinutes, joined
from controller.errors import LedgerError, UsageFullError
from controller.facts.accounts import OTHER, Identity
from controller.facts.usage import Receipt
from controller.ledger.accounts import bulk, refusals
from controller.ledger.accounts.dictionaries import MOST_IDENTITIES, OWN, identities, identity_key
from controller.ledger.accounts.partitions import MINUTES, SEEN, Partitions
from controller.ledger.accounts.seen import new_keys
from controller.ledger.accounts.tables import UsageSourceRow
from controller.ledger.engine import ledger_errors, shown, writer_engine
from controller.ledger.migrate import migrate
from controller.ledger.tables import table
from controller.ledger.upsert import replaced, upsert

AT_ONCE = 20_000
"""Records after which a transaction takes no more batches: what came while the last one was written goes in together,
and nobody waits for a transaction of more than about 0.2 s."""

MOST_WAITING = 200_000
"""Records that may wait, about four seconds of work. A guess: more would only wait for longer than a sender does."""

RETRY_AFTER_S = 5

NOTHING_COUNTED = "nothing of it was counted; send it again, what was counted before does no harm"

NOT_READ = "the source is read again from where it was; what was counted before does no harm"

USAGE_KEY = ("minute", "service", "variant", "identity")
HOUR_SUMS = ("records", "settled_records")
SOURCE_SUMS = ("records", "duplicates", "refused", "tokens", "beyond_cap")


@dataclass(frozen=True, slots=True)
class _Waiting:
    source: str
    batch: Batch
    answer: Future[Receipt]


class Intake:
    """Takes usage records, from any number of threads; other processes may do the same on the same ledger.

    One thread writes. Whatever waits when it comes round goes into one transaction, and is answered after its commit.
    """

    def __init__(self, url: str, *, max_identities: int = MOST_IDENTITIES) -> None:
        """Opens nothing yet; ``url`` as in the fleet file. Identities beyond ``max_identities`` are told apart no
        more: they count as ``__other__``."""
        self._engine = writer_engine(url)
        self._where = shown(url)
        self._identities = identities(max_identities)
        self._partitions = Partitions()
        self._queue: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._guard = Lock()
        self._waiting = 0
        self._thread: Thread | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"Intake({self._where!r})"

    @classmethod
    def open(cls, url: str, *, max_identities: int = MOST_IDENTITIES) -> Self:
        """An intake of the ledger at ``url``, which is made or migrated to this program's schema."""
        intake = cls(url, max_identities=max_identities)
        with ledger_errors("open the ledger", intake._where, "no usage record is taken without it"):
            migrate(intake._engine)
        return intake

    @property
    def waiting(self) -> int:
        """Records that were handed over and are not written yet."""
        return self._waiting

    def add(self, source: str, batch: Batch) -> Receipt:
        """Returns once all of ``batch`` is durable: counted, or known already. Its refused ones are in the answer.

        The digests in ``batch`` hold the source, so the same id of two sources counts twice. Raises UsageFullError
        when too many wait, LedgerError when the ledger could not be written; then nothing of this batch was counted,
        and it can be sent again.
        """
        answer: Future[Receipt] = Future()
        with self._guard:
            if self._closed:
                raise LedgerError(f"the intake of usage records is closed; {NOTHING_COUNTED}")
            if self._waiting and self._waiting + len(batch) > MOST_WAITING:
                message = f"{self._waiting:,} usage records wait to be written already; {NOTHING_COUNTED}"
                raise UsageFullError(message, retry_after_s=RETRY_AFTER_S)
            self._waiting += len(batch)
            self._begin()
            self._queue.put(_Waiting(source, batch, answer))
        return answer.result()

    def mark(self, source: str) -> tuple[datetime | None, str]:
        """How far a source that is polled was read: the time and the place that were kept; None and "" at first."""
        rows = table(UsageSourceRow).c
        query = select(rows.watermark_at, rows.watermark_id).where(rows.source == source)
        with bulk.writing(self._engine, "read how far a source was read", NOT_READ) as connection:
            row = connection.execute(query).first()
        return (None, "") if row is None else (row[0], row[1])

    def keep_mark(self, source: str, at: datetime | None, place: str, now: datetime) -> None:
        """Only after ``add`` returned for all that came before it: what is marked is never read again."""
        row = {"source": source, "watermark_at": at, "watermark_id": place, "read_at": now}
        with bulk.writing(self._engine, "keep how far a source was read", NOT_READ) as connection:
            changes = dict.fromkeys(("watermark_at", "watermark_id", "read_at"), replaced)
            upsert(connection, UsageSourceRow, [row | dict.fromkeys(SOURCE_SUMS, 0)], changes)

    def close(self) -> None:
        """Writes what waits, and stops."""
        with self._guard:
            self._closed = True
            thread, self._thread = self._thread, None
            self._queue.put(None)
        if thread is not None:
            thread.join()
        self._engine.dispose()

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._write_all, name="usage-intake", daemon=True)
            self._thread.start()

    def _write_all(self) -> None:
        while (first := self._queue.get()) is not None:
            group, is_last = self._group(first)
            self._write(group)
            if is_last:
                return

    def _group(self, first: _Waiting) -> tuple[list[_Waiting], bool]:
        """``first`` and what waits behind it; whether that was all there will be."""
        group, size = [first], len(first.batch)
        while size < AT_ONCE and not self._queue.empty():
            following = self._queue.get()
            if following is None:
                return group, True
            group.append(following)
            size += len(following.batch)
        return group, False

    def _write(self, group: Sequence[_Waiting]) -> None:
        try:
            receipts = self._counted(group)
        except BaseException as error:  # whoever waits must hear of it, whatever it is
            self._partitions.forget()
            for one in group:
                one.answer.set_exception(error)
        else:
            for one, receipt in zip(group, receipts, strict=True):
                one.answer.set_result(receipt)
        finally:
            with self._guard:
                self._waiting -= sum(len(one.batch) for one in group)

    def _counted(self, group: Sequence[_Waiting]) -> list[Receipt]:
        """All of ``group`` in one transaction; what became of each batch."""
        records = joined([one.batch for one in group])
        owner = np.repeat(np.arange(len(group)), [len(one.batch) for one in group])
        numbers = self._numbers(records.identities)
        order = records.by_digest()
        keys = order[records.first_of_each()[order]]
        self._make_room(records)
        with bulk.writing(self._engine, "count usage records", NOTHING_COUNTED) as connection:
            chosen = np.zeros(len(records), dtype=np.bool_)
            chosen[keys] = new_keys(connection, records.hour[keys], records.a[keys], records.b[keys])
            bulk.add(connection, "usage_minute", USAGE_KEY, SUMS, _minute_rows(records.minutes(chosen), numbers))
            hours = _hour_rows(group, records.kept(chosen), owner[chosen])
            bulk.add(connection, "usage_hour", ("hour", "source"), HOUR_SUMS, hours)
            told = [_told(one, records.kept(chosen & (owner == place)), numbers) for place, one in enumerate(group)]
            bulk.add(connection, "usage_source", ("source",), SOURCE_SUMS, _source_rows(group, told))
            refusals.add(connection, [(one.source, one.batch.refused) for one in group])
        return [
            Receipt(accepted=accepted, duplicates=duplicates, refused=one.batch.refused)
            for one, (accepted, duplicates, *_) in zip(group, told, strict=True)
        ]

    def _numbers(self, who: Sequence[Identity]) -> Ints:
        """The number of each identity. Nobody can take a name of the ledger's own."""
        keys = [identity_key(OTHER if one in OWN else one) for one in who]
        return np.array(self._identities.ids(self._engine, keys), dtype=np.int64)

    def _make_room(self, records: Batch) -> None:
        if not len(records):
            return
        self._partitions.ensure(self._engine, SEEN, np.unique(records.hour).tolist())
        first, last = int(records.started_us.min()) // MINUTE_US, int(records.ended_us.max()) // MINUTE_US
        self._partitions.ensure(self._engine, MINUTES, [*range(first, last, MINUTES.width), last])


def _minute_rows(minutes: UsageMinutes, numbers: Ints) -> list[tuple[int | str, ...]]:
    """Rows of ``usage_minute``, each key once: several identities may have one number."""
    rows: dict[tuple[int | str, ...], list[int]] = {}
    columns = (minutes.minute, minutes.place, numbers[minutes.identity], minutes.sums)
    for minute, place, identity, sums in zip(*(column.tolist() for column in columns), strict=True):
        key = (minute, *minutes.places[place], identity)
        known = rows.get(key)
        rows[key] = sums if known is None else [one + other for one, other in zip(known, sums, strict=True)]
    return [(*key, *sums) for key, sums in rows.items()]


def _hour_rows(group: Sequence[_Waiting], counted: Batch, owner: Ints) -> list[tuple[int | str, ...]]:
    """How many records each hour has got from each source: by that, a settled hour is known to be out of date."""
    first = counted.hour
    last = np.maximum(first, (counted.ended_us - 1) // HOUR_US)
    numbers: Counter[tuple[int, str]] = Counter()
    for later in range(int((last - first).max(initial=0)) + 1):
        there = first + later <= last
        packed = (first[there] + later) * len(group) + owner[there]
        keys, counts = np.unique(packed, return_counts=True)
        for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
            numbers[key // len(group), group[key % len(group)].source] += count
    return [(*key, count, 0) for key, count in numbers.items()]


def _told(one: _Waiting, counted: Batch, numbers: Ints) -> tuple[int, ...]:
    """SOURCE_SUMS of one batch."""
    beyond = int((numbers[counted.identity] == OWN[OTHER]).sum())
    return len(counted), len(one.batch) - len(counted), len(one.batch.refused), counted.tokens, beyond


def _source_rows(group: Sequence[_Waiting], told: Sequence[tuple[int, ...]]) -> list[tuple[int | str, ...]]:
    sums: dict[str, tuple[int, ...]] = {}
    for one, row in zip(group, told, strict=True):
        known = sums.get(one.source, (0,) * len(row))
        sums[one.source] = tuple(old + new for old, new in zip(known, row, strict=True))
    return [(source, *row) for source, row in sums.items()]

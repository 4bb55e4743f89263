"""What must not go unnoticed: work that no record explains, prices that nobody knows, sources that are late, and hours
that are not settled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from controller.accountant.alarms import Alarm
from controller.accountant.protocols import Duties, Known
from controller.facts.account_reader import HOUR, AccountReader, Dimension, Window, part_sum
from controller.facts.accounts import UNATTRIBUTED, WORK
from controller.facts.missing import Missing

UNATTRIBUTED_HOURS = 3
"""The last settled hours are looked at together. A guess: one hour's odd record is no alert, a morning is."""

SOURCE_LATE = timedelta(hours=1)
"""A source not read to its end for so long is late: a dozen rounds. A guess; hours wait for it up to six hours more."""

SETTLE_LATE = timedelta(hours=8)
"""Hours wait six hours for late sources at most; two more are for whatever else. Beyond ``settle_after``."""


def unattributed_alarms(duties: Duties, reader: AccountReader, known: Known) -> list[Alarm]:
    """By service: the share of its work that no record explains. LedgerError when the accounts cannot be read."""
    limit = duties.unattributed_ratio
    if limit is None or known.first is None or known.settled_until is None:
        return []
    start = max(known.settled_until - UNATTRIBUTED_HOURS * HOUR, known.first)
    window = Window(start=start, end=known.settled_until)
    work: dict[str, tuple[int, int]] = {}
    for line in reader.lines(window, (Dimension.TEAM, Dimension.SERVICE), {}):
        if line.pool is not None and line.pool.service:
            nobody, whole = work.get(line.pool.service, (0, 0))
            done = part_sum(line.parts, WORK)
            unexplained = done if line.identity.team == UNATTRIBUTED.team else 0
            work[line.pool.service] = (nobody + unexplained, whole + done)
    return [_unattributed(name, limit, window, *work.get(name, (0, 0))) for name in duties.services]


def _unattributed(service: str, limit: float, window: Window, nobody: int, whole: int) -> Alarm:
    ratio: float | Missing = nobody / whole if whole > 0 else Missing("unattributed", "nothing was worked")
    share = 0.0 if isinstance(ratio, Missing) else ratio
    hours = f"{window.start:%Y-%m-%d %H:%M} to {window.end:%H:%M} UTC"
    return Alarm(
        service=service,
        name="unattributed",
        holds=ratio if isinstance(ratio, Missing) else ratio > limit,
        summary=f"no usage record explains {share:.1%} of the work of {service} from {hours}; {limit:.1%} may be so"
        if share > limit
        else f"{1 - share:.1%} of the work of {service} from {hours} has a usage record",
        do="See which gateway or engine sends no records, or whether its clock is wrong; they count up to 3 days late.",
    )


def price_alarms(duties: Duties, now: datetime) -> list[Alarm]:
    """By service: capacity without a price. Its cost is unknown, which is not zero."""
    why = duties.unpriced(now)
    return [
        Alarm(
            service=name,
            name="price_unknown",
            holds=name in why,
            summary=why.get(name, "all of its capacity has a price again"),
            do="Write usd_per_gpu_hour in the fleet file, or see why the price source does not answer; its cost is in "
            "no sum until then. `pennyweight ledger reprice --from DATE` adds what went by without one.",
        )
        for name in duties.services
    ]


def source_alarms(
    duties: Duties, read_at: Mapping[str, datetime], failed: Mapping[str, str], now: datetime
) -> list[Alarm]:
    """Sources that are read, by name."""
    return [_late(one.name, read_at.get(one.name, now), failed.get(one.name, ""), now) for one in duties.sources]


def _late(name: str, read_at: datetime, failed: str, now: datetime) -> Alarm:
    hours = (now - read_at) / HOUR
    why = failed or "it brings more than can be read"
    return Alarm(
        service="",
        name=f"usage_source_late_{name}",
        holds=now - read_at >= SOURCE_LATE,
        summary=f"source {name} was last read to its end {hours:.1f} h ago: {why}"
        if hours
        else f"{name} is read again",
        do="Its records are read from where they were left as soon as it answers; hours wait for it up to 6 h.",
    )


def standing_alarms(duties: Duties, known: Known | None, problems: Sequence[str], now: datetime) -> list[Alarm]:
    """Whether hours are settled in time and add up."""
    late = Alarm(service="", name="settle_late", holds=Missing("settled", "unknown"), summary="", do="")
    if known is not None and known.first is not None:
        through = known.settled_until or known.first
        due = through + HOUR + duties.settle_after + SETTLE_LATE
        late = Alarm(
            service="",
            name="settle_late",
            holds=now >= due,
            summary=f"hours are settled up to {through:%Y-%m-%d %H:%M} UTC" + (" only" if now >= due else " again"),
            do="After a stop, half a day is caught up with in each round of five minutes. If it stays where it is, the "
            "log says why; `pennyweight ledger verify` shows what does not add up.",
        )
    wrong = Alarm(
        service="",
        name="hours_not_settled",
        holds=bool(problems),
        summary="; ".join(problems[:3]) or "all hours add up again",
        do="`pennyweight ledger verify` shows what does not add up; nothing of these hours is reported until then.",
        severity="critical",
    )
    return [late, wrong]

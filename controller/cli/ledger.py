"""The accounts proven, closed, made anew, priced anew and weighed: the commands of `pennyweight ledger`."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime

from controller.accounting import Accounting
from controller.cli.accounts import nothing_yet
from controller.cli.choices import Days
from controller.cli.files import settings_of
from controller.cli.screen import counted, say, waiting, width
from controller.clock import utc_now
from controller.errors import ConfigError, Problem
from controller.ledger.accounts import cubes, months
from controller.ledger.accounts.again import Again, worked_again
from controller.ledger.accounts.hours import hour_of
from controller.ledger.accounts.settle import Round
from controller.ledger.accounts.size import size as weighed
from controller.ledger.accounts.standing import Standing, standing
from controller.ledger.accounts.unpriced import Filled
from controller.ledger.accounts.verify import Proof
from controller.ledger.accounts.verify import verify as proven
from controller.ledger.engine import writer_engine
from controller.report.text import aligned
from controller.report.words import usd
from controller.settings.load import Settings
from controller.wiring import TABLES


def verify(arguments: argparse.Namespace) -> int:
    """Prove that everything adds up; exit code 1 when it does not."""
    first: Days | None = arguments.from_
    last: Days | None = arguments.to
    if first is not None and last is not None and last.end <= first.start:
        raise ConfigError([Problem("--to", 0, 0, "", f"ends before --from {first.first} starts")])
    settings = settings_of(arguments.fleet)
    found = standing(settings.ledger_url)
    if found.first is None:
        say([f"nothing to prove: {nothing_yet(found)}"])
        return 0
    end = last.end if last is not None else first.end if first is not None else None
    proof = proven(settings.ledger_url, first.start if first is not None else None, end)
    say(_told(proof))
    if not arguments.deep:
        return 0 if proof.balances else 1
    again = _again(settings, first, end)
    say(_told_again(again))
    return 0 if proof.balances and not again.differences else 1


def _again(settings: Settings, first: Days | None, end: datetime | None) -> Again:
    """Every settled hour, worked out again: a second or two each for a large fleet."""
    start = first.start if first is not None else None
    found = Again()
    with waiting("working hours out again") as shown:
        for found in worked_again(settings.ledger_url, settings.account.rules_at, start, end):
            shown(f"{found.hours:,} hours worked out again")
    return found


def _told_again(found: Again) -> list[str]:
    same = f"{found.hours:,} settled hours worked out again"
    left_out = [f"{found.left_out:,} more were not: minutes or records of them are forgotten, or wait to be split"]
    left_out = left_out if found.left_out else []
    if not found.differences:
        return [f"{same}: the same to the nanodollar", *left_out]
    count = len(found.differences) + found.more
    told = [f"{same}: {_differ(count)}", *(f"  {one}" for one in found.differences)]
    told += [f"  and {found.more:,} more"] if found.more else []
    return [*told, *left_out, "Since they were settled, minutes, records, work rates or sharing rules were changed."]


def _differ(count: int) -> str:
    return f"{count:,} sum{' differs' if count == 1 else 's differ'}"


def _told(proof: Proof) -> list[str]:
    if not proof.hours:
        return ["no hour is accounted in that time: nothing to prove"]
    seen = f"{counted(proof.hours, 'hour')}, {usd(proof.cost_nanousd)}, {proof.sums:,} sums held against each other"
    if proof.balances:
        return [f"{seen}: all of them agree to the nanodollar"]
    count = len(proof.differences) + proof.more
    told = [f"{seen}: {_differ(count)}", *(f"  {one}" for one in proof.differences)]
    if proof.more:
        told.append(f"  and {proof.more:,} more")
    return [*told, WHAT_TO_DO]


WHAT_TO_DO = (
    "Sums over identities, days and weeks are made anew from the hours by `pennyweight ledger rebuild`. What differs "
    "after it is in the hours themselves: keep a copy of the ledger as it is, and do not close the month on it."
)


def close(arguments: argparse.Namespace) -> int:
    """Close a month that adds up, and in which there is anything."""
    month: Days = arguments.month
    settings = settings_of(arguments.fleet)
    known = standing(settings.ledger_url)
    proof = proven(settings.ledger_url, month.start, month.end)
    if not (proof.hours or arguments.empty) and _over(month, known):
        told = f"the accounts tell of {known.first:%Y-%m-%d %H:%M} to {known.until:%Y-%m-%d %H:%M} UTC"
        say([f"nothing to close in {month.first:%Y-%m}: {told}. With --empty it is closed for $0."])
        return 1
    if not proof.balances:
        say([f"{month.first:%Y-%m} stays open, because it does not add up.", *_told(proof)])
        return 1
    found = months.close(settings.ledger_url, month.start, getpass.getuser(), utc_now())
    if found.before:
        say([f"{found.month} is closed since {found.at:%Y-%m-%d %H:%M} UTC, by {found.by}; nothing was changed."])
        return 0
    say([f"{found.month} is closed, with {usd(proof.cost_nanousd)}. {AFTER_CLOSE}"])
    return 0


def _over(month: Days, known: Standing) -> bool:
    """Whether it could be closed. What is not settled yet is told by whoever closes."""
    return known.settled_until is not None and month.end <= known.settled_until


AFTER_CLOSE = (
    "Late records and bills are posted as corrections of it from now on: rows of their own in exports, in the month of "
    "their posting."
)


def rebuild(arguments: argparse.Namespace) -> int:
    """Make the sums of days and weeks anew."""
    settings = settings_of(arguments.fleet)
    found = standing(settings.ledger_url)
    if found.settled_until is None:
        print("no hour is settled yet: there are no sums to make")
        return 0
    engine = writer_engine(settings.ledger_url)
    try:
        with waiting("making sums anew"):
            days = cubes.rebuild(engine, hour_of(found.settled_until) - 1)
    finally:
        engine.dispose()
    print(f"{counted(days, 'day')} made anew from the hours; `pennyweight ledger verify` proves them")
    return 0


def reprice(arguments: argparse.Namespace) -> int:
    """Account for what had no price; exit code 1 when an hour could not be."""
    first: Days = arguments.from_
    settings, now = settings_of(arguments.fleet), utc_now()
    if first.start > now:
        raise ConfigError([Problem("--from", 0, 0, "", f"expected a day that has begun, found {first.first}")])
    standing(settings.ledger_url)
    with closing(Accounting(settings, {}, TABLES, lambda _: None)) as accounting, waiting("working hours out again"):
        filled, done = accounting.reprice(first.start, now, now)
    say(_repriced(filled, done))
    return 1 if done.problems else 0


def _repriced(filled: Filled, done: Round) -> Iterator[str]:
    if filled.priced_s:
        yield f"{_hours(filled.priced_s)} of replicas had no price and have one now."
    if filled.unpriced_s:
        still = "still have no price: write usd_per_gpu_hour in the fleet file, as it was then"
        yield f"{_hours(filled.unpriced_s)} of replicas {still}."
    count = len(done.corrected)
    if count:
        hours = counted(count, "settled hour")
        yield f"{hours} corrected: what changed was added as lines of its own; `pennyweight ledger verify` proves them."
    else:
        yield "No settled hour costs anything else than it did. Those not settled yet are priced when they settle."
    yield from done.problems


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:,.2f} hours"


def size(arguments: argparse.Namespace) -> int:
    """How large the ledger is, and what is in it."""
    settings = settings_of(arguments.fleet)
    standing(settings.ledger_url)
    with waiting("counting rows"):
        found = weighed(settings.ledger_url)
    filled = [one for one in found.tables if one.rows]
    rows = [(one.name, f"{one.rows:,}", _bytes(one.bytes), _bytes(one.bytes_per_replica_day)) for one in filled]
    say([f"{_bytes(found.bytes)} in all; {len(found.tables) - len(filled)} more tables are empty", ""])
    say(aligned([("table", "rows", "size", "a replica and day"), *rows], 1, width()))
    if (daily := found.bytes_per_replica_day) is not None:
        say(["", f"A replica takes {_bytes(daily)} a day while its minutes are kept (retention.minutes), less after."])
    return 0


UNITS = ("B", "kB", "MB", "GB", "TB")


def _bytes(count: float | None) -> str:
    """In steps of 1,000; "" where nobody can tell."""
    if count is None:
        return ""
    for unit in UNITS:
        if count < 1000 or unit == UNITS[-1]:
            break
        count /= 1000
    return f"{count:,.0f} {unit}" if unit == "B" or count >= 100 else f"{count:,.1f} {unit}"

"""Commands for the worst night: stop touching anything, and go on. They need the ledger, and no daemon."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta

from controller.act.gate import NO_REASON, StopFile
from controller.cli.files import settings_of
from controller.clock import utc_now
from controller.errors import ConfigError, PennyweightError, Problem
from controller.facts.safety import EVERYTHING, Stop
from controller.ledger.write import Ledger
from controller.quantities import duration_s
from controller.settings.load import Settings
from controller.settings.safety_shapes import STOP_FILE


def stop(arguments: argparse.Namespace) -> int:
    """Note it in the ledger, where the daemon looks before each action."""
    settings, now = _readable(arguments), utc_now()
    _known(settings, arguments.services)
    until = _until(arguments.lasting, now)
    asked = [
        Stop(service=name, since=now, by=getpass.getuser(), reason=arguments.reason or NO_REASON, until=until)
        for name in arguments.services or [EVERYTHING]
    ]
    touch = f"; touch {settings.stop_file} instead" if settings.stop_file is not None else ""
    with closing(Ledger.open(settings.ledger_url, settings.fleet_name, then=f"NOTHING is stopped{touch}")) as ledger:
        on = {one.service: one for one in ledger.stops() if one.holds(now)}
        made = [_with_what_was_said(one, on.get(one.service)) for one in asked]
        for one in made:
            if one is not on.get(one.service):
                ledger.stop(one)
    for one in made:
        print(f"{one}{' (it was already)' if one is on.get(one.service) else ''}")
        print(f"  nothing of it is touched from now on; lifted by: {one.lift}")
    return 0


def _with_what_was_said(asked: Stop, before: Stop | None) -> Stop:
    """Who stops again what is stopped, and gives no reason, must not wipe out who did it first, and why."""
    if before is None or asked.reason != NO_REASON:
        return asked
    return before if asked.until == before.until else replace(asked, reason=before.reason)


def _readable(arguments: argparse.Namespace) -> Settings:
    """The settings; where the fleet file has mistakes, the way that needs none is told before they are."""
    try:
        return settings_of(arguments.fleet)
    except ConfigError:
        print(
            "NOTHING IS STOPPED YET: the fleet file cannot be read. To stop everything all the same, create the "
            f"stop file {arguments.fleet.resolve().parent / STOP_FILE}, unless safety.stop_file names another.",
            file=sys.stderr,
        )
        raise


def go(arguments: argparse.Namespace) -> int:
    """Lift it, and tell what still stands."""
    settings, now = settings_of(arguments.fleet), utc_now()
    _known(settings, arguments.services)
    with closing(Ledger.open(settings.ledger_url, settings.fleet_name, then="no stop is lifted; try again")) as ledger:
        on = [one for one in ledger.stops() if one.holds(now)]
        named = [one.service for one in on] if arguments.all else arguments.services or [EVERYTHING]
        for name in named:
            was_on = ledger.lift(name, now, getpass.getuser())
            print(_lifted(name) if was_on else f"{name or 'everything'} was not stopped")
        left = [one for one in ledger.stops() if one.holds(now)]
    for line in told((*left, *in_file(settings)), now):
        print(line)
    return 0


def _lifted(service: str) -> str:
    return f"{service or 'everything'} may be touched again, from the next decision on"


def in_file(settings: Settings) -> tuple[Stop, ...]:
    """What the stop file says, as seen from here."""
    return () if settings.stop_file is None else StopFile(path=settings.stop_file)()


def told(stops: Iterable[Stop], now: datetime) -> list[str]:
    """A loud line each: who, since when, why, and what lifts it."""
    once = {(one.source, one.service): one for one in stops if one.holds(now)}
    return [f"STOPPED: {one}. Nothing of it is touched; lifted by: {one.lift}" for one in once.values()]


def _until(lasting: str | None, now: datetime) -> datetime | None:
    if lasting is None:
        return None
    try:
        return now + timedelta(seconds=duration_s(lasting))
    except (ValueError, OverflowError) as error:
        raise ConfigError([Problem("--for", 0, 0, "", str(error))]) from error


def _known(settings: Settings, services: Sequence[str]) -> None:
    strange = [name for name in services if name not in settings.fleet.services]
    if strange:
        known = ", ".join(settings.fleet.services)
        raise PennyweightError(f"no service '{strange[0]}' in {settings.file}; there are {known}; nothing was changed")

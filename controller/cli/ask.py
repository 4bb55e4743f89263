"""Commands that ask or note something: status, explain, pause, resume."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta

from rich.console import Console

from controller.cli.files import settings_of
from controller.cli.stop import in_file, told
from controller.cli.tables import status_table
from controller.clock import LATE_AFTER_INTERVALS, utc_now
from controller.decide.explain import briefly, explain
from controller.errors import PennyweightError
from controller.facts.decisions import Because, Pause
from controller.ledger.queries import RecordedDecision
from controller.ledger.read import LedgerReader
from controller.ledger.rows import FleetNow, RecordedPass
from controller.ledger.write import Ledger
from controller.settings.load import Settings

MOST_DECISIONS = 2000
"""Of one pass, and of those recorded while we look."""


def status(arguments: argparse.Namespace) -> int:
    """The last pass, whether or not the daemon runs."""
    console = Console()
    settings = settings_of(arguments.fleet)
    with closing(LedgerReader(settings.ledger_url)) as reader:
        now = reader.fleet_now()
        for line in told((*reader.stops(), *in_file(settings)), utc_now()):  # holds before the first pass, too
            console.print(line, style="bold red", markup=False, highlight=False)
        if now is None:
            raise PennyweightError("the ledger has no pass yet: start the daemon with `pennyweight run`")
        rows = (*now.services, now.fleet) if now.fleet is not None else now.services
        titles = [_told_pass(one, utc_now()) for one in now.passes]
        console.print(status_table(titles[0], rows))
        for line in titles[1:]:
            console.print(line, highlight=False, markup=False)
        for line in _told_decisions(reader, now):
            console.print(line, highlight=False, markup=False)
        for line in _told_trouble(reader, now, settings):
            console.print(line, markup=False)
    return 0


def _told_pass(last: RecordedPass, now: datetime) -> str:
    ago = _ago((now - last.at).total_seconds())
    return f"last pass{_of(last.fleet)} {last.at:%Y-%m-%d %H:%M:%S} UTC, {ago} ago, mode {last.mode}"


def _of(fleet: str) -> str:
    return f" of the fleet {fleet}" if fleet else ""


def _told_decisions(reader: LedgerReader, now: FleetNow) -> Iterator[str]:
    """Of the last pass of each fleet."""
    found = reader.decisions(start=now.passes[-1].at, limit=MOST_DECISIONS)
    last = [one for one in found if one.decision.at == now.pass_of(one.decision.service).at]
    yield from briefly([one.decision for one in last])
    if any(one.decision.because is Because.BLIND for one in last):
        yield "Of what cannot be read, the table shows what was read last in this minute."


def _told_trouble(reader: LedgerReader, now: FleetNow, settings: Settings) -> Iterator[str]:
    """Late passes, by the interval of this fleet file, for the ledger keeps no other; problems, pauses, gaps."""
    for last in now.passes:
        if (utc_now() - last.at).total_seconds() > LATE_AFTER_INTERVALS * settings.interval_s:
            yield f"a pass is due every {settings.interval_s:g} s: is the daemon{_of(last.fleet)} running?"
        yield from (f"problem{_of(last.fleet)}: {problem}" for problem in last.problems)
    for pause in reader.pauses().values():
        yield f"{pause.service} is paused by {pause.by} since {pause.since:%Y-%m-%d %H:%M} UTC: {pause.reason}"
    for gap in reader.gaps(now.last_pass.at - timedelta(days=1), now.last_pass.at + timedelta(seconds=1)):
        yield f"gap{_of(gap.fleet)} {gap.start:%H:%M:%S} to {gap.end:%H:%M:%S} UTC: {gap.why}"


def explain_service(arguments: argparse.Namespace) -> int:
    """The last decision about a service."""
    with _reader(arguments) as reader:
        last = reader.last_decision(arguments.service)
        if last is None:
            raise PennyweightError(_undecided(arguments.service, reader.services()))
        newest = reader.decisions(arguments.service, start=last.decision.at, limit=MOST_DECISIONS)
        same_pass = _of_pass(newest, last.decision.at)
        leaders = {one.decision.id: _leader(reader, one) for one in same_pass}
    told = [one.decision for one in same_pass]
    outcomes = {one.outcome.decision_id: one.outcome for one in same_pass if one.outcome is not None}
    print(explain(told, outcomes, utc_now(), leaders))
    return 0


def _undecided(service: str, known: Sequence[str]) -> str:
    if service in known:
        return f"nothing was decided about '{service}' yet: it is measured, and a policy must name it"
    return f"there is no service '{service}' in the ledger; it knows {', '.join(known) or 'none yet'}"


def _leader(reader: LedgerReader, one: RecordedDecision) -> str:
    """Which daemon decided, and in which of its terms."""
    if one.epoch is None:
        return ""
    return f"{reader.leader(one.decision.service, one.epoch) or 'a daemon of before'}, epoch {one.epoch}"


def _of_pass(recorded: Sequence[RecordedDecision], at: datetime) -> list[RecordedDecision]:
    return [one for one in recorded if one.decision.at == at]


def pause(arguments: argparse.Namespace) -> int:
    """Note a pause; the daemon heeds it from its next pass on."""
    settings = settings_of(arguments.fleet)
    _known_service(settings, arguments.service)
    with closing(Ledger.open(settings.ledger_url, then=f"{arguments.service} is NOT paused; try again")) as ledger:
        ledger.pause(Pause(service=arguments.service, since=utc_now(), by=getpass.getuser(), reason=arguments.reason))
    print(f"{arguments.service} is paused: from the next pass on nothing is decided for it until `pennyweight resume`")
    return 0


def resume(arguments: argparse.Namespace) -> int:
    """End a pause."""
    settings = settings_of(arguments.fleet)
    _known_service(settings, arguments.service)
    with closing(Ledger.open(settings.ledger_url, then=f"{arguments.service} stays as it is; try again")) as ledger:
        was_paused = ledger.resume(arguments.service, utc_now(), getpass.getuser())
    said = "is resumed: it is decided again from the next pass on" if was_paused else "was not paused"
    print(f"{arguments.service} {said}")
    return 0


def _known_service(settings: Settings, service: str) -> None:
    if service not in settings.fleet.services:
        known = ", ".join(settings.fleet.services)
        raise PennyweightError(f"no service '{service}' in {settings.file}; there are {known}")


@contextmanager
def _reader(arguments: argparse.Namespace) -> Iterator[LedgerReader]:
    settings = settings_of(arguments.fleet)
    with closing(LedgerReader(settings.ledger_url)) as reader:
        yield reader


def _ago(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"

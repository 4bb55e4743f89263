"""The accounts held against the provider's bill: `pennyweight bill import`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

from controller.attribute.charges import Adjustment, AdjustmentLine, Bill, Cost, Reconciled, in_usd
from controller.attribute.estimated import borne, estimates
from controller.attribute.reconcile import adjustment_lines, reconciled
from controller.cli.accounts import accounts_of, check_accounted
from controller.cli.choices import Days
from controller.cli.files import settings_of
from controller.cli.screen import counted, say, width
from controller.clock import utc_now
from controller.errors import BillError, ConfigError, PriceError, Problem
from controller.facts.account_reader import OF_IDENTITY, OF_POOL, AccountReader, Window
from controller.facts.accounts import Identity, Pool
from controller.facts.missing import Missing
from controller.facts.money import nanousd
from controller.ledger.accounts.bills import Bills
from controller.prices.aws import clients
from controller.prices.bills.rows import rows
from controller.report.cells import days
from controller.report.text import aligned
from controller.report.words import signed, usd
from controller.settings.load import Settings
from controller.wiring import BILLS

MARKS = {"line_item_line_item_type": "cur", "ChargeCategory": "focus"}
"""A column that every row of the kind has; its name in wiring.BILLS."""

ASKED_IN = "us-east-1"
"""Where Cost Explorer answers, for all regions."""

TOLD = 20
"""Adjustments that are told one by one, the largest first."""


def bill(arguments: argparse.Namespace) -> int:
    """Post what a bill says beyond the accounts."""
    _check(arguments)
    settings = settings_of(arguments.fleet)
    read = _asked(arguments.cost_explorer, settings) if arguments.cost_explorer else _read(arguments.files)
    for one in read:
        say(_imported(_in_usd(one, settings), settings, arguments))
    return 0


def _check(arguments: argparse.Namespace) -> None:
    """Raises ConfigError for what was typed."""
    files: Sequence[Path] = arguments.files
    problems = [
        Problem(str(path), 0, 0, "", "is a folder: name its files" if path.is_dir() else "there is no such file")
        for path in files
        if not path.is_file()
    ]
    if not files and arguments.cost_explorer is None:
        problems.append(Problem("FILE", 0, 0, "", "name the files of a bill, or ask AWS with --cost-explorer MONTH"))
    if files and arguments.cost_explorer is not None:
        problems.append(Problem("--cost-explorer", 0, 0, "", "expected either this or files, found both"))
    if problems:
        raise ConfigError(problems)


def _read(paths: Sequence[Path]) -> tuple[Bill, ...]:
    kinds = {path: _kind(path) for path in paths}
    if len(set(kinds.values())) > 1:
        told = ", ".join(f"{path} is {kind}" for path, kind in kinds.items())
        raise BillError(f"the files are not of one bill: {told}; nothing was read")
    return BILLS[kinds[paths[0]]](paths)


def _kind(path: Path) -> str:
    first = next(rows(path, tuple(MARKS)), None)
    found = [kind for column, kind in MARKS.items() if first is not None and first.text(column)]
    if not found:
        raise BillError(
            f"{path}: neither a FOCUS file (it would have a column ChargeCategory) nor AWS's Cost and Usage Report "
            "(line_item_line_item_type), or it has no rows; nothing was read"
        )
    return found[0]


def _asked(month: Days, settings: Settings) -> tuple[Bill, ...]:
    regions = {region for provider, region in _places(settings) if provider == "aws"}
    if not regions:
        raise BillError("no capacity of the fleet file names an offer of AWS, so Cost Explorer knows nothing of it")
    try:
        client = clients("ce")(ASKED_IN)
    except PriceError as error:
        raise BillError(str(error)) from error
    until = min(month.until, utc_now().date())
    return BILLS["cost_explorer"](client, month.first, until, regions)


def _places(settings: Settings) -> Iterator[tuple[str, str]]:
    """Provider and region of every offer."""
    offers = {capacity.offer for variant in settings.fleet.variants() for capacity in variant.capacity}
    for offer in (*offers, *(offer for one in settings.account.commitments for offer in one.offers)):
        if offer:
            provider, _, rest = offer.partition("/")
            yield provider, rest.partition("/")[0]


def _in_usd(one: Bill, settings: Settings) -> Bill:
    converted = in_usd(one, settings.account.exchange)
    if isinstance(converted, Missing):
        raise BillError(f"the bill of {one.provider}: {converted.why}; nothing was posted")
    return converted


def _imported(one: Bill, settings: Settings, arguments: argparse.Namespace) -> Iterator[str]:
    """What it says, and what was posted."""
    count = (one.until - one.first).days
    told = f"{counted(count, 'day')}, {counted(len(one.lines), 'charge')}"
    yield f"{one.provider} bill of {one.period or 'no full day'} ({one.source}): {told}".lstrip()
    if count <= 0:
        yield "  No day of it is told in full yet: import it again later."
        return
    window = Window(start=_midnight(one.first), end=_midnight(one.until))
    with accounts_of(settings) as reader, closing(Bills(settings.ledger_url)) as bills:
        behind = check_accounted(settings, window)
        if open_hours := reader.open_hours(window):
            are = "is" if open_hours == 1 else "are"
            raise BillError(
                f"{counted(open_hours, 'hour')} from {one.first} to {one.until - timedelta(days=1)} {are} not settled "
                "yet, and a bill is held against what no longer changes: import it again when that is so; "
                "nothing was posted"
            )
        found = _reconciled(one, reader, bills, settings, whole_account=arguments.whole_account)
        yield from _told(found, one, behind)
        if not arguments.dry_run:
            bills.post(one, found.adjustments, _lines(found.adjustments, reader), utc_now())
    yield _end(found, arguments.dry_run)


def _reconciled(
    one: Bill, reader: AccountReader, bills: Bills, settings: Settings, *, whole_account: bool
) -> Reconciled:
    window = Window(start=_midnight(one.first), end=_midnight(one.until))
    references = {known.id: known.reference or known.id for known in settings.account.commitments}
    offers = {use.id: use.offer for use in reader.commitments(window)}
    ours = [
        estimate
        for day in days(window)
        for estimate in estimates(
            day, reader.seats(_day(day)), reader.purchases(day), references=references, offers=offers
        )
    ]
    return reconciled(one, ours, bills.posted(one.provider), utc_now(), whole_account=whole_account)


def _lines(adjustments: Sequence[Adjustment], reader: AccountReader) -> list[AdjustmentLine]:
    """Who bears them. Of a day that is asked for again, the sums are remembered."""
    known: dict[date, dict[tuple[date, Pool, Identity], int]] = {}
    made: list[AdjustmentLine] = []
    for one in adjustments:
        window = Window(start=_midnight(one.day), end=_midnight(one.until))
        for day in days(window):
            if day not in known:
                known[day] = borne(day, reader.lines(_day(day), (*OF_IDENTITY, *OF_POOL), {}))
        weights = {where: cost for day in days(window) for where, cost in known[day].items()}
        made += adjustment_lines(one, weights)
    return made


def _told(found: Reconciled, one: Bill, behind: str) -> Iterator[str]:
    rows = [
        (
            cost,
            usd(found.estimated[cost]),
            usd(found.matched[cost]),
            _signed(found.matched[cost] - found.estimated[cost] - _posted(found.adjustments, cost)),
            _signed(_posted(found.adjustments, cost)),
        )
        for cost in Cost
        if found.estimated[cost] or found.matched[cost]
    ]
    yield ""
    yield from aligned([("cost", "accounted", "on the bill", "adjusted before", "adjusted now"), *rows], 1, width())
    yield ""
    largest = sorted(found.adjustments, key=lambda adjustment: -abs(adjustment.amount_nanousd))
    for adjustment in largest[:TOLD]:
        yield f"{adjustment.day} {adjustment.cost}: {_signed(adjustment.amount_nanousd)}, {adjustment.why}"
    if len(largest) > TOLD:
        yield f"and {len(largest) - TOLD:,} smaller ones"
    yield from _left(found, one)
    if behind:
        yield behind


def _posted(adjustments: Sequence[Adjustment], cost: Cost) -> int:
    return sum(one.amount_nanousd for one in adjustments if one.cost is cost)


def _left(found: Reconciled, one: Bill) -> Iterator[str]:
    """What of the bill is not in the table."""
    if found.outside:
        yield f"{usd(nanousd(found.outside))} of the bill is not for this fleet (--whole-account: it is)."
    if found.waiting:
        yield f"{usd(nanousd(found.waiting))} is of days from {one.until} on, which the bill does not tell in full yet."
    if found.left_alone:
        names = ", ".join(key.replace("|", " ").strip() for key in found.left_alone[:TOLD])
        yield f"The bill says nothing of {len(found.left_alone):,} things of ours, which stay as they are: {names}"


def _end(found: Reconciled, dry: bool) -> str:
    count = len(found.adjustments)
    what = counted(count, "adjustment")
    if not count:
        return "Nothing to post: the accounts and what was posted before say what the bill says."
    return f"{what} would be posted (--dry-run)." if dry else f"{what} posted; `pennyweight report` shows them."


def _signed(amount_nanousd: int) -> str:
    return signed(amount_nanousd, 0)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _day(day: date) -> Window:
    return Window(start=_midnight(day), end=_midnight(day) + timedelta(days=1))

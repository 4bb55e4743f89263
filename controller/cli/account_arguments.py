"""The arguments of the commands of accounting."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from pathlib import Path

from controller.cli.arguments import Command, Commands, Later, add_command, add_fleet
from controller.cli.choices import days, dimensions, month, only
from controller.facts.account_reader import Dimension

REPORT_USAGE = "pennyweight report [day|week|month] [DATE] [--by DIMENSIONS] [options]"
BY = (Dimension.SERVICE,)


def add_to(commands: Commands) -> None:
    """All of them. Their screens tell what the log would."""
    before = set(commands.choices)
    _add_report(commands)
    _add_export(commands)
    _add_ledger(commands)
    _add_usage(commands)
    _add_bill(commands)
    for name in set(commands.choices) - before:
        commands.choices[name].set_defaults(log_level=logging.WARNING)


def _add_report(commands: Commands) -> None:
    report = add_command(
        commands,
        "report",
        Later("report", "report"),
        "what was spent, by whom, and why it changed",
        "Of a day, a week (from Monday) or a month, in UTC; docs/reports.md explains every number. A period that is "
        "still running is held against as much of the one before.",
        "pennyweight report month last --by team",
    )
    report.usage = REPORT_USAGE
    report.add_argument(
        "when",
        nargs="*",
        metavar="PERIOD",
        help="day, week or month, and a day in it: 2026-11-20, 2026-11, today, yesterday, or last for the newest one "
        "that is over (default day today)",
    )
    report.add_argument(
        "--by", type=dimensions, default=BY, metavar="DIMENSIONS", help=f"{', '.join(Dimension)} (default service)"
    )
    report.add_argument(
        "--where", type=only, action="append", default=[], metavar="DIMENSION=VALUE", help="only this; several hold all"
    )
    report.add_argument(
        "--basis",
        choices=("allocation", "usage"),
        default="allocation",
        help="allocation: with idle and overhead, ties to the invoice; usage: work alone (default %(default)s)",
    )
    report.add_argument(
        "--format", choices=("text", "csv", "parquet", "html"), help="default: as the file is called, else text"
    )
    report.add_argument("--output", type=Path, metavar="FILE", help="write it there")
    add_fleet(report)


def _add_export(commands: Commands) -> None:
    kinds = _family(
        commands,
        "export",
        Later("export", "focus"),
        "the accounts as files for finance tools",
        "In FOCUS 1.2 columns; docs/focus.md explains them.",
    )
    focus = add_command(
        kinds,
        "focus",
        Later("export", "focus"),
        "FOCUS 1.2, as CSV or Parquet",
        "A day is read and written before the next one; a file that fails half-way is not left behind.",
        "pennyweight export focus --from 2026-10 --check",
    )
    focus.add_argument(
        "--dataset",
        choices=("focus-fleet", "focus-allocated"),
        default="focus-fleet",
        help="fleet: what capacity cost; allocated: whose it was; never add one to the other (default %(default)s)",
    )
    focus.add_argument(
        "--from", dest="from_", type=days, required=True, metavar="DATE", help="a day or a month, UTC; required"
    )
    focus.add_argument(
        "--to", type=days, metavar="DATE", help="the last day or month, itself included (default: that of --from)"
    )
    focus.add_argument("--format", choices=("csv", "parquet"), help="default: as the file is called, else csv")
    focus.add_argument("--output", type=Path, metavar="FILE", help="default: named after the dataset and the days")
    focus.add_argument(
        "--check", action="store_true", help="check every row, and both datasets against each other, before it counts"
    )
    add_fleet(focus)


def _add_ledger(commands: Commands) -> None:
    kinds = _family(
        commands,
        "ledger",
        Later("ledger", "size"),
        "prove, close, rebuild, reprice and weigh the accounts",
        "Works whether or not the daemon runs.",
    )
    verify = add_command(
        kinds,
        "verify",
        Later("ledger", "verify"),
        "prove that everything adds up, to the nanodollar",
        "Changes nothing. Exit code 1 when two sums that must be one differ; it names hour, pool and part, and both.",
        "pennyweight ledger verify --from 2026-10 --deep",
    )
    verify.add_argument("--from", dest="from_", type=days, metavar="DATE", help="a day or a month, UTC (default: all)")
    verify.add_argument("--to", type=days, metavar="DATE", help="the last day or month, itself included")
    verify.add_argument(
        "--deep", action="store_true", help="also work every settled hour out again while its minutes are kept"
    )
    close = add_command(
        kinds,
        "close",
        Later("ledger", "close"),
        "close a month: what comes later is a correction of it",
        "Nothing in a closed month is rewritten. Late records and bills are posted after it, as rows of their own.",
        "pennyweight ledger close 2026-10",
    )
    close.add_argument("month", type=month, metavar="MONTH", help="such as 2026-10, UTC")
    close.add_argument("--empty", action="store_true", help="also a month in which no hour was accounted")
    for one in (verify, close, *_repairs(kinds)):
        add_fleet(one)


def _repairs(kinds: Commands) -> Iterator[argparse.ArgumentParser]:
    yield add_command(
        kinds,
        "rebuild",
        Later("ledger", "rebuild"),
        "make the sums of days and weeks anew from the hours",
        "Reports read them; the hours themselves are not touched. For when `ledger verify` finds a day that is not "
        "its hours.",
        "pennyweight ledger rebuild",
    )
    reprice = add_command(
        kinds,
        "reprice",
        Later("ledger", "reprice"),
        "account for time that had no price when it was measured",
        "After the fleet file or a price source knows it: minutes without a price get the one of their time, and "
        "settled hours are worked out again. What changes is added to them; closed months keep their costs.",
        "pennyweight ledger reprice --from 2026-11-03",
    )
    reprice.add_argument(
        "--from", dest="from_", type=days, metavar="DATE", required=True, help="a day or a month, UTC; up to now"
    )
    yield reprice
    yield add_command(
        kinds,
        "size",
        Later("ledger", "size"),
        "how large the ledger is, and what is in it",
        "By table, and a replica and day.",
        "pennyweight ledger size",
    )


def _add_usage(commands: Commands) -> None:
    kinds = _family(
        commands,
        "usage",
        Later("usage", "sources"),
        "usage records: who asked for how many tokens",
        "They split the measured cost over teams; docs/usage.md explains them.",
    )
    take = add_command(
        kinds,
        "import",
        Later("usage", "take"),
        "take usage records from files",
        "JSON lines as POST /api/v1/usage takes them, access logs, OpenTelemetry spans, LiteLLM's spend logs (CSV or "
        "JSON lines), gzipped or not. What was counted before is known by its id and not counted again.",
        "pennyweight usage import gateway.jsonl --trusted",
    )
    take.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files, or folders of them")
    take.add_argument(
        "--source", metavar="NAME", help="whose records they are: an id is unique within it (default: the kind's name)"
    )
    take.add_argument(
        "--kind", choices=("records", "access_log", "otel", "litellm"), help="default: seen from the first line"
    )
    take.add_argument(
        "--trusted",
        action=argparse.BooleanOptionalAction,
        help="whether a gateway of yours, and no client, set the teams and features in them",
    )
    take.add_argument("--dry-run", action="store_true", help="read and check everything, count nothing")
    sources = add_command(
        kinds,
        "sources",
        Later("usage", "sources"),
        "where usage records come from, and how far behind",
        "What came of each source, and what was refused of it and why.",
        "pennyweight usage sources",
    )
    for one in (take, sources):
        add_fleet(one)


def _add_bill(commands: Commands) -> None:
    kinds = _family(
        commands,
        "bill",
        Later("bill", "bill"),
        "hold the accounts against the provider's bill",
        "The difference becomes dated adjustments; nothing that was accounted is overwritten.",
    )
    take = add_command(
        kinds,
        "import",
        Later("bill", "bill"),
        "post the difference between a bill and the accounts",
        "Reads a FOCUS file, AWS's Cost and Usage Report (CSV, gzipped or not, or Parquet; all files of one report), "
        "or asks AWS Cost Explorer. The same bill twice changes nothing; a newer one posts only what is new.",
        "pennyweight bill import october.csv.gz --dry-run",
    )
    take.add_argument("files", nargs="*", type=Path, metavar="FILE", help="of one bill")
    take.add_argument(
        "--cost-explorer", type=month, metavar="MONTH", help="ask AWS for this month, such as 2026-10, instead"
    )
    take.add_argument("--dry-run", action="store_true", help="show what would be posted, post nothing")
    take.add_argument(
        "--whole-account",
        action="store_true",
        help="the account holds nothing but this fleet: what the bill does not name is ours too",
    )
    add_fleet(take)


def _family(commands: Commands, name: str, command: Command, summary: str, more: str) -> Commands:
    """A command of commands."""
    parser = add_command(commands, name, command, summary, more)
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

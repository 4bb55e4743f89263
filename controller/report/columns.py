"""The columns of a report's table, one list for all formats. Money leaves as exact decimals, never as floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from controller.attribute.unit_costs import OF_WORK, TokenKind
from controller.facts.accounts import IDLE, OVERHEAD
from controller.facts.missing import Missing
from controller.report.query import Report, Row


class Form(StrEnum):
    """What a column holds.

    money   nanodollars; files carry it as USD and once more as whole nanodollars
    count   tokens, requests
    rate    USD for one or a million of something; unknown where nothing was counted
    ratio   0..1
    """

    MONEY = "money"
    COUNT = "count"
    RATE = "rate"
    RATIO = "ratio"


Value = int | Decimal | None


@dataclass(frozen=True, slots=True)
class Column:
    """``name`` in files, ``heading`` on screens; ``about`` for a reader who asks what it is."""

    name: str
    heading: str
    form: Form
    about: str
    of: Callable[[Row, Report], Value]


def _kinds(*kinds: TokenKind) -> Callable[[Row, Report], Value]:
    return lambda row, _: row.of(*kinds)


def _unit(name: str) -> Callable[[Row, Report], Value]:
    def of(row: Row, _: Report) -> Value:
        value: Decimal | Missing = getattr(row.unit, name)
        return None if isinstance(value, Missing) else value

    return of


def _driver(name: str) -> Callable[[Row, Report], Value]:
    def of(row: Row, _: Report) -> Value:
        value: int = getattr(row.bridge, name)
        return value

    return of


def _requests(row: Row, _: Report) -> Value:
    """Unknown where requests are not told apart: a request is of no kind of token, and of no one replica."""
    tokens = row.tokens
    return None if tokens.requests == 0 and tokens.uncached + tokens.cached + tokens.output else tokens.requests


def _share(row: Row, report: Report) -> Value:
    whole = report.total.cost_nanousd
    return (Decimal(row.cost_nanousd) / Decimal(whole)).quantize(Decimal("1e-6")) if whole else None


COLUMNS: tuple[Column, ...] = (
    Column("cost_usd", "cost", Form.MONEY, "on the report's basis", lambda row, _: row.cost_nanousd),
    Column(
        "work_usd", "work", Form.MONEY, "input, cached input, output, and work nobody could measure", _kinds(*OF_WORK)
    ),
    Column("input_usd", "input", Form.MONEY, "prompt tokens that were computed", _kinds(TokenKind.INPUT)),
    Column(
        "cached_input_usd",
        "cached input",
        Form.MONEY,
        "prompt tokens found in the prefix cache",
        _kinds(TokenKind.CACHED_INPUT),
    ),
    Column("output_usd", "output", Form.MONEY, "output tokens", _kinds(TokenKind.OUTPUT)),
    Column("idle_usd", "idle", Form.MONEY, ", ".join(IDLE), _kinds(TokenKind.IDLE)),
    Column("overhead_usd", "overhead", Form.MONEY, ", ".join(OVERHEAD), _kinds(TokenKind.OVERHEAD)),
    Column("share", "share", Form.RATIO, "of the cost of all rows", _share),
    Column("requests", "requests", Form.COUNT, "as told by usage records", _requests),
    Column("input_tokens", "input tokens", Form.COUNT, "computed", lambda row, _: row.tokens.uncached),
    Column("cached_input_tokens", "cached tokens", Form.COUNT, "not computed again", lambda row, _: row.tokens.cached),
    Column("output_tokens", "output tokens", Form.COUNT, "made", lambda row, _: row.tokens.output),
    Column("usd_per_million_input", "$/M in", Form.RATE, "input cost / input tokens", _unit("input")),
    Column("usd_per_million_cached_input", "$/M cached", Form.RATE, "the same of cached input", _unit("cached_input")),
    Column("usd_per_million_output", "$/M out", Form.RATE, "the same of output", _unit("output")),
    Column("usd_per_request", "$/request", Form.RATE, "cost / requests", _unit("request")),
    Column("last_period_usd", "last period", Form.MONEY, "cost then, same basis", lambda row, _: row.last_nanousd),
    Column("change_usd", "change", Form.MONEY, "this period less the last", lambda row, _: row.bridge.change),
    Column("price_usd", "price", Form.MONEY, "of the change: dearer GPU-hours", _driver("price")),
    Column("volume_usd", "volume", Form.MONEY, "of the change: more work", _driver("volume")),
    Column("mix_usd", "mix", Form.MONEY, "of the change: the work ran elsewhere", _driver("mix")),
    Column("efficiency_usd", "efficiency", Form.MONEY, "of the change: more GPU-hours for it", _driver("efficiency")),
)
BY_NAME = {column.name: column for column in COLUMNS}


def names(report: Report) -> list[str]:
    """Of a file's columns: the dimensions, these columns, and each money column once more in nanodollars."""
    return [*map(str, report.asked.by), *BY_NAME, *(nanousd_name(one) for one in COLUMNS if one.form is Form.MONEY)]


def nanousd_name(column: Column) -> str:
    return column.name.removesuffix("_usd") + "_nanousd"


def record(row: Row, report: Report) -> dict[str, str | Value]:
    """A row as files hold it: USD with nine decimals, and whole nanodollars."""
    values = {column.name: column.of(row, report) for column in COLUMNS}
    found: dict[str, str | Value] = dict(zip(map(str, report.asked.by), row.key, strict=True))
    for column in COLUMNS:
        value = values[column.name]
        found[column.name] = Decimal(value).scaleb(-9) if column.form is Form.MONEY and value is not None else value
    for column in COLUMNS:
        if column.form is Form.MONEY:
            found[nanousd_name(column)] = values[column.name]
    return found

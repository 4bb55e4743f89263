"""How a report speaks: the sentences and the small tables that text and HTML share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from controller.attribute.bridge import DRIVERS, Bridge
from controller.attribute.unit_costs import Basis
from controller.facts.account_reader import OF_IDENTITY, CommitmentUse, Dimension
from controller.facts.accounts import Tokens
from controller.facts.missing import Missing
from controller.facts.money import NANOUSD_PER_USD
from controller.report.columns import BY_NAME, Column, Form
from controller.report.query import Report, Row, parts_of

CENT = Decimal("0.01")

UNKNOWN = "?"
NONE = "-"
NOBODY = "(not told)"
NOWHERE = "(none)"
SHOWN = (
    "cost_usd",
    "share",
    "work_usd",
    "idle_usd",
    "overhead_usd",
    "requests",
    "usd_per_million_input",
    "usd_per_million_cached_input",
    "usd_per_million_output",
    "change_usd",
)
"""What fits on a screen; files have every column."""

CHANGES = ("change_usd", "price_usd", "volume_usd", "mix_usd", "efficiency_usd")
_NO_IDLE_HERE = "On the usage basis idle and overhead are left out: it does not tie to the invoice."


@dataclass(frozen=True, slots=True)
class Section:
    """A small table. The first ``texts`` columns are words, the rest numbers."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: int = 1
    note: str = ""


def usd(nanousd: int) -> str:
    """To the cent; what is smaller, to two digits that mean something."""
    amount = Decimal(nanousd).scaleb(-9)
    sign, size = "-" if nanousd < 0 else "", abs(amount)
    return f"{sign}${size:,.2f}" if size >= CENT or not size else f"{sign}${_plain(size)}"


def signed(nanousd: int, of_nanousd: int) -> str:
    """A change of an amount ``of_nanousd``: to the cent, unless that is less than a dollar itself."""
    if abs(nanousd) < CENT * NANOUSD_PER_USD and abs(of_nanousd) >= NANOUSD_PER_USD:
        return "$0.00"
    return ("+" if nanousd > 0 else "") + usd(nanousd)


def rate(value: Decimal) -> str:
    if value >= 1 or value == 0:
        return f"{value:,.2f}"
    return _plain(value)


def _plain(value: Decimal) -> str:
    """Two digits that mean something, without an exponent."""
    return f"{value.quantize(Decimal(1).scaleb(value.adjusted() - 1)):f}"


def percent(value: Decimal | Missing | None) -> str:
    return UNKNOWN if value is None or isinstance(value, Missing) else f"{value * 100:.1f} %"


def shown(row: Row, column: Column, report: Report) -> str:
    """A cell of the table."""
    value, whole = column.of(row, report), max(row.cost_nanousd, row.last_nanousd)
    if value is None:
        return NONE if column.form is Form.RATE and row.tokens == Tokens() else UNKNOWN
    if column.form is Form.MONEY:
        return signed(int(value), whole) if column.name in CHANGES else usd(int(value))
    if column.form is Form.COUNT:
        return f"{value:,}"
    return percent(Decimal(value)) if column.form is Form.RATIO else rate(Decimal(value))


def title(report: Report) -> str:
    by = "by " + ", ".join(map(_dimension, report.asked.by)) if report.asked.by else "of the fleet"
    where = "".join(f", {_dimension(dim)} {value or _nothing(dim, False)}" for dim, value in report.asked.where.items())
    return f"Cost {by}{where}"


def period(report: Report) -> str:
    start, end = report.window.start, report.window.end
    return f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} UTC, {report.basis} basis"


def headline(report: Report) -> str:
    """What was spent, and why it is not what it was."""
    total = report.total
    change = total.bridge.change
    if not total.last_nanousd:
        return f"{usd(total.cost_nanousd)}. Nothing is known to have been spent from {_last(report)}."
    if not change:
        return f"{usd(total.cost_nanousd)}, the same as from {_last(report)}."
    moved = "more" if change > 0 else "less"
    ratio = percent(abs(Decimal(change) / total.last_nanousd))
    return (
        f"{usd(total.cost_nanousd)}: {usd(abs(change))} ({ratio}) {moved} than from {_last(report)} "
        f"({usd(total.last_nanousd)}). {drivers(total.bridge, total.cost_nanousd)}."
    )


def drivers(bridge: Bridge, whole_nanousd: int) -> str:
    """The four, greatest first."""
    ordered = sorted(DRIVERS, key=lambda name: -abs(getattr(bridge, name)))
    told = ", ".join(f"{name} {signed(getattr(bridge, name), whole_nanousd)}" for name in ordered)
    return told[:1].upper() + told[1:]


def _last(report: Report) -> str:
    return f"{report.last.start:%Y-%m-%d} to {report.last.end:%Y-%m-%d %H:%M}"


def notes(report: Report) -> Iterator[str]:
    """What a reader must know before using the numbers."""
    if report.until is not None:
        yield f"It goes on until {report.until:%Y-%m-%d %H:%M} UTC, and is held against as much of the one before."
    if report.open_hours:
        yield f"{report.open_hours} of the hours are not settled yet: late records may still move cost between teams."
    for name, hours in report.unpriced.items():
        yield f"{name} ran {hours} h without a known price: that cost is unknown and in no number here."
    if isinstance(report.unattributed, Missing):
        yield f"Unattributed: unknown, because {report.unattributed.why}."
    else:
        yield f"Unattributed: {percent(report.unattributed)} of the work's cost is explained by no usage record."
    if isinstance(report.utilization, Decimal) and report.basis is Basis.ALLOCATION:
        yield f"Utilization: {percent(report.utilization)} of the cost bought work."
    if report.basis is Basis.USAGE:
        yield _NO_IDLE_HERE


def sections(report: Report) -> Iterator[Section]:
    """What comes below the table."""
    if any(amount for _, amount in parts_of(report)):
        yield _parts(report)
    if report.commitments:
        yield _commitments(report)
    if report.adjustments:
        yield _adjustments(report)
    if report.budgets:
        yield _budgets(report)
    if report.savings:
        yield _savings(report)


def key_cells(by: Sequence[Dimension], key: Sequence[str]) -> tuple[str, ...]:
    """What stands in the first columns of a row. The ledger's own lines have no features and no customers."""
    is_own = any(value.startswith("__") for value in key)
    return tuple(value or _nothing(dim, is_own) for dim, value in zip(by, key, strict=True))


def _nothing(dim: Dimension, is_own: bool) -> str:
    if dim not in OF_IDENTITY:
        return NOWHERE
    return NONE if is_own else NOBODY


def columns_shown() -> list[Column]:
    return [BY_NAME[name] for name in SHOWN]


def _dimension(dim: Dimension) -> str:
    return str(dim).replace("_", " ")


def _parts(report: Report) -> Section:
    whole = sum(amount for _, amount in parts_of(report))
    rows = tuple(
        (str(part).replace("_", " "), usd(amount), percent(Decimal(amount) / whole))
        for part, amount in parts_of(report)
        if amount
    )
    return Section("What the capacity went into", ("part", "cost", "share"), rows)


def _commitments(report: Report) -> Section:
    rows = tuple(
        (
            one.id,
            usd(one.amortised_nanousd),
            usd(one.unused_nanousd),
            _ratio(one.used_nanousd, one.amortised_nanousd),
            _coverage(one),
            _saved(one),
            f"{one.end:%Y-%m-%d}",
        )
        for one in report.commitments
    )
    headings = ("commitment", "cost", "unused", "utilization", "coverage", "saved", "ends")
    return Section(
        "Commitments",
        headings,
        rows,
        note="Coverage: of the usage that it could have covered, at on-demand prices. "
        "Saved: against the same usage on demand, the unused part paid for.",
    )


def _coverage(one: CommitmentUse) -> str:
    covered, eligible = one.covered_on_demand_nanousd, one.eligible_on_demand_nanousd
    return UNKNOWN if covered is None or eligible is None else _ratio(covered, eligible)


def _saved(one: CommitmentUse) -> str:
    if one.covered_on_demand_nanousd is None:
        return UNKNOWN
    return signed(one.covered_on_demand_nanousd - one.amortised_nanousd, one.amortised_nanousd)


def _ratio(part: int, whole: int) -> str:
    return percent(Decimal(part) / whole) if whole > 0 else UNKNOWN


def _adjustments(report: Report) -> Section:
    """What bills say beyond our estimates. They are in no row above."""
    rows = tuple((why, cost, signed(amount, 0)) for (why, cost), amount in sorted(report.adjustments.items()))
    return Section(
        "Adjustments to bills",
        ("why", "cost", "amount"),
        rows,
        texts=2,
        note="In no number above: those are estimates.",
    )


def _budgets(report: Report) -> Section:
    rows = tuple(
        (
            one.name,
            one.scope,
            usd(one.spent_nanousd),
            usd(one.limit_nanousd),
            _ratio(one.spent_nanousd, one.limit_nanousd),
            UNKNOWN if one.p50_nanousd is None else usd(one.p50_nanousd),
            UNKNOWN if one.p90_nanousd is None else usd(one.p90_nanousd),
            f"{one.end:%Y-%m-%d}",
            one.state,
        )
        for one in report.budgets
    )
    headings = ("budget", "of", "spent", "limit", "used", "P50 at its end", "P90", "ends", "state")
    return Section("Budgets", headings, rows, texts=2)


def _savings(report: Report) -> Section:
    rows = tuple(
        (
            f"{one.service}/{one.variant}",
            one.measure,
            one.baseline,
            one.basis,
            signed(one.nanousd, 0),
            f"± {one.band_ratio:.0%}",
        )
        for one in report.savings
    )
    headings = ("variant", "by", "against", "rates", "saved", "uncertain")
    return Section("Savings", headings, rows, texts=4, note="Estimates: each against the baseline that it names.")

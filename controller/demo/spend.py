"""Who spent what, in the demo's closing words: read from the ledger, as a report would."""

from __future__ import annotations

from collections.abc import Sequence

from controller.facts.account_reader import AccountReader, Dimension, Window, part_sum
from controller.facts.accounts import IDLE, OVERHEAD, UNATTRIBUTED, WORK
from controller.facts.money import NANOUSD_PER_USD, usd
from controller.ledger.accounts.verify import Proof

HEAD = ("team", "work", "idle", "overhead", "cost", "of it", "$ per million tokens")

NOBODY = "(no record)"
"""Work of requests that nobody recorded."""


def spend_lines(reader: AccountReader, window: Window, proof: Proof) -> list[str]:
    """A table by team of ``window``, what is nobody's, and whether it all adds up. LedgerError as the reader's."""
    found = sorted(
        reader.lines(window, (Dimension.TEAM,), {}), key=lambda row: (_nobodys(row.identity.team), -sum(row.parts))
    )
    rows = [row for row in found if any(row.parts)]
    whole = sum(sum(row.parts) for row in rows)
    if not whole:
        return ["Nobody spent anything yet: no hour has been accounted."]
    table = [HEAD]
    work = nobodys = 0
    for row in rows:
        mine, tokens = part_sum(row.parts, WORK), row.tokens
        work += mine
        nobodys += mine if row.identity == UNATTRIBUTED else 0
        count = tokens.uncached + tokens.cached + tokens.output
        table.append(
            (
                NOBODY if row.identity == UNATTRIBUTED else row.identity.team,
                _usd(mine),
                _usd(part_sum(row.parts, IDLE)),
                _usd(part_sum(row.parts, OVERHEAD)),
                _usd(sum(row.parts)),
                f"{sum(row.parts) / whole:.1%}",
                f"{usd(sum(row.parts)) / count * 1e6:.2f}" if count else "",
            )
        )
    hours = (window.end - window.start).total_seconds() / 3600
    return [
        f"Spend by team, {hours:.0f} h:",
        *_aligned(table),
        f"{nobodys / work:.2%} of the work is nobody's: requests that went past the gateway have no record.",
        _balance(proof),
    ]


def _nobodys(team: str) -> bool:
    return team.startswith("__")


def _balance(proof: Proof) -> str:
    if not proof.balances:
        return f"It does NOT add up: {proof.differences[0]}. `pennyweight ledger verify` lists all differences."
    whole, rest = divmod(proof.cost_nanousd, NANOUSD_PER_USD)
    return (
        f"It adds up to ${whole:,}.{rest:09d}, to the nanodollar what the replicas cost "
        f"({proof.sums:,} sums of {proof.hours} hours compared)."
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  "
        + "  ".join(
            text.ljust(width) if place == 0 else text.rjust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _usd(nanousd: int) -> str:
    return f"${usd(nanousd):,.2f}"

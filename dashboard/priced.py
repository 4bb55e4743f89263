"""What a token truly costs and what was saved, as the page of spending tells it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from controller.attribute.savings import Saving
from controller.attribute.unit_costs import Basis, by_kind, unit_costs
from controller.facts.account_reader import NO_PARTS, SeatRow, added_parts, added_tokens
from controller.facts.accounts import Tokens
from controller.facts.missing import Missing
from dashboard.formats import UNKNOWN, counted
from dashboard.look import Cell
from dashboard.money import every_token, millions, money, signed, unit_money

UNIT_HEADS = (
    ("Service / variant", ""),
    ("Input, per 1M", "pw-num"),
    ("Cached input, per 1M", "pw-num"),
    ("Output, per 1M", "pw-num"),
    ("Per request", "pw-num"),
    ("Million tokens", "pw-num"),
    ("Cost", "pw-num"),
)
SAVING_HEADS = (
    ("Saved", "pw-num"),
    ("By", ""),
    ("Service / variant", ""),
    ("Against", "pw-wide"),
    ("Known from", ""),
)
RATES = {
    "learned": "rates learned from this fleet",
    "profile": "rates measured by pennyweight profile",
    "prior": "modelled from data sheets, not measured",
}
MEASURES = {"prefix cache": "Prefix cache", "quantization": "Quantization", "speculation": "Speculative decoding"}


def unit_rows(seats: Iterable[SeatRow]) -> list[list[Cell]]:
    """By service and variant: the engines' own tokens, so that it does not matter who wrote usage records."""
    sums: dict[tuple[str, str], tuple[tuple[int, ...], Tokens]] = {}
    unpriced: set[tuple[str, str]] = set()
    for seat in seats:
        key = (seat.service, seat.variant)
        parts, tokens = sums.get(key, (NO_PARTS, Tokens()))
        sums[key] = (added_parts(parts, seat.parts), added_tokens(tokens, seat.tokens))
        if seat.unpriced_us:
            unpriced.add(key)
    dearest = sorted(sums, key=lambda key: (-sum(sums[key][0]), key))
    return [_unit_row(key, *sums[key], unpriced=key in unpriced) for key in dearest if key[0]]


def _unit_row(key: tuple[str, str], parts: tuple[int, ...], tokens: Tokens, *, unpriced: bool) -> list[Cell]:
    amounts, cost = by_kind(parts), sum(parts)
    whole, work = (unit_costs(amounts, tokens, basis) for basis in (Basis.ALLOCATION, Basis.USAGE))
    if unpriced and not cost:
        why = "no price is known for its replicas"
        cells = [Cell(text=UNKNOWN, why=why, kind="pw-num") for _ in range(4)]
        costs = Cell(text=UNKNOWN, why=why, kind="pw-num")
    else:
        cells = [_unit(getattr(whole, name), getattr(work, name)) for name in _UNITS]
        costs = Cell(text=money(cost), sub="in part without a price" if unpriced else "", kind="pw-num")
    return [
        Cell(text="/".join(one for one in key if one), kind="pw-tight"),
        *cells,
        Cell(text=millions(every_token(tokens)), sub=counted(tokens.requests, "request"), kind="pw-num"),
        costs,
    ]


_UNITS = ("input", "cached_input", "output", "request")


def _unit(whole: Decimal | Missing, work: Decimal | Missing) -> Cell:
    if isinstance(whole, Missing):
        return Cell(text=UNKNOWN, why=whole.why, sub=whole.why, kind="pw-num")
    alone = "" if isinstance(work, Missing) else f"work alone {unit_money(float(work))}"
    return Cell(text=unit_money(float(whole)), sub=alone, kind="pw-num")


def saving_row(one: Saving) -> list[Cell]:
    sure = f"give or take {one.band_ratio:.0%}".replace("%", " %")
    return [
        Cell(text=signed(one.nanousd), sub=sure, kind="pw-num"),
        Cell(text=MEASURES.get(one.measure, one.measure), kind="pw-tight"),
        Cell(text=f"{one.service}/{one.variant}", kind="pw-tight"),
        Cell(text=one.baseline, kind="pw-wide"),
        Cell(text=RATES.get(one.basis, one.basis)),
    ]

"""Colours and the few pieces of HTML that Streamlit has no calm widget for. Every text is escaped here."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

INK = "#1d2733"
MUTED = "#6b7785"
LINE = "#e3e8ee"
MONEY = "#1f7a5c"
BLUE = "#2f5d8c"
SKY = "#8fb4d9"
PALE, PALER = "#c7daec", "#dae2ea"
"""For areas, as they are: a see-through one does not look like its mark in the legend."""
AMBER = "#b7791f"
RED = "#b4443c"
GAP = "#9aa5b1"
SVG = "http://www.w3.org/2000/svg"

CSS = f"""<style>
.block-container {{ padding: 4.6rem 2.2rem 3rem; max-width: 1500px; }}
h1 {{ font-size: 1.55rem !important; font-weight: 650 !important; padding: 0 0 .1rem !important; }}
h2, h3 {{ font-size: 1.02rem !important; font-weight: 600 !important; padding: .6rem 0 .2rem !important; }}
[data-stale="true"] {{ opacity: 1 !important; transition: none !important; }}
.pw-when {{ color: {MUTED}; font-size: .85rem; }}
.pw-table + .pw-when {{ margin-top: .6rem; }}
.pw-cards {{ display: grid; grid-template-columns: repeat(6, 1fr); gap: .8rem; }}
@media (max-width: 1150px) {{ .pw-cards {{ grid-template-columns: repeat(3, 1fr); }} }}
@media (max-width: 640px) {{ .pw-cards {{ grid-template-columns: repeat(2, 1fr); }} }}
.pw-card {{ border: 1px solid {LINE}; border-radius: 10px; padding: .8rem .9rem .7rem; background: #fff; }}
.pw-label {{ color: {MUTED}; font-size: .78rem; }}
.pw-value {{ color: {INK}; font-size: 1.5rem; font-weight: 620; line-height: 1.35; font-variant-numeric: tabular-nums;
  white-space: nowrap; }}
.pw-card.pw-first .pw-value {{ color: {MONEY}; }}
.pw-card.warn .pw-value {{ color: {AMBER}; }}
.pw-card.bad .pw-value {{ color: {RED}; }}
.pw-sub {{ color: {MUTED}; font-size: .76rem; line-height: 1.35; }}
.pw-card img {{ display: block; width: 100%; height: 26px; margin-top: .35rem; }}
.pw-table {{ width: 100%; overflow-x: auto; border: 1px solid {LINE}; border-radius: 10px; }}
.pw-table table {{ width: 100%; border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }}
.pw-table th {{ text-align: left; color: {MUTED}; font-weight: 500; font-size: .76rem; padding: .55rem .7rem;
  background: #f8fafb; border-bottom: 1px solid {LINE}; white-space: nowrap; }}
.pw-table td {{ padding: .6rem .7rem; border-bottom: 1px solid #eef1f4; vertical-align: top; color: {INK}; }}
.pw-table tr:last-child td, .pw-table tr:has(+ .pw-under:last-child) td {{ border-bottom: 0; }}
.pw-table .pw-num {{ text-align: right; white-space: nowrap; }}
.pw-table .pw-wide {{ min-width: 19rem; }}
.pw-table .pw-mid {{ min-width: 10.5rem; }}
.pw-table .pw-tight {{ white-space: nowrap; }}
.pw-table .pw-name {{ min-width: 7rem; max-width: 13rem; }}
.pw-table .pw-name, .pw-table .pw-mid .pw-sub {{ overflow-wrap: anywhere; }}
.pw-table .pw-under {{ display: none; }}
@media (max-width: 1280px) {{
  .pw-table .pw-over {{ display: none; }}
  .pw-table .pw-under {{ display: table-row; }}
  .pw-table tr:has(+ .pw-under) td {{ border-bottom: 0; }}
}}
@media (max-width: 1000px) {{
  .pw-table th, .pw-table td {{ padding-left: .35rem; padding-right: .35rem; }}
  .pw-table th, .pw-table th.pw-num, .pw-table .pw-fold, .pw-table .pw-fold .pw-tag, .pw-table a, .pw-table .pw-sub {{
    white-space: normal; }}
  .pw-table .pw-wide {{ min-width: 11rem; }}
  .pw-table .pw-mid {{ min-width: 7rem; }}
}}
.pw-table a {{ color: {BLUE}; text-decoration: none; font-weight: 600; }}
.pw-unknown {{ color: {GAP}; font-style: italic; font-weight: 400; font-size: .95em; border-bottom: 1px dotted {GAP};
  cursor: help; }}
.pw-tag {{ display: inline-block; border-radius: 999px; padding: .05rem .55rem; font-size: .76rem; font-weight: 550;
  background: #eef2f6; color: {MUTED}; white-space: nowrap; }}
.pw-tag.good {{ background: #e6f3ee; color: {MONEY}; }}
.pw-tag.busy {{ background: #e8f0f8; color: {BLUE}; }}
.pw-tag.warn {{ background: #fbf1de; color: {AMBER}; }}
.pw-tag.bad {{ background: #f9e9e7; color: {RED}; }}
.pw-note {{ border-left: 3px solid {GAP}; background: #f8fafb; border-radius: 0 8px 8px 0; padding: .55rem .9rem;
  margin-bottom: .5rem; font-size: .86rem; color: {INK}; }}
.pw-note.warn {{ border-color: {AMBER}; background: #fdf8ee; }}
.pw-note.bad {{ border-color: {RED}; background: #fdf4f3; }}
.pw-note b {{ font-weight: 620; }}
</style>"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One figure of the head row. ``why`` says why it is unknown; ``spark`` holds SVG point lists; ``tone`` warns."""

    label: str
    value: str
    sub: str = ""
    why: str = ""
    spark: Sequence[str] = ()
    tone: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One cell. ``sub`` is a second, quieter line; ``why`` says why the text is unknown; ``kind`` is its class."""

    text: str
    sub: str = ""
    why: str = ""
    tag: str = ""
    link: str = ""
    kind: str = ""


def cards(figures: Sequence[Card]) -> str:
    shown = "".join(_card(one, first=index == 0) for index, one in enumerate(figures))
    return f'<div class="pw-cards">{shown}</div>'


def table(heads: Sequence[tuple[str, str]], rows: Sequence[Sequence[Cell]]) -> str:
    """``heads`` are (text, class). A cell of the kind "pw-over" stands in its column where there is room for that, and
    under its row where there is not."""
    top = "".join(f'<th class="{kind}">{escape(text)}</th>' for text, kind in heads)
    body = "".join(f"<tr>{''.join(_cell(one) for one in row)}</tr>{_under(row)}" for row in rows)
    return f'<div class="pw-table"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def unknowns(rows: Sequence[Sequence[Cell]]) -> str:
    """Why cells are unknown, under their table: a tooltip alone is not read on a phone at night. Rows are named by
    their first cell; reasons that already stand in a cell are left out."""
    told: dict[str, dict[str, None]] = {}
    for first, *rest in rows:
        for one in rest:
            if one.why and one.why != one.sub:
                told.setdefault(one.why, {})[first.text] = None
    return "".join(when(f"Unknown of {', '.join(names)}: {why}.") for why, names in told.items())


def note(title: str, text: str, tone: str = "") -> str:
    return f'<div class="pw-note {tone}"><b>{escape(title)}</b> {escape(text)}</div>'


def when(text: str) -> str:
    return f'<div class="pw-when">{escape(text)}</div>'


def _card(one: Card, *, first: bool) -> str:
    lines = "".join(
        f'<polyline points="{run}" fill="none" stroke="{MONEY if first else SKY}" '
        'stroke-width="1.6" vector-effect="non-scaling-stroke" />'
        for run in one.spark
    )
    return (
        f'<div class="pw-card{" pw-first" if first else ""} {one.tone}"><div class="pw-label">{escape(one.label)}</div>'
        f'<div class="pw-value">{_text(one.value, one.why)}</div>'
        f'<div class="pw-sub">{escape(one.why or one.sub)}</div>{_picture(lines)}</div>'
    )


def _picture(lines: str) -> str:
    """SVG as an image: as an element of the page Streamlit's sanitizer would remove it."""
    if not lines:
        return ""
    svg = f'<svg xmlns="{SVG}" viewBox="0 0 120 26" preserveAspectRatio="none">{lines}</svg>'
    return f'<img alt="" src="data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}" />'


def _cell(one: Cell, columns: int = 1) -> str:
    text = _text(one.text, one.why)
    if one.link:
        text = f'<a href="{escape(one.link)}" target="_self">{text}</a>'
    if one.tag:
        text = f'<span class="pw-tag {one.tag}">{text}</span>'
    sub = f'<div class="pw-sub">{escape(one.sub)}</div>' if one.sub else ""
    over = f' colspan="{columns}"' if columns > 1 else ""
    return f'<td class="{one.kind}"{over}>{text}{sub}</td>'


def _under(row: Sequence[Cell]) -> str:
    """What a narrow window shows below ``row``, as wide as the table."""
    shown = [_cell(replace(one, kind=""), len(row)) for one in row if "pw-over" in one.kind]
    return "".join(f'<tr class="pw-under">{one}</tr>' for one in shown)


def _text(text: str, why: str) -> str:
    return f'<span class="pw-unknown" title="{escape(why)}">{escape(text)}</span>' if why else escape(text)

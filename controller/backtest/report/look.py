"""How the HTML page looks: light, dark, narrow and on paper."""

from __future__ import annotations

STYLE = """\
:root { color-scheme: light dark;
  --page: #ffffff; --panel: #f6f8fa; --ink: #1d2733; --muted: #5c6875; --line: #d9dfe6; --demand: #b9c7d6;
  --good: #1f7a5c; --bad: #b4443c; --first: #2f5d8c; --other: #8a6d3b;
  --l1: #b4571c; --l3: #8c4a86; --l5: #a3852b; --won: #eaf5f0; --warn: #fdf0ee; }
@media screen and (prefers-color-scheme: dark) { :root {
  --page: #14191f; --panel: #1c232b; --ink: #e6ebf0; --muted: #9eabb8; --line: #36414d; --demand: #4b5c6e;
  --good: #5cc39b; --bad: #f0857b; --first: #7fb3e6; --other: #d1ad70;
  --l1: #f0995c; --l3: #cf92ca; --l5: #dcbf62; --won: #17302a; --warn: #3a211f; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", Arial, sans-serif; }
main { max-width: 1240px; margin: 0 auto; padding: 2.2rem 1.4rem 4rem; }
header p { margin: 0; color: var(--muted); }
.kicker { font-size: .82rem; letter-spacing: .06em; text-transform: uppercase; font-weight: 600; }
h1 { font-size: 1.65rem; line-height: 1.3; margin: .4rem 0 .7rem; font-weight: 650; text-wrap: balance; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; }
h3 { font-size: 1rem; margin: 1.1rem 0 .4rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(11rem, 1fr)); gap: .8rem;
  margin: 1.4rem 0 1.2rem; }
.tile { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: .8rem 1rem; }
.tile b { display: block; font-size: 1.45rem; font-weight: 650; font-variant-numeric: tabular-nums; line-height: 1.35; }
.tile span { display: block; color: var(--muted); font-size: .84rem; overflow-wrap: anywhere; }
.details { padding-left: 1.15rem; margin: .4rem 0; }
.details li { margin: .15rem 0; }
.wrong { background: var(--warn); border-left: 4px solid var(--bad); padding: .7rem 1rem; border-radius: 0 8px 8px 0;
  font-weight: 600; margin: .8rem 0; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .5rem .55rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
thead th { color: var(--muted); font-weight: 600; font-size: .78rem; background: var(--panel); vertical-align: bottom; }
.figures { margin: 0; } .figures thead th { white-space: normal; min-width: 3.4rem; }
.figures small { white-space: normal; min-width: 4.6rem; }
.method p { margin: .3rem 0; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child, .words { text-align: left; }
.figures th:first-child { position: sticky; left: 0; background: var(--panel); max-width: 15rem; white-space: normal;
  overflow-wrap: anywhere; min-width: 8.5rem; }
.words { white-space: normal; min-width: 20rem; }
tbody th { font-weight: 600; }
tr.won > td, .figures tr.won > th:first-child { background: var(--won); }
td small { display: block; color: var(--muted); font-size: .76rem; }
.tag { display: inline-block; padding: 0 .5rem; border-radius: 99px; font-size: .78rem; font-weight: 600;
  border: 1px solid currentColor; color: var(--good); }
.tag.missed { color: var(--bad); }
.small { color: var(--muted); font-size: .84rem; }
figure { margin: 0; overflow-x: auto; }
figure svg { display: block; width: 100%; min-width: 620px; height: auto; }
figure svg text { font-family: inherit !important; }
figcaption { color: var(--muted); font-size: .875rem; margin: -.2rem 0 .6rem; }
details { border: 1px solid var(--line); border-radius: 10px; margin: .6rem 0; padding: 0 1rem; }
details[open] { padding-bottom: 1rem; }
summary { cursor: pointer; padding: .7rem 0; font-weight: 600; }
summary span { color: var(--muted); font-weight: 400; font-size: .875rem; }
.method { background: var(--panel); border: 1px solid var(--line); border-radius: 10px; padding: .4rem 1.2rem 1rem; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .35rem 1.2rem; margin: .8rem 0; font-size: .92rem; }
dt { color: var(--muted); }
dd { margin: 0; overflow-wrap: anywhere; }
@media screen and (max-width: 1000px) { .figures { font-size: .75rem; }
  .figures th, .figures td { padding: .4rem .2rem; }
  .figures thead th { font-size: .7rem; min-width: 0; } .figures th:first-child { min-width: 6.5rem; }
  .figures .tag { padding: 0 .3rem; font-size: .7rem; } .words { min-width: 14rem; } }
@media (max-width: 600px) { h1 { font-size: 1.3rem; } main { padding: 1.2rem .9rem 3rem; }
  dl { grid-template-columns: 1fr; gap: 0; } dd { margin-bottom: .5rem; } }
@media print { html { font-size: 10.5px; } body { font-size: 10.5px; } main { max-width: none; padding: 0; }
  .scroll, figure { overflow: visible; } .words { min-width: 0; }
  .figures { font-size: 6.8px; } .figures th, .figures td { padding: .25rem .16rem; }
  .figures thead th { min-width: 0; font-size: 6.3px; } .figures th:first-child { min-width: 58px; position: static; }
  .figures small { font-size: 6px; white-space: normal; } .figures .tag { font-size: 6.3px; padding: 0 .3rem; }
  figure svg { min-width: 0; } figure, tr, .tile, .method { break-inside: avoid; } h2 { break-after: avoid; }
  .tiles { grid-template-columns: repeat(4, 1fr); } * { print-color-adjust: exact; } }
"""

"""The demo in the terminal: a live panel where there is one, else a line every few passes; and the closing words."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from controller.demo.score import Score, service_estimate, sparkline
from controller.facts.missing import Missing
from controller.facts.passes import PassResult

LINE_EVERY = 20
"""Passes between two plain lines. A guess: ten virtual minutes at the demo's interval."""

INDENT = 9
"""Blanks before a reason: under what comes after the time."""

COPIED = ("Ledger:", "Look at it:", "Report:", "  ")
"""How the closing lines begin that a reader copies, or that stand in columns: they are not wrapped."""

Slo = tuple[float, float]
"""(TTFT, TPOT) in seconds, both of the 95th percentile."""


class Summary:
    """Shows each pass. Use as a context manager: the live panel gives the terminal back at its end."""

    def __init__(self, console: Console, slo: Slo, *, title: str) -> None:
        self._console = console
        self._slo = slo
        self._title = title
        self._last_move = "none yet"
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Summary:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, result: PassResult, score: Score) -> None:
        """One more pass."""
        moved = [str(decision) for decision in result.decisions if not decision.holds]
        self._last_move = moved[-1] if moved else self._last_move
        if self._live is not None:
            self._live.update(self._panel(result, score), refresh=True)
        elif moved or score.passes % LINE_EVERY == 1:
            self._console.print(Text(self._line(result, score)))
            self._console.print(Padding(Text(self._why(result, moved), style="dim"), (0, 0, 0, INDENT), expand=False))

    def _panel(self, result: PassResult, score: Score) -> Panel:
        table = Table.grid(padding=(0, 2))
        table.add_column(style="bold", no_wrap=True)
        table.add_column()
        for name, value in self._rows(result, score):
            table.add_row(name, Text(value))
        reason = Text(" ".join(str(decision) for decision in result.decisions), style="dim")
        return Panel(Group(table, Text(), reason), title=f"{self._title}  {result.at:%a %H:%M:%S} UTC", width=110)

    def _rows(self, result: PassResult, score: Score) -> list[tuple[str, str]]:
        seen = service_estimate(result)
        desired = sum(decision.desired for decision in result.decisions)
        replicas = f"{seen.replicas_current} current, {seen.replicas_ready} ready, {desired} desired"
        ttft, tpot = self._slo
        return [
            ("cost", f"${score.usd_per_hour:,.2f} an hour now, ${score.usd:,.2f} in {score.hours:.1f} h"),
            ("output tokens", f"{_per_dollar(score)}; last window {_million(seen.usd_per_million_output_tokens)}"),
            ("replicas", f"{replicas}  {sparkline(score.desired_history)}"),
            (
                "load",
                f"{_number(seen.requests_per_s, '{:.1f}')} requests/s, {_number(seen.queue_depth, '{:.0f}')} waiting",
            ),
            ("TTFT p95", f"{_number(seen.ttft_p95_s, '{:.2f} s')} (target {ttft:g} s)"),
            ("TPOT p95", f"{_number(seen.tpot_p95_s, '{:.3f} s')} (target {tpot:g} s)"),
            ("within SLO", _attainment(score)),
            ("latest move", self._last_move),
        ]

    def _line(self, result: PassResult, score: Score) -> str:
        seen = service_estimate(result)
        desired = sum(decision.desired for decision in result.decisions)
        head = f"{result.at:%H:%M:%S} ${score.usd_per_hour:.2f}/h replicas {seen.replicas_ready}/{desired}"
        if score.passes == 1:
            return f"{head} (load is known from the second pass on)"
        load = _number(seen.requests_per_s, "{:.1f}/s")
        times = f"TTFT p95 {_number(seen.ttft_p95_s, '{:.2f} s')} TPOT p95 {_number(seen.tpot_p95_s, '{:.3f} s')}"
        return f"{head} {load} {times}"

    def _why(self, result: PassResult, moved: Sequence[str]) -> str:
        return " ".join(moved) or " ".join(str(decision) for decision in result.decisions)


def closing(score: Score, *, ledger: str, directory: str, spend: Sequence[str] = ()) -> list[str]:
    """What the run cost, against what, how well it served, and whose the ``spend`` was. Every number is computed from
    the run."""
    lines = [
        (
            f"{score.passes} passes, {score.hours:.1f} h of service: spent ${score.usd:,.2f}"
            f" on {score.replica_hours:,.1f} replica-hours, {score.moves} changes, {_per_dollar(score)}."
        ),
        _against_static(score),
        f"{_attainment(score)}; {score.served.dropped} dropped, {score.failed_actions} failed actions.",
    ]
    if score.unpriced:
        lines.append(f"In {score.unpriced} passes something had no price: the money above is too low.")
    lines += [
        *spend,
        f"Ledger: {ledger}",
        f"Look at it:   pennyweight dashboard --fleet {directory}/fleet.yaml",
        *_report(score, directory, spend),
        (
            f"Next: open {directory}/fleet.yaml and {directory}/policies, change a number, and run the demo there again"
            f" (--directory {directory}); then write your own fleet file and try `pennyweight once` in mode advise."
        ),
    ]
    return lines


def _report(score: Score, directory: str, spend: Sequence[str]) -> list[str]:
    """How to read more of whose it was."""
    if not spend or score.at is None:
        return []
    return [f"Report:       pennyweight report day {score.at:%Y-%m-%d} --by team --fleet {directory}/fleet.yaml"]


def _against_static(score: Score) -> str:
    static = score.static()
    if isinstance(static, Missing):
        return f"No comparison with a static fleet: {static}."
    if static.usd <= 0:
        return "No comparison with a static fleet yet: no time has passed."
    saved = static.usd - score.usd
    verdict = f"saved ${saved:,.2f}" if saved >= 0 else f"spent ${-saved:,.2f} more"
    return (
        f"A static fleet of {static.replicas}, the most that was ever wanted at once, would have cost"
        f" ${static.usd:,.2f}: {verdict} ({abs(saved) / static.usd:.0%})."
    )


def _attainment(score: Score) -> str:
    share = score.served.attainment_ratio
    if isinstance(share, Missing):
        return "no request has finished yet"
    return f"{share:.2%} of {score.served.finished + score.served.dropped:,} requests within the SLO"


def _per_dollar(score: Score) -> str:
    tokens = score.output_tokens_per_usd
    if isinstance(tokens, Missing) or tokens <= 0:
        return "no output tokens per dollar yet"
    return f"{tokens:,.0f} output tokens per dollar (${1e6 / tokens:.2f} per million)"


def _million(usd: float | Missing) -> str:
    return _number(usd, "${:.2f} per million")


def _number(value: float | Missing, form: str) -> str:
    return "unknown" if isinstance(value, Missing) else form.format(value)

"""A sweep in the terminal: a bar for each point while it runs, then tables, small plots and what was fitted."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType

import numpy as np
from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from controller.facts.missing import Missing
from controller.facts.profile import Coefficient, Number, Predicted, Profile, ProfilePoint, StepFit
from controller.profile.load import Held
from controller.profile.plan import CONCURRENCY, RATE, PointPlan
from controller.profile.score import error_ratio

UNKNOWN = "?"
BAR_WIDTH = 20
MILLI, MICRO, NANO = 1e3, 1e6, 1e9

DOUBTFUL_RATIO = 0.15
"""Above this mean error of TPOT the model is called in question. A guess: published ones are within 10 %."""

UNITS = {
    "overhead_s": (MILLI, "ms a request, outside of steps"),
    "base_s": (MILLI, "ms a step"),
    "per_sequence_s": (MICRO, "us a sequence"),
    "per_kv_token_s": (NANO, "ns a KV token"),
    "per_prefill_token_s": (MICRO, "us a prompt token"),
    "per_prefill_pair_s": (NANO, "ns a squared prompt token"),
}
"""Scale and words that make each coefficient readable."""

SAID = {
    "measured": "measured",
    "negligible": "measured to be negligible",
    "prior": "not excited by this sweep: the prior's value",
    "mixed": "not told apart: carries the share of the unknown ones",
    "unknown": "not excited by this sweep: unknown, taken as 0",
}


class Progressed:
    """The bar of the point that runs. Use as a context manager."""

    def __init__(self, console: Console, points: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(BAR_WIDTH), TextColumn("{task.fields[live]}"))
        self._console, self._points = console, points
        self._progress = Progress(*columns, console=console, transient=True)
        self._task: TaskID | None = None

    def __enter__(self) -> Progressed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def began(self, index: int, plan: PointPlan) -> None:
        """The next point."""
        self._progress.start()
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(f"{index + 1}/{self._points} {plan}", total=1.0, live="")

    def told(self, held: Held, share: float) -> None:
        """So far."""
        if self._task is not None:
            self._progress.update(self._task, completed=share, live=_live(held))

    def finished(self, point: ProfilePoint) -> None:
        """One line a point, which stays."""
        failed = f", {point.failed} failed" if point.failed else ""
        self._console.print(
            f"{_load(point)}, {_lengths(point)} tokens: {point.output_tokens_per_s:,.0f} out tok/s, "
            f"TTFT p95 {_ms(point.ttft.p95)} ms, TPOT p95 {_ms(point.tpot.p95)} ms{failed}",
            highlight=False,
        )


def _live(held: Held) -> str:
    answered = [one for one in held.measured if one.ok]
    waits = [one.first_s - one.due_s for one in held.measured if one.chunk_s]
    failed = sum(bool(one.outcome) and not one.ok for one in held.measured)
    ttft = f", TTFT p50 {np.median(waits) * MILLI:.0f} ms" if waits else ""
    return f"{len(answered)} answered{ttft}" + (f", {failed} failed" if failed else "")


def told(profile: Profile) -> Iterator[RenderableType]:
    """Everything, in the order to be read."""
    yield f"{profile.model} at {profile.server}"
    yield from _loads(profile)
    yield ""
    yield _latencies(profile)
    yield ""
    yield _throughput(profile)
    yield ""
    yield _bars(profile)
    yield ""
    yield from _fit(profile.fit)
    for note in profile.notes:
        yield f"note: {note}"


def _loads(profile: Profile) -> Iterator[str]:
    """What the words for the loads mean."""
    kinds = {one.kind for one in profile.points}
    if CONCURRENCY in kinds:
        yield "at once: closed loop, a client sends its next request when the last is answered"
    if RATE in kinds:
        yield "/s: open loop, requests come at random (Poisson), whatever the server does"
    if any(one.checks for one in profile.points):
        yield "%: that rate as a share of the most requests/s that the closed loop reached"


def _latencies(profile: Profile) -> Table:
    table = _table("latency from the time each request was due, ms", "load", "tokens")
    for heading in (
        "TTFT\nmean",
        "TTFT\np50",
        "TTFT\np95",
        "TTFT\np99",
        "TPOT\np50",
        "TPOT\np95",
        "TPOT\np99",
        "ITL\np99",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in profile.points:
        ttft, tpot = one.ttft, one.tpot
        values = (ttft.mean, ttft.p50, ttft.p95, ttft.p99, tpot.p50, tpot.p95, tpot.p99, one.itl.p99)
        table.add_row(_load(one), _lengths(one), *(_ms(value) for value in values))
    return table


def _throughput(profile: Profile) -> Table:
    table = _table("throughput, money, and how far the fitted model is off (means)", "load", "tokens")
    for heading in (
        "req/s",
        "out tok/s",
        "all tok/s",
        "failed",
        "$/M out",
        "off in\nTTFT",
        "off in\nTPOT",
        "off in\ntok/s",
    ):
        table.add_column(heading, justify="right", no_wrap=True)
    for one in profile.points:
        failed = f"{one.failed}/{one.requests}" if one.failed else "0"
        money = _shown(one.usd_per_million_output_tokens, "{:,.2f}")
        rates = (f"{one.requests_per_s:.2f}", f"{one.output_tokens_per_s:,.0f}", f"{one.total_tokens_per_s:,.0f}")
        table.add_row(_load(one), _lengths(one), *rates, failed, money, *_errors(one))
    return table


def _errors(point: ProfilePoint) -> tuple[str, str, str]:
    said = point.predicted
    if isinstance(said, Missing):
        said = Predicted(ttft_s=said, tpot_s=said, output_tokens_per_s=said)
    pairs = (
        (point.ttft.mean, said.ttft_s),
        (point.tpot.mean, said.tpot_s),
        (point.output_tokens_per_s, said.output_tokens_per_s),
    )
    ttft, tpot, throughput = (_shown(error_ratio(*pair), "{:.0%}") for pair in pairs)
    return ttft, tpot, throughput


def _bars(profile: Profile) -> Table:
    """Throughput and TPOT by load, as bars."""
    table = _table("", "load", "tokens")
    table.add_column("output tokens/s", no_wrap=True)
    table.add_column("TPOT p95", no_wrap=True)
    most = max((one.output_tokens_per_s for one in profile.points), default=0.0)
    slowest = max((one.tpot.p95 for one in profile.points if not isinstance(one.tpot.p95, Missing)), default=0.0)
    for one in profile.points:
        slow = 0.0 if isinstance(one.tpot.p95, Missing) else one.tpot.p95
        rate_bar, slow_bar = _bar(one.output_tokens_per_s, most), _bar(slow, slowest)
        table.add_row(
            _load(one), _lengths(one), f"{rate_bar} {one.output_tokens_per_s:,.0f}", f"{slow_bar} {_ms(one.tpot.p95)}"
        )
    return table


def _bar(value: float, most: float) -> str:
    return "█" * round(BAR_WIDTH * value / most) if most > 0 else ""


def _fit(fit: StepFit | Missing) -> Iterator[RenderableType]:
    if isinstance(fit, Missing):
        yield str(fit)
        return
    table = _table(f"step model, from {fit.observations:,} equations", "coefficient")
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("unit")
    table.add_column("may be believed?")
    for one in fit.coefficients:
        value, unit = _coefficient(one)
        table.add_row(one.name, value, unit, SAID[one.verdict])
    yield table
    yield (
        f"mean error of the model's own predictions: mean TPOT {_shown(fit.tpot_error_ratio, '{:.1%}')}, throughput "
        f"{_shown(fit.throughput_error_ratio, '{:.1%}')}, mean TTFT {_shown(fit.ttft_error_ratio, '{:.1%}')}"
    )
    yield from _checked(fit)
    if not isinstance(fit.tpot_error_ratio, Missing) and fit.tpot_error_ratio > DOUBTFUL_RATIO:
        yield "the model explains this server badly: did something else use its machine, or does its speed vary?"
    if fit.unclaimed:
        yield (
            "what was not excited takes more than one prompt length (--prompt-tokens 256,2048), a spread, "
            "a concurrency of 1, and several others"
        )


def _checked(fit: StepFit) -> Iterator[str]:
    """What arrivals at random said of a model that had not seen them."""
    if isinstance(fit.checked_tpot_error_ratio, Missing):
        return
    yield (
        f"checked by the arrivals at random, which it was not fitted to: mean TPOT {fit.checked_tpot_error_ratio:.1%}, "
        f"mean TTFT {_shown(fit.checked_ttft_error_ratio, '{:.1%}')}"
    )
    if fit.checked_tpot_error_ratio > DOUBTFUL_RATIO:
        yield "for arrivals at random the model is a rough guide only; their own lines above are what was measured"


def _coefficient(one: Coefficient) -> tuple[str, str]:
    scale, unit = UNITS[one.name]
    error = "" if isinstance(one.standard_error_s, Missing) else f" ± {one.standard_error_s * scale:.2g}"
    return f"{one.value * scale:.4g}{error}", unit


def _table(title: str, *left: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1, 0, 0))
    for heading in left:
        table.add_column(heading, no_wrap=True)
    return table


def _load(point: ProfilePoint) -> str:
    share = "" if isinstance(point.closed_loop_share, Missing) else f" {point.closed_loop_share:.0%}"
    load = f"{point.load:g} at once" if point.kind == CONCURRENCY else f"{point.load:g}/s{share}"
    return load + (" (cut)" if point.cut else "")


def _lengths(point: ProfilePoint) -> str:
    prompt, output = (_shown(value, "{:.0f}") for value in (point.mean_prompt_tokens, point.mean_output_tokens))
    return f"{prompt}+{output}"


def _ms(value: Number) -> str:
    if isinstance(value, Missing):
        return UNKNOWN
    return f"{value * MILLI:,.0f}" if value >= 0.1 else f"{value * MILLI:.1f}"


def _shown(value: Number, form: str) -> str:
    return UNKNOWN if isinstance(value, Missing) else form.format(value)

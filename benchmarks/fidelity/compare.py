"""Figures of what was served, how far two of them are apart, and tables of it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from benchmarks.fidelity.clients import Served

Figures = Mapping[str, float]

SCALES: Mapping[str, float] = {
    **dict.fromkeys(("TTFT mean", "TTFT p95", "TPOT mean", "TPOT p95", "E2E mean", "E2E p95"), 1e3),
    **dict.fromkeys(("requests/s", "output tokens/s"), 1.0),
}
"""The figures, and by how much they are multiplied to be shown: latencies in ms."""


def figures(plays: Sequence[Served]) -> Figures:
    """Of all requests of ``plays`` together: latencies, seconds, from sending; TPOT is a request's mean. Throughput is
    that of the plays one after the other, each until its last token."""
    sent, first, last = (
        np.concatenate([np.asarray(times) for times in several])
        for several in zip(*((one.sent_s, one.first_s, one.last_s) for one in plays), strict=True)
    )
    output = np.concatenate([np.asarray(one.output_tokens) for one in plays])
    gaps = output > 1
    latencies = {
        "TTFT": first - sent,
        "TPOT": (last - first)[gaps] / (output[gaps] - 1),
        "E2E": last - sent,
    }
    found = {}
    for name, values in latencies.items():
        found[f"{name} mean"] = float(values.mean())
        found[f"{name} p95"] = float(np.quantile(values, 0.95))
    span_s = sum(max(one.last_s) - min(one.sent_s) for one in plays)
    return found | {"requests/s": len(sent) / span_s, "output tokens/s": float(output.sum()) / span_s}


def error_ratio(measured: Figures, simulated: Figures, name: str) -> float:
    """(simulated - measured) / measured."""
    return simulated[name] / measured[name] - 1


def spread_ratio(pairs: Sequence[tuple[Figures, Figures]], name: str) -> float:
    """Standard deviation of the errors of single (measured, simulated) plays; NaN for only one."""
    errors = [error_ratio(measured, simulated, name) for measured, simulated in pairs]
    return float(np.std(errors, ddof=1)) if len(errors) > 1 else float("nan")


def noise_ratio(twice: Sequence[tuple[Figures, Figures]], name: str) -> float:
    """How far two measurements of one trace are apart, mean over traces: |one - other| / their mean. NaN for none."""
    apart = [abs(one[name] - other[name]) / ((one[name] + other[name]) / 2) for one, other in twice]
    return float(np.mean(apart)) if apart else float("nan")


def tables(by_case: Mapping[str, Sequence[tuple[Served, Served]]]) -> str:
    """Markdown of (measured, simulated) plays by case: the figures, and the errors with the noise below them."""
    levels, errors = _head("measured / simulated"), _head("error (spread over plays), %")
    twice: list[tuple[Figures, Figures]] = []
    for case, plays in by_case.items():
        measured, simulated = (list(side) for side in zip(*plays, strict=True))
        was, said = figures(measured), figures(simulated)
        single = [(figures([real]), figures([mimic])) for real, mimic in plays]
        title = f"{case} ({len(plays)} plays, {sum(len(one.sent_s) for one in measured):,} requests)"
        shown = [(_number(was[name] * scale), _number(said[name] * scale)) for name, scale in SCALES.items()]
        levels.append(_row(title, [" / ".join(pair) for pair in shown]))
        apart = [(100 * error_ratio(was, said, name), 100 * spread_ratio(single, name)) for name in SCALES]
        errors.append(_row(title, [f"{error:+.1f} ({spread:.1f})" for error, spread in apart]))
        twice += [
            (figures([one]), figures([other])) for one, other in combinations(measured, 2) if one.seed == other.seed
        ]
    noise = [f"{100 * noise_ratio(twice, name):.1f}" for name in SCALES]
    errors.append(_row(f"real against real: the same trace twice ({len(twice)} traces), mean difference", noise))
    return "\n".join([*levels, "", *errors])


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _head(title: str) -> list[str]:
    names = [f"{name}, ms" if scale > 1 else name for name, scale in SCALES.items()]
    return [_row(title, names), "|---|" + "---:|" * len(names)]


def _row(title: str, cells: Sequence[str]) -> str:
    return f"| {title} | {' | '.join(cells)} |"

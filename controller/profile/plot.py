"""A sweep as a picture: TTFT, TPOT and throughput against the load, measured and as the fitted model has them."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path

from controller.facts.missing import Missing
from controller.facts.profile import Number, Predicted, Profile, ProfilePoint
from controller.profile.plan import CONCURRENCY, RATE

SUFFIXES = (".png", ".svg", ".pdf")

X_LABELS = {CONCURRENCY: "requests in flight (closed loop)", RATE: "requests/s arriving at random (open loop)"}

Read = Callable[[ProfilePoint], Number]
Say = Callable[[Predicted], Number]

PANELS: tuple[tuple[str, float, tuple[tuple[str, Read], ...], Say], ...] = (
    ("TTFT, ms", 1e3, (("p50", lambda one: one.ttft.p50), ("p95", lambda one: one.ttft.p95)), lambda say: say.ttft_s),
    ("TPOT, ms", 1e3, (("p50", lambda one: one.tpot.p50), ("p95", lambda one: one.tpot.p95)), lambda say: say.tpot_s),
    (
        "output tokens/s",
        1.0,
        (("measured", lambda one: one.output_tokens_per_s),),
        lambda say: say.output_tokens_per_s,
    ),
)
"""A panel's title, its scale, what is measured, and what the model says."""


def trouble(path: Path) -> str:
    """Why no plot can be written to ``path``; "" when it can."""
    if path.suffix not in SUFFIXES:
        return f"expected a name that ends in {', '.join(SUFFIXES)}, found '{path.name}'"
    if find_spec("matplotlib") is None:
        return "plots need matplotlib: pip install 'pennyweight[backtest]'"
    return ""


def plot(profile: Profile, path: Path) -> None:
    """Write the picture. One row a kind of load, one line a prompt length."""
    from matplotlib.figure import Figure  # an optional dependency, and slow to load

    kinds = sorted({one.kind for one in profile.points})
    figure = Figure(figsize=(13, 4 * max(1, len(kinds))), layout="constrained")
    axes = figure.subplots(max(1, len(kinds)), len(PANELS), squeeze=False)
    for row, kind in zip(axes, kinds, strict=False):
        some = sorted((one for one in profile.points if one.kind == kind), key=_series)
        for axis, (title, scale, measured, say) in zip(row, PANELS, strict=True):
            series = groupby(some, key=lambda one: _series(one)[:2])
            for number, ((prompt, output), group) in enumerate(series):
                points, color = list(group), f"C{number}"
                for marker, (name, read) in zip("o^", measured, strict=False):
                    label = f"{name}, {prompt:g} + {output:g} tokens"
                    _line(axis, points, read, scale, style=color + marker, label=label)
                model = "model, not fitted to these" if points[0].checks else "model"
                _line(axis, points, _model(say), scale, style=color + "--", label=model)
                _name_shares(axis, points, measured[-1][1], scale)
            axis.set_title(title)
            axis.set_xlabel(X_LABELS[kind])
            axis.set_ylim(bottom=0)
            axis.grid(alpha=0.3)
            axis.legend(fontsize="x-small")
    figure.suptitle(f"{profile.model} at {profile.server}, {profile.at:%Y-%m-%d %H:%M} UTC")
    figure.savefig(path)


def _series(point: ProfilePoint) -> tuple[float, float, float]:
    return point.prompt_tokens, point.output_tokens, point.load


def _model(say: Say) -> Read:
    return lambda one: one.predicted if isinstance(one.predicted, Missing) else say(one.predicted)


def _name_shares(axis: object, points: list[ProfilePoint], read: Read, scale: float) -> None:
    """Which part of the closed loop's most a rate is, beside its highest mark."""
    for one in points:
        value, share = read(one), one.closed_loop_share
        if not isinstance(value, Missing) and not isinstance(share, Missing):
            place = {"textcoords": "offset points", "xytext": (4, 4), "fontsize": "x-small"}
            axis.annotate(f"{share:.0%}", (one.load, value * scale), **place)  # type: ignore[attr-defined]


def _line(axis: object, points: list[ProfilePoint], read: Read, scale: float, *, style: str, label: str) -> None:
    values = [(one.load, read(one)) for one in points]
    known = [(load, value * scale) for load, value in values if not isinstance(value, Missing)]
    axis.plot([load for load, _ in known], [value for _, value in known], style, label=label)  # type: ignore[attr-defined]

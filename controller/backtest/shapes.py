"""``--trace shape:spike,peak=20``: an invented load, for what a record does not have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.backtest.results import plain
from controller.documents import nearest
from controller.quantities import duration_s, duration_text
from controller.simulate.traffic import DISPERSION
from controller.simulate.workload import synthetic
from controller.simulate.workload.rates import RateTrace

PREFIX = "shape:"

LEVEL_PER_S, PEAK_TIMES = 2.0, 5.0
"""Where nothing is said: a service of a few replicas, and five times as much, as the contest's stress case has it."""

MOST_PER_S = 100_000.0
"""More is a slip of the hand, and a trace that no memory holds. A guess."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One shape: its times where they are not said, as durations; how it is made; what it is in words."""

    times: Mapping[str, str]
    made: Callable[[float, float, Mapping[str, float]], synthetic.Shape]
    words: str


KINDS: Mapping[str, Kind] = {
    "step": Kind(
        times={"for": "2h", "at": "30m"},
        made=lambda level, peak, time: synthetic.step(level, peak, at_s=time["at"]),
        words="{level} requests/s, {peak} from {at} on",
    ),
    "ramp": Kind(
        times={"for": "2h", "at": "30m", "lasting": "1h"},
        made=lambda level, peak, time: synthetic.ramp(
            level, peak, from_s=time["at"], to_s=time["at"] + time["lasting"]
        ),
        words="{level} requests/s, growing from {at} on for {lasting} to {peak}",
    ),
    "spike": Kind(
        times={"for": "2h", "at": "1h", "lasting": "10m"},
        made=lambda level, peak, time: synthetic.spike(level, peak, at_s=time["at"], lasting_s=time["lasting"]),
        words="{level} requests/s, {peak} from {at} on for {lasting}",
    ),
    "silence": Kind(
        times={"for": "2h", "at": "45m", "lasting": "30m"},
        made=lambda level, _, time: synthetic.silence(level, from_s=time["at"], to_s=time["at"] + time["lasting"]),
        words="{level} requests/s, none from {at} on for {lasting}",
    ),
    "viral": Kind(
        times={"for": "12h", "at": "2h", "doubling": "15m", "half_life": "4h"},
        made=lambda level, peak, time: synthetic.going_viral(
            level, peak, at_s=time["at"], doubling_s=time["doubling"], half_life_s=time["half_life"]
        ),
        words="{level} requests/s, doubling every {doubling} from {at} on up to {peak}, then halving every {half_life}",
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Invented:
    """A load that nobody recorded. ``name``: as it was typed; ``told``: in words."""

    name: str
    told: str
    shape: synthetic.Shape
    lasts_s: float

    def trace(self, seed: int) -> RateTrace:
        return synthetic.rates_of(self.shape, hours=self.lasts_s / 3600, seed=seed)

    @property
    def note(self) -> str:
        return (
            f"The load is invented: {self.told}. Counts in 10 s vary {plain(DISPERSION)} times as much as a Poisson"
            " process's, as Azure's did in 2024."
        )


def invented(text: str) -> Invented:
    """``shape:NAME,KEY=VALUE,…``. ValueError tells what is wrong."""
    name, *settings = text.removeprefix(PREFIX).split(",")
    if name not in KINDS:
        raise ValueError(f"there is no shape '{name}'{nearest(name, KINDS)}")
    kind, said = KINDS[name], dict(_said(one, KINDS[name]) for one in settings)
    level = said.get("level", LEVEL_PER_S)
    peak = said.get("peak", PEAK_TIMES * level)
    time = {key: said.get(key, duration_s(usual)) for key, usual in kind.times.items()}
    if time["at"] >= time["for"]:
        raise ValueError(f"nothing would happen: at={duration_text(time['at'])} is after the end, {_for(time['for'])}")
    words = {key: duration_text(seconds) for key, seconds in time.items()}
    told = kind.words.format(level=plain(level), peak=plain(peak), **words)
    return Invented(
        name=text, told=f"{told}; {words['for']} in all", shape=kind.made(level, peak, time), lasts_s=time["for"]
    )


def _for(seconds: float) -> str:
    return f"for={duration_text(seconds)}"


def _said(setting: str, kind: Kind) -> tuple[str, float]:
    key, _, value = setting.partition("=")
    known = ["level", "peak", *kind.times]
    if key not in known:
        raise ValueError(f"a shape has no '{key}'{nearest(key, known)}")
    if key in kind.times:
        return key, _more_than_no_time(key, value)
    try:
        rate = float(value)
    except ValueError:
        rate = 0.0
    if not 0 < rate <= MOST_PER_S:
        raise ValueError(f"{key}: expected requests/s above 0 and up to {plain(MOST_PER_S)}, found '{value}'")
    return key, rate


def _more_than_no_time(key: str, value: str) -> float:
    try:
        seconds = duration_s(value)
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from None
    if not seconds > 0:
        raise ValueError(f"{key}: expected more than no time, found '{value}'")
    return seconds

"""Who plays, and how one number turns each of them from cheap to careful."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log

from controller.backtest.run import OURS, Entrant
from controller.decide.rules import QUANTILE_RATIO, quantile_for
from controller.simulate.opponents.catalogue import OPPONENTS
from controller.simulate.opponents.contender import Contender, Range

Settings = Mapping[str, float]

MAIN = ("static", "hpa-load", "hpa-queue", "keda-queue", "kpa", "wva-v2", "dynamo", "skyserve", "ray-serve")
"""The opponents of the short contest: one of each family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Player:
    """One controller of the contest.

    knob      what is swept, in words
    at        its settings at a share of the knob's range, 0 cheapest .. 1 dearest, with these of the others
    tunable   the others
    """

    name: str
    knob: str
    at: Callable[[float, Settings], Settings]
    tunable: Mapping[str, Range]

    def entrant(self, share: float, tuned: Settings) -> Entrant:
        return Entrant(
            name=self.name, settings={name: round(value, 9) for name, value in self.at(share, tuned).items()}
        )


MISSES = Range(low=0.0005, high=0.15, kind="log")
"""Ours is told the attainment it must reach, from 85 to 99.95 %."""


def _ours(share: float, tuned: Settings) -> Settings:
    miss = MISSES.at(1.0 - share)
    others = {name: value for name, value in tuned.items() if name != "quantile_ratio"}
    quantile = quantile_for(1.0 - miss, tuned.get("quantile_ratio", QUANTILE_RATIO))
    return {**others, "attainment": 1.0 - miss, "quantile": quantile}


PENNYWEIGHT = Player(
    name=OURS,
    knob="attainment of the SLO, and with it the forecast's quantile",
    at=_ours,
    tunable={
        "quantile_ratio": Range(low=1.0, high=15.0, kind="log"),
        "drain_s": Range(low=15.0, high=240.0, kind="log"),
        "scale_up_s": Range(low=0.0, high=60.0),
        "scale_down_s": Range(low=15.0, high=600.0, kind="log"),
    },
)

SHIPPED_MISS = 0.01
"""Ours ships with an attainment of 99 %, and with QUANTILE_RATIO."""

SHIPPED = 1.0 - log(SHIPPED_MISS / MISSES.low) / log(MISSES.high / MISSES.low)
"""The share of ours as it ships: that run is the first of its sweep."""


def _opponent(contender: Contender) -> Player:
    knob = contender.knob

    def at(share: float, tuned: Settings) -> Settings:
        place = share if knob.dearer == "higher" else 1.0 - share
        return {**tuned, knob.name: knob.values.at(place)}

    return Player(name=contender.name, knob=knob.name, at=at, tunable=contender.tunable)


PLAYERS: Mapping[str, Player] = {OURS: PENNYWEIGHT, **{name: _opponent(one) for name, one in OPPONENTS.items()}}


def documented(name: str) -> Entrant:
    """Exactly as its documentation has it; ours as it ships."""
    return Entrant(name=name, documented=name != OURS)

"""What the contest knows of an opponent: how it is made, its one knob to sweep, and what may be tuned beside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import exp, log
from typing import Literal

from controller.simulate.opponents.profile import ReplicaProfile
from controller.simulate.sight import Opponent

Kind = Literal["linear", "log", "whole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Values from ``low`` to ``high``, both meant: evenly, evenly in their logarithm, or whole numbers."""

    low: float
    high: float
    kind: Kind = "linear"

    def at(self, share: float) -> float:
        """The value at ``share``, 0..1, of the way; for a random setting give it a uniform draw."""
        if self.kind == "log":
            return exp(log(self.low) + share * (log(self.high) - log(self.low)))
        value = self.low + share * (self.high - self.low)
        return float(round(value)) if self.kind == "whole" else value

    def spread(self, count: int) -> tuple[float, ...]:
        """``count`` values over the range, ascending, without duplicates."""
        return tuple(dict.fromkeys(self.at(index / max(1, count - 1)) for index in range(count)))


LOAD_RATIO = Range(low=0.2, high=1.6, kind="log")
"""Shares of a replica's load at its capacity, for knobs that are targets: from five times the replicas to too few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """The one setting that trades money for latency. ``dearer``: whether "higher" or "lower" values cost more."""

    name: str
    values: Range
    dearer: Literal["higher", "lower"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """What an opponent is made from."""

    settings: Mapping[str, float]
    min_replicas: int
    max_replicas: int
    profile: ReplicaProfile


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One opponent of the contest.

    documentation   where its rule is described
    translation     what was made of a default that has no meaning for an LLM service
    defaults        every setting's default, the knob's translated one included
    tunable         the other settings, for a random search
    build           from all settings
    documented      as documented, no translation; where nothing is documented, as the defaults
    """

    name: str
    documentation: str
    translation: str
    knob: Knob
    defaults: Mapping[str, float]
    tunable: Mapping[str, Range] = field(default_factory=dict)
    build: Callable[[Build], Opponent]
    documented: Callable[[Build], Opponent]

    def make(
        self, settings: Mapping[str, float], *, min_replicas: int, max_replicas: int, profile: ReplicaProfile
    ) -> Opponent:
        """With ``settings``, the rest at its default. ``ValueError`` names what it does not know."""
        unknown = sorted(set(settings) - set(self.defaults))
        if unknown:
            raise ValueError(
                f"{self.name} has no setting {', '.join(unknown)}; it has {', '.join(sorted(self.defaults))}"
            )
        return self.build(
            Build(
                settings={**self.defaults, **settings},
                min_replicas=min_replicas,
                max_replicas=max_replicas,
                profile=profile,
            )
        )

    def make_documented(self, *, min_replicas: int, max_replicas: int, profile: ReplicaProfile) -> Opponent:
        """With the defaults of its documentation as they stand."""
        return self.documented(
            Build(settings=self.defaults, min_replicas=min_replicas, max_replicas=max_replicas, profile=profile)
        )

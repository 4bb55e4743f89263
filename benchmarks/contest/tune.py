"""Equal budgets for everybody: the same number of random settings, on other days than those that are judged."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.contest.cases import Ground
from benchmarks.contest.frontier import Point, cost_at, log_miss
from benchmarks.contest.play import Asked
from benchmarks.contest.players import PLAYERS, Player, Settings
from benchmarks.contest.results import Task
from benchmarks.contest.sweep import TARGETS, sweep
from controller.facts.missing import Missing

FROZEN = Path(__file__).parent / "settings.json"

KNOB_RUNS = 3
"""Runs that estimate what 99 % costs with one setting. Few: a setting that is much better shows at once."""

SEED = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """One setting. ``usd``: what 99 % costs with it over all tuning grounds; None = it does not reach that."""

    settings: Settings
    share: float
    usd: float | None


@dataclass(slots=True, kw_only=True)
class Search:
    """The search of one player; ``tried`` grows as its results come in."""

    player: Player
    grounds: Sequence[Ground]
    budget: int
    first: float
    tried: list[Tried] = field(default_factory=list)

    @property
    def runs(self) -> int:
        return self.budget * len(self.grounds) * KNOB_RUNS

    def asked(self) -> Asked:
        """The documented settings first, then random ones."""
        share = self.first
        for settings in draws(self.player, self.budget):
            total: float | None = 0.0
            for ground in self.grounds:
                tries: list[tuple[float, Point]] = []
                knob = sweep(KNOB_RUNS, share, targets=TARGETS[:1])
                wanted = next(knob, None)
                while wanted is not None:
                    entrant = self.player.entrant(wanted, settings)
                    result = yield Task(ground=ground, entrant=entrant, seed=SEED, share=wanted)
                    tries.append((wanted, result.point))
                    try:
                        wanted = knob.send(result.point)
                    except StopIteration:
                        wanted = None
                share = min(tries, key=lambda one: abs(log_miss(one[1].attainment) - log_miss(TARGETS[0])))[0]
                found = cost_at([point for _, point in tries], TARGETS[0])
                total = None if isinstance(found, Missing) or total is None else total + found.usd
            self.tried.append(Tried(settings=settings, share=share, usd=total))

    @property
    def best(self) -> Tried:
        """The cheapest; the documented settings when none reaches 99 %."""
        return min(self.tried, key=lambda one: float("inf") if one.usd is None else one.usd)


def draws(player: Player, budget: int) -> list[Settings]:
    """So many settings, each once; one alone where there is nothing to tune but the knob."""
    if not player.tunable:
        return [{}]
    random = np.random.default_rng(SEED)
    drawn: list[Settings] = [{}]
    for _ in range(budget - 1):
        drawn.append({name: round(values.at(float(random.random())), 6) for name, values in player.tunable.items()})
    return drawn


def freeze(searches: Sequence[Search], path: Path) -> None:
    """Keep what was found, beside what the documented settings cost; players that were not tuned now keep theirs."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for search in searches:
        best = search.best
        kept[search.player.name] = {
            "settings": dict(best.settings),
            "share": best.share,
            "usd": best.usd,
            "usd_as_documented": search.tried[0].usd,
            "budget": len(search.tried),
            "tuned_on": [ground.name for ground in search.grounds],
        }
    path.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n", encoding="utf-8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """What tuning found, by player: settings beside the knob, and the share of the knob's range at 99 %."""

    settings: Mapping[str, Settings]
    shares: Mapping[str, float]


def frozen(path: Path) -> Frozen:
    """Everybody as documented where nothing was tuned."""
    read = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    unknown = sorted(set(read) - set(PLAYERS))
    if unknown:
        raise ValueError(f"{path}: nobody is called {', '.join(unknown)}; there are {', '.join(PLAYERS)}")
    return Frozen(
        settings={name: one["settings"] for name, one in read.items()},
        shares={name: one["share"] for name, one in read.items()},
    )

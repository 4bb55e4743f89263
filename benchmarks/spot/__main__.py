"""``python -m benchmarks.spot [--hours 6] [--seeds 1 2 3] [--record FILE.csv.gz]``: spot under three controllers.

Two variants of the contest's 8B model on L40S, alike but for how they are bought: on demand for $1.00 an hour, spot for
$0.40. Everybody meets the same requests (a day of Azure 2024), the same market, router and start-ups, and begins on
demand. Without ``--record`` markets are drawn, another one for each seed; with it, each seed replays another week of
the record (columns as docs/traces.md has them; the public probes carry no licence and are not shipped).
"""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.contest.cases import Ground
from benchmarks.spot.cases import (
    PLAYERS,
    ZONES,
    Market,
    drawn,
    mean_and_range,
    ready_ratio,
    scene,
    share_on_spot,
    window,
)
from controller.backtest.tracefile import read_spot
from controller.simulate.score import RunScore

WEEK_S = 7 * 86_400.0


def markets(record: Path | None, hours: float, seed: int) -> dict[str, Market]:
    if record is None:
        return {name: drawn(name) for name in ZONES}
    return {record.name.split(".")[0]: window(read_spot(record), (seed - 1) * WEEK_S, hours * 3600)}


def row(name: str, scores: list[RunScore], carries: float) -> str:
    usd = [one.usd for one in scores]
    within = [one.within_slo / one.requests * 100 for one in scores]
    ready = [ready_ratio(one, carries) * 100 for one in scores]
    lost = [float(one.lost + one.dropped) for one in scores]
    taken = [float(one.interruptions) for one in scores]
    worst = [one.worst_five_minutes_ratio * 100 for one in scores if isinstance(one.worst_five_minutes_ratio, float)]
    cells = [
        name,
        mean_and_range(usd, ".2f"),
        mean_and_range(within, ".2f"),
        mean_and_range(ready, ".1f"),
        mean_and_range(worst, ".0f") if worst else "?",
        mean_and_range([share_on_spot(one) * 100 for one in scores], ".0f"),
        mean_and_range(taken, ".0f"),
        mean_and_range(lost, ".0f"),
        mean_and_range([float(one.reversals) for one in scores], ".0f"),
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--hours", type=float, default=6.0)
    asked.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    asked.add_argument("--start-up", type=float, default=240.0)
    asked.add_argument("--record", type=Path)
    asked.add_argument("--market", nargs="+", help="only these")
    told = asked.parse_args()
    ground = Ground(trace="azure2024", day=1, engine="8b-l40s", start_up_s=told.start_up, hours=told.hours)
    for name in markets(told.record, told.hours, told.seeds[0]):
        if told.market and name not in told.market:
            continue
        scenes = [scene(ground, markets(told.record, told.hours, seed)[name], seed) for seed in told.seeds]
        print(f"\n{name}, {told.hours:g} h of {ground.name}, {len(scenes)} seeds: mean (range)\n")
        print(
            "| controller | $ | requests in SLO, % | enough ready, % of the time | worst 5 min, % | hours on spot, % |",
            end="",
        )
        print(" interrupted | requests lost or dropped | moves undone within 10 min |\n|---|" + "---|" * 8, flush=True)
        for player, plays in PLAYERS.items():
            scores = [plays(one) for one in scenes]
            print(row(player, scores, scenes[0].stage.profile.requests_per_s), flush=True)
            print(f"<!-- {sum(one.wall_s for one in scores):.0f} s -->", flush=True)


if __name__ == "__main__":
    main()

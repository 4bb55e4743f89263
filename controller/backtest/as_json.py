"""A backtest for programs. Numbers in the units of ``--fail-if``: USD, shares of 1, counts, hours, seconds."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from controller.backtest.gate import Failed, Gate
from controller.backtest.results import QUANTITIES, Backtest, Spread, Standing, standings
from controller.backtest.words import verdict
from controller.facts.missing import Missing
from controller.facts.slo import LatencyTarget
from controller.simulate.score import Number

FORMAT = 1


def backtest_json(backtest: Backtest, gate: Gate | None, failed: Sequence[Failed]) -> str:
    """One JSON object and a line end. What is unknown is {"missing": what, "why": why}."""
    found = verdict(backtest)
    told = {
        "format": FORMAT,
        "trace": backtest.trace,
        "description": backtest.description,
        "hours": backtest.hours,
        "slo": {
            "ttft_s": _bound(backtest.slo.ttft),
            "tpot_s": _bound(backtest.slo.tpot),
            "attainment": backtest.slo.attainment_ratio,
        },
        "engine": backtest.engine,
        "capacity": backtest.reach,
        "price": backtest.price,
        "start_up": backtest.start_up,
        "perils": backtest.perils,
        "safety": backtest.safety,
        "seeds": backtest.seeds,
        "lower_usd": _number(backtest.lower_usd),
        "upper_usd": _number(backtest.upper_usd),
        "upper_to_lower": _number(backtest.upper_to_lower),
        "verdict": found.headline,
        "details": found.details,
        "warnings": found.warnings,
        "winner": found.winner.name if found.winner else None,
        "controllers": [_standing(one) for one in standings(backtest)],
        "gate": None if gate is None else _gate(gate, failed),
        "notes": backtest.notes,
        "command": backtest.command,
        "made_at": backtest.made_at.isoformat() if backtest.made_at else None,
    }
    return json.dumps(told, indent=2, allow_nan=False) + "\n"


def _bound(target: LatencyTarget | None) -> float | None:
    return target.seconds if target else None


def _number(value: Number) -> Any:
    return {"missing": value.what, "why": value.why} if isinstance(value, Missing) else value


def _standing(one: Standing) -> dict[str, Any]:
    return {
        "name": one.name,
        "slo_kept": one.met,
        "settings": dict(one.runs[0].settings),
        **{name: _spread(one.value(name)) for name in QUANTITIES},
        "runs": [
            {
                "seed": run.seed,
                **{name: _number(one.of(run, name)) for name in QUANTITIES},
                "paid": [asdict(paid) for paid in run.paid],
            }
            for run in one.runs
        ],
    }


def _spread(found: Spread | Missing) -> Any:
    return _number(found) if isinstance(found, Missing) else {"mean": found.mean, "low": found.low, "high": found.high}


def _gate(gate: Gate, failed: Sequence[Failed]) -> dict[str, Any]:
    return {
        "fail_if": gate.text,
        "passed": not failed,
        "failed": [{"clause": one.clause, "found": one.found} for one in failed],
    }

"""A Lookout as JSON texts and back, so that a restart forgets nothing that took long to learn.

What one minute teaches again is not kept: who is starting, the newest readings, what the model says of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from math import inf, isnan
from typing import Any, TypeVar

from controller.estimate.demand import stored
from controller.estimate.demand.arrivals import DemandMark
from controller.estimate.demand.shape import LengthSums, ShapeSums
from controller.estimate.demand.state import DemandState
from controller.estimate.outlook import NOT_TOLD, START_UPS_KEPT, Engine, Lookout, first_belief
from controller.estimate.performance.state import from_json as step_from_json
from controller.estimate.performance.state import to_json as step_to_json
from controller.estimate.trim import HIGHEST, LOWEST, Tail, Trim
from controller.estimate.work import LEAST_REQUESTS, PhaseSeconds
from controller.facts.fleet import Service
from controller.facts.learned import StateKey
from controller.facts.missing import Missing
from controller.facts.performance import LearnedStep

VERSION = 1
"""Of the payloads made here. Whoever changes what a number means counts it up: other versions start afresh."""

Plain = dict[str, Any]
Made = TypeVar("Made")


def states_of(service: str, lookout: Lookout) -> dict[StateKey, str]:
    """What is worth keeping, by kind, service and variant."""
    states: dict[tuple[str, str], Plain] = {}
    if not isnan(lookout.demand.recent.at_s):
        states["demand", ""] = stored.state_to_json(lookout.demand)
    if lookout.mark.at is not None:
        states["shape", ""] = {"at_s": lookout.mark.at.timestamp(), "sums": asdict(lookout.mark.shapes)}
    for name, engine in lookout.engines.items():
        if not isinstance(engine.learned, Missing):
            kv_tokens = None if isinstance(engine.kv_tokens, Missing) else engine.kv_tokens
            step = step_to_json(engine.learned)
            states["step", name] = {"step": step, "kv_tokens": kv_tokens, "pace": engine.pace}
    states |= {("start_up", name): {"seconds": took} for name, took in lookout.start_ups_s.items()}
    states |= {("trim", name): asdict(trim) for name, trim in lookout.trims.items()}
    states |= {("phases", name): asdict(one) for name, one in lookout.phases.items() if one.requests >= LEAST_REQUESTS}
    return {
        (kind, service, variant): json.dumps({"version": VERSION, "state": state}, separators=(",", ":"))
        for (kind, variant), state in states.items()
    }


def lookout_of(service: str, states: Mapping[StateKey, str]) -> tuple[Lookout, tuple[str, ...]]:
    """What ``states_of`` kept of ``service``, and a sentence on each text that could not be read: that part starts
    afresh."""
    problems: list[str] = []

    def read(kind: str, variant: str, made: Callable[[Plain], Made]) -> Made | None:
        try:
            return made(_opened(states[kind, service, variant]))
        except KeyError as error:
            if (kind, service, variant) not in states:
                return None
            why = f"it lacks {error}"
        except (ValueError, TypeError, AttributeError, OverflowError, OSError) as error:
            why = str(error)
        where = f"{service}/{variant}" if variant else service
        problems.append(f"the stored '{kind}' of {where} cannot be read and is learned anew: {why}")
        return None

    def by_variant(kind: str, made: Callable[[Plain], Made]) -> dict[str, Made]:
        names = [variant for one, owner, variant in states if (one, owner) == (kind, service)]
        return {name: value for name in names if (value := read(kind, name, made)) is not None}

    fresh = Lookout()
    return replace(
        fresh,
        demand=read("demand", "", _demand) or fresh.demand,
        mark=read("shape", "", _mark) or fresh.mark,
        start_ups_s=by_variant("start_up", _start_ups),
        trims=by_variant("trim", _trim),
        engines=by_variant("step", _engine),
        phases=by_variant("phases", _phases),
    ), tuple(problems)


def fitting(service: Service, lookout: Lookout) -> Lookout:
    """``lookout`` for ``service`` as it is written now: variants that are gone are forgotten, and so is what was
    learned of an engine from another beginning (another GPU, model, quantization or profile)."""
    engines = {
        name: engine
        for name, engine in lookout.engines.items()
        if name in service.variants and _same_prior(engine, first_belief(service, service.variants[name]))
    }
    return replace(
        lookout,
        engines=engines,
        trims={name: one for name, one in lookout.trims.items() if name in engines},
        phases={name: one for name, one in lookout.phases.items() if name in engines},
        start_ups_s={name: one for name, one in lookout.start_ups_s.items() if name in service.variants},
        modelled={},
        modelled_at=None,
    )


def _same_prior(engine: Engine, first: LearnedStep | Missing) -> bool:
    if isinstance(engine.learned, Missing) or isinstance(first, Missing):
        return False
    return (engine.learned.prior, engine.learned.bands) == (first.prior, first.bands)


def _opened(text: str) -> Plain:
    payload = json.loads(text)
    if payload["version"] != VERSION:
        raise ValueError(f"it is of version {payload['version']}, and this program reads {VERSION}")
    state: Plain = payload["state"]
    return state


def _demand(state: Plain) -> DemandState:
    if state["version"] != stored.VERSION:
        raise ValueError(f"it is of version {state['version']}, and this program reads {stored.VERSION}")
    return stored.state_from_json(state)


def _mark(state: Plain) -> DemandMark:
    sums = state["sums"]
    shapes = ShapeSums(
        prompts=LengthSums(**_numbers(sums["prompts"])),
        outputs=LengthSums(**_numbers(sums["outputs"])),
        prompt_tokens=_number(sums["prompt_tokens"]),
        cached_tokens=_number(sums["cached_tokens"]),
    )
    return DemandMark(at=datetime.fromtimestamp(_number(state["at_s"]), UTC), shapes=shapes)


def _start_ups(state: Plain) -> tuple[float, ...]:
    return tuple(_number(one) for one in state["seconds"])[-START_UPS_KEPT:]


def _trim(state: Plain) -> Trim:
    tails = {name: Tail(**_numbers(state[name])) for name in ("ttft", "tpot")}
    trim = Trim(factor=_number(state["factor"]), judged=_number(state["judged"]), **tails)
    if not LOWEST <= trim.factor <= HIGHEST:
        raise ValueError(f"its factor is {trim.factor:g}, expected {LOWEST:g} to {HIGHEST:g}")
    return trim


def _phases(state: Plain) -> PhaseSeconds:
    return PhaseSeconds(**_numbers(state))


def _engine(state: Plain) -> Engine:
    learned = step_from_json(state["step"])
    if isinstance(learned, Missing):
        raise ValueError(learned.why)
    kv_tokens = state["kv_tokens"]
    pace = max(1.0, _number(state.get("pace", 1.0)))  # what was kept before speculation was known has none
    return Engine(learned=learned, kv_tokens=NOT_TOLD if kv_tokens is None else _number(kv_tokens), pace=pace)


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    return {name: _number(value) for name, value in values.items()}


def _number(value: Any) -> float:
    """All that is kept counts or measures something: finite, and not below 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < inf:
        raise ValueError(f"expected a number, found {value!r}")
    return float(value)

"""The trace of a backtest: which requests are replayed, what the forecaster has seen before, what is in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import floor, isfinite

import numpy as np
from numpy.typing import NDArray

from controller.backtest.asked import Asked
from controller.backtest.ledger_trace import recorded
from controller.backtest.mistakes import Mistakes
from controller.backtest.results import plain
from controller.backtest.shapes import Invented
from controller.backtest.tracefile import read_lengths, read_trace, workload_of
from controller.backtest.words import count, many, span
from controller.clock import utc_now
from controller.errors import ConfigError, LedgerError, Problem
from controller.facts.missing import Missing
from controller.facts.performance import RequestShape
from controller.quantities import duration_text
from controller.simulate.arrivals import Requests
from controller.simulate.workload.blocks import BlockWorkload, Floats
from controller.simulate.workload.clients import ClientLengths
from controller.simulate.workload.describe import Description, TokenSummary, describe
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.modifiers import between, with_cached
from controller.simulate.world import HOUR_S

MINUTE_S = 60.0
LATEST_S = 1e11
"""No trace in seconds is later, 3,000 years after its epoch; one in milliseconds since 1970 is."""

FIRST_MINUTES = 10
"""Of the trace: what the fleet at the start is sized for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """A trace before any part is chosen, by seed. ``unknown``: minutes since its start that nobody saw; ``short``: that
    there is less of it than was asked for."""

    name: str
    workloads: Mapping[int, BlockWorkload]
    unknown: NDArray[np.bool_] | None = None
    notes: tuple[str, ...] = ()
    short: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What is replayed.

    workloads     by seed; the notes say what was done to the data
    per_minute    requests in each minute
    longest       prompt and output tokens of the longest request, with the first seed
    earlier       the same of the time before, as far as the forecaster is shown it; nan: nobody saw
    short         that it is less than was asked for, in words
    """

    name: str
    workloads: Mapping[int, BlockWorkload]
    description: Description
    shape: RequestShape
    per_minute: Floats
    longest: int
    earlier: Floats | None
    notes: tuple[str, ...]
    short: str = ""

    @property
    def first_per_s(self) -> float:
        """Requests/s of the first minutes."""
        return float(self.per_minute[:FIRST_MINUTES].mean()) / MINUTE_S

    @property
    def span_s(self) -> float:
        """How long the longest of them lasts."""
        return max(one.end_s - one.start_s for one in self.workloads.values())

    @property
    def told(self) -> str:
        """What is in it, in words."""
        found = self.description
        rate = f"{plain(found.mean_per_s)} a second"
        if self.span_s >= MINUTE_S:
            rate += f", {plain(found.peak_minute_per_s)} in the busiest minute"
        tokens = f"{count(round(self.shape.prompt_tokens))} prompt and {count(round(self.shape.output_tokens))} output"
        requests = f"{many(found.requests, 'request')} in {span(self.span_s / HOUR_S)}"
        told = f"{requests}, {rate}; {tokens} tokens each on average"
        return f"{told}; {self.short}" if self.short else told

    @property
    def warm_up_told(self) -> str:
        if self.earlier is None:
            return "none: the forecaster has seen nothing of the service"
        seen = span(len(self.earlier) / 60)
        return f"the forecaster has seen the {seen} before"


def whole_of(asked: Asked, service: str | None, ledger: str | None) -> Whole:
    """The trace as it is in the file, or in the ledger at ``ledger``. Raises ConfigError with all that is wrong."""
    mistakes = Mistakes()
    file = asked.lengths
    lengths = mistakes.tried(lambda: read_lengths(file)) if file else None
    if asked.ledger_s is not None:
        found = mistakes.tried(lambda: _from_ledger(asked, service, ledger, lengths))
    elif asked.shape is not None:
        found = _of_shape(asked.shape, lengths or Lengths.log_normal(), asked.seeds)
    else:
        found = mistakes.tried(lambda: _from_file(asked, lengths))
    mistakes.finish()
    assert found is not None
    return found


def _from_file(asked: Asked, lengths: Lengths | ClientLengths | None) -> Whole:
    path = asked.trace
    assert path is not None, "there is a trace or a ledger"
    trace = read_trace(path)
    if isinstance(trace, Requests) and asked.lengths:
        message = f"{path} tells the lengths of every request itself; leave --lengths out"
        raise ConfigError([Problem("--lengths", 0, 0, "", message)])
    known = lengths or Lengths.log_normal()
    first = workload_of(trace, known, seed=asked.seeds[0])
    if first.end_s > LATEST_S:
        message = f"the trace ends at {first.end_s:.4g} s: expected seconds; are these milliseconds or nanoseconds?"
        raise ConfigError([Problem(str(path), 0, 0, "", message)])
    seeded = not isinstance(trace, Requests)
    return Whole(
        name=path.name,
        workloads={seed: workload_of(trace, known, seed=seed) if seeded else first for seed in asked.seeds},
    )


def _of_shape(shape: Invented, lengths: Lengths | ClientLengths, seeds: Sequence[int]) -> Whole:
    workloads = {seed: workload_of(shape.trace(seed), lengths, seed=seed) for seed in seeds}
    return Whole(name=shape.name, workloads=workloads, notes=(shape.note,))


def _from_ledger(
    asked: Asked, service: str | None, ledger: str | None, lengths: Lengths | ClientLengths | None
) -> Whole:
    assert service is not None, "there is a policy"
    assert asked.ledger_s is not None
    if ledger is None:
        message = "which ledger? Give --ledger URL, such as sqlite:///pennyweight.db, or --fleet FILE"
        raise ConfigError([Problem("--from-ledger", 0, 0, "", message)])
    now = utc_now().replace(second=0, microsecond=0)
    try:
        found = recorded(ledger, service, now - timedelta(seconds=asked.ledger_s), now)
    except LedgerError as error:  # nothing ran: no gate has judged anything
        raise ConfigError([Problem("--from-ledger", 0, 0, "", str(error))]) from error
    workloads = {
        seed: with_cached(workload_of(found.trace, lengths or found.lengths, seed=seed), found.cached_ratio, seed)
        for seed in asked.seeds
    }
    return Whole(name=found.name, workloads=workloads, unknown=found.unknown, notes=found.notes, short=found.short)


def played_of(whole: Whole, asked: Asked) -> Played:
    """The part from ``--from`` to ``--to``. Raises ConfigError where there is nothing to replay."""
    first = whole.workloads[asked.seeds[0]]
    lasts_s = first.end_s - first.start_s
    to_s = lasts_s if asked.to_s is None else min(asked.to_s, lasts_s)
    if asked.from_s >= to_s:
        until = f"to {duration_text(to_s)}" if to_s < lasts_s else "on"
        message = f"nothing is left from {duration_text(asked.from_s)} {until}: the trace lasts {span(lasts_s / 3600)}"
        raise ConfigError([Problem("--from", 0, 0, "", message)])
    chosen = asked.from_s > 0 or to_s < lasts_s
    workloads = {
        seed: between(one, one.start_s + asked.from_s, one.start_s + to_s) if chosen else one
        for seed, one in whole.workloads.items()
    }
    replayed = workloads[asked.seeds[0]]
    found = describe(replayed)
    notes = (*whole.notes, *dict.fromkeys(f"Of the trace: {note}." for note in replayed.notes))
    counts, longest = _counted(replayed)
    return Played(
        name=whole.name,
        workloads=workloads,
        description=found,
        shape=_shape(found, whole.name),
        per_minute=counts,
        longest=longest,
        earlier=_earlier(whole, first, asked),
        notes=notes,
        short=whole.short or _ends_before(asked.to_s, lasts_s),
    )


def _ends_before(to_s: float | None, lasts_s: float) -> str:
    """That the trace is over before ``--to``, in words."""
    if to_s is None or to_s <= lasts_s:
        return ""
    return f"--to {duration_text(to_s)} was asked for, the trace lasts {span(lasts_s / HOUR_S)}"


def per_minute(workload: BlockWorkload) -> Floats:
    """Requests in each whole or begun minute since the workload's start."""
    return _counted(workload)[0]


def _counted(workload: BlockWorkload) -> tuple[Floats, int]:
    """Those, and the tokens of the longest request."""
    longest = 0
    counts = np.zeros(max(1, int(np.ceil((workload.end_s - workload.start_s) / MINUTE_S))))
    for requests in workload.blocks():
        places = ((requests.arrival_s - workload.start_s) / MINUTE_S).astype(np.int64)
        counts += np.bincount(places, minlength=len(counts))[: len(counts)]
        longest = max(longest, int((requests.prompt_tokens.astype(np.int64) + requests.output_tokens).max(initial=0)))
    return counts, longest


def _earlier(whole: Whole, workload: BlockWorkload, asked: Asked) -> Floats | None:
    """Whole minutes up to ``--from``."""
    minutes = floor(min(asked.from_s, asked.warm_up_s if isfinite(asked.warm_up_s) else asked.from_s) / MINUTE_S)
    if minutes < 1:
        return None
    end_s = workload.start_s + asked.from_s
    counts = per_minute(between(workload, end_s - minutes * MINUTE_S, end_s))
    if whole.unknown is not None:
        places = np.arange(len(counts)) + round(asked.from_s / MINUTE_S) - minutes
        counts = np.where(whole.unknown[places], np.nan, counts)
    return counts


def _shape(found: Description, name: str) -> RequestShape:
    prompt, output, cached = found.prompt_tokens, found.output_tokens, found.cached_ratio
    if not isinstance(prompt, TokenSummary) or not isinstance(output, TokenSummary):
        raise ConfigError([Problem(name, 0, 0, "", "no request arrives in the time that is replayed")])
    return RequestShape(
        prompt_tokens=prompt.mean,
        output_tokens=output.mean,
        cached_ratio=0.0 if isinstance(cached, Missing) else cached,
    )

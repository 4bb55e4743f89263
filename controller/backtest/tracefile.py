"""Traces as users have them: CSV files, gzip-packed or not, whatever their name; docs/traces.md says which columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from controller.backtest.table import Column, Floats, Kind, Table, missing_columns, read_columns, read_header
from controller.simulate.arrivals import Requests
from controller.simulate.spot import NOTICE_S, SpotMarket
from controller.simulate.workload.blocks import MOST_TOKENS, BlockWorkload
from controller.simulate.workload.clients import FAMILIES, ClientLengths, ClientTrace, ClientWorkload
from controller.simulate.workload.lengths import Lengths
from controller.simulate.workload.rates import RateTrace, RateWorkload
from controller.simulate.workload.traced import TracedWorkload

Trace = Requests | RateTrace | ClientTrace

ARRIVAL_NAMES = ("timestamp", "arrival", "arrival_time", "time_s")
PROMPT_NAMES = ("context_tokens", "request_tokens", "input_tokens", "prompt_length")
OUTPUT_NAMES = ("generated_tokens", "response_tokens", "completion_tokens", "output_length")
"""What public traces call these columns: Azure's TIMESTAMP, ContextTokens, GeneratedTokens; BurstGPT's Timestamp,
Request tokens, Response tokens."""

REQUEST_COLUMNS = (
    Column(name="arrival_s", kind=Kind.TIME, aliases=ARRIVAL_NAMES),
    Column(name="prompt_tokens", aliases=PROMPT_NAMES, least=1, most=MOST_TOKENS, whole=True),
    Column(name="output_tokens", aliases=OUTPUT_NAMES, least=1, most=MOST_TOKENS, whole=True),
    Column(name="cached_tokens", most=MOST_TOKENS, whole=True, required=False),
)
RATE_COLUMNS = (
    Column(name="time_s", kind=Kind.TIME, aliases=("timestamp", "time")),
    Column(name="requests", aliases=("request_count", "num_requests")),
)
CLIENT_COLUMNS = (
    Column(name="client", kind=Kind.TEXT, aliases=("client_id",)),
    Column(name="time_s", kind=Kind.TIME, aliases=("timestamp", "time", "window_start_s")),
    Column(name="rate_rps", aliases=("rate_per_s", "rate")),
    Column(name="cv"),
    Column(name="family", kind=Kind.TEXT, aliases=("distribution",)),
)
LENGTH_COLUMNS = (
    Column(name="percentile", most=100),
    Column(name="prompt_tokens", aliases=PROMPT_NAMES, least=1, most=MOST_TOKENS),
    Column(name="output_tokens", aliases=OUTPUT_NAMES, least=1, most=MOST_TOKENS),
)

CLIENT_LENGTH_COLUMNS = (
    Column(name="client", kind=Kind.TEXT, aliases=("client_id",)),
    Column(name="window_start_s"),
    Column(name="field", kind=Kind.TEXT),
)
PROMPT_FIELDS, OUTPUT_FIELDS = ("input_tokens", "prompt_tokens"), ("output_tokens",)
SPOT_COLUMNS = (
    Column(name="time_s", kind=Kind.TIME, aliases=("timestamp", "time")),
    Column(name="zone", kind=Kind.TEXT),
    Column(name="available", least=-1, whole=True),
    Column(name="gpu", kind=Kind.TEXT, required=False),
)

BIN_TOLERANCE_RATIO = 1e-3
"""Two bins count as equally wide when they differ by less than this share: times are rounded to milliseconds."""


def read_trace(path: Path, shown_as: str | None = None) -> Trace:
    """The requests, or the requests per bin, that a file holds: its columns tell which.

    Raises ConfigError with every mistake of the file (the first 20 in words), each with its line.
    """
    file, data, header = read_header(path, shown_as)
    kinds: tuple[tuple[tuple[Column, ...], Callable[[Table], Trace]], ...] = (
        (REQUEST_COLUMNS, _requests),
        (RATE_COLUMNS, _rates),
        (CLIENT_COLUMNS, _clients),
    )
    columns, made = min(kinds, key=lambda kind: len(missing_columns(header, kind[0])))
    return made(read_columns(file, data, header, columns))


def read_lengths(path: Path, shown_as: str | None = None) -> Lengths | ClientLengths:
    """How long requests are: quantiles by percentile, quantiles by client and window, or what a request trace holds.

    Raises ConfigError with every mistake of the file, each with its line.
    """
    file, data, header = read_header(path, shown_as)
    if not missing_columns(header, REQUEST_COLUMNS):
        return Lengths.of(_requests(read_columns(file, data, header, REQUEST_COLUMNS)), Path(file).name)
    if not missing_columns(header, CLIENT_LENGTH_COLUMNS):
        levels = _levels(header)
        quantiles = [Column(name=name, most=MOST_TOKENS) for name in dict.fromkeys(["q0", *levels, "q100"])]
        table = read_columns(file, data, header, (*CLIENT_LENGTH_COLUMNS, *quantiles))
        return _client_lengths(table, levels)
    return _lengths(read_columns(file, data, header, LENGTH_COLUMNS))


def read_workload(path: Path, lengths: Path | None = None, *, seed: int, shown_as: str | None = None) -> BlockWorkload:
    """A trace file as a workload. Where it has rates only, lengths come from ``lengths``, else from the default.

    Raises ConfigError with every mistake of both files, each with its line.
    """
    trace = read_trace(path, shown_as)
    known = read_lengths(lengths) if lengths and not isinstance(trace, Requests) else Lengths.log_normal()
    return workload_of(trace, known, seed=seed)


def workload_of(trace: Trace, known: Lengths | ClientLengths, *, seed: int) -> BlockWorkload:
    """A trace as a workload; ``known`` are the lengths where it has rates only."""
    if isinstance(trace, Requests):
        return TracedWorkload(trace)
    if isinstance(trace, ClientTrace):
        return ClientWorkload(trace, known, seed=seed)
    if isinstance(known, ClientLengths):
        known = known.pooled(np.ones(len(known.client)))
    return RateWorkload(trace, known, seed=seed)


def read_spot(path: Path, notice_s: float = NOTICE_S["aws"], shown_as: str | None = None) -> SpotMarket:
    """When each zone had spot capacity: ``available`` (0: none; -1: the record ends) holds until the zone's next row.

    Where a file has several GPUs, a zone is called zone/gpu. Raises ConfigError with every mistake of the file.
    """
    file, data, header = read_header(path, shown_as)
    table = read_columns(file, data, header, SPOT_COLUMNS)
    _ascending(table, "time_s", ties=True)
    table.finish()
    zones = table.texts["zone"]
    kinds = table.texts.get("gpu")
    if kinds is not None and len(np.unique(kinds)) > 1:
        zones = np.char.add(np.char.add(zones, "/"), kinds)
    time_s, available = table.numbers["time_s"], table.numbers["available"]
    start_s, end_s = float(time_s[0]), float(time_s[-1])
    up = {str(zone): _up_runs(time_s[zones == zone], available[zones == zone], end_s) for zone in np.unique(zones)}
    return SpotMarket(start_s=start_s, end_s=end_s, up=up, notice_s=notice_s)


def _up_runs(time_s: Floats, available: Floats, end_s: float) -> Floats:
    """Rows of (from, to) while anything is available."""
    states = np.concatenate([[False], available > 0, [False]])
    edges = np.append(time_s, end_s)
    begins, ends = edges[:-1][states[1:-1] & ~states[:-2]], edges[1:][states[1:-1] & ~states[2:]]
    return np.column_stack([begins, ends])


def _requests(table: Table) -> Requests:
    _ascending(table, "arrival_s", ties=True)
    prompts = table.numbers["prompt_tokens"]
    cached = table.numbers.get("cached_tokens")
    if cached is None:
        cached = np.zeros(len(table))
    else:
        table.wrong("cached_tokens", cached >= prompts, "must be below prompt_tokens, found {found}")
    table.finish()
    return Requests(
        arrival_s=table.numbers["arrival_s"],
        prompt_tokens=prompts.astype(np.int32),
        output_tokens=table.numbers["output_tokens"].astype(np.int32),
        cached_tokens=cached.astype(np.int32),
    )


def _rates(table: Table) -> RateTrace:
    time_s = table.numbers["time_s"]
    bin_s = _even_steps(table, "time_s", time_s)
    table.finish()
    return RateTrace(start_s=float(time_s[0]), bin_s=bin_s, requests=table.numbers["requests"])


def _clients(table: Table) -> ClientTrace:
    time_s = table.numbers["time_s"]
    _ascending(table, "time_s", ties=True)
    families = np.char.lower(table.texts["family"])
    unknown = ~np.isin(families, list(FAMILIES)) & (families != "")
    table.wrong("family", unknown, f"expected one of {', '.join(FAMILIES)}, found '{{found}}'")
    window_s = _windows(table, "time_s", time_s)
    table.finish()
    names, client = np.unique(table.texts["client"], return_inverse=True)
    return ClientTrace(
        window_s=window_s,
        names=tuple(map(str, names)),
        client=client.astype(np.int64),
        time_s=time_s,
        rate_per_s=table.numbers["rate_rps"],
        cv=table.numbers["cv"],
        family=np.array([FAMILIES[family] for family in families.tolist()], np.int64),
    )


def _lengths(table: Table) -> Lengths:
    levels = table.numbers["percentile"]
    ends = np.zeros(len(levels), bool)
    ends[0], ends[-1] = levels[0] != 0, levels[-1] != 100
    table.wrong("percentile", ends, "percentiles go from 0 in the first row to 100 in the last, found {found}")
    _ascending(table, "percentile", ties=False)
    _ascending(table, "prompt_tokens", ties=True)
    _ascending(table, "output_tokens", ties=True)
    table.finish()
    return Lengths(
        levels=levels / 100,
        prompt_tokens=table.numbers["prompt_tokens"],
        output_tokens=table.numbers["output_tokens"],
        source=Path(table.file).name,
    )


def _levels(header: tuple[str, ...]) -> dict[str, float]:
    """The quantile columns and their levels, ascending: q0, q50, q99_9 …"""
    found = {name: float(name[1:].replace("_", ".")) / 100 for name in header if re.fullmatch(r"q\d+(_\d+)?", name)}
    return dict(sorted(found.items(), key=lambda one: one[1]))


def _client_lengths(table: Table, levels: Mapping[str, float]) -> ClientLengths:
    """One row a client, window and field; a client needs both fields in a window."""
    values = np.stack([table.numbers[name] for name in levels], axis=1)
    falling = np.diff(values, axis=1) < 0
    for place, name in enumerate(list(levels)[1:]):
        table.wrong(name, falling[:, place], "a higher quantile must not be smaller, found {found}")
    field, start_s = table.texts["field"], table.numbers["window_start_s"]
    table.wrong("field", ~np.isin(field, (*PROMPT_FIELDS, *OUTPUT_FIELDS)), "expected input_tokens or output_tokens")
    window_s = _windows(table, "window_start_s", start_s)
    keys = list(zip(table.texts["client"].tolist(), start_s.tolist(), strict=True))
    prompts = {key: row for row, key in enumerate(keys) if field[row] in PROMPT_FIELDS}
    outputs = {key: row for row, key in enumerate(keys) if field[row] in OUTPUT_FIELDS}
    alone = np.array([key not in prompts or key not in outputs for key in keys])
    table.wrong("field", alone, "input_tokens and output_tokens must both be there for a client and window")
    table.finish()
    both = sorted(prompts, key=prompts.__getitem__)
    first_s = float(start_s.min())
    return ClientLengths(
        start_s=first_s,
        window_s=window_s,
        levels=np.array(list(levels.values())),
        client=tuple(name for name, _ in both),
        window=np.array([round((at_s - first_s) / window_s) for _, at_s in both], np.int64),
        prompt_tokens=values[[prompts[key] for key in both]],
        output_tokens=values[[outputs[key] for key in both]],
        source=Path(table.file).name,
    )


def _ascending(table: Table, column: str, *, ties: bool) -> None:
    """Note each row of ``column`` that is below the last known value above it, or equals it where ties are wrong."""
    values = table.numbers[column]
    known = np.flatnonzero(~np.isnan(values))
    steps = np.diff(values[known])
    wrong = np.zeros(len(values), bool)
    wrong[known[1:]] = steps < 0 if ties else steps <= 0
    must = "must not go back" if ties else "must go up"
    table.wrong(column, wrong, _after(table, known, must))


def _after(table: Table, known: NDArray[np.int64], what: str) -> Callable[[int], str]:
    """What is wrong with a row that comes after the known one before it; both as they stand in the file."""
    before = np.zeros(len(table), np.int64)
    before[known[1:]] = table.lines[known[:-1]]
    return lambda row: f"{what}: found {{found}} after {{at {before[row]}}}"


def _even_steps(table: Table, column: str, time_s: Floats) -> float:
    """The width of the bins: the most usual step, once they are in order. Every other step is noted, and every row that
    is out of order. Beside a time that is none, bins may be missing."""
    known = np.flatnonzero(~np.isnan(time_s))
    back = np.zeros(len(time_s), bool)
    back[known[1:]] = np.diff(time_s[known]) < 0
    table.wrong(column, back, _after(table, known, "is out of order"))
    order = known[np.argsort(time_s[known], kind="stable")]
    steps = np.diff(time_s[order])
    forward = np.round(steps[steps > 0], 6)
    if not len(forward):
        which = np.arange(len(time_s)) == len(time_s) - 1
        table.wrong(column, which, "at least two bins, one after the other, are needed to know their width")
        return float("nan")
    widths, counts = np.unique(forward, return_counts=True)
    bin_s = float(widths[np.argmax(counts)])
    fit = np.maximum(np.rint(steps / bin_s), 1.0) if len(known) < len(time_s) else np.ones(len(steps))
    step_s, wrong = np.zeros(len(time_s)), np.zeros(len(time_s), bool)
    step_s[order[1:]] = steps
    wrong[order[1:]] = np.abs(steps - fit * bin_s) > bin_s * BIN_TOLERANCE_RATIO
    must = f"bins must follow each other every {bin_s:g} s"
    table.wrong(column, wrong, lambda row: f"{must}, found {{found}}, {step_s[row]:g} s after the one before")
    return bin_s


def _windows(table: Table, column: str, time_s: Floats) -> float:
    """The width of the windows: the smallest step between two of them. Rows that no multiple of it reaches are noted.

    A file of a single window does not tell; an hour is a guess then.
    """
    known = np.unique(time_s[~np.isnan(time_s)])
    if len(known) < 2:
        return 3600.0
    width_s = float(np.diff(known).min())
    windows = (time_s - known[0]) / width_s
    off = np.abs(windows - np.rint(windows)) > BIN_TOLERANCE_RATIO
    table.wrong(column, off, f"windows must begin a multiple of {width_s:g} s after {known[0]:g} s, found {{found}}")
    return width_s

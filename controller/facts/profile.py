"""What a load sweep of one server measured, the step model fitted to it, and both as JSON text that can be kept."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import datetime
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from controller.facts.missing import Missing
from controller.facts.performance import StepModel

Number = float | Missing

NOT_FITTED = Missing("prediction", "nothing was fitted")

ASKED_FOR = Missing("closed_loop_share", "this load was asked for")
NOT_CHECKED = Missing("error", "no point was kept out of the fit")

FORMAT = 1
"""Version of the JSON text. A text of another version is refused, not guessed at. What has a default may be lacking in
an older text of the same version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """A latency over the measured requests (ITL: over their tokens), seconds."""

    mean: Number
    p50: Number
    p95: Number
    p99: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSeen:
    """What the server's own metrics said while one point was measured. Ratios 0..1; ``steps``: engine steps."""

    steps: Number
    running: Number
    queue_depth: Number
    kv_cache_ratio: Number
    cached_prompt_ratio: Number
    kv_capacity_tokens: Number
    preemptions: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """What the fitted model alone says about a point: only its load and its mean lengths are given to it."""

    ttft_s: Number
    tpot_s: Number
    output_tokens_per_s: Number


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfilePoint:
    """One step of the sweep: one load, one shape. Latencies count from the time that a request was due.

    kind               "concurrency" (closed loop: so many requests in flight) or "rate" (open loop: Poisson arrivals)
    load               requests in flight, or requests/s
    closed_loop_share  the rate is this share of the most requests/s that the closed loop of the same lengths reached;
                       such points are not fitted to: they check the fit
    window_s           how long was measured, warm-up discarded
    requests           due within the window
    answered           of these, with all their tokens
    errors             of these, by what went wrong; time-outs are counted apart
    timed_out          of these, given up; their latency counts as at least what they had waited
    mean_*_tokens      of the answered requests, by the server's own usage
    *_per_s            within the window, whenever the request was sent
    in_flight          requests at the server, mean over the window
    lateness_p99_s     how late the load generator itself sent requests: its own fault, not the server's
    cut                ended early, by Ctrl-C or a dying server
    """

    kind: str
    load: float
    prompt_tokens: float
    output_tokens: float
    window_s: float
    requests: int
    answered: int
    errors: Mapping[str, int]
    timed_out: int
    mean_prompt_tokens: Number
    mean_cached_tokens: Number
    mean_output_tokens: Number
    requests_per_s: float
    output_tokens_per_s: float
    total_tokens_per_s: float
    in_flight: float
    ttft: Latency
    tpot: Latency
    itl: Latency
    e2e: Latency
    lateness_p99_s: Number
    engine: EngineSeen | Missing
    usd_per_million_output_tokens: Number
    predicted: Predicted | Missing = NOT_FITTED
    cut: bool = False
    closed_loop_share: Number = ASKED_FOR

    @property
    def checks(self) -> bool:
        """It checks the fit, and was kept out of it."""
        return not isinstance(self.closed_loop_share, Missing)

    @property
    def failed(self) -> int:
        return sum(self.errors.values()) + self.timed_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Coefficient:
    """One coefficient of the step model, seconds per unit, and whether the sweep may be believed about it.

    standard_error_s   robust to blocks of time that went fast or slow together; Missing when it was not fitted
    verdict            "measured"; "negligible" (under 5 % of the times that it is part of); "prior" (the sweep did not
                       excite it, so the prior's value stands); "mixed" and "unknown" (not excited, and no prior: an
                       unknown one is 0 and a mixed one carries its share, so the model holds near the measured shape)
    """

    name: str
    value: float
    standard_error_s: Number
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFit:
    """A step model and how well it explains what was measured.

    overhead_s            a request's time outside of engine steps: HTTP, tokenizer, network; part of its TTFT
    observations          equations that it was fitted to
    tpot_error_ratio, throughput_error_ratio, ttft_error_ratio
                          mean |predicted - measured| / measured over the points (MAPE); TTFT over closed-loop points
    checked_tpot_error_ratio, checked_ttft_error_ratio
                          the same over the points that were kept out of the fit to check it: arrivals at random
    """

    step: StepModel
    overhead_s: float
    coefficients: tuple[Coefficient, ...]
    observations: int
    tpot_error_ratio: Number
    throughput_error_ratio: Number
    ttft_error_ratio: Number
    checked_tpot_error_ratio: Number = NOT_CHECKED
    checked_ttft_error_ratio: Number = NOT_CHECKED

    @property
    def unclaimed(self) -> tuple[str, ...]:
        """The coefficients that the sweep says nothing about."""
        return tuple(one.name for one in self.coefficients if one.verdict in ("prior", "mixed", "unknown"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A server, measured. ``notes``: whatever a reader of the figures must know, in sentences."""

    server: str
    model: str
    at: datetime
    seed: int
    usd_per_hour: Number
    price_source: str
    points: tuple[ProfilePoint, ...]
    fit: StepFit | Missing
    notes: tuple[str, ...] = ()
    format: int = field(default=FORMAT)

    def to_json(self) -> str:
        """Text that ``from_json`` reads back as an equal value."""
        return json.dumps(_plain(self), indent=2, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Profile:
        """Raises ValueError, naming the key, when the text is not a profile of this version."""
        try:
            data = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"not JSON: {error}") from error
        if not isinstance(data, dict) or "format" not in data:
            raise ValueError("not a profile: there is no key 'format'; `pennyweight profile URL --out FILE` writes one")
        if data["format"] != FORMAT:
            raise ValueError(f"a profile of format {data['format']}; this version reads format {FORMAT}: profile again")
        return _read(cls, data, "profile")  # type: ignore[no-any-return]  # the reader goes by the declared types


def _plain(value: Any) -> Any:
    if isinstance(value, Missing):
        return {"missing": value.what, "why": value.why}
    if is_dataclass(value):
        return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else value


def _read(kind: Any, data: Any, key: str) -> Any:
    """``data`` as the declared type ``kind``; ``key`` is where it stands, for the error."""
    origin = get_origin(kind)
    if origin in (Union, UnionType):
        return _read_union(get_args(kind), data, key)
    if origin is tuple:
        return tuple(_read(get_args(kind)[0], one, f"{key}[{index}]") for index, one in enumerate(_a(list, data, key)))
    if origin is not None:  # Mapping[str, X]
        return {name: _read(get_args(kind)[1], one, f"{key}.{name}") for name, one in _a(dict, data, key).items()}
    if is_dataclass(kind):
        return _read_dataclass(kind, _a(dict, data, key), key)
    if kind is datetime:
        return _moment(_a(str, data, key), key)
    return float(_a((int, float), data, key)) if kind is float else _a(kind, data, key)


def _moment(text: str, key: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ValueError(f"{key}: expected a date and time, found {text!r}") from error


def _read_union(kinds: tuple[Any, ...], data: Any, key: str) -> Any:
    """X | Missing."""
    if isinstance(data, dict) and "missing" in data:
        return Missing(str(data["missing"]), str(data.get("why", "")))
    return _read(next(one for one in kinds if one is not Missing), data, key)


def _read_dataclass(kind: Any, data: Mapping[str, Any], key: str) -> Any:
    hints = get_type_hints(kind)
    names = [one.name for one in fields(kind) if one.name in data or one.default is MISSING]
    lacking = [name for name in names if name not in data]
    unknown = [name for name in data if name not in names]
    if lacking or unknown:
        said = [f"no {name!r}" for name in lacking] + [f"unknown {name!r}" for name in unknown]
        raise ValueError(f"{key}: {', '.join(said)}")
    return kind(**{name: _read(hints[name], data[name], f"{key}.{name}") for name in names})


def _a(kind: Any, data: Any, key: str) -> Any:
    if not isinstance(data, kind) or (isinstance(data, bool) and kind is not bool):
        wanted = " or ".join(one.__name__ for one in kind) if isinstance(kind, tuple) else kind.__name__
        raise ValueError(f"{key}: expected {wanted}, found {data!r}")
    return data

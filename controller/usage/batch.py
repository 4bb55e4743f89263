"""From records as told to columns: whose they are, where they belong, and which of them cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from controller.attribute.batch import EPOCH, LONGEST, MICROSECOND, Batch, Bools, Ints, digests, indexed
from controller.facts.accounts import Identity
from controller.facts.usage import Reason, Refused
from controller.usage.directory import Directory
from controller.usage.identity import Trust
from controller.usage.told import SHOWN, Time, Told, Usage, expected

T = TypeVar("T")
K = TypeVar("K")

ACCEPT_LATE = timedelta(days=3)
"""How old a record may be: as long as digests are kept to know a repeated one by."""

CLOCK_SKEW = timedelta(minutes=5)
"""How far a sender's clock may be ahead of ours. A guess: clocks without NTP drift seconds a day."""

LATEST_S = 4e9
"""The year 2096. A larger number of seconds is milliseconds, or nonsense, and would not fit into microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What records are held against.

    directory     which services there are
    keys          whose an API key is, by its hash
    accept_late   older ones are refused
    """

    directory: Directory
    keys: Mapping[str, Identity] = field(default_factory=dict)
    accept_late: timedelta = ACCEPT_LATE


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """What could be read of a body or a file. ``index``: the places of ``told`` in what was sent; None: 0, 1 …"""

    told: Sequence[Told]
    index: Sequence[int] | None = None
    refused: Sequence[Refused] = ()


@dataclass(frozen=True, slots=True)
class _Wrong:
    """Records that cannot be: a mask, and the words for one of them."""

    mask: Bools
    reason: Reason
    why: Callable[[int], str]


def columns(gathered: Gathered, rules: Rules, *, source: str, trusted: bool, now: datetime) -> Batch:
    """The records as a Batch; those that cannot be are among its refused."""
    told = gathered.told
    place, places, no_place = _resolved(
        ((one.service, one.model, one.variant, one.api_base) for one in told), rules.directory.place
    )
    trust = Trust(sent=trusted, keys=rules.keys)
    identity, identities, nobody = _resolved(
        ((one.team, one.tenant, one.feature, one.environment, one.api_key) for one in told), trust.identity
    )
    prompt, cached, output = _tokens(told)
    ended = _seconds([one.ended_at for one in told])
    started = _seconds([one.ended_at if one.started_at is None else one.started_at for one in told])
    wrong = (
        *_wrong_tokens(prompt, cached, output),
        *_wrong_times(started, ended, rules.accept_late, now),
        _Wrong(place < 0, Reason.UNKNOWN_SERVICE, lambda at: no_place[at]),
        _Wrong(identity < 0, Reason.FIELD, lambda at: nobody[at]),
    )
    refused, good = _judged(wrong, gathered)
    a, b = digests(source, [one.id for one in told])
    batch = Batch(
        a=a,
        b=b,
        started_us=_microseconds(started),
        ended_us=_microseconds(ended),
        uncached=prompt - cached,
        cached=cached,
        output=output,
        from_cache=np.array([_from_cache(one.cache_hit) for one in told], dtype=np.bool_),
        place=place,
        identity=identity,
        places=places,
        identities=identities,
    )
    told_off = sorted((*gathered.refused, *refused), key=lambda one: one.index)
    return replace(batch if good.all() else _without(batch, good), refused=tuple(told_off))


def _without(batch: Batch, good: Bools) -> Batch:
    """Only the ``good`` records, and of the identities only theirs: nobody becomes known by being refused."""
    batch = batch.kept(good)
    used, identity = np.unique(batch.identity, return_inverse=True)
    return replace(batch, identity=identity, identities=tuple(batch.identities[one] for one in used.tolist()))


def _resolved(said: Iterable[K], resolve: Callable[[K], T | str]) -> tuple[Ints, tuple[T, ...], Mapping[int, str]]:
    """Each different thing said is resolved once: for each record its place among the results, -1 where there is none;
    the results; and why there is none, by record."""
    number, different = indexed(said)
    results: dict[T, int] = {}
    place = np.empty(len(different), dtype=np.int64)
    whys: dict[int, str] = {}
    for at, one in enumerate(different):
        found = resolve(one)
        if isinstance(found, str):
            place[at], whys[at] = -1, found
        else:
            place[at] = results.setdefault(found, len(results))
    return place[number], tuple(results), {int(at): whys[int(number[at])] for at in np.flatnonzero(place[number] < 0)}


def _tokens(told: Sequence[Told]) -> tuple[Ints, Ints, Ints]:
    """Prompt, cached and output tokens; -1 where nobody says. Cached ones are 0 where nobody says."""
    prompt = [_prompt(one) if one.prompt_tokens is None else one.prompt_tokens for one in told]
    output = [_output(one) if one.output_tokens is None else one.output_tokens for one in told]
    cached = [_cached(one) if one.cached_tokens is None else one.cached_tokens for one in told]
    return np.array(prompt, dtype=np.int64), np.array(cached, dtype=np.int64), np.array(output, dtype=np.int64)


NO_USAGE = Usage()


def _prompt(one: Told) -> int:
    usage = one.usage or NO_USAGE
    return _first(-1, one.input_tokens, usage.prompt_tokens, usage.input_tokens)


def _output(one: Told) -> int:
    usage = one.usage or NO_USAGE
    return _first(-1, one.completion_tokens, usage.output_tokens, usage.completion_tokens)


def _cached(one: Told) -> int:
    usage, details = one.usage, one.prompt_tokens_details
    if usage is None:
        return 0 if details is None else details.cached_tokens or 0
    nested = (details, usage.prompt_tokens_details, usage.input_tokens_details)
    return _first(0, *(one.cached_tokens for one in nested if one is not None), usage.cached_tokens)


def _first(otherwise: int, *values: int | None) -> int:
    return next((one for one in values if one is not None), otherwise)


def _from_cache(told: bool | str | None) -> bool:
    """LiteLLM writes "True", "False", "None" and nothing."""
    return told is True or (isinstance(told, str) and told.lower() == "true")


def _seconds(times: Sequence[Time]) -> NDArray[np.float64]:
    return np.array([one if isinstance(one, float) else one.timestamp() for one in times], dtype=np.float64)


def _microseconds(seconds: NDArray[np.float64]) -> Ints:
    """Refused ones may be anything; here they only must fit."""
    return np.rint(np.clip(seconds, 0.0, LATEST_S) * 1e6).astype(np.int64)


def _wrong_tokens(prompt: Ints, cached: Ints, output: Ints) -> tuple[_Wrong, ...]:
    return (
        _Wrong(prompt < 0, Reason.FIELD, lambda at: expected("prompt_tokens", None)),
        _Wrong(output < 0, Reason.FIELD, lambda at: expected("output_tokens", None)),
        _Wrong(
            cached > prompt,
            Reason.FIELD,
            lambda at: f"cached_tokens: expected at most the {prompt[at]} prompt_tokens, found {cached[at]}",
        ),
    )


def _wrong_times(
    started: NDArray[np.float64], ended: NDArray[np.float64], accept_late: timedelta, now: datetime
) -> tuple[_Wrong, ...]:
    earliest, latest = (now - accept_late).timestamp(), (now + CLOCK_SKEW).timestamp()
    return (
        _Wrong(
            ended < started,
            Reason.TIME,
            lambda at: f"ended_at: expected a time after started_at ({_time(started[at])}), found {_time(ended[at])}",
        ),
        _Wrong(
            ended > latest,
            Reason.IN_FUTURE,
            lambda at: (
                f"ended_at: expected at most 5 minutes after our {_time(now.timestamp())}, found {_time(ended[at])}"
            ),
        ),
        _Wrong(
            started < earliest,
            Reason.TOO_OLD,
            lambda at: f"started_at: expected {_time(earliest)} or later, found {_time(started[at])}",
        ),
        _Wrong(
            ended - started > LONGEST.total_seconds(),
            Reason.TIME,
            lambda at: (
                f"ended_at: expected at most 24 h after started_at, found {(ended[at] - started[at]) / 3600:.1f} h"
            ),
        ),
    )


def _time(seconds: float) -> str:
    """As people write it; nonsense as it stands."""
    if not 0 <= seconds <= LATEST_S:
        return f"{seconds:g}"[:SHOWN]
    return f"{EPOCH + round(seconds * 1e6) * MICROSECOND:%Y-%m-%dT%H:%M:%SZ}"


def _judged(wrong: Sequence[_Wrong], gathered: Gathered) -> tuple[list[Refused], Bools]:
    """The refused records, each with its first mistake; and a mask of the others."""
    good = np.ones(len(gathered.told), dtype=np.bool_)
    refused = []
    for one in wrong:
        for at in np.flatnonzero(one.mask & good).tolist():
            index = gathered.index[at] if gathered.index is not None else at
            refused.append(Refused(index=index, id=gathered.told[at].id, why=one.why(at), reason=one.reason))
        good &= ~one.mask
    return refused, good

"""Asking a Prometheus server that already scrapes the fleet, through prometheus-api-client.

Two instant queries a selector and pass: the raw series by name (counters and histogram buckets, which our own counter
book turns into increases, so that restarts count once and in one way), and for gauges the largest value of the last
``GAUGE_WINDOW_S`` with the time of the newest sample. https://prometheus.io/docs/prometheus/latest/querying/api/
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import fsum, isfinite
from typing import Any

import requests
from prometheus_api_client import PrometheusConnect
from prometheus_api_client.exceptions import PrometheusApiClientException
from urllib3.util.retry import Retry

from controller.errors import ObserveError
from controller.facts.fleet import Gateway, PrometheusServer
from controller.facts.missing import Missing
from controller.observe.dcgm import Sample
from controller.observe.discovery import without_secrets

QUERY_TIMEOUT_S = 5.0
"""A guess: an instant query over a few thousand series takes well under a second."""

GAUGE_WINDOW_S = 60
"""Gauges are the largest of this many seconds, so that a queue between two passes is not overlooked: Prometheus'
default scrape_interval, https://prometheus.io/docs/prometheus/latest/configuration/configuration/."""

SUBQUERY_STEPS = 12
"""How often the window is looked at. A guess: every 5 s of the default window, under the usual scrape intervals."""

MAX_AGE_S = 120.0
"""Older samples are Missing. Two default scrape intervals: one scrape may be late or lost."""

SUFFIXES = ("_total", "_bucket", "_sum", "_count", "_created")
"""What a metric's name may end in on the wire."""

UP = "up"
MAX_TAG, TIME_TAG = "pennyweight_max_of", "pennyweight_time_of"
"""Labels that tell which gauge a value of the second query belongs to; functions drop the metric's name."""

ADDRESS_LABELS = {"__name__", "job", "instance"}
UNDERSTOOD_LABELS = {"replica", "pod", "capacity_type", "phase", "node"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTarget:
    """One target as the server knows it.

    labels   the target's own labels, from ``up``; where ``up`` is not kept, those that we understand
    at       time of the newest sample by the server's clock; None when it cannot be told
    why      why nothing can be read, "" when ``samples`` can be used
    """

    job: str
    instance: str
    labels: Mapping[str, str]
    samples: tuple[Sample, ...]
    at: datetime | None
    why: str = ""

    @property
    def url(self) -> str:
        return self.instance if "://" in self.instance else f"http://{self.instance}"


@dataclass(slots=True)
class _Gathered:
    """What the answers say about one target, while they are read."""

    samples: list[Sample] = field(default_factory=list)
    up: float | None = None
    up_labels: Mapping[str, str] | None = None
    sampled_at_s: float | None = None
    asked_at_s: float = 0.0


class PrometheusReader:
    """Queries servers; keeps one connection a server."""

    def __init__(
        self,
        timeout_s: float = QUERY_TIMEOUT_S,
        max_age_s: float = MAX_AGE_S,
        gauge_window_s: int = GAUGE_WINDOW_S,
    ) -> None:
        self._timeout_s = timeout_s
        self._max_age_s = max_age_s
        self._gauge_window_s = gauge_window_s
        self._connections: dict[str, PrometheusConnect] = {}

    def read(
        self, server: PrometheusServer, names: Iterable[str], gauges: Sequence[str], dated: Sequence[str]
    ) -> tuple[ServedTarget, ...] | Missing:
        """Every target that ``server.selector`` matches.

        names    metrics to read, without their suffixes
        gauges   those of them that are the largest value of the window
        dated    those whose sample time dates the target (``up`` does so for all)
        """
        try:
            raw = self._query(server, raw_query(server.selector, names))
            recent = self._query(server, recent_query(server.selector, gauges, dated, self._gauge_window_s))
            targets = gathered(raw, recent)
        except ObserveError as error:
            return Missing("prometheus", f"{without_secrets(server.url)}: {error}")
        except (KeyError, ValueError, TypeError):
            return Missing("prometheus", f"{without_secrets(server.url)}: answers, but not with an instant vector")
        if not raw:
            why = f"has no series for {{{_matchers(server.selector)}}}; check the selector and the server's targets"
            return Missing("prometheus", f"{without_secrets(server.url)}: {why}")
        return tuple(self._target(key, found) for key, found in targets.items())

    def total(self, gateway: Gateway) -> float | Missing:
        """The sum of what the gateway's query answers."""
        try:
            answer = self._query(PrometheusServer(url=gateway.url, selector=""), gateway.query)
            values = [float(entry["value"][1]) for entry in answer]
        except ObserveError as error:
            return Missing("gateway", f"{without_secrets(gateway.url)}: {error}")
        except (KeyError, ValueError, TypeError, IndexError):
            return Missing("gateway", f"{without_secrets(gateway.url)}: answers, but not with an instant vector")
        if not values or not all(map(isfinite, values)):
            return Missing("gateway", f"{without_secrets(gateway.url)}: has no number for {gateway.query}")
        return fsum(values)

    def close(self) -> None:
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def _query(self, server: PrometheusServer, query: str) -> list[dict[str, Any]]:
        connection = self._connections.get(server.url) or self._connect(server.url)
        try:
            answer = connection.custom_query(query, timeout=self._timeout_s)
        except (requests.Timeout, requests.ConnectionError) as error:
            raise ObserveError(self._unreached(error)) from None
        except PrometheusApiClientException as error:
            raise ObserveError(f"refused the query: {str(error)[:300]}") from error
        except (requests.RequestException, json.JSONDecodeError, KeyError, TypeError) as error:
            raise ObserveError(f"does not answer like Prometheus' query API: {type(error).__name__}") from error
        if not isinstance(answer, list):
            raise ObserveError("does not answer like Prometheus' query API: the result is not a list")
        return answer

    def _unreached(self, error: requests.RequestException) -> str:
        """Only the innermost reason: the client's own text repeats the URL, which may hold a password."""
        reason: BaseException = error
        while (inner := reason.__cause__ or reason.__context__) is not None:
            reason = inner
        if isinstance(error, requests.Timeout) or isinstance(reason, TimeoutError):
            return f"no answer within {self._timeout_s:g} s"
        return f"cannot be reached: {getattr(reason, 'strerror', None) or type(reason).__name__}"

    def _connect(self, url: str) -> PrometheusConnect:
        connection = PrometheusConnect(url=url.rstrip("/"), retry=Retry(total=0), timeout=self._timeout_s)
        self._connections[url] = connection
        return connection

    def _target(self, key: tuple[str, str], found: _Gathered) -> ServedTarget:
        job, instance = key
        if found.up_labels is not None:
            labels = {name: text for name, text in found.up_labels.items() if name not in ADDRESS_LABELS}
        else:
            first = found.samples[0][1] if found.samples else {}
            labels = {name: text for name, text in first.items() if name in UNDERSTOOD_LABELS}
        at = None if found.sampled_at_s is None else datetime.fromtimestamp(found.sampled_at_s, UTC)
        return ServedTarget(
            job=job,
            instance=instance,
            labels=labels,
            samples=tuple(found.samples),
            at=at,
            why=self._trouble(found),
        )

    def _trouble(self, found: _Gathered) -> str:
        age_s = None if found.sampled_at_s is None else found.asked_at_s - found.sampled_at_s
        if found.up == 0:
            return "Prometheus cannot scrape it: up is 0"
        if not found.samples:
            return "Prometheus scrapes it, and it exports none of the engine's metrics"
        if age_s is None:
            return "Prometheus does not tell how old its samples are: neither up nor a known gauge is there"
        if age_s > self._max_age_s:
            return f"Prometheus' newest sample is {age_s:.0f} s old, more than {self._max_age_s:g} s"
        return ""


def raw_query(selector: str, names: Iterable[str]) -> str:
    """All series of ``names``, with whatever suffix, and ``up``."""
    return f'{{__name__=~"{UP}|(?:{_either(names)})(?:{"|".join(SUFFIXES)})?",{_matchers(selector)}}}'


def recent_query(selector: str, gauges: Iterable[str], dated: Iterable[str], window_s: int) -> str:
    """The largest value of each gauge and the time of each newest sample, both tagged with the metric's name.

    Functions drop the name, so the gauges get theirs as a label first, which makes them a subquery. ``timestamp``
    tells a sample's time only of a plain selector, so each of ``dated`` has its own.
    """
    chosen = _matchers(selector)
    step_s = max(1, window_s // SUBQUERY_STEPS)
    named = f'label_replace({{__name__=~"{_either(gauges)}",{chosen}}}, "{MAX_TAG}", "$1", "__name__", "(.+)")'
    times = [f'label_replace(timestamp({name}{{{chosen}}}), "{TIME_TAG}", "{name}", "", "")' for name in (UP, *dated)]
    return " or ".join((f"max_over_time({named}[{window_s}s:{step_s}s])", *times))


def _either(names: Iterable[str]) -> str:
    return "|".join(sorted(set(names)))


def _matchers(selector: str) -> str:
    return selector.strip().removeprefix("{").removesuffix("}")


def gathered(raw: Iterable[Mapping[str, Any]], recent: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], _Gathered]:
    """Both answers by target (job, instance): gauges replaced by their largest recent value."""
    targets: dict[tuple[str, str], _Gathered] = {}
    largest: dict[frozenset[tuple[str, str]], float] = {}
    for labels, value, _ in _entries(recent):
        if MAX_TAG in labels:
            largest[_series(labels | {"__name__": labels[MAX_TAG]})] = value
        else:
            target = targets.setdefault(_key(labels), _Gathered())
            target.sampled_at_s = max(value, target.sampled_at_s or value)
    for labels, value, asked_at_s in _entries(raw):
        target = targets.setdefault(_key(labels), _Gathered())
        target.asked_at_s = asked_at_s
        name = labels.get("__name__", "")
        if name == UP:
            target.up, target.up_labels = value, labels
        else:
            target.samples.append((name, labels, largest.get(_series(labels), value)))
    return targets


def _entries(answer: Iterable[Mapping[str, Any]]) -> Iterable[tuple[dict[str, str], float, float]]:
    for entry in answer:
        asked_at_s, text = entry["value"]
        yield dict(entry["metric"]), float(text), float(asked_at_s)


def _key(labels: Mapping[str, str]) -> tuple[str, str]:
    return labels.get("job", ""), labels.get("instance", "")


def _series(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset((name, text) for name, text in labels.items() if name != MAX_TAG)

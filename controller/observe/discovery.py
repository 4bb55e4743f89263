"""Where the replicas and GPU exporters are: the fleet file's addresses, Prometheus ``file_sd`` files, HTTP discovery,
watched pods.

Formats: https://prometheus.io/docs/prometheus/latest/configuration/configuration/#file_sd_config and
https://prometheus.io/docs/prometheus/latest/http_sd/. A source that cannot be read keeps what it said last and the
problem is reported on every pass until it is mended: an unreadable list is not an empty fleet.
"""

from __future__ import annotations

import asyncio
import glob
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import aiohttp
import yaml

from controller.facts.fleet import (
    AwsAsgInstances,
    Discovery,
    FileSd,
    GpuDiscovery,
    HttpSd,
    KubernetesPods,
    StaticTargets,
    Variant,
)
from controller.facts.missing import Missing
from controller.facts.readings import Target

HTTP_TIMEOUT_S = 2.0
"""How long all HTTP discovery of one pass may take together. A guess: well under the shortest sensible interval."""

MAX_BODY_BYTES = 16 * 1024 * 1024
"""The longest list read over HTTP. A guess: about 100,000 targets with a few labels each."""

FILE_SD_SUFFIXES = {".json", ".yml", ".yaml"}
METRICS_PATH = "/metrics"
GPU_EXPORTERS = "GPU exporters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """One discovered address. ``url`` has no path unless metrics are elsewhere than /metrics."""

    url: str
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def host_port(self) -> str:
        return urlsplit(self.url).netloc.rpartition("@")[2]

    @property
    def replica(self) -> str:
        """The replica's name: label ``replica``, else ``pod``, else host:port."""
        return self.labels.get("replica") or self.labels.get("pod") or self.host_port


@dataclass(frozen=True, slots=True, kw_only=True)
class _Listing:
    """What one file or URL says, as last read.

    stamp     what must differ for a file to be read again: (mtime, size, inode)
    addresses the last good list
    problem   why the newest attempt failed, "" when it did not
    had       how many addresses the newest list that was not empty had
    """

    stamp: object
    addresses: tuple[Address, ...] = ()
    problem: str = ""
    had: int = 0

    def now_says(self, stamp: object, addresses: tuple[Address, ...]) -> _Listing:
        return _Listing(stamp=stamp, addresses=addresses, had=len(addresses) or self.had)

    def now_fails(self, stamp: object, why: str) -> _Listing:
        kept = (
            f"its last good list ({len(self.addresses)} targets) stays in use"
            if self.addresses
            else "it named none yet"
        )
        return _Listing(stamp=stamp, addresses=self.addresses, problem=f"{why}; {kept}", had=self.had)

    def trouble(self) -> str:
        if self.problem or self.addresses or not self.had:
            return self.problem
        return f"lists no targets now; it listed {self.had} before"


@dataclass(frozen=True, slots=True, kw_only=True)
class Discovered:
    """What one source names, and what is wrong with it.

    gpu_problems   what is wrong with the machines' GPUs: nobody is unseen for it
    """

    addresses: tuple[Address, ...] = ()
    problems: tuple[str, ...] = ()
    gpu_problems: tuple[str, ...] = ()


class Pods(Protocol):
    """Pods of clusters as addresses."""

    def engines(self, source: KubernetesPods, variant: Variant) -> Discovered:
        """The variant's replicas."""

    def exporters(self, source: KubernetesPods, variant: Variant) -> Discovered:
        """The exporters of its GPUs. After ``engines``, which tells where those are."""


class Groups(Protocol):
    """Instances of Auto Scaling groups as addresses."""

    def instances(self, source: AwsAsgInstances, now: datetime) -> Discovered:
        """Those that run engines, or exporters of GPUs."""

    def differences(self, variant: Variant) -> tuple[str, ...]:
        """Where its groups buy otherwise than it is priced."""


class Discoverer:
    """Turns a variant's discovery into targets. Not for use by several threads at once."""

    def __init__(
        self, timeout_s: float = HTTP_TIMEOUT_S, *, pods: Pods | None = None, groups: Groups | None = None
    ) -> None:
        self._timeout_s = timeout_s
        self._pods = pods
        self._groups = groups
        self._files: dict[str, _Listing] = {}
        self._matched: dict[str, frozenset[str]] = {}
        self._http: dict[str, _Listing] = {}
        self._asked: dict[str, datetime] = {}

    def targets(self, variant: Variant, now: datetime) -> tuple[tuple[Target, ...], tuple[Missing, ...]]:
        """The variant's replicas, and what is wrong with the sources that name them, or with the groups behind them."""
        targets, problems = self._resolve(variant, variant.discovery, "targets", now)
        priced = f"capacity of {variant.service}/{variant.name} as it is priced"
        differences = self._groups.differences(variant) if self._groups is not None else ()
        return targets, (*problems, *(Missing(priced, why) for why in differences))

    def gpu_targets(self, variant: Variant, now: datetime) -> tuple[tuple[Target, ...], tuple[Missing, ...]]:
        """The variant's GPU exporters, and what is wrong with the sources that name them."""
        return self._resolve(variant, variant.gpu_discovery, GPU_EXPORTERS, now)

    def refresh(self, variants: Iterable[Variant], now: datetime) -> None:
        """Ask every HTTP discovery of ``variants`` that is due, all at once, within one time-out."""
        sources = (source for variant in variants for source in (*variant.discovery, *variant.gpu_discovery))
        self._ask([source for source in sources if isinstance(source, HttpSd)], now)

    def _resolve(
        self, variant: Variant, sources: Sequence[Discovery | GpuDiscovery], what: str, now: datetime
    ) -> tuple[tuple[Target, ...], tuple[Missing, ...]]:
        self._ask([source for source in sources if isinstance(source, HttpSd)], now)
        addresses: list[Address] = []
        problems: list[str] = []
        gpu_problems: list[str] = []
        for source in sources:
            if isinstance(source, StaticTargets):
                addresses += [static_address(url) for url in source.urls]
            elif isinstance(source, FileSd):
                for pattern in source.patterns:
                    self._add(self._read(pattern, problems), addresses, problems)
            elif isinstance(source, HttpSd):
                self._add({without_secrets(source.url): self._http[source.url]}, addresses, problems)
            elif isinstance(source, KubernetesPods | AwsAsgInstances):
                found = self._of_platform(source, variant, what, now)
                addresses += found.addresses
                problems += found.problems
                gpu_problems += found.gpu_problems
        targets, clashes = named(variant, addresses)
        of = f"of {variant.service}/{variant.name}"
        told = [Missing(f"{what} {of}", why) for why in (*problems, *clashes)]
        return targets, (*told, *(Missing(f"GPUs {of}", why) for why in gpu_problems))

    def _of_platform(
        self, source: KubernetesPods | AwsAsgInstances, variant: Variant, what: str, now: datetime
    ) -> Discovered:
        if isinstance(source, AwsAsgInstances):
            return self._groups.instances(source, now) if self._groups is not None else Discovered()
        if self._pods is None:
            return Discovered()
        look = self._pods.exporters if what == GPU_EXPORTERS else self._pods.engines
        return look(source, variant)

    def _add(self, listings: Mapping[str, _Listing], addresses: list[Address], problems: list[str]) -> None:
        for name, listing in listings.items():
            addresses.extend(listing.addresses)
            if trouble := listing.trouble():
                problems.append(f"{name}: {trouble}")

    # files

    def _read(self, pattern: str, problems: list[str]) -> dict[str, _Listing]:
        """The files that match now. One that is gone names nothing any more, as in Prometheus, and is reported."""
        paths = sorted(path for path in glob.glob(pattern) if Path(path).suffix in FILE_SD_SUFFIXES)
        if not paths:
            problems.append(f"{pattern}: no such file (.json, .yml or .yaml)")
        gone = self._matched.get(pattern, frozenset()) - set(paths)
        problems.extend(self._forget(path) for path in sorted(gone))
        self._matched[pattern] = frozenset(paths)
        for path in paths:
            self._files[path] = _read_file(path, self._files.get(path))
        return {path: self._files[path] for path in paths}

    def _forget(self, path: str) -> str:
        listing = self._files.pop(path, _Listing(stamp=None))
        return f"{path}: the file is gone, and the {len(listing.addresses)} targets that it listed with it"

    # HTTP

    def _ask(self, sources: Sequence[HttpSd], now: datetime) -> None:
        due = {source.url for source in sources if self._due(source, now)}
        if not due:
            return
        for url, answer in asyncio.run(_get_all(sorted(due), self._timeout_s)).items():
            before = self._http.get(url, _Listing(stamp=None))
            self._asked[url] = now
            if isinstance(answer, str):
                self._http[url] = before.now_fails(None, answer)
            else:
                self._http[url] = before.now_says(None, answer)

    def _due(self, source: HttpSd, now: datetime) -> bool:
        """Never asked, asked ``refresh_s`` ago, or asked in vain without a list to go on with."""
        asked = self._asked.get(source.url)
        if asked is None or now - asked >= timedelta(seconds=source.refresh_s):
            return True
        listing = self._http[source.url]
        return bool(listing.problem) and not listing.addresses and now > asked


def _read_file(path: str, before: _Listing | None) -> _Listing:
    """``path`` as it is now; the same listing when nothing about the file changed."""
    before = before or _Listing(stamp=None)
    try:
        found = Path(path).stat()
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino)
        if stamp == before.stamp:
            return before
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return before.now_fails(None, f"cannot be read: {getattr(error, 'strerror', None) or error}")
    try:
        return before.now_says(stamp, parse_groups(_load(path, text)))
    except (ValueError, yaml.YAMLError) as error:
        return before.now_fails(stamp, f"not a valid target list: {_one_line(error)}")


def _load(path: str, text: str) -> object:
    return json.loads(text) if path.endswith(".json") else yaml.safe_load(text)


async def _get_all(urls: Sequence[str], timeout_s: float) -> dict[str, tuple[Address, ...] | str]:
    """Each URL's addresses, or why there are none."""
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    async with aiohttp.ClientSession(timeout=timeout, headers={"Accept": "application/json"}) as session:
        return dict(zip(urls, await asyncio.gather(*(_get(session, url, timeout_s) for url in urls)), strict=True))


async def _get(session: aiohttp.ClientSession, url: str, timeout_s: float) -> tuple[Address, ...] | str:
    try:
        async with session.get(url) as response:
            if response.status != 200:
                return f"HTTP status {response.status} where 200 was expected"
            if response.content_type != "application/json":
                return f"content type {response.content_type} where application/json was expected"
            body = await _capped_body(response)
        return parse_groups(json.loads(body))
    except TimeoutError:
        return f"no complete answer within {timeout_s:g} s"
    except (aiohttp.ClientError, OSError) as error:
        return f"cannot be reached: {_one_line(error) or type(error).__name__}"
    except ValueError as error:
        return f"not a valid target list: {_one_line(error)}"


async def _capped_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError(f"longer than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def parse_groups(document: object) -> tuple[Address, ...]:
    """The addresses of ``[{targets: [host:port, ...], labels: {name: value}}, ...]``; ValueError says what is wrong."""
    if not isinstance(document, list):
        raise ValueError(f"expected a list of target groups, found {_kind(document)}")
    addresses: list[Address] = []
    for index, group in enumerate(document):
        if not isinstance(group, dict):
            raise ValueError(f"group {index + 1}: expected targets and labels, found {_kind(group)}")
        labels = _labels(group.get("labels"), index + 1)
        targets = group.get("targets") or []
        if not isinstance(targets, list):
            raise ValueError(f"group {index + 1}: targets: expected a list, found {_kind(targets)}")
        addresses += [_address(target, labels, index + 1) for target in targets]
    return tuple(addresses)


def _labels(labels: object, group: int) -> dict[str, str]:
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        raise ValueError(f"group {group}: labels: expected names and values, found {_kind(labels)}")
    for name, value in labels.items():
        if not isinstance(value, str | int | float):
            raise ValueError(f"group {group}: label {name}: expected text, found {_kind(value)}")
    return {str(name): str(value) for name, value in labels.items()}


def _address(target: object, labels: Mapping[str, str], group: int) -> Address:
    if not isinstance(target, str) or not target or "/" in target:
        raise ValueError(f"group {group}: expected a target as host:port, found {target!r}")
    path = labels.get("__metrics_path__") or METRICS_PATH
    url = f"{labels.get('__scheme__') or 'http'}://{target}"
    if path != METRICS_PATH:
        url += path if path.startswith("/") else f"/{path}"
    return Address(url=url, labels={name: text for name, text in labels.items() if not name.startswith("__")})


def static_address(url: str) -> Address:
    """An address written in the fleet file, with or without ``http://`` and ``/metrics``."""
    full = url if "://" in url else f"http://{url}"
    return Address(url=full.rstrip("/").removesuffix(METRICS_PATH))


def named(variant: Variant, addresses: Iterable[Address]) -> tuple[tuple[Target, ...], list[str]]:
    """One target an address (the first naming wins), and one replica a target."""
    targets: dict[str, Target] = {}
    names: set[str] = set()
    clashes: list[str] = []
    for address in addresses:
        if address.url in targets:
            continue
        replica = address.replica
        if replica in names:
            clashes.append(f"{address.url}: another address is already replica {replica}; this one goes by its address")
            replica = address.host_port
        names.add(replica)
        targets[address.url] = Target(
            service=variant.service, variant=variant.name, replica=replica, url=address.url, labels=address.labels
        )
    return tuple(targets.values()), clashes


def without_secrets(url: str) -> str:
    """``url`` for people and logs: without user name, password and query."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def _kind(value: object) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:40]!r}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())

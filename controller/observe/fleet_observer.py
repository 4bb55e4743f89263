"""All sources of a fleet as one: who is there, what their engines say and what their GPUs say, within one deadline."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import monotonic
from typing import Any

from controller.facts.fleet import EngineKind, Fleet, LocalNvml, PrometheusServer, Variant
from controller.facts.missing import Missing
from controller.facts.readings import CounterMark, EngineReading, GpuReading, Signal, Target
from controller.observe import dcgm
from controller.observe.discovery import Address, Discoverer, named
from controller.observe.engines import ADAPTERS
from controller.observe.exposition import PageReader, Series
from controller.observe.gpus import EnergyBook
from controller.observe.nvml import NvmlSource, chosen
from controller.observe.prometheus import PrometheusReader, ServedTarget
from controller.observe.prometheus_pages import asked_of, page_of
from controller.observe.scrape import Scraper

DEADLINE_S = 10.0
"""How long all sources together may take. A guess: two thirds of the default interval of 15 s."""

MAX_WAITING = 16
"""Prometheus servers, and this host's NVML, that are asked at the same time. A guess: most fleets have one or two."""

Owner = tuple[str, str]
"""(service, variant)."""

GpuReadings = tuple[GpuReading, ...] | Missing
Served = tuple[ServedTarget, ...] | Missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look at the fleet saw, in the shapes of ``Observation``."""

    targets: tuple[Target, ...]
    engines: Mapping[str, EngineReading | Missing]
    gpus: Mapping[Owner, GpuReadings]
    problems: tuple[Missing, ...]
    gateway: Mapping[str, float | Missing]


@dataclass(slots=True, kw_only=True)
class _Pass:
    """One pass while it is made. ``pages``: the body of every address that was fetched."""

    now: datetime
    targets: dict[str, Target] = field(default_factory=dict)
    engines: dict[str, EngineReading | Missing] = field(default_factory=dict)
    pages: Mapping[str, bytes | Missing] = field(default_factory=dict)
    gpu_pages: dict[str | PrometheusServer, GpuReadings] = field(default_factory=dict)
    problems: list[Missing] = field(default_factory=list)

    def add(self, target: Target) -> bool:
        """Whether ``target`` is new: one address is one replica of one variant, or its tokens would count twice."""
        known = self.targets.setdefault(target.url, target)
        if (known.service, known.variant) != (target.service, target.variant):
            why = f"{target.url} is already a replica of {known.service}/{known.variant}; it is counted there only"
            self.problems.append(Missing(f"targets of {target.service}/{target.variant}", why))
        return known is target


class FleetObserver:
    """Looks at every source that the fleet file names. One thread calls it; its own threads only wait for answers."""

    def __init__(
        self,
        fleet: Fleet,
        scraper: Scraper,
        *,
        nvml: NvmlSource,
        discoverer: Discoverer | None = None,
        prometheus: PrometheusReader | None = None,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self._fleet = fleet
        self._scraper = scraper
        self._nvml = nvml
        self._discoverer = discoverer or Discoverer()
        self._prometheus = prometheus or PrometheusReader(timeout_s=deadline_s / 2)  # two queries a read
        self._deadline_s = deadline_s
        self._energy = EnergyBook()
        self._nvml_energy = EnergyBook()  # of its own, because NVML is read in another thread
        self._dcgm_pages: PageReader[Series] = PageReader(_dcgm_series)
        self._served: dict[tuple[Owner, PrometheusServer], tuple[Target, ...]] = {}
        self._newest: dict[str, EngineReading] = {}
        self._pool = ThreadPoolExecutor(max_workers=MAX_WAITING, thread_name_prefix="observe")
        self._asking: dict[object, Future[Any]] = {}

    def marks(self) -> tuple[CounterMark, ...]:
        """How far the accounted counters have been counted."""
        return self._scraper.assembler.book.marks()

    def restore(self, marks: Iterable[CounterMark], watching_since: datetime | None) -> None:
        """Go on counting where an earlier process stopped; what started after ``watching_since`` counts from zero."""
        self._scraper.assembler.book.restore(marks, watching_since)

    def reload(self, fleet: Fleet) -> None:
        """Look at ``fleet`` from the next pass on. Counters of targets that stay go on counting."""
        self._fleet = fleet

    def close(self) -> None:
        """Wait for answers under way (each has its own time-out), and close all connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._prometheus.close()
        self._nvml.close()
        self._scraper.close()

    def observe(self, now: datetime, unused_until: Mapping[str, datetime] | None = None) -> Seen:
        """Look at everything once. ``unused_until``: by target url, until when nobody had been sent there."""
        self._scraper.assembler.book.unused_until = unused_until or {}
        ends = monotonic() + self._deadline_s
        variants = self._fleet.variants()
        self._start_asking(variants, now)
        gateways = {name: service.gateway for name, service in self._fleet.services.items() if service.gateway}
        for name, gateway in gateways.items():
            self._ask(("gateway", name), self._prometheus.total, gateway)
        self._discoverer.refresh(variants, now)
        seen = _Pass(now=now)
        scraped = [(target, variant.engine) for variant in variants for target in self._targets(variant, seen)]
        exporters = {_owner(variant): self._exporters(variant, seen) for variant in variants}
        urls = [target.url for target, _ in scraped] + [url for some in exporters.values() for url in some]
        seen.pages = self._scraper.fetch(urls)
        for target, engine in scraped:
            seen.engines[target.url] = self._scraped(target, engine, seen)
        for variant in variants:
            self._add_served(variant, seen, ends)
        gpus = {_owner(variant): self._gpus(variant, exporters[_owner(variant)], seen, ends) for variant in variants}
        waiting = {name: self._answer(("gateway", name), ends) for name in gateways}
        self._forget(seen)
        return Seen(
            targets=tuple(seen.targets.values()),
            engines=seen.engines,
            gpus=gpus,
            problems=tuple(seen.problems),
            gateway=waiting,
        )

    # who is there

    def _targets(self, variant: Variant, seen: _Pass) -> list[Target]:
        targets, problems = self._discoverer.targets(variant, seen.now)
        seen.problems.extend(problems)
        return [target for target in targets if seen.add(target)]

    def _exporters(self, variant: Variant, seen: _Pass) -> list[str]:
        exporters, problems = self._discoverer.gpu_targets(variant, seen.now)
        seen.problems.extend(problems)
        return [exporter.url for exporter in exporters]

    # asking in the background

    def _start_asking(self, variants: Sequence[Variant], now: datetime) -> None:
        """Ask Prometheus servers and NVML while the scraping goes on; each once, however many variants want it."""
        for variant in variants:
            asked = asked_of(ADAPTERS[variant.engine])
            for source in variant.discovery:
                if isinstance(source, PrometheusServer):
                    self._ask(
                        (source, variant.engine),
                        self._prometheus.read,
                        source,
                        asked.names,
                        asked.gauges,
                        asked.dated,
                    )
            for gpu_source in variant.gpu_discovery:
                if isinstance(gpu_source, PrometheusServer):
                    self._ask((gpu_source, "gpus"), self._prometheus.read, gpu_source, dcgm.NAMES, (), dcgm.DATED)
                elif isinstance(gpu_source, LocalNvml):
                    self._ask("nvml", self._nvml.read, self._nvml_energy.at(now), now)

    def _ask(self, key: object, function: Callable[..., Any], *arguments: object) -> None:
        """Start ``function``, unless this pass has, or a pass before still waits for it."""
        if key not in self._asking:
            self._asking[key] = self._pool.submit(function, *arguments)

    def _answer(self, key: object, ends: float) -> Any:
        """What was answered, or Missing when it was not in time."""
        try:
            return self._asking[key].result(timeout=max(0.0, ends - monotonic()))
        except FutureTimeoutError:
            return Missing("observe", f"no answer within the pass's deadline of {self._deadline_s:g} s")

    def _forget(self, seen: _Pass) -> None:
        self._asking = {key: future for key, future in self._asking.items() if not future.done()}
        self._newest = {url: one for url, one in self._newest.items() if url in seen.targets}
        self._scraper.assembler.book.forget(seen.now)

    # engines

    def _scraped(self, target: Target, engine: EngineKind, seen: _Pass) -> EngineReading | Missing:
        page = seen.pages[target.url]
        return page if isinstance(page, Missing) else self._scraper.assembler.text(page, target, engine, seen.now)

    def _add_served(self, variant: Variant, seen: _Pass, ends: float) -> None:
        """The replicas that Prometheus servers know. While a server is silent its replicas stay, unread."""
        for server in variant.discovery:
            if not isinstance(server, PrometheusServer):
                continue
            known_as = (_owner(variant), server)
            answer: Served = self._answer((server, variant.engine), ends)
            if isinstance(answer, Missing):
                seen.problems.append(Missing(f"targets of {variant.service}/{variant.name}", answer.why))
                for target in self._served.get(known_as, ()):
                    if seen.add(target):
                        seen.engines[target.url] = answer
                continue
            by_url = {served.url: served for served in answer}
            targets, clashes = named(variant, [Address(url=url, labels=one.labels) for url, one in by_url.items()])
            seen.problems.extend(Missing(f"targets of {variant.service}/{variant.name}", why) for why in clashes)
            self._served[known_as] = targets
            for target in targets:
                if seen.add(target):
                    seen.engines[target.url] = self._assembled(by_url[target.url], target, variant.engine)

    def _assembled(self, served: ServedTarget, target: Target, engine: EngineKind) -> EngineReading | Missing:
        if served.why or served.at is None:
            return Missing("prometheus", f"{target.url}: {served.why}")
        newest = self._newest.get(target.url)
        if newest is not None and served.at <= newest.at:
            return _unchanged(newest)
        assembler = self._scraper.assembler
        page = page_of(served, assembler.binder(engine))
        reading = assembler.page(page, target, engine, served.at, "prometheus")
        if not isinstance(reading, Missing):
            self._newest[target.url] = reading
        return reading

    # GPUs

    def _gpus(self, variant: Variant, exporters: Sequence[str], seen: _Pass, ends: float) -> GpuReadings:
        """All GPUs that the variant's sources tell of, less those of other variants' pods."""
        if not variant.gpu_discovery:
            return Missing("gpus", "the fleet file names no source of GPU readings for this variant")
        answers = [self._exported(url, seen) for url in exporters]
        for source in variant.gpu_discovery:
            if isinstance(source, PrometheusServer):
                answers.append(self._served_gpus(source, seen, ends))
            elif isinstance(source, LocalNvml):
                boards = self._answer("nvml", ends)
                answers.append(boards if isinstance(boards, Missing) else chosen(boards, source))
        silent = [answer for answer in answers if isinstance(answer, Missing)]
        readings = {gpu.gpu_id: gpu for answer in answers if not isinstance(answer, Missing) for gpu in answer}
        seen.problems.extend(Missing(f"GPUs of {variant.service}/{variant.name}", one.why) for one in silent)
        if not readings:
            return Missing("gpus", "; ".join(dict.fromkeys(one.why for one in silent)) or "no GPU source is known yet")
        return own_gpus(tuple(readings.values()), [one for one in seen.targets.values() if _owns(variant, one)])

    def _exported(self, url: str, seen: _Pass) -> GpuReadings:
        """One exporter's GPUs, read once a pass: their energy counts from read to read."""
        if url not in seen.gpu_pages:
            seen.gpu_pages[url] = self._read_exporter(url, seen.pages[url], seen.now)
        return seen.gpu_pages[url]

    def _read_exporter(self, url: str, body: bytes | Missing, now: datetime) -> GpuReadings:
        if isinstance(body, Missing):
            return body
        page = self._dcgm_pages.read(body)
        samples = [(key.name, key.labels, value) for key, value in zip(page.keys, page.values, strict=True)]
        readings = dcgm.read_gpus(samples, at=now, source="scrape", energy=self._energy.at(now))
        return Missing("gpus", f"{url}: {readings.why}") if isinstance(readings, Missing) else readings

    def _served_gpus(self, server: PrometheusServer, seen: _Pass, ends: float) -> GpuReadings:
        """One server's GPUs, read once a pass. An exporter that cannot be read is a problem; the others' GPUs stay."""
        if server not in seen.gpu_pages:
            answer: Served = self._answer((server, "gpus"), ends)
            seen.gpu_pages[server] = answer if isinstance(answer, Missing) else self._read_served(answer, seen)
        return seen.gpu_pages[server]

    def _read_served(self, answer: tuple[ServedTarget, ...], seen: _Pass) -> GpuReadings:
        readings: list[GpuReading] = []
        silent: list[Missing] = []
        for served in answer:
            found: GpuReadings = Missing("gpus", served.why)
            if not served.why and served.at is not None:
                energy = self._energy.at(served.at)
                found = dcgm.read_gpus(served.samples, at=served.at, source="prometheus", energy=energy)
            if isinstance(found, Missing):
                silent.append(Missing("gpus", f"{served.instance}: {found.why}"))
            else:
                readings += found
        if not readings:
            return Missing("gpus", "; ".join(one.why for one in silent))
        seen.problems.extend(silent)
        return tuple(readings)


def own_gpus(gpus: tuple[GpuReading, ...], targets: Sequence[Target]) -> GpuReadings:
    """The GPUs of the targets' pods, where both sides name pods; all of them where they do not.

    Pods of two namespaces may have one name: where both sides name the namespace, it has to be the same.
    """
    spaces: dict[str, set[str]] = {}
    for target in targets:
        for pod in _pods_of(target):
            spaces.setdefault(pod, set()).add(target.labels.get("namespace", ""))
    own = tuple(gpu for gpu in gpus if _is_in(gpu.namespace, spaces.get(gpu.pod)))
    named_pods = any(target.labels.get("pod") for target in targets)
    if own or not named_pods or not any(gpu.pod for gpu in gpus):
        return own or gpus
    return Missing("gpus", f"{len(gpus)} GPUs were read, and none belongs to one of this variant's {len(spaces)} pods")


def _is_in(namespace: str, spaces: Collection[str] | None) -> bool:
    """Among the namespaces of the pods of its name. None: there is no such pod; "": nobody says where it is."""
    return spaces is not None and (not namespace or namespace in spaces or "" in spaces)


def _pods_of(target: Target) -> tuple[str, ...]:
    """All pods of the replica: of a group every one has GPUs, and its leader alone is read."""
    group = target.labels.get("pods")
    return tuple(group.split(",")) if group else (target.labels.get("pod") or target.replica,)


def _unchanged(newest: EngineReading) -> EngineReading:
    """``newest`` again, which spans no time and so adds nothing: the server has no sample after it."""
    why = "Prometheus has no newer sample than in the pass before"
    absent: dict[Signal, Missing] = {signal: Missing(signal.value, why) for signal in newest.counters}
    absent |= {signal: Missing(signal.value, why) for signal in newest.histograms}
    return replace(newest, window_s=0.0, counters={}, histograms={}, missing={**newest.missing, **absent})


def _dcgm_series(series: Series) -> Series | None:
    return series if series.name in dcgm.NAMES else None


def _owner(variant: Variant) -> Owner:
    return variant.service, variant.name


def _owns(variant: Variant, target: Target) -> bool:
    return _owner(variant) == (target.service, target.variant)

"""All objects of one kind as last seen: listed once, then watched, in a thread of its own.

What breaks is begun anew, later and later: a connection goes on from the last version seen, a version that is forgotten
(410 Gone) or an event that makes no sense has everything listed anew. Nothing that was seen is dropped meanwhile; but
when the API server has not been heard for a while it does not count any more.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from random import Random
from threading import Event, Lock, Thread
from time import monotonic
from typing import Generic, TypeVar

from controller.errors import AbsentError, ClusterError, NonsenseError
from controller.facts.missing import Missing
from controller.kubernetes.api import Api, Json, Watch
from controller.kubernetes.objects import Pdb, Pod, Scaler, TargetRef
from controller.kubernetes.refusals import ExpiredError
from controller.kubernetes.resources import Resource
from controller.kubernetes.selectors import Operator, Selector

log = logging.getLogger(__name__)

T = TypeVar("T")
Key = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """Seconds. Guesses, but for the first: twice what a healthy API server may be silent (``Timeouts.watch_s``).

    stale_after_s   a watch that heard nothing for so long knows nothing
    first_wait_s    whoever asks first waits so long for the first list, once; all of a cluster together (``Patience``)
    resync_s        everything is listed anew so often, in case an event was missed
    retry_s         first and longest wait before a broken watch is begun anew; doubled, with jitter
    """

    stale_after_s: float = 60.0
    first_wait_s: float = 5.0
    resync_s: float = 600.0
    retry_s: tuple[float, float] = (0.5, 15.0)


class Patience:
    """For how long first lists may be waited for: an API server that does not answer would else be waited for once a
    namespace and kind, one after the other, and whoever asks has others to see to. What was waited in vain comes back
    within ``stale_after_s``.
    """

    def __init__(self, pace: Pace, *, clock: Callable[[], float] = monotonic) -> None:
        self._most_s, self._whole_after_s, self._clock = pace.first_wait_s, pace.stale_after_s, clock
        self._lock = Lock()
        self._left_s, self._at = pace.first_wait_s, clock()

    def wait(self, what: Event, most_s: float) -> None:
        """For ``what``, no longer than ``most_s``."""
        began = self._clock()
        what.wait(min(most_s, self._taken_s(0.0)))
        self._taken_s(self._clock() - began)

    def _taken_s(self, waited_s: float) -> float:
        """What is left, less ``waited_s``."""
        with self._lock:
            now = self._clock()
            back_s = (now - self._at) * self._most_s / self._whole_after_s
            self._left_s = max(0.0, min(self._most_s, self._left_s + back_s) - waited_s)
            self._at = now
            return self._left_s


class Snapshot(Generic[T]):
    """What there was at one moment, and ways to find it."""

    def __init__(self, items: Mapping[Key, T]) -> None:
        self.items = items
        self._labelled: dict[str, dict[str, list[Pod]]] = {}

    @cached_property
    def in_order(self) -> tuple[T, ...]:
        """By namespace and name."""
        return tuple(self.items[key] for key in sorted(self.items))

    @cached_property
    def by_target(self) -> Mapping[TargetRef, tuple[T, ...]]:
        """Pods by what they are a replica of, scalers by what they scale."""
        found: dict[TargetRef, list[T]] = {}
        for one in self.in_order:
            if isinstance(one, Pod | Scaler) and one.target is not None:
                found.setdefault(one.target, []).append(one)
        return {target: tuple(many) for target, many in found.items()}

    def matching(self, selector: Selector) -> tuple[Pod, ...]:
        """The pods that match. Only those that share one label with it are looked at: hundreds of services ask, and
        each has a few of thousands of pods."""
        exact = next((term for term in selector.terms if term.operator is Operator.IN and len(term.values) == 1), None)
        if exact is None:
            candidates: Iterable[object] = self.in_order
        else:
            candidates = self._by_label(exact.key).get(exact.values[0], [])
        return tuple(pod for pod in candidates if isinstance(pod, Pod) and selector.matches(pod.labels))

    def _by_label(self, key: str) -> dict[str, list[Pod]]:
        if key not in self._labelled:
            found: dict[str, list[Pod]] = {}
            for one in self.in_order:
                if isinstance(one, Pod) and key in one.labels:
                    found.setdefault(one.labels[key], []).append(one)
            self._labelled[key] = found
        return self._labelled[key]

    @cached_property
    def by_namespace(self) -> Mapping[str, tuple[T, ...]]:
        """Budgets by namespace."""
        found: dict[str, list[T]] = {}
        for one in self.in_order:
            if isinstance(one, Pdb):
                found.setdefault(one.namespace, []).append(one)
        return {namespace: tuple(many) for namespace, many in found.items()}


class Watched(Generic[T]):
    """One kind in one namespace ("": everywhere), as a selector narrows it."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        parse: Callable[[Json], T],
        *,
        namespace: str = "",
        selector: str = "",
        pace: Pace | None = None,
        patience: Patience | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """``patience``: shared with the others of its cluster."""
        self._api, self._resource, self._parse = api, resource, parse
        self._namespace, self._selector = namespace, selector
        self._pace, self._clock, self._random = pace or Pace(), clock, Random()
        self._patience = patience or Patience(self._pace, clock=clock)
        self._lock = Lock()
        self._items: dict[Key, T] = {}
        self._snapshot: Snapshot[T] | None = None
        self._heard: float | None = None
        self._listed = 0.0
        self._version = ""
        self._trouble = ""
        self._watch: Watch | None = None
        self._tried, self._stopped = Event(), Event()
        self._begun = clock()
        self._thread = Thread(target=self._run, name=f"watch {resource}", daemon=True)
        self._thread.start()

    # asking

    def snapshot(self) -> Snapshot[T] | Missing:
        """What there is; Missing before the first list, and after too long a silence."""
        if not self._tried.is_set():
            self._patience.wait(self._tried, max(0.0, self._begun + self._pace.first_wait_s - self._clock()))
        silent = self.heard_s()
        with self._lock:
            if silent is None:
                return Missing(self.name, self._trouble or "not listed yet")
            if silent > self._pace.stale_after_s:
                most = f"more than {self._pace.stale_after_s:g} s is too old"
                why = f"the API server was last heard {silent:.0f} s ago, {most}"
                return Missing(self.name, f"{why}{'; ' + self._trouble if self._trouble else ''}")
            if self._snapshot is None:
                self._snapshot = Snapshot(dict(self._items))
            return self._snapshot

    def heard_s(self) -> float | None:
        """Seconds since it heard the API server; None before it did."""
        with self._lock:
            return None if self._heard is None else self._clock() - self._heard

    @property
    def trouble(self) -> str:
        """Why it does not go on now; "" when it does."""
        with self._lock:
            return self._trouble

    @property
    def name(self) -> str:
        return f"{self._resource}{f' of {self._namespace}' if self._namespace else ''}"

    def stop(self) -> None:
        """Tell the thread to end."""
        self._stopped.set()
        with self._lock:
            watch = self._watch
        if watch is not None:
            watch.stop()

    def join(self) -> None:
        """Wait for its end: a call under way is waited for, as long as calls may take."""
        self._thread.join(self._api.timeouts.connect_s + self._api.timeouts.read_s)

    # the thread

    def _run(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            failures = self.round(failures)
            if failures:
                self._stopped.wait(self._wait_s(failures))

    def round(self, failures: int) -> int:
        """List where that is due, then follow until that ends. How many rounds have failed in a row, with ``failures``
        before this one."""
        began = self._clock()
        try:
            if not self._version or self._clock() - self._listed > self._pace.resync_s:
                self._list()
            told = self._follow()
            # An API server, or a proxy, that ends every watch at once would be asked without a pause.
            return 0 if told or self._clock() - began >= 1.0 else failures + 1
        except ClusterError as error:
            if isinstance(error, AbsentError) and self._resource.optional:
                self._none()
                return 0
            self._failed(error)
        except Exception as error:  # nothing that an answer can hold may end the watching
            self._failed(error)
        finally:
            self._tried.set()
        return failures + 1

    def _none(self) -> None:
        """The cluster does not know the kind: there is none, until somebody installs it."""
        self._take({}, "")
        self._stopped.wait(self._api.timeouts.watch_s)

    def _failed(self, error: Exception) -> None:
        known = isinstance(error, ClusterError)
        if isinstance(error, ExpiredError | NonsenseError) or not known:
            self._version = ""
        told = str(error) if known else f"watch {self.name}: {type(error).__name__}: {error}; everything is listed anew"
        if not self._stopped.is_set():
            with self._lock:
                new, self._trouble = told != self._trouble, told
            if new:
                log.warning("%s", told, exc_info=None if known else error)

    def _wait_s(self, failures: int) -> float:
        """Doubled each time, up to the longest, and anything from half of it on: many daemons must not come at once."""
        first, longest = self._pace.retry_s
        return float(min(longest, first * 2 ** min(failures - 1, 16)) * self._random.uniform(0.5, 1.0))

    def _list(self) -> None:
        found, version = self._api.list(self._resource, self._namespace, self._selector)
        self._take({self._key(one): self._parse(one) for one in found}, version)
        self._listed = self._clock()

    def _take(self, items: dict[Key, T], version: str) -> None:
        with self._lock:
            self._items, self._snapshot, self._heard, self._trouble = items, None, self._clock(), ""
        self._version = version
        self._tried.set()

    def _follow(self) -> bool:
        """Until the API server ends the watch. Whether it told anything."""
        watch = self._api.watch(self._resource, self._namespace, self._selector, version=self._version)
        with self._lock:
            self._watch = watch
        if self._stopped.is_set():
            return True
        told = False
        for event in watch:
            if event is None:
                self._hear()
                continue
            told = True
            self._event(event.type, event.object)
        self._hear()
        return told

    def _event(self, kind: str, found: Json) -> None:
        version = (found.get("metadata") or {}).get("resourceVersion")
        if not isinstance(version, str):
            raise NonsenseError(f"watch {self.name}: an event without a version; everything is listed anew")
        if kind != "BOOKMARK":
            key, one = self._key(found), self._parse(found)
            with self._lock:
                self._snapshot = None
                if kind == "DELETED":
                    self._items.pop(key, None)
                else:
                    self._items[key] = one
        self._version = version
        self._hear()

    def _hear(self) -> None:
        with self._lock:
            self._heard, self._trouble = self._clock(), ""

    def _key(self, found: Json) -> Key:
        meta = found.get("metadata") or {}
        if not isinstance(meta.get("name"), str):
            raise NonsenseError(f"{self.name}: an object without a name; everything is listed anew")
        return meta.get("namespace") or "", meta["name"]

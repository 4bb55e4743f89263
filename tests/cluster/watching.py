"""Watches, as the API server feeds them: what is there already where asked, then every change, bookmarks, and the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic

from tests.cluster.answers import wanted
from tests.cluster.documents import Doc
from tests.cluster.kinds import KindInfo
from tests.cluster.requests import Asked
from tests.cluster.status import ApiStatus
from tests.cluster.store import Logged, Store

LONGEST_S = 3600.0


class Bookmarks:
    """How many bookmarks every watch is owed by now: tests send them, no clock does."""

    def __init__(self) -> None:
        self.sent = 0


def watch(
    store: Store, asked: Asked, bookmarks: Bookmarks, ended: Callable[[], bool], begun: Callable[[], None]
) -> Iterator[Doc]:
    """Events until ``timeoutSeconds`` are over, or ``ended``. 500 before the first where the version is no number.

    A version that is too old is told in an ERROR event, as etcd's compaction is.
    """
    version_text, test = asked.query.get("resourceVersion", ""), wanted(asked)
    if version_text and not version_text.isdecimal():
        why = f'strconv.ParseUint: parsing "{version_text}": invalid syntax'
        raise ApiStatus(500, "InternalError", f'resourceVersion: Invalid value: "{version_text}": {why}')
    version = int(version_text or 0)
    begun()
    ends = monotonic() + min(LONGEST_S, float(asked.query.get("timeoutSeconds") or LONGEST_S))
    bookmarked = asked.query.get("allowWatchBookmarks") in {"true", "1"}
    told = bookmarks.sent
    with store.lock:
        if not version:
            version = store.version
            already = [doc for doc in store.all(asked.info, asked.namespace) if test(doc)]
        else:
            already = []
    yield from ({"type": "ADDED", "object": doc} for doc in already)
    while True:
        with store.lock:
            try:
                logged = store.after(version, asked.info)
            except ApiStatus as status:
                yield {"type": "ERROR", "object": status.body()}
                return
            version, owed = store.version, bookmarks.sent
            if not logged and owed == told and not ended():
                over = not store.changed.wait(max(0.0, min(1.0, ends - monotonic()))) and monotonic() >= ends
                if not over and not ended():
                    continue
        yield from (event for one in logged if (event := _event(one, test)) is not None)
        if (owed != told or monotonic() >= ends) and bookmarked:
            yield bookmark(asked.info, version)
        told = owed
        if ended() or monotonic() >= ends:
            return


def _event(one: Logged, test: Callable[[Doc], bool]) -> Doc | None:
    """As this watch sees a change: what begins to match its selectors is new to it, what no longer does is gone."""
    now, before = test(one.doc) and one.type != "DELETED", one.before is not None and test(one.before)
    if now:
        return {"type": "MODIFIED" if before else "ADDED", "object": one.doc}
    return {"type": "DELETED", "object": one.doc} if before else None


def bookmark(info: KindInfo, version: int) -> Doc:
    meta = {"resourceVersion": str(version), "creationTimestamp": None}
    return {"type": "BOOKMARK", "object": {"kind": info.kind, "apiVersion": info.api_version, "metadata": meta}}

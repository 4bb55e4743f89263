"""An election over a Lease of Kubernetes (coordination.k8s.io/v1).

Its ``leaseTransitions`` is the epoch: the API server lets one write win, so nobody else can have the same. Where the
ledger knows a higher one already (the Lease was deleted, and counts from zero again) it is raised beyond that.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Protocol

from controller.errors import AbsentError, ConflictError
from controller.facts.leadership import LeaderTimes, Round, Term
from controller.kubernetes.api import Api, Json
from controller.kubernetes.resources import LEASES
from controller.leader.lease import LeaseRecord, Watched, lease_step, released


class Fence(Protocol):
    """Where terms are recorded: it refuses whatever an earlier one still writes."""

    def newest_term(self) -> Term | None:
        """The one of the highest epoch; None before the first. LedgerError."""

    def prove(self) -> None:
        """That a term could be recorded now. LedgerError."""

    def enter(self, term: Term) -> None:
        """Record that it began. LedgerError, also when a higher one is there already."""


class LeaseElection:
    """``api`` should give up on an answer before the renew deadline, or no second try is left."""

    def __init__(
        self,
        api: Api,
        fence: Fence,
        *,
        place: tuple[str, str],
        me: str,
        times: LeaderTimes,
        utc: Callable[[], datetime],
    ) -> None:
        """``place``: namespace and name of the Lease; ``me``: the holder's identity."""
        self._api = api
        self._fence = fence
        self._namespace, self._name = place
        self._me = me
        self._times = times
        self._utc = utc
        self._found: Json | None = None  # our own last write: renewed without reading it again
        self._watched: Watched | None = None
        self._entered: int | None = None

    def round(self, now_s: float) -> Round:
        found = self._found or self._read()
        record = None if found is None else record_of(found)
        step = lease_step(
            record,
            self._watched,
            me=self._me,
            now_s=now_s,
            at=micro_time(self._utc()),
            duration_s=self._times.duration_s,
        )
        self._watched = step.watched
        if step.write is None:
            self._entered = None
            return Round(term=_term(record), free_in_s=step.free_in_s)
        write = step.write
        if step.takes or self._entered != write.transitions:
            write = replace(write, transitions=max(write.transitions, self._least(step.takes)))
        return self._won(write, found)

    def _least(self, takes: bool) -> int:
        """The lowest epoch that the ledger will take from us. Who cannot write it leaves the Lease to who can."""
        self._fence.prove()
        newest = self._fence.newest_term()
        if newest is None:
            return 0
        mine = newest.holder == self._me and not takes  # entered already, only the answer was lost
        return newest.epoch if mine else newest.epoch + 1

    def resign(self) -> None:
        self._entered = self._found = None
        found = self._read()
        if found is not None and (record := record_of(found)).holder == self._me:
            with suppress(ConflictError):  # then it is another one's
                self._put(released(record, micro_time(self._utc())), found)

    def _won(self, write: LeaseRecord, found: Json | None) -> Round:
        try:
            self._found = self._put(write, found)
        except ConflictError:
            leading, self._found = self._entered is not None, None
            if leading:
                raise  # somebody wrote into it; we lead until the deadline, and the next round reads who it was
            return Round()
        except BaseException:
            self._found = None  # it may have worked: the next round reads
            raise
        won = record_of(self._found)
        term = Term(epoch=won.transitions, holder=self._me, since=_time(won.acquired))
        if self._entered != term.epoch:
            self._fence.enter(term)
            self._entered = term.epoch
        return Round(ours=True, term=term)

    def _read(self) -> Json | None:
        try:
            return self._api.get(LEASES, self._namespace, self._name)
        except AbsentError:
            return None

    def _put(self, record: LeaseRecord, found: Json | None) -> Json:
        if found is None:
            return self._api.create(LEASES, self._namespace, _new(self._namespace, self._name, record))
        body = {**found, "spec": {**(found.get("spec") or {}), **_spec(record)}}
        try:
            return self._api.replace(LEASES, self._namespace, self._name, body)
        except AbsentError as error:  # deleted under us: as if another one had written it
            raise ConflictError(str(error)) from error


def record_of(found: Json) -> LeaseRecord:
    """A Lease that somebody made by hand may lack everything."""
    spec = found.get("spec") or {}
    return LeaseRecord(
        holder=str(spec.get("holderIdentity") or ""),
        duration_s=_number(spec.get("leaseDurationSeconds")),
        acquired=str(spec.get("acquireTime") or ""),
        renewed=str(spec.get("renewTime") or ""),
        transitions=int(_number(spec.get("leaseTransitions"))),
    )


def micro_time(at: datetime) -> str:
    """As the API server wants it: always six decimals."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _new(namespace: str, name: str, record: LeaseRecord) -> Json:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": namespace},
        "spec": _spec(record),
    }


def _spec(record: LeaseRecord) -> Json:
    return {
        "holderIdentity": record.holder,
        "leaseDurationSeconds": int(record.duration_s),
        "acquireTime": record.acquired or None,
        "renewTime": record.renewed,
        "leaseTransitions": record.transitions,
    }


def _term(record: LeaseRecord | None) -> Term | None:
    if record is None or not record.holder:
        return None
    return Term(epoch=record.transitions, holder=record.holder, since=_time(record.acquired))


def _number(found: Any) -> float:
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else 0.0


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None

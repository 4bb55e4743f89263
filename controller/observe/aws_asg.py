"""Instances of Auto Scaling groups as addresses: read once a pass, however many variants name one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from controller.aws.addresses import address_of
from controller.aws.clients import Aws
from controller.aws.groups import Group, GroupBook, Instance, Wanted
from controller.aws.mixes import differences
from controller.errors import AwsError
from controller.facts.actuators import AwsAsgOptions
from controller.facts.fleet import AwsAsgInstances, CapacityType, Variant
from controller.facts.readings import Phase
from controller.observe.discovery import Address, Discovered


class AwsAsgSource:
    """A group that cannot be read keeps what it said last: silence is not an empty fleet."""

    def __init__(self, book: GroupBook | None = None) -> None:
        self._book = book
        self._last: dict[AwsAsgInstances, Discovered] = {}

    def instances(self, source: AwsAsgInstances, now: datetime) -> Discovered:
        """Those in service, on their way in, or on their way out; the phase is a label."""
        if self._book is None:
            self._book = GroupBook(Aws())
        try:
            group = self._book.group(Wanted(name=source.group, tags=source.tags, region=source.region), now)
        except AwsError as error:
            kept = self._last.get(source, Discovered())
            said = f"{error}; its last good list ({len(kept.addresses)} targets) stays in use"
            return replace(kept, problems=(said,))
        found = Discovered(addresses=tuple(_addresses(group, source)))
        self._last[source] = found
        return found

    def differences(self, variant: Variant) -> tuple[str, ...]:
        """Where its groups, as they were last read, buy otherwise than it is priced."""
        if self._book is None:
            return ()
        groups = [self._book.seen(one) for one in _groups_of(variant)]
        return tuple(told for one in groups if one is not None for told in differences(one, variant.capacity))


def _groups_of(variant: Variant) -> Iterator[Wanted]:
    """Those that it is scaled by, or read from."""
    each = (*variant.discovery, variant.actuator_options)
    named = [one for one in each if isinstance(one, AwsAsgInstances | AwsAsgOptions)]
    yield from dict.fromkeys(Wanted(name=one.group, tags=one.tags, region=one.region) for one in named)


def _addresses(group: Group, source: AwsAsgInstances) -> list[Address]:
    return [
        Address(url=url, labels=_labels(one))
        for one in group.instances
        if (phase_of(one) is not None) and (url := address_of(source.url, one))
    ]


def phase_of(one: Instance) -> Phase | None:
    """As far as the group tells; None for what serves nobody: on standby, in a warm pool, gone."""
    if one.in_service:
        return Phase.READY if one.healthy else Phase.DRAINING
    if one.state.startswith("Terminating"):
        return Phase.DRAINING
    return Phase.STARTING if one.pending else None


def _labels(one: Instance) -> dict[str, str]:
    labels = {
        "replica": one.id,
        "node": one.id,
        "zone": one.zone,
        "instance_type": one.kind,
        "phase": str(phase_of(one)),
    }
    return labels | ({"capacity_type": str(CapacityType.SPOT)} if one.market == "spot" else {})

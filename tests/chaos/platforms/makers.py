"""Every platform that stories are played on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from tests.chaos.books import PostgresBooks
from tests.chaos.matrix import NOON, Maker
from tests.chaos.platforms.aws_asg import AutoScaling
from tests.chaos.platforms.base import Platform
from tests.chaos.platforms.kubernetes import Kubernetes, KubernetesBehind, KubernetesWatched, StatefulSet
from tests.chaos.platforms.process import Processes
from tests.chaos.platforms.units import Units


def _maker(kind: type[Platform]) -> Maker:
    return Maker(
        kind.name,
        lambda tape, folder, patch: kind(tape, folder, patch, NOON),
        kind.faults,
        sorts=kind.sorts,
        deaf_to=kind.deaf_to,
    )


ON_POSTGRES = replace(_maker(Processes), name="on PostgreSQL", books=PostgresBooks)


PLATFORMS = (Processes, Units, Kubernetes, StatefulSet, KubernetesBehind, KubernetesWatched, AutoScaling)

MAKERS: Mapping[str, Maker] = {one.name: one for one in (*map(_maker, PLATFORMS), ON_POSTGRES)}

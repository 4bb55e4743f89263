"""Every platform that stories are played on."""

from __future__ import annotations

from collections.abc import Mapping

from tests.chaos.matrix import NOON, Maker
from tests.chaos.platforms.aws_asg import AutoScaling
from tests.chaos.platforms.base import Platform
from tests.chaos.platforms.kubernetes import Kubernetes, KubernetesBehind, StatefulSet
from tests.chaos.platforms.process import Processes
from tests.chaos.platforms.units import Units


def _maker(kind: type[Platform]) -> Maker:
    return Maker(kind.name, lambda tape, folder, patch: kind(tape, folder, patch, NOON), kind.faults)


MAKERS: Mapping[str, Maker] = {
    kind.name: _maker(kind) for kind in (Processes, Units, Kubernetes, StatefulSet, KubernetesBehind, AutoScaling)
}

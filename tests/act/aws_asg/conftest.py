"""Auto Scaling groups on moto's server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from controller.facts.actuators import AwsAsgOptions
from tests.act.aws_asg.stage import Fleet

if TYPE_CHECKING:
    from tests.act.conftest import Hand
    from tests.auto_scaling import World


@pytest.fixture(scope="module")
def cloud() -> Iterator[World]:
    """See tests/auto_scaling.py."""
    from tests.auto_scaling import auto_scaling

    with auto_scaling() as made:
        yield made


@pytest.fixture
def fleet_of(cloud: World, make_hand: Callable[..., Hand], tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    from tests.auto_scaling import REGION

    def made(group: str, *, served: bool = True, ours: bool = True, **options: object) -> Fleet:
        chosen = {"group": group, "region": REGION, "url": cloud.engines.url} | options
        hand = make_hand(None, AwsAsgOptions(targets_file=str(tmp_path / "run" / "targets.json"), **chosen), "aws_asg")
        fleet = Fleet(cloud, hand, group)
        if ours:
            cloud.tag(group, pennyweight__managed_by="chat/l4")
        if served:
            cloud.serve(*fleet.ids())
            fleet.look(0)
        cloud.forget()
        return fleet

    yield made
    cloud.clear()

"""The gateway's records say of each request who asked for how many tokens, once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from controller.attribute.batch import Batch, Ints
from controller.demo.gateway import CALLERS, SOURCE, Gateway
from controller.demo.ports import PortPicker
from controller.demo.world import EmulatedWorld
from controller.facts.usage import Receipt

NIGHT_S, AFTERNOON_S = 2 * 3600.0, 14 * 3600.0


class Taken:
    """Stands where the intake stands."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def __call__(self, source: str, batch: Batch) -> Receipt:
        assert source == SOURCE
        self.batches.append(batch)
        return Receipt(accepted=len(batch))


def an_hour(tmp_path: Path, start_s: float) -> tuple[EmulatedWorld, list[Batch]]:
    """Half an hour of traffic on two engines, sent in two batches."""
    taken = Taken()
    world = EmulatedWorld(start_s=start_s, seed=3, targets=tmp_path / f"{start_s:g}.json", ports=PortPicker())
    gateway = world.gateway = Gateway(taken, seed=3)
    try:
        for step in range(1, 61):
            world.advance(start_s + 30 * step)
            if step % 30 == 0:
                gateway.send()
    finally:
        world.close()
    return world, taken.batches


def by_team(batches: list[Batch]) -> Counter[str]:
    return Counter(batch.identities[one].team for batch in batches for one in batch.identity.tolist())


def columns(batches: list[Batch], name: str) -> Ints:
    found: Ints = np.concatenate([getattr(batch, name) for batch in batches])
    return found


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> tuple[EmulatedWorld, list[Batch]]:
    return an_hour(tmp_path_factory.mktemp("night"), NIGHT_S)


def test_all_but_the_unlabelled_requests_are_recorded_once(night: tuple[EmulatedWorld, list[Batch]]) -> None:
    world, batches = night
    recorded = sum(map(len, batches))
    unlabelled = next(one.share for one in CALLERS if one.who is None)
    assert world.served.finished > 5000
    assert recorded / world.served.finished == pytest.approx(1 - unlabelled, abs=0.01)
    assert len(set(zip(columns(batches, "a").tolist(), columns(batches, "b").tolist(), strict=True))) == recorded


def test_records_hold_what_was_asked_and_made(night: tuple[EmulatedWorld, list[Batch]]) -> None:
    world, batches = night
    output = columns(batches, "output")
    assert 0.97 < output.sum() / world.served.output_tokens <= 1
    cached, uncached = columns(batches, "cached"), columns(batches, "uncached")
    assert (uncached > 0).all()
    assert cached.sum() / (cached + uncached).sum() == pytest.approx(0.2, abs=0.03)
    assert (columns(batches, "ended_us") > columns(batches, "started_us")).all()


def test_summaries_are_made_at_night_and_staff_asks_by_day(
    night: tuple[EmulatedWorld, list[Batch]], tmp_path: Path
) -> None:
    late, early = by_team(night[1]), by_team(an_hour(tmp_path, AFTERNOON_S)[1])
    assert late["batch"] / late.total() > 1.5 * early["batch"] / early.total()
    assert early["internal"] / early.total() > 3 * late["internal"] / late.total()
    assert set(late) == {one.who.team for one in CALLERS if one.who is not None}


def test_nothing_waiting_is_nothing_sent() -> None:
    taken = Taken()
    Gateway(taken, seed=1).send()
    assert taken.batches == []

"""Every story on every platform, with everything that can go wrong at everything that happens in it: generated."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controller.ledger.write import Ledger
from tests.chaos.history import History
from tests.chaos.platforms.base import Platform
from tests.chaos.stage import Stage, Weather
from tests.chaos.story import Story
from tests.chaos.tape import Crossing, Fault, Sort, Strike, Tape

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

LEDGER_FAULTS = (Fault.REFUSED, Fault.LOST, Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
POINT_FAULTS = (Fault.KILLED_BEFORE,)

AWAY_PASSES = 40
"""Ten minutes."""

SICK_PASSES = 4
JUMPS_S = {"an hour ahead": 3600.0, "an hour back": -3600.0, "ten minutes ahead": 600.0}


@dataclass(frozen=True, slots=True)
class Cell:
    """One way in which one story goes wrong."""

    platform: str
    story: str
    strike: Strike | None = None
    weather: Weather | None = None

    @property
    def kind(self) -> str:
        if self.strike is not None:
            return (
                "killed" if self.strike.fault in (Fault.KILLED_BEFORE, Fault.KILLED_AFTER) else self.strike.fault.value
            )
        return self.weather.name if self.weather is not None else "nothing"

    def __str__(self) -> str:
        what = "nothing"
        if self.strike is not None:
            what = f"{self.strike.number}:{self.strike.label}:{self.strike.fault}"
        elif self.weather is not None:
            what = f"{self.weather.name}:{self.weather.since}"
        return f"{self.platform}/{self.story}/{what}"

    def drawn(self, share: int) -> bool:
        """Whether it is among one in ``share``, always the same ones."""
        return zlib.crc32(str(self).encode()) % share == 0


@dataclass(frozen=True, slots=True)
class Maker:
    """How a platform is made."""

    name: str
    make: Callable[[Tape, Path, pytest.MonkeyPatch], Platform]
    faults: Mapping[Sort, tuple[Fault, ...]]


def cells_of(maker: Maker, story: Story, log: Sequence[Crossing]) -> Iterator[Cell]:
    """All cells of a recording. Passes in which nothing is changed, and before which nothing befell, are all alike: of
    those that follow each other the first is struck."""
    busy = {one.made for one in log if one.sort is Sort.WRITE or one.label == "before acting"} | set(story.events)
    alike = {made for made in range(1, story.passes) if made not in busy and made - 1 not in busy}
    for crossing in log:
        if crossing.made in alike:
            continue
        for fault in _faults(maker, crossing):
            yield Cell(maker.name, story.name, strike=Strike(crossing.number, crossing.label, fault))
    for since in range(story.passes):
        if since in alike:
            continue
        yield from (Cell(maker.name, story.name, weather=one) for one in _weathers(since))


def _faults(maker: Maker, crossing: Crossing) -> tuple[Fault, ...]:
    if crossing.sort is Sort.POINT:
        return POINT_FAULTS
    if crossing.sort is Sort.LEDGER:
        return LEDGER_FAULTS if crossing.label.startswith("record") else (Fault.REFUSED,)
    return maker.faults.get(crossing.sort, ())


def _weathers(since: int) -> Iterator[Weather]:
    yield Weather(name="away", since=since, passes=AWAY_PASSES)
    yield Weather(name="read only", since=since, passes=SICK_PASSES)
    yield Weather(name="disk full", since=since, passes=SICK_PASSES)
    for name, jump_s in JUMPS_S.items():
        yield Weather(name=f"clock {name}", since=since, jump_s=jump_s)


class Player:
    """Plays cells in folders of their own."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="chaos-", dir=_quick_disk()))
        self._template = self._root / "empty.db"
        Ledger.open(f"sqlite:///{self._template}").close()
        self._made = 0

    def play(
        self,
        maker: Maker,
        story: Story,
        cell: Cell | None = None,
        broken: Callable[[pytest.MonkeyPatch], None] | None = None,
    ) -> tuple[History, Tape, Stage]:
        """``broken``: what a mutation breaks first."""
        self._made += 1
        folder = self._root / str(self._made)
        folder.mkdir()
        tape = Tape(strike=cell.strike if cell is not None else None)
        with pytest.MonkeyPatch.context() as patch:
            if broken is not None:
                broken(patch)
            platform = maker.make(tape, folder, patch)
            stage = Stage(story, platform, tape, folder, self._template, cell.weather if cell is not None else None)
            platform.told = stage.mark
            try:
                history = stage.play()
            finally:
                stage.close()
                shutil.rmtree(folder, ignore_errors=True)
        return history, tape, stage

    def close(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)


def _quick_disk() -> str | None:
    """Every pass waits for the disk three times; what a power cut does is not played here."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextmanager
def player() -> Iterator[Player]:
    made = Player()
    try:
        yield made
    finally:
        made.close()

"""Every story on every platform, with everything that can go wrong at everything that happens in it: generated."""

from __future__ import annotations

import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

import controller.ledger.accounts.settle as settle
import controller.ledger.accounts.verify as verify
from tests.chaos.books import Books, SqliteBooks, kept_reader, kept_writer
from tests.chaos.history import History
from tests.chaos.platforms.base import Platform
from tests.chaos.stage import Stage, Weather
from tests.chaos.story import Story
from tests.chaos.tape import Crossing, Fault, Sort, Strike, Tape, Then

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)

LEDGER_FAULTS = (Fault.REFUSED, Fault.LOST, Fault.KILLED_BEFORE, Fault.KILLED_AFTER)
RECORDS = "record"
POINT_FAULTS = (Fault.KILLED_BEFORE,)

AWAY_PASSES = 40
"""Ten minutes."""

SICK_PASSES = 4
DEAF_PASSES = (2, 8)
"""What was heard half a minute ago still counts, and of two minutes ago does not (``Pace.stale_after_s``): in turns."""

PAIRS = 5
"""One cell in so many is also played with a second fault."""

SOON = 12
"""Numbered things after the first fault: about as many as a pass has."""

JUMPS_S = {"an hour ahead": 3600.0, "an hour back": -3600.0, "ten minutes ahead": 600.0}


@dataclass(frozen=True, slots=True)
class Cell:
    """One way in which one story goes wrong."""

    platform: str
    story: str
    strike: Strike | None = None
    weather: Weather | None = None
    then: Then | None = None

    @property
    def kind(self) -> str:
        if self.then is not None:
            return "two faults"
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
            long = f"-{self.weather.passes}" if self.weather.deaf_to else ""
            what = f"{self.weather.name}:{self.weather.since}{long}"
        more = f"+{self.then.after}:{self.then.pick}" if self.then is not None else ""
        return f"{self.platform}/{self.story}/{what}{more}"

    def drawn(self, share: int, part: int = 0) -> bool:
        """Whether it is among one in ``share``, always the same ones; each cell is in one of the parts up to it."""
        return self.lot % share == part

    @property
    def lot(self) -> int:
        return zlib.crc32(str(self).encode())

    def with_another(self) -> Iterator[Cell]:
        """The same and a second fault soon after it, for one in ``PAIRS``."""
        if self.lot % PAIRS == 0:
            lot = self.lot // PAIRS
            yield replace(self, then=Then(after=1 + lot % SOON, pick=lot // SOON % 8))


@dataclass(frozen=True, slots=True)
class Maker:
    """How a platform is made, and where the ledger lies.

    sorts    only these are struck; empty: all. What else goes wrong is played on another platform
    deaf_to  of each of these alone nothing may be heard for a while
    """

    name: str
    make: Callable[[Tape, Path, pytest.MonkeyPatch], Platform]
    faults: Mapping[Sort, tuple[Fault, ...]]
    books: type[Books] = SqliteBooks
    sorts: tuple[Sort, ...] = ()
    deaf_to: tuple[str, ...] = ()


def cells_of(maker: Maker, story: Story, log: Sequence[Crossing]) -> Iterator[Cell]:
    """All cells of a recording, and the drawn pairs."""
    for cell in _single_cells(maker, story, log):
        yield cell
        yield from cell.with_another()


def _single_cells(maker: Maker, story: Story, log: Sequence[Crossing]) -> Iterator[Cell]:
    """Passes in which nothing is changed, and before which nothing befell, are all alike: of
    those that follow each other the first is struck; so it is of kills that leave the same behind."""
    busy = {one.made for one in log if one.sort is Sort.WRITE or one.label == "before acting"} | set(story.events)
    alike = {made for made in range(1, story.passes) if made not in busy and made - 1 not in busy}
    if not maker.sorts and maker.books is SqliteBooks:  # who may act does not hang on where the ledger lies
        yield from (Cell(maker.name, story.name, strike=strike) for strike in _deposed_at(log))
    for crossing, at in zip(log, _killed_at(log), strict=True):
        if crossing.made in alike or (maker.sorts and crossing.sort not in maker.sorts):
            continue
        for fault in _faults(maker, crossing):
            if at.get(fault, True):
                yield Cell(maker.name, story.name, strike=Strike(crossing.number, crossing.label, fault))
    for since in range(story.passes):
        if since in alike:
            continue
        yield from (Cell(maker.name, story.name, weather=one) for one in _weathers(maker, since))


def _deposed_at(log: Sequence[Crossing]) -> Iterator[Strike]:
    """Wherever the same pass changes something afterwards: at each point, and at the last thing before each change. Who
    asks between that and the change has asked for all before it."""
    last = {one.made: one.number for one in log if one.sort is Sort.WRITE}
    right_before = {one.number - 1 for one in log if one.sort is Sort.WRITE}
    for one in log:
        if one.number < last.get(one.made, -1) and (one.sort is Sort.POINT or one.number in right_before):
            yield Strike(one.number, one.label, Fault.DEPOSED)


def _killed_at(log: Sequence[Crossing]) -> Iterator[Mapping[Fault, bool]]:
    """Whether a kill before and after each leaves behind what no kill before it in its pass did. What a daemon knew dies
    with it, so only what it changed outside of itself tells two kills apart."""
    seen: set[tuple[int, int]] = set()
    changes = 0

    def is_new(made: int) -> bool:
        new = (made, changes) not in seen
        seen.add((made, changes))
        return new

    for one in log:
        before = is_new(one.made)
        changes += one.sort is Sort.WRITE or (one.sort is Sort.LEDGER and one.label.startswith(RECORDS))
        yield {Fault.KILLED_BEFORE: before, Fault.KILLED_AFTER: is_new(one.made)}


def _faults(maker: Maker, crossing: Crossing) -> tuple[Fault, ...]:
    if crossing.sort is Sort.POINT:
        return POINT_FAULTS
    if crossing.sort is Sort.LEDGER:
        return LEDGER_FAULTS if crossing.label.startswith(RECORDS) else (Fault.REFUSED,)
    found = maker.faults.get(crossing.sort, ())
    # Every pass asks the same of each kind: each list and watch fails in half of the ways, the next one in the others.
    return found[crossing.number % 2 :: 2] if crossing.sort is Sort.WATCH else found


def _weathers(maker: Maker, since: int) -> Iterator[Weather]:
    yield Weather(name="away", since=since, passes=AWAY_PASSES)
    for kind in maker.deaf_to:
        passes = DEAF_PASSES[since % len(DEAF_PASSES)]
        yield Weather(name=f"deaf to {kind}", since=since, passes=passes, deaf_to=kind)
    if maker.sorts:
        return
    for ill in maker.books.ills:
        yield Weather(name=ill, since=since, passes=SICK_PASSES)
    for name, jump_s in JUMPS_S.items():
        yield Weather(name=f"clock {name}", since=since, jump_s=jump_s)


class Player:
    """Plays cells in folders of their own."""

    def __init__(self) -> None:
        self._root = Path(tempfile.mkdtemp(prefix="chaos-", dir=_quick_disk()))
        self._books: dict[type[Books], Books] = {}

    def play(
        self,
        maker: Maker,
        story: Story,
        cell: Cell | None = None,
        broken: Callable[[pytest.MonkeyPatch], None] | None = None,
    ) -> tuple[History, Tape, Stage]:
        """``broken``: what a mutation breaks first."""
        folder = self._root / "cell"  # always the same: engines are kept by the ledger's URL
        folder.mkdir()
        cell = cell or Cell(maker.name, story.name)
        tape = Tape(strike=cell.strike, then=cell.then, faults=lambda crossing: _faults(maker, crossing))
        with pytest.MonkeyPatch.context() as patch, ExitStack() as undo:
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            if broken is not None:
                broken(patch)
            patch.setattr(verify, "reader_engine", kept_reader)
            patch.setattr(settle, "reader_engine", kept_reader)
            patch.setattr(settle, "writer_engine", kept_writer)
            platform = maker.make(tape, folder, patch)
            stage = Stage(story, platform, tape, folder, self._kept(maker.books), cell.weather)
            undo.callback(stage.close)
            platform.told = stage.mark
            history = stage.play()
        return history, tape, stage

    def _kept(self, kind: type[Books]) -> Books:
        if kind not in self._books:
            self._books[kind] = kind(self._root)
        return self._books[kind]

    def close(self) -> None:
        for one in self._books.values():
            one.close()
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

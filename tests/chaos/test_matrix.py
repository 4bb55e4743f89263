"""Whatever goes wrong, at whatever call, the ten invariants of the design hold, and all comes to rest where it should.

The default run plays a fixed share of the cells; `make chaos` plays all of them. One cell alone:

    PENNYWEIGHT_CHAOS=all pytest tests/chaos/test_matrix.py -k "kubernetes-grow" --log-level=INFO
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.chaos.conftest import CELLS
from tests.chaos.invariants import broken
from tests.chaos.matrix import Cell, Maker, Player, cells_of
from tests.chaos.platforms.makers import MAKERS
from tests.chaos.story import STORIES, Story

ASKED = os.environ.get("PENNYWEIGHT_CHAOS", "")
"""Empty; "all"; "20": every platform and story, one cell in so many; "3/20": others of them, until "19/20"."""

ALL = bool(ASKED)

SHARES = dict.fromkeys(("process", "kubernetes", "systemd"), 150) | dict.fromkeys(
    ("statefulset", "kubernetes behind", "kubernetes watched", "aws_asg", "on PostgreSQL"), 250
)
"""One cell in so many is played by default."""

ONE_TOO_MANY = 12
"""So many broken cells are told; what broke one often breaks its neighbours."""

ONLY = {
    "systemd": ("grow", "shrink", "lost", "never up"),
    "kubernetes behind": ("grow", "shrink", "there and back", "noticed"),
    "kubernetes watched": ("there and back", "noticed", "second writer", "kept"),
    "statefulset": ("grow", "shrink", "second writer"),
    "on PostgreSQL": ("grow", "shrink", "lost", "never up"),
}
"""Where the rest is as on a platform of its kind."""

BY_DEFAULT = {
    "systemd": ("grow", "shrink"),
    "kubernetes": ("grow", "shrink", "lost", "noticed", "never up", "second writer", "owned", "kept"),
    "statefulset": ("grow",),
    "kubernetes behind": ("grow", "noticed"),
    "kubernetes watched": ("there and back", "kept"),
    "aws_asg": ("grow", "noticed"),
    "on PostgreSQL": ("grow",),
}
NOT_AT_AWS = ("stopped", "blind", "no money, no price", "tight", "too much")


def _is_played(maker: Maker, story: Story) -> bool:
    """What does not touch a platform is not played on the slow ones, and by default less."""
    if story.only and maker.name not in story.only:
        return False
    if story.name not in ONLY.get(maker.name, (story.name,)) or (maker.name == "aws_asg" and story.name in NOT_AT_AWS):
        return False
    return ALL or story.name in BY_DEFAULT.get(maker.name, (story.name,))


def _share(maker: Maker) -> tuple[int, int]:
    """One cell in so many, and which."""
    part, _, share = ASKED.rpartition("/")
    if share in ("", "all"):
        return (1 if share else SHARES[maker.name]), 0
    return int(share), int(part or 0)


PLAYS = [
    pytest.param(maker, story, id=f"{maker.name}-{story.name}")
    for maker in MAKERS.values()
    for story in STORIES
    if _is_played(maker, story)
]


@pytest.mark.parametrize(("maker", "story"), PLAYS)
def test_whatever_goes_wrong_the_invariants_hold(
    maker: Maker, story: Story, played: Player, record_property: pytest.FixtureRequest
) -> None:
    history, tape, _ = played.play(maker, story)
    assert broken(history, story) == [], "with nothing going wrong"
    cells = list(cells_of(maker, story, tape.log))
    drawn = [cell for cell in cells if cell.drawn(*_share(maker))]
    wrong: dict[str, list[str]] = {}
    for cell in drawn:
        if found := _played(played, maker, story, cell):
            wrong[str(cell)] = found
    made = Counter((maker.name, cell.kind, "made") for cell in cells)
    made.update((maker.name, cell.kind, "played") for cell in drawn)
    record_property(CELLS, list(made.items()))  # type: ignore[operator]
    told = [f"{cell}\n    " + "\n    ".join(found[:4]) for cell, found in list(wrong.items())[:ONE_TOO_MANY]]
    assert not wrong, f"{len(wrong)} of {len(drawn)} cells:\n" + "\n".join(told)


def _played(played: Player, maker: Maker, story: Story, cell: Cell) -> list[str]:
    try:
        return broken(played.play(maker, story, cell)[0], story)
    except AssertionError as error:
        return [f"harness: {error}"]

"""The matrix is no ornament: each part that is broken on purpose is caught by it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.chaos.conftest import CAUGHT
from tests.chaos.invariants import broken
from tests.chaos.matrix import Cell, Player, cells_of
from tests.chaos.mutations import MUTATIONS, Mutation
from tests.chaos.platforms.makers import MAKERS
from tests.chaos.story import STORIES

BY_NAME = {story.name: story for story in STORIES}


ALL = bool(os.environ.get("PENNYWEIGHT_CHAOS"))

PLAYED = [one for one in MUTATIONS if ALL or (not one.cells and one.platform != "aws_asg")]
"""Those that a single play catches, by default; `make chaos` plays all."""


@pytest.mark.parametrize("mutation", [pytest.param(one, id=one.name) for one in PLAYED])
def test_what_is_broken_on_purpose_is_caught(
    mutation: Mutation, played: Player, record_property: pytest.FixtureRequest
) -> None:
    maker, story = MAKERS[mutation.platform], BY_NAME[mutation.story]
    for cell in _cells(mutation, played):
        history = _played(played, mutation, cell)
        if history and (found := broken(history, story)):
            name = str(cell) if cell is not None else f"{maker.name}/{story.name}/nothing"
            record_property(CAUGHT, (mutation.name, f"{name}  by {found[0].partition(':')[0]}"))  # type: ignore[operator]
            return
    pytest.fail(f"nothing in {maker.name}/{story.name} notices")


def _cells(mutation: Mutation, played: Player) -> Iterator[Cell | None]:
    maker, story = MAKERS[mutation.platform], BY_NAME[mutation.story]
    if not mutation.cells:
        yield None
        return
    _, tape, _ = played.play(maker, story)
    yield from (cell for cell in cells_of(maker, story, tape.log) if mutation.cells in str(cell))


def _played(played: Player, mutation: Mutation, cell: Cell | None):  # type: ignore[no-untyped-def]
    """None where the broken part does other things than were numbered."""
    maker, story = MAKERS[mutation.platform], BY_NAME[mutation.story]
    try:
        return played.play(maker, story, cell, broken=mutation.make)[0]
    except AssertionError:
        return None

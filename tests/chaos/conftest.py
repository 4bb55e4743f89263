from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.chaos.matrix import Player, player
from tests.chaos.platforms.aws_asg import stop_stage

CELLS, CAUGHT = "chaos cells", "chaos caught"


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    """What the daemon would log about every fault is nobody's to read here."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def played() -> Iterator[Player]:
    """Plays cells."""
    try:
        with player() as made:
            yield made
    finally:
        stop_stage()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The matrix by platform and kind, and what caught each mutation; also where several processes played."""
    reports = [one for some in terminalreporter.stats.values() for one in some if hasattr(one, "user_properties")]
    told = [pair for one in reports if getattr(one, "when", "") == "call" for pair in one.user_properties]
    cells: Counter[tuple[str, str, str]] = Counter()
    for name, counts in told:
        if name == CELLS:
            cells.update({tuple(key): number for key, number in counts})
    if cells:
        terminalreporter.section("chaos: the matrix")
        for line in table(cells):
            terminalreporter.write_line(line)
    caught = [value for name, value in told if name == CAUGHT]
    if caught:
        terminalreporter.section("chaos: what was broken on purpose, and the cell that caught it")
        for mutation, by in sorted(caught):
            terminalreporter.write_line(f"{mutation:60} {by}")


def table(cells: Counter[tuple[str, str, str]]) -> Iterator[str]:
    """``cells``: by (platform, kind, "made" or "played")."""
    platforms = sorted({platform for platform, _, _ in cells})
    kinds = sorted({kind for _, kind, _ in cells})
    wide = max(map(len, ("played of made", *kinds))) + 2
    yield f"{'played of made':{wide}}" + "".join(f"{platform:>20}" for platform in platforms)
    for kind in kinds:
        row = [f"{cells[one, kind, 'played']} of {cells[one, kind, 'made']}" for one in platforms]
        yield f"{kind:{wide}}" + "".join(f"{number:>20}" for number in row)
    sums = [
        tuple(sum(n for (p, _, w), n in cells.items() if p == one and w == what) for what in ("played", "made"))
        for one in platforms
    ]
    yield f"{'all':{wide}}" + "".join(f"{f'{played} of {made}':>20}" for played, made in sums)
    yield f"{sum(made for _, made in sums)} cells in all, {sum(played for played, _ in sums)} played"

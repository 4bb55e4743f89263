"""One file, one line: nothing in the rooms is forgotten."""

import ast
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

from controller import wiring
from controller.facts.fleet import EngineKind
from controller.settings.account_shapes import PricesShape, SourceShape
from controller.settings.shapes import ActuatorShape

ROOT = Path(__file__).parents[1]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")

SHARED = {
    "prices": {"source", "resolve", "aws", "bills", "listed", "pricing", "quotes"},
    "act": {"actuator", "gate", "life", "life_steps", "probe", "records", "runner", "targets"},
    "notify": {"channel", "dispatch"},
    "prices/bills": {"rows"},
    "usage": {
        *("batch", "decode", "directory", "files", "fleet", "identity"),
        *("pull", "spend_rows", "tail", "told"),
    },
}
"""What all members of a room use; every other file and room in it is a member and must be in the room's table."""


def members(room: str) -> set[str]:
    """Its files, and the rooms in it."""
    folder = ROOT / "controller" / room
    rooms = {init.parent.name for init in folder.glob("*/__init__.py")}
    return rooms | {path.stem for path in folder.glob("*.py")} - {"__init__"}


@pytest.mark.parametrize(
    ("room", "table"),
    [
        ("prices", {**wiring.PRICES, **wiring.QUOTERS}),
        ("prices/bills", wiring.BILLS),
        ("usage", wiring.USAGE_SOURCES),
        ("act", wiring.ACTUATORS),
        ("notify", wiring.CHANNELS),
    ],
)
def test_every_member_of_a_room_is_in_its_table(room, table):
    assert members(room) - SHARED[room] == set(table)


def test_every_source_of_usage_can_be_named_in_the_fleet_file_and_the_other_way_round():
    assert set(SourceShape.model_fields) - {"name", "services"} == set(wiring.USAGE_SOURCES)


def test_every_quoter_can_be_named_in_the_fleet_file_and_the_other_way_round():
    (named,) = get_args(PricesShape.model_fields["sources"].annotation)[:1]
    assert set(get_args(named)) == set(wiring.QUOTERS)


def test_every_engine_has_an_adapter():
    assert set(wiring.ENGINES) == set(EngineKind)


def test_every_actuator_can_be_named_in_the_fleet_file_and_the_other_way_round():
    assert set(ActuatorShape.model_fields) == {*wiring.ACTUATORS, "emulated"}


@pytest.mark.parametrize(
    "table", ["SOURCES", "PRICES", "QUOTERS", "USAGE_SOURCES", "BILLS", "ACTUATORS", "KNOBS", "CHANNELS"]
)
def test_contributing_explains_every_table(table):
    assert f"`{table}`" in CONTRIBUTING


def test_every_room_says_what_may_live_there_and_nothing_else():
    for init in (ROOT / "controller").rglob("__init__.py"):
        tree = ast.parse(init.read_text(encoding="utf-8"))
        assert ast.get_docstring(tree), f"{init} has no docstring"
        assert len(tree.body) == 1, f"{init} holds more than its docstring"


def test_functions_and_files_keep_their_size():
    """A file splits near 400 lines, a function near 50; a docstring does not count against a function."""
    too_long = []
    for path in (*(ROOT / "controller").rglob("*.py"), *(ROOT / "dashboard").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 420:
            too_long.append(f"{path.relative_to(ROOT)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = node.body[1].lineno if ast.get_docstring(node) and len(node.body) > 1 else node.lineno
                if (node.end_lineno or 0) - start > 60:
                    too_long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not too_long


def test_a_daemon_loads_nothing_that_only_rehearsing_emulating_and_showing_need():
    said = subprocess.run(
        [sys.executable, "-c", "import sys, controller.cli.run; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not {"numba", "llvmlite", "scipy", "matplotlib", "streamlit"} & set(said.stdout.split())

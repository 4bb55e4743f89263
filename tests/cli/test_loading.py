"""What a command loads: whoever needs help, or stops the fleet at night, does not wait for the libraries of others."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from controller.__main__ import _parser
from controller.cli.arguments import Later
from tests.small_fleet import SmallFleet

SLOW = {
    *("aiohttp", "apscheduler", "boto3", "botocore", "celpy", "fastapi", "grpc", "httpx2", "lightkube", "llvmlite"),
    *("matplotlib", "msgspec", "numba", "numpy", "pandas", "prometheus_api_client", "prometheus_client", "psutil"),
    *("pyarrow", "requests", "scipy", "streamlit", "uvicorn"),
}
"""Only the daemon's, the accounts' or the rehearsal's."""

SLOWISH = {"pydantic", "rich", "sqlalchemy", "sqlmodel", "yaml"}
"""What reads files, the ledger, and prints tables: none of it is needed to read what was typed."""

RUN = """
import json, sys
from controller.__main__ import main
codes = []
for typed in sys.argv[1:]:
    try:
        codes.append(main(typed.split()))
    except SystemExit as ended:  # argparse's own way out
        codes.append(ended.code or 0)
print(json.dumps([codes, sorted(sys.modules)]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a fleet file."""
    made = SmallFleet(tmp_path_factory.mktemp("loading"))
    made.write()
    made.close()
    return made.file.parent


def loaded(folder: Path, commands: Mapping[str, int]) -> set[str]:
    """Modules and libraries that are there after commands, each with its exit code, typed one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", RUN, *commands], cwd=folder, capture_output=True, text=True, check=True
    )
    codes, modules = json.loads(done.stdout.splitlines()[-1])
    assert codes == list(commands.values()), done.stderr
    return {*modules, *(name.split(".")[0] for name in modules)}


def test_help_and_what_was_mistyped_load_no_library(folder):
    helped = ("--help", "stop --help", "status --help", "report --help", "backtest --help")
    found = loaded(folder, {**dict.fromkeys(helped, 0), "stpo": 2})
    assert not found & (SLOW | SLOWISH | {"controller.wiring", "controller.ledger", "controller.settings"})


def test_who_stops_or_asks_waits_for_nothing_that_only_the_daemon_needs(folder):
    found = loaded(folder, {"stop": 0, "go": 0, "status": 1, "explain chat": 1})  # no pass was recorded yet
    assert found >= SLOWISH
    assert not found & (SLOW | {"controller.wiring", "controller.daemon", "controller.ledger.accounts.tables"})


def test_checking_files_loads_what_judges_conditions_and_no_daemon(folder):
    found = loaded(folder, {"check": 0, "schema fleet": 0})
    assert "celpy" in found
    assert not found & (SLOW - {"celpy", "numpy"} | {"controller.wiring", "controller.daemon", "sqlalchemy"})


def parsers(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Of every command, and of the commands within it."""
    if name:
        yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, one in action.choices.items():
                yield from parsers(one, f"{name} {word}".strip())


@pytest.mark.parametrize(("name", "command"), [(name, one.get_default("command")) for name, one in parsers(_parser())])
def test_every_command_is_there_when_it_is_wanted(name, command):
    assert isinstance(command, Later)
    assert callable(command.found())

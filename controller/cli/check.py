"""Commands about the files that a user writes: check, schema."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from controller.cli.arguments import DEFAULT_FLEET
from controller.cli.files import settings_of
from controller.errors import ConfigError, Problem
from controller.policy import check as policy_check
from controller.policy import schema as policy_schema
from controller.settings.load import Seen, Settings, seen_at
from controller.settings.load import json_schema as fleet_schema


def check(arguments: argparse.Namespace) -> int:
    """Report every problem of every file, and run the policy tests."""
    settings, problems = _checked_fleet(arguments)
    seen = seen_at(arguments.fleet or DEFAULT_FLEET) if settings is not None or problems else None
    paths = _policy_paths(arguments, seen)
    channels = settings.channels if settings is not None else ("log", "slack")
    report = policy_check.check_policies(paths, seen.services if seen is not None else None, channels)
    problems += report.problems
    if problems:
        raise ConfigError(problems)
    files = len(report.files) + (settings is not None)
    policies, tests = _counted(len(report.policies), "policy", "policies"), _counted(report.tests_run, "policy test")
    print(f"{_counted(files, 'file')} read and nothing wrong: {policies}, {tests} passed")
    if settings is not None and not report.policies:
        print("no policy yet: the fleet is measured, nothing is decided")
    return 0


def _checked_fleet(arguments: argparse.Namespace) -> tuple[Settings | None, list[Problem]]:
    """The fleet file is optional when policies are named."""
    path = arguments.fleet or DEFAULT_FLEET
    if arguments.fleet is None and arguments.paths and not path.exists():
        return None, []
    try:
        return settings_of(path, works=True), []
    except ConfigError as error:
        return None, list(error.problems)


def _policy_paths(arguments: argparse.Namespace, seen: Seen | None) -> list[Path]:
    """The named files and folders; else those that the fleet file names, or, when it cannot be read, the usual ones."""
    named = arguments.paths
    if not named and seen is not None:
        return list(seen.policy_files)
    if not named:
        named = [(arguments.fleet or DEFAULT_FLEET).parent / "policies"]
    return [file for path in named for file in (sorted(path.glob("*.yaml")) if path.is_dir() else [path])]


def schema(arguments: argparse.Namespace) -> int:
    """Print a JSON Schema."""
    made = policy_schema.json_schema() if arguments.kind == "policy" else fleet_schema()
    print(json.dumps(made, indent=2))
    return 0


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"

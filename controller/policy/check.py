"""What can be known of policy files before any pass: their problems, and whether their tests pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from controller.decide.rules import ServicePolicy
from controller.documents import Document, load_yaml, validate
from controller.errors import ConfigError, Problem
from controller.policy.load import TEST_SUFFIX, Services, read_policies
from controller.policy.rehearse import rehearsed
from controller.policy.script import ScriptShape


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What was found. ``files``: all that were read, test files too; ``tests_run``: rehearsals."""

    problems: tuple[Problem, ...]
    policies: Mapping[str, ServicePolicy]
    files: tuple[Path, ...]
    tests_run: int


def check_policies(paths: Sequence[Path], services: Services | None, channels: Collection[str]) -> CheckReport:
    """Read the policies and run the tests among ``paths`` and those beside them (NAME.test.yaml beside NAME.yaml)."""
    policy_files = [path for path in paths if not path.name.endswith(TEST_SUFFIX)]
    beside = [path.with_name(path.stem + TEST_SUFFIX) for path in policy_files]
    named = [path for path in paths if path.name.endswith(TEST_SUFFIX)]
    tests = list(dict.fromkeys([*named, *(path for path in beside if path.is_file())]))
    loaded, problems = read_policies(policy_files, services, channels)
    judged = {path.resolve() for path in policy_files}
    right = {one.path.resolve(): one.policy for one in loaded}
    tests_run = 0
    for path in tests:
        run, found = _tested(path, right, judged, channels)
        tests_run += run
        problems += found
    return CheckReport(
        problems=tuple(problems),
        policies={one.policy.service: one.policy for one in loaded},
        files=tuple(dict.fromkeys([*policy_files, *tests])),
        tests_run=tests_run,
    )


def _tested(
    path: Path, right: Mapping[Path, ServicePolicy], judged: Collection[Path], channels: Collection[str]
) -> tuple[int, list[Problem]]:
    """How many tests of the file were run, and what went wrong. A policy with problems of its own is not rehearsed."""
    try:
        document = load_yaml(path)
    except ConfigError as error:
        return 0, list(error.problems)
    script, problems = validate(ScriptShape, document)
    named = document.data.get("policy")
    if not isinstance(named, str):
        return 0, problems
    policy, found = _tested_policy(document, path.parent / named, right, judged, channels)
    problems += found
    if script is None or policy is None:
        return 0, problems
    return len(script.tests), rehearsed(script, document, policy)


def _tested_policy(
    document: Document,
    file: Path,
    right: Mapping[Path, ServicePolicy],
    judged: Collection[Path],
    channels: Collection[str],
) -> tuple[ServicePolicy | None, list[Problem]]:
    """The policy that a test names. What is wrong with one that is judged anyway is told there."""
    if file.resolve() in judged:
        return right.get(file.resolve()), []
    if not file.is_file():
        return None, [document.problem(("policy",), f"there is no file '{document.data['policy']}' beside this one")]
    loaded, problems = read_policies([file], None, channels)
    return (loaded[0].policy if loaded else None), problems

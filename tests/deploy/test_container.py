"""The container file: what is built is locked, and the same each time."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.deploy.rendered import DEPLOY, ROOT

SAID = (DEPLOY / "container" / "Containerfile").read_text(encoding="utf-8")
STAGES = SAID.split("\nFROM ")[1:]
UNCHECKED_HASH = b"\x01\x00\x00\x00"
"""The flags of a pyc whose source nobody looks at: https://peps.python.org/pep-0552/."""


def test_the_container_is_built_from_files_that_exist_and_from_nothing_unlocked():
    folder = DEPLOY / "container"
    copied = [line.split()[1:-1] for line in SAID.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert copied
    assert all((ROOT / name).exists() for names in copied for name in names)
    assert len(re.findall(r"--require-hashes", SAID)) == 2
    assert "USER 65532" in SAID
    locked = set(re.findall(r"^([A-Za-z0-9_.-]+)==", (folder / "requirements.lock").read_text(), re.MULTILINE))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(
            one
            for extra in ("aws", "keda", "kubernetes", "nvml", "postgres")
            for one in project["optional-dependencies"][extra]
        ),
    ]
    names = {re.split(r"[\[<>=~! ]", one)[0].lower() for one in wanted}
    assert names <= {one.lower() for one in locked}
    assert not {"pytest", "moto", "hypothesis"} & locked


def test_the_project_is_built_by_the_python_that_has_what_builds_it():
    """pip runs a build without isolation in the Python that it installs into."""
    assert not re.search(r"pip --python \S+ install [^\n]*--no-build-isolation", SAID)
    assert re.search(r"pip install [^\n]*build.lock.*\n.*&& pip wheel --no-deps --no-build-isolation", SAID)


def test_no_stage_leaves_a_date_of_its_own():
    epochs = {re.search(r"^ARG SOURCE_DATE_EPOCH=(\d+)$", stage, re.MULTILINE)[1] for stage in STAGES}
    assert len(epochs) == 1
    assert f"--timestamp {next(iter(epochs))}" in SAID
    assert all("touch --" in stage and "--date=@${SOURCE_DATE_EPOCH}" in stage for stage in STAGES)
    assert not re.search(r"^RUN .*(useradd|adduser|groupadd)", SAID, re.MULTILINE)


def compiled(source: Path, into: Path) -> dict[str, bytes]:
    """As the container file has bytecode made; without that of what the compiling Python itself has imported."""
    told = SAID.partition("python -m compileall ")[2].partition('"$(')[0].replace("\\\n", " ")
    command = [sys.executable, "-m", "compileall", *shlex.split(told), str(source)]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONPYCACHEPREFIX": str(into)}
    subprocess.run(command, env=environment, check=True)
    return {str(path.relative_to(into)): path.read_bytes() for path in into.rglob(f"{source.name}/*.pyc")}


def test_bytecode_is_the_same_each_time_and_is_believed_whatever_its_source_s_date_says(tmp_path):
    assert "PYTHONHASHSEED=0" in STAGES[0]
    source = tmp_path / "source"
    shutil.copytree(ROOT / "controller" / "facts", source, ignore=shutil.ignore_patterns("__pycache__"))
    first = compiled(source, tmp_path / "first")
    assert len(first) == len(list(source.glob("*.py")))
    for path in source.glob("*.py"):
        os.utime(path, (0, 0))
    assert compiled(source, tmp_path / "second") == first
    assert {data[4:8] for data in first.values()} == {UNCHECKED_HASH}


def test_the_daemon_looks_for_bytecode_where_the_build_put_it():
    """A start that finds none compiles for seconds, each time: its root cannot be written."""
    made = set(re.findall(r"PYTHONPYCACHEPREFIX=(\S+)", STAGES[0]))
    assert made == set(re.findall(r"PYTHONPYCACHEPREFIX=(\S+)", STAGES[1])) == {"/opt/bytecode"}
    assert "COPY --from=build /opt /opt" in STAGES[1]

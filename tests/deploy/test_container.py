"""The container file: what is built is locked, and the same each time."""

from __future__ import annotations

import re
import tomllib

from tests.deploy.rendered import DEPLOY, ROOT


def test_the_container_is_built_from_files_that_exist_and_from_nothing_unlocked():
    folder = DEPLOY / "container"
    said = (folder / "Containerfile").read_text(encoding="utf-8")
    copied = [line.split()[1:-1] for line in said.splitlines() if line.startswith("COPY ") and "--from" not in line]
    assert copied
    assert all((ROOT / name).exists() for names in copied for name in names)
    assert len(re.findall(r"--require-hashes", said)) == 2
    assert "USER 65532" in said
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

from __future__ import annotations

import pytest

from controller.errors import ConfigError
from controller.settings.load import load_settings


@pytest.fixture
def load(tmp_path):
    def loaded(text: str, environ: dict[str, str] | None = None, **how):
        path = tmp_path / "fleet.yaml"
        path.write_text(text, encoding="utf-8")
        return load_settings(path, environ or {}, **how)

    return loaded


@pytest.fixture
def problems(load):
    def found(text: str, environ: dict[str, str] | None = None, **how) -> list[str]:
        with pytest.raises(ConfigError) as error:
            load(text, environ, **how)
        return [str(problem).split("fleet.yaml:", 1)[1] for problem in error.value.problems]

    return found

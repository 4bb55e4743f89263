"""The fleet file as commands read it."""

from __future__ import annotations

import os
from pathlib import Path

from controller.errors import ConfigError, Problem
from controller.prices.book import offers
from controller.settings.load import Settings, load_settings


def settings_of(path: Path, *, works: bool = False) -> Settings:
    """The settings in the fleet file at ``path``. Raises ConfigError.

    works   the command does the fleet's work, so its secrets must be in the environment; who asks, or stops
            everything from a shell of their own, has none
    """
    if not path.exists():
        message = (
            "there is no such file. Write one (docs/fleet.md shows how), name yours with --fleet FILE, "
            "or see everything work first: `pennyweight demo`"
        )
        raise ConfigError([Problem(str(path), 0, 0, "", message)])
    return load_settings(path, dict(os.environ), offers=offers(), works=works)

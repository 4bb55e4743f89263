"""The demo: the real daemon over emulated engines, or over vLLM processes of its own. In a module of its own, because
emulating takes libraries that no daemon needs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime

from controller.demo.accounts import Accounts
from controller.demo.actuator import EmulatedActuator
from controller.demo.emulated import Program, run_emulated
from controller.demo.files import DemoFiles
from controller.demo.real import run_real
from controller.settings.load import load_settings
from controller.wiring import built

DEMO_SPEED = 240.0
"""A virtual day in six minutes: slow enough to watch. Where nobody watches, as fast as the passes go."""


def demo(arguments: argparse.Namespace) -> int:
    """The demo on emulated engines, or on real vLLM processes."""
    if arguments.engine == "vllm":
        return run_real(arguments.passes, not arguments.no_dashboard, arguments.directory, dict(os.environ))
    watched = sys.stdout.isatty()
    unhurried = DEMO_SPEED if watched else 0.0
    speed = 0.0 if arguments.fast else arguments.speed or unhurried
    return run_emulated(
        arguments.passes, not arguments.no_dashboard, speed, arguments.directory, arguments.seed, build=_emulated
    )


@contextmanager
def _emulated(files: DemoFiles, *, actuator: EmulatedActuator, clock: Callable[[], datetime]) -> Iterator[Program]:
    """The real daemon and accounts over the demo's files; only the actuator and the clock are the demo's."""
    settings = load_settings(files.fleet, {})
    with built(settings, clock=clock, actuators={"emulated": actuator}) as everything:
        yield Program(daemon=everything.daemon, accounts=Accounts.of(everything.accounting))

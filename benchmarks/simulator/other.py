"""Another simulator of fleets of LLM engines, installed where it disturbs nobody, on the same requests."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

import numpy as np

from controller.simulate.arrivals import Requests
from controller.simulate.stepmodel import EngineSpec

PACKAGE = "vllm-sr-sim"
"""The fleet simulator of the vLLM Semantic Router, Apache-2.0. All its releases are development versions."""

THEIRS = Path(__file__).with_name("theirs.py")


class NotInstalledError(Exception):
    """The other simulator could not be had."""


def beside(spec: EngineSpec, replicas: int, requests: Requests) -> dict[str, float | str]:
    """What the other simulator makes of them, with numbers as near to ``spec`` as it takes them."""
    tokens = float((requests.prompt_tokens + requests.output_tokens).mean())
    fleet = {
        "replicas": replicas,
        "base_s": spec.step.base_s,
        "per_sequence_s": spec.step.per_sequence_s + spec.step.per_kv_token_s * tokens,
        "chunk": spec.token_budget,
        "kv_tokens": spec.kv_capacity_tokens,
        "max_sequences": spec.max_sequences,
        "mean_tokens": tokens,
    }
    with tempfile.TemporaryDirectory(prefix="simulators-") as folder:
        python = _installed(Path(folder))
        file = Path(folder) / "requests.npz"
        np.savez(
            file,
            arrival_s=requests.arrival_s,
            prompt_tokens=requests.prompt_tokens,
            output_tokens=requests.output_tokens,
        )
        done = subprocess.run(
            [python, str(THEIRS), json.dumps(fleet), str(file)], stdout=subprocess.PIPE, text=True, check=True
        )
    found: dict[str, float | str] = json.loads(done.stdout)
    return found


def _installed(folder: Path) -> str:
    """A Python of its own that has it."""
    try:
        venv.create(folder / "venv", with_pip=True)
        python = str(folder / "venv" / ("Scripts" if sys.platform == "win32" else "bin") / "python")
        quiet = ("--quiet", "--disable-pip-version-check")
        subprocess.run([python, "-m", "pip", "install", *quiet, "--pre", PACKAGE], check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise NotInstalledError(f"{PACKAGE} could not be installed: {error}") from error
    return python

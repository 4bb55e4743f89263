"""The unit files in deploy/systemd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = Path(__file__).parents[2] / "deploy" / "systemd"
HARDENED = {"NoNewPrivileges=yes", "ProtectSystem=strict", "ProtectHome=yes", "PrivateTmp=yes"}
DAEMON = {
    "Type=exec",
    "ExecReload=/bin/kill -HUP $MAINPID",
    "KillMode=process",
    "StateDirectory=pennyweight",
    "StateDirectory=pennyweight/tmp",
    "Environment=TMPDIR=/var/lib/pennyweight/tmp",
    "CapabilityBoundingSet=",
}


@pytest.mark.parametrize(
    ("unit", "required"),
    [
        ("pennyweight.service", HARDENED | DAEMON),
        ("pennyweight-dashboard.service", HARDENED | {"CapabilityBoundingSet="}),
        ("vllm-chat@.service", HARDENED | {"Restart=no"}),
    ],
)
def test_a_unit_has_its_required_directives(unit, required):
    assert required <= set((UNITS / unit).read_text().splitlines())


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze on this host")
def test_systemd_accepts_the_units(tmp_path):
    """The programs need not be installed here, so that harmless ones stand in for them."""
    for unit in UNITS.glob("*.service"):
        text = unit.read_text().replace("/opt/pennyweight/bin/pennyweight", "/bin/true")
        text = text.replace("/opt/pennyweight/bin/streamlit", "/bin/true").replace("/opt/vllm/bin/vllm", "/bin/true")
        (tmp_path / unit.name.replace("@.", "@1.")).write_text(text)
    units = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if str(tmp_path) in line or "pennyweight" in line]
    assert complaints == []
    assert done.returncode == 0, done.stderr

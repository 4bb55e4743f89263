"""A ledger that lies where nobody may write: a copy, a mounted backup. Not even root may, in these tests."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controller.errors import LedgerError
from controller.ledger.write import Ledger

READS = """
import sys
from controller.ledger.read import LedgerReader
print(LedgerReader(sys.argv[1]).services())
"""
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def _as_anybody() -> None:
    """Root may write whatever the modes say, unless it gives that up."""
    if os.geteuid() == 0:
        ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE)


def read(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", READS, f"sqlite:///{file}"],
        preexec_fn=_as_anybody,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "backup"
    folder.mkdir()
    file = folder / "pennyweight.db"
    Ledger.open(f"sqlite:///{file}").close()
    yield file
    folder.chmod(0o755)


@pytest.mark.skipif(sys.platform != "linux", reason="capabilities are Linux's")
@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o555), (0o644, 0o555), (0o444, 0o755)])
def test_it_is_read_all_the_same(copied, file_mode, folder_mode):
    copied.chmod(file_mode)
    copied.parent.chmod(folder_mode)
    done = read(copied)
    assert (done.returncode, done.stdout.strip()) == (0, "()"), done.stderr


def test_what_cannot_be_written_says_what_follows_for_who_asked(tmp_path):
    with pytest.raises(LedgerError, match="NOTHING is stopped"):
        Ledger.open(f"sqlite:///{tmp_path}/no/such/folder/pennyweight.db", then="NOTHING is stopped")

"""Certificates that are renewed while we run."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from controller.facts.doors import Tls
from controller.serve.certificates import Renewed


@pytest.fixture
def tls(tmp_path: Path) -> Tls:
    (tmp_path / "tls.crt").write_text("first")
    (tmp_path / "tls.key").write_text("key")
    return Tls(certificate=str(tmp_path / "tls.crt"), key=str(tmp_path / "tls.key"))


def words(tls: Tls) -> str:
    """Stands for what is made of the files; none is made of an empty one."""
    read = Path(tls.certificate).read_text()
    if not read:
        raise ValueError("it is empty")
    return read


def test_what_is_made_follows_the_files(tls: Tls) -> None:
    renewed = Renewed(tls, words)
    assert (renewed.now, renewed.changed()) == ("first", False)
    Path(tls.certificate).write_text("second")
    assert (renewed.changed(), renewed.now, renewed.changed()) == (True, "second", False)


def test_half_written_files_leave_the_last_good_ones_in_use_and_are_told_once(
    tls: Tls, caplog: pytest.LogCaptureFixture
) -> None:
    logging.disable(logging.NOTSET)
    renewed = Renewed(tls, words)
    Path(tls.certificate).write_text("")
    assert [renewed.changed() for _ in range(3)] == [False] * 3
    assert renewed.now == "first"
    assert caplog.text.count("could not be read again, the old one stays: it is empty") == 1
    Path(tls.certificate).write_text("second")
    assert renewed.changed()
    assert renewed.now == "second"


def test_good_files_that_could_not_be_read_for_a_moment_are_read_again(tls: Tls) -> None:
    fails = [OSError(24, "Too many open files")]

    def sometimes(tls: Tls) -> str:
        if Path(tls.certificate).read_text() == "second" and fails:
            raise fails.pop()
        return words(tls)

    renewed = Renewed(tls, sometimes)
    Path(tls.certificate).write_text("second")
    assert not renewed.changed()
    assert renewed.changed(), "the files are as they were, and good"
    assert renewed.now == "second"
